"""Options, markers, packages that may be missing, and the backends as fixtures."""

import importlib.util
import signal

import pytest
import torch

from pyrank.engine import native

import emulation

ABSENT = {name for name in ("arviz_stats", "matplotlib", "pandas", "xarray") if importlib.util.find_spec(name) is None}


def pytest_addoption(parser):
    parser.addoption("--validate", action="store_true", help="also run the long statistical tests")
    parser.addoption("--require-gpu", action="store_true", help="fail if there is no GPU to test")


def pytest_configure(config):
    config.addinivalue_line("markers", "validate: a long statistical test, run with --validate")
    if hasattr(config, "workerinput"):  # one of several processes, which would wait for each other's threads
        torch.set_num_threads(1)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells leave it to what they run in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--validate"):
        return
    for item in items:
        if item.get_closest_marker("validate"):
            item.add_marker(pytest.mark.skip(reason="a long statistical test: run with --validate"))


def _skipped_without_what_it_needs(item):
    """Skip a test as soon as it needs a package that is not there; that few need one is tested in test_optional.py."""
    try:
        return (yield)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in ABSENT:
            raise
        pytest.skip(str(error))


pytest_runtest_setup = pytest.hookimpl(wrapper=True)(_skipped_without_what_it_needs)
pytest_runtest_call = pytest.hookimpl(wrapper=True)(_skipped_without_what_it_needs)


@pytest.fixture(params=("avx512", "avx2", "baseline"))
def isa(request):
    """Every instruction set of the compiled backend that this machine can run."""
    if request.param not in native.isas():
        pytest.skip(f"this machine or build has no {request.param}")
    return request.param


@pytest.fixture(params=("lanes", "rows"))
def layout(request):
    """Both ways to lay chains over registers."""
    return request.param


@pytest.fixture(scope="module")
def shipped():
    """The images that come with the package, which are the first of all, and read sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYRANK_DATA", raising=False)
        yield


@pytest.fixture(scope="session")
def emulator(request, tmp_path_factory):
    """The emulator as a module; one of several processes builds it, into the folder above their own."""
    own = tmp_path_factory.getbasetemp()
    return emulation.build(own.parent if hasattr(request.config, "workerinput") else own)


@pytest.fixture
def emulated(emulator, monkeypatch):
    """The emulator in the place of the kernels for CUDA."""
    emulator.configure()
    monkeypatch.setattr(native, "_cuda_extension", lambda: emulator)
    return emulator


def _device(request):
    if request.param == "emulated":
        request.getfixturevalue("emulated")
    elif missing := native.cuda_devices()[1]:
        pytest.fail(f"--require-gpu: {missing}")
    return (0,)


@pytest.fixture
def gpus(request):
    """The devices to pass to `native`: an emulated one, and a real one where there is one."""
    return _device(request)


@pytest.fixture
def kernels(request):
    """Every kind of kernel, as options of `native`: both layouts of the CPU, and what `gpus` has."""
    return {"layout": request.param} if request.param in ("lanes", "rows") else {"gpus": _device(request)}


def pytest_generate_tests(metafunc):
    for fixture, layouts in (("gpus", []), ("kernels", ["lanes", "rows"])):
        if fixture in metafunc.fixturenames:
            real = metafunc.config.getoption("--require-gpu") or native.cuda_devices()[0]
            devices = ["emulated", "gpu"] if real else ["emulated"]
            metafunc.parametrize(fixture, [*layouts, *devices], indirect=True)

"""First contact with a GPU, and what can go wrong there: one line each, that says what happened and what to do.

The calls of the CUDA runtime are those of the emulator, which fail as they are told to.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrank
from pyrank.cli import main
from pyrank.engine import gpus as devices
from pyrank.engine import native
from pyrank.engine.native import Gpu
from pyrank.specs.measures import parse_measures

ROOT = Path(__file__).resolve().parents[1]
CALLS = (ROOT / "tests/emulator/runtime_calls.h").read_text()
ERRORS = {name: int(number) for name, number in re.findall(r"(cuda(?:Error\w+|Success)) = (\d+),", CALLS)}
OUT_OF_MEMORY = "cudaErrorMemoryAllocation"
CHAIN = pyrank.Chain(6, 5, dtype="float64")  # of which a GPU gives the bits of a CPU


def run(device="cuda", **options):
    return pyrank.simulate(CHAIN, 3, chains=2, device=device, progress=False, **options)


def told(error):
    """The message of an error, which is one line."""
    (line,) = str(error.value).splitlines()
    return line


KNOWN = {
    ("cudaSetDevice", "cudaErrorDevicesUnavailable"): ("is busy", "wait, or take another"),
    ("cudaFuncSetAttribute", "cudaErrorNoKernelImageForDevice"): ("finds no kernels", "show_config"),
    ("cudaLaunchKernelEx", "cudaErrorInvalidDeviceFunction"): ("finds no kernels", "show_config"),
    ("cudaFuncSetAttribute", "cudaErrorUnsupportedPtxVersion"): ("cannot compile the PTX", "update the driver"),
    ("cudaSetDevice", "cudaErrorInitializationError"): ("does not survive a fork", "spawn"),
    ("cudaStreamSynchronize", "cudaErrorIllegalAddress"): ("a kernel failed", "start the process anew"),
    ("cudaStreamSynchronize", "cudaErrorLaunchFailure"): ("a kernel failed", "checkpoint"),
    ("cudaStreamSynchronize", "cudaErrorLaunchTimeout"): ("took too long", "fewer chains"),
    ("cudaStreamSynchronize", "cudaErrorECCUncorrectable"): ("could not correct", "reset or replaced"),
    ("cudaMemcpyAsync", "cudaErrorContextIsDestroyed"): ("was reset", "call again"),
    ("cudaMemcpyAsync", "cudaErrorStreamCaptureUnsupported"): ("recording a CUDA graph", "outside"),
    ("cudaSetDevice", "cudaErrorSystemNotReady"): ("is not ready", "nvidia-fabricmanager"),
    ("cudaSetDevice", "cudaErrorSystemDriverMismatch"): ("different versions", "restart the machine"),
    ("cudaSetDevice", "cudaErrorMpsConnectionFailed"): ("MPS", "nvidia-cuda-mps-control"),
    ("cudaSetDevice", "cudaErrorUnknown"): ("does not answer", "nvidia-modprobe"),
}
"""Calls, how they fail, what is said to have happened, and the remedy."""


@pytest.mark.parametrize(("call", "failure"), KNOWN, ids=lambda name: name.removeprefix("cuda"))
def test_a_gpu_that_fails_is_told_in_one_line_and_used_again_if_it_can_be(call, failure, emulated, capsys):
    what, remedy = KNOWN[call, failure]
    emulated.fail(call, ERRORS[failure])
    with pytest.raises(pyrank.GpuError, match=rf"^cuda:0 .*{what}.*in the words of CUDA.*; .*{remedy}") as error:
        run()
    told(error)
    np.testing.assert_array_equal(run().state, run("cpu").state)
    emulated.fail(call, ERRORS[failure])
    assert main(["simulate", "--width", "6", "--depth", "3", "--device", "cuda"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(rf"pyrank: cuda:0 .*{remedy}.*\n", printed.err)


def test_a_failure_that_nobody_foresaw_is_told_in_the_words_of_cuda(emulated):
    emulated.fail("cudaStreamSynchronize", 4711)
    with pytest.raises(pyrank.GpuError, match=r"^cuda:0: in the words of CUDA; start the process anew") as error:
        run()
    told(error)


@pytest.mark.parametrize("call", sorted(set(re.findall(r"inline cudaError_t (\w+)\([^)]*\) \{\s+(?:using [^;]+;\s+)?"
                                                       r"PYRANK_MAY_FAIL|^cudaError_t (\w+)\(", CALLS, flags=re.M))),
                         ids="".join)  # fmt: skip
def test_any_call_may_fail_at_any_time(call, emulated):
    """Never a crash, nothing left behind: the next run is right."""
    name, expected, failed = "".join(call), run("cpu").state, 0
    for spared in range(100):
        emulated.fail(name, ERRORS["cudaErrorUnknown"], spared)
        try:
            run()
        except (pyrank.GpuError, pyrank.ArgumentError) as error:
            failed += len(str(error).splitlines()) == 1
        else:
            break
    emulated.configure()
    assert failed == (0 if name == "cudaFree" else spared)
    np.testing.assert_array_equal(run().state, expected)


def test_a_lost_gpu_stays_lost_and_its_checkpoint_goes_on_elsewhere(emulated, tmp_path):
    options = {"chains": 2, "progress": False, "checkpoint": tmp_path / "run.ckpt", "device": "cuda"}
    pyrank.simulate(CHAIN, 10, **options)
    emulated.fail("cudaStreamSynchronize", ERRORS["cudaErrorIllegalAddress"], 3, lasting=True)
    for _ in range(2):
        with pytest.raises((pyrank.GpuError, pyrank.ArgumentError), match="a kernel failed"):
            pyrank.simulate(CHAIN, 40, **options)
    with pytest.warns(UserWarning, match="resumed with backend"):
        went_on = pyrank.simulate(CHAIN, 40, **options | {"device": "cpu"})
    expected = pyrank.simulate(CHAIN, 40, chains=2, progress=False)
    np.testing.assert_allclose(went_on.state, expected.state, rtol=1e-3, atol=1e-4)
    emulated.configure()


@pytest.mark.parametrize("lost", [0, 1])
def test_one_of_two_gpus_fails(lost, emulated):
    emulated.configure(devices=2)
    emulated.fail(f"cudaSetDevice {lost}", ERRORS["cudaErrorDevicesUnavailable"])
    with pytest.raises(pyrank.GpuError, match=f"^cuda:{lost} is busy"):
        run()
    np.testing.assert_array_equal(run().state, run("cpu").state)


def test_only_the_gpu_that_is_named_is_touched(emulated):
    """A context on another one would cost half a gigabyte there, and fail where somebody else has it."""
    emulated.configure(devices=2)
    emulated.fail("cudaSetDevice 0", ERRORS["cudaErrorDevicesUnavailable"], lasting=True)
    np.testing.assert_array_equal(run("cuda:1").state, run("cpu").state)
    native.draw_weights(CHAIN, 0, 0, gpus=(1,))
    native.measure(torch.ones(1, 3, 4), parse_measures(["participation_ratio"]), gpus=(1,))


def test_too_little_memory_says_what_was_asked_and_what_is_free(emulated):
    emulated.configure(free_memory=20_000_000_000)
    emulated.fail("cudaMalloc", ERRORS[OUT_OF_MEMORY], spared=2)
    with pytest.raises(MemoryError, match=r"2 chains of 6 x 5; run fewer .*\(cuda:0: 0.0 MB asked, 20.0 GB of 20"):
        run()
    emulated.fail("cudaFuncSetAttribute", ERRORS[OUT_OF_MEMORY])
    with pytest.raises(MemoryError, match=r"\(cuda:0: too little for the kernels themselves, 20.0 GB of"):
        run()
    np.testing.assert_array_equal(run().state, run("cpu").state)
    emulated.configure(free_memory=1_234_567)
    state = torch.ones(4, 300, 300)
    with pytest.raises(MemoryError, match=r"4 matrices of 300 x 300; .*1.4 MB asked, 1.2 MB of 1.2 MB free"):
        native.measure(state, parse_measures(["participation_ratio"]), gpus=(0,))
    with pytest.raises(MemoryError, match=r"1000 x 1000 weights; .*4.0 MB asked"):
        native.draw_weights(pyrank.Chain(1000), 0, 0, gpus=(0,))


def why_not():
    with pytest.raises(pyrank.ArgumentError) as error:
        run()
    reason = re.fullmatch(r"device = 'cuda': expected a GPU, but (.*); use device='cpu'", told(error))[1]
    assert re.search(rf"^GPUs: +none \({re.escape(reason)}\)$", pyrank.show_config(), flags=re.M)
    return reason


def test_drivers_that_are_missing_old_or_broken(emulated):
    emulated.fail("cudaGetDeviceCount", ERRORS["cudaErrorInsufficientDriver"], lasting=True)
    assert why_not().startswith("the NVIDIA driver knows CUDA 13.0, and this build is for CUDA 13.0; update the driver")
    emulated.configure(driver=12040)
    emulated.fail("cudaGetDeviceCount", ERRORS["cudaErrorInsufficientDriver"], lasting=True)
    assert "knows CUDA 12.4, " in why_not()
    emulated.configure(driver=0)
    emulated.fail("cudaGetDeviceCount", ERRORS["cudaErrorInsufficientDriver"], lasting=True)
    assert why_not() == "there is no NVIDIA driver"
    emulated.fail("cudaGetDeviceCount", ERRORS["cudaErrorSystemDriverMismatch"], lasting=True)
    assert "restart the machine" in why_not()
    emulated.configure()
    np.testing.assert_array_equal(run().state, run("cpu").state)


def test_variables_and_slices_that_hide_gpus(emulated, monkeypatch):
    emulated.configure(devices=0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "in MIG mode there has to be an instance" in why_not()
    for value in ("", "7", "GPU-00000000-0000-0000-0000-000000000000"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert why_not().startswith(f"CUDA_VISIBLE_DEVICES = {value!r} names none that is there; unset it")
    emulated.configure(devices=1)
    run()


H200, B200, RTX_50, GTX_10 = (Gpu(name, capability) for name, capability in
                              (("H200", 90), ("B200", 100), ("RTX 5090", 120), ("GTX 1080", 61)))  # fmt: skip


@pytest.mark.parametrize(("gpu", "architectures", "expected"), [
    (H200, "75-real,80-real,90", "machine code for sm_90"),
    (Gpu("RTX 3090", 86), "75-real,80-real,90", "machine code for sm_80"),
    (Gpu("RTX 4090", 89), "75-real,80-real,90", "machine code for sm_80"),
    (B200, "75-real,80-real,90", "PTX for 9.0, compiled by the driver when it is first used"),
    (RTX_50, "75-real,80-real,90", "PTX for 9.0, compiled by the driver when it is first used"),
    (GTX_10, "75-real,80-real,90", ""),
    (H200, "80-real", ""),
    (H200, "80", "PTX for 8.0, compiled by the driver when it is first used"),
    (H200, "80-virtual,86-real", "PTX for 8.0, compiled by the driver when it is first used"),
    (Gpu("A100", 80), "86", ""),
    (H200, "90a", "machine code for sm_90"),
    (B200, "90a", ""),
    (Gpu("B300", 103), "100f", "machine code for sm_100"),
    (RTX_50, "100f", ""),
    (Gpu("RTX 5090", 121), "120-real", "machine code for sm_120"),
    (H200, "native", "what the compiler chose (native)"),
])  # fmt: skip
def test_what_runs_where(gpu, architectures, expected):
    assert devices.what_runs(gpu, architectures) == expected


def test_every_gpu_from_the_first_architecture_on_finds_something():
    """Also those that came after the last one, of which the build file has to keep PTX."""
    listed = re.search(r'CMAKE_CUDA_ARCHITECTURES "([^"]+)"', (ROOT / "CMakeLists.txt").read_text())[1]
    for capability in (75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121):
        assert devices.what_runs(Gpu("any", capability), listed.replace(";", ","))
    assert not devices.what_runs(GTX_10, listed.replace(";", ","))


def test_show_config_says_what_runs_on_each(emulated, monkeypatch):
    found = [H200, B200, GTX_10]
    monkeypatch.setattr(native, "cuda_devices", lambda: (found, ""))
    lines = dict(re.findall(r"^(\S[^:]*(?::\d)?): +(.+)$", pyrank.show_config(), flags=re.M))
    assert lines["backends"] == "cpu, cuda, reference"
    assert lines["cuda:0"] == "H200 (compute capability 9.0): machine code for sm_90"
    assert lines["cuda:1"].startswith("B200 (compute capability 10.0): PTX for 9.0")
    assert lines["cuda:2"] == ("GTX 1080 (compute capability 6.1): nothing; CMAKE_ARGS=-DCMAKE_CUDA_ARCHITECTURES=61 "
                               "pip install . builds for it")  # fmt: skip
    assert list(devices.chosen("cuda", "auto")) == [0, 1]
    with pytest.raises(pyrank.ArgumentError, match=r"GTX 1080.* is none; CMAKE_ARGS=.*=61") as error:
        devices.chosen("cuda:2", "auto")
    told(error)


def test_a_build_that_has_nothing_for_any_gpu_says_so(emulated, monkeypatch):
    monkeypatch.setattr(emulated, "cuda_architectures", "100-real")
    with pytest.raises(pyrank.ArgumentError, match=r"kernels for, but emulator \(compute capability 9.0\) is none"):
        run()
    assert "cuda:0: " in pyrank.show_config()
    assert "nothing; " in pyrank.show_config()


def test_a_torch_that_is_not_in_use_is_not_asked(emulated, monkeypatch):
    """It would start CUDA in its own way, with errors of its own."""

    def fails(*_):
        raise RuntimeError("torch has its own words\nfor it")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", fails)
    run()


def test_errors_have_the_numbers_of_cuda():
    nvcc = shutil.which("nvcc")
    headers = [] if nvcc is None else [Path(nvcc).resolve().parent, Path("/usr/local/cuda")]
    found = [path for place in headers for path in place.parent.glob("cuda*/include/driver_types.h")]
    if not found:
        pytest.skip("the headers of CUDA are not here")
    real = dict(re.findall(r"(cuda(?:Error\w+|Success))\s+=\s+(\d+)", found[0].read_text()))
    assert {name: int(real[name]) for name in ERRORS} == ERRORS

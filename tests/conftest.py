"""Options, markers and the backends as fixtures."""

import pytest

from pyrank import native


def pytest_addoption(parser):
    parser.addoption("--validate", action="store_true", help="also run the long statistical tests")


def pytest_configure(config):
    config.addinivalue_line("markers", "validate: a long statistical test, run with --validate")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--validate"):
        return
    for item in items:
        if item.get_closest_marker("validate"):
            item.add_marker(pytest.mark.skip(reason="a long statistical test: run with --validate"))


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

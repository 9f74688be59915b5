"""Hold the process to one core before numpy is imported."""

import one_core
import pytest


def pytest_configure(config):
    one_core.hold()
    from pyrank.engine import native

    if missing := native.why_missing():
        raise pytest.UsageError(missing)

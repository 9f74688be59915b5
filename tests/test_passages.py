"""When a quantity passes a level."""

import math

import numpy as np
import pytest

from pyrank.estimate.passages import falls_below


def test_depth_is_read_off_an_exponential():
    depth = np.array([1, 101, 201, 301])
    assert falls_below(depth, np.exp(-0.04 * depth), 1e-3) == pytest.approx(math.log(1000) / 0.04)
    assert falls_below(depth, np.exp(-0.001 * depth), 1e-3) == math.inf
    assert falls_below(depth, np.exp(-10.0 * depth), 1e-3) == 1

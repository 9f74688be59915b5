"""Errors of time averages: an independent sum, slopes with a known answer, intervals that cover."""

import math

import numpy as np
import pytest

from pyrank.estimate.time_averages import error_slope, root_mean_square, squared_errors

from tolerances import SIGMAS


def test_errors_are_those_of_averages_side_by_side():
    values = np.random.default_rng(1).normal(size=(3, 11))
    found = squared_errors(values, [1, 4])
    for chain in range(3):
        means = [values[chain, start : start + 4].mean() for start in (0, 4)]
        assert found[chain, 1] == pytest.approx(sum((mean - values.mean()) ** 2 for mean in means) / 2)
        assert found[chain, 0] == pytest.approx(np.mean((values[chain] - values.mean()) ** 2))


def test_errors_of_noise_are_known():
    """An average of L standard normals is off by 1 / sqrt(L), and its square has the variance 2 / L^2."""
    values = np.random.default_rng(4).normal(size=(400, 512))
    lengths = np.array([1, 8, 64])
    error, half_width = root_mean_square(squared_errors(values, lengths))
    exact = 1 / np.sqrt(lengths)
    expected = 1.96 * exact * np.sqrt(lengths / (2 * values.size))
    np.testing.assert_allclose(half_width, expected, rtol=SIGMAS / math.sqrt(2 * 400))
    assert np.all(abs(error - exact) <= SIGMAS / 1.96 * expected)


def test_slopes_of_noise_and_of_chains_that_never_forget():
    lengths = 2 ** np.arange(9)
    rng = np.random.default_rng(2)
    slope, half_width = error_slope(squared_errors(rng.normal(size=(256, 256)), lengths), lengths, 16)
    assert abs(slope + 0.5) <= SIGMAS / 2 * half_width
    assert half_width < 0.03
    stuck = np.repeat(rng.normal(size=(256, 1)), 256, axis=1)
    assert error_slope(squared_errors(stuck, lengths), lengths, 16)[0] == pytest.approx(0, abs=1e-9)


def test_intervals_of_slopes_cover():
    lengths, rng = 2 ** np.arange(6), np.random.default_rng(3)
    inside = []
    for _ in range(400):
        squares = squared_errors(rng.normal(size=(64, 32)), lengths)
        slope, half_width = error_slope(squares, lengths, 8)
        inside.append(abs(slope + 0.5) <= half_width)
    assert np.mean(inside) == pytest.approx(0.95, abs=SIGMAS * math.sqrt(0.95 * 0.05 / 400))

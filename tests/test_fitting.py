"""Fits with a known answer, and intervals that cover it."""

import math

import numpy as np
import pytest

from pyrank.estimate.fitting import power_law
from pyrank.support.errors import ArgumentError

WIDTHS = np.array([8.0, 16.0, 32.0, 64.0, 128.0])


def test_exact_power_law_is_recovered():
    fit = power_law(WIDTHS, 0.7 * WIDTHS**0.6, 0.01 * WIDTHS)
    assert fit.exponent == pytest.approx(0.6, rel=1e-12)
    assert fit.prefactor == pytest.approx(0.7, rel=1e-12)
    assert fit.chi2 < 1e-20
    assert fit.dof == 3


def fits_of_noisy_data(understated=1.0, replicates=4000):
    """Fits to y of known relative errors that grow with x; the errors told to the fit are smaller than the noise."""
    rng = np.random.default_rng(3)
    relative = 0.01 * np.sqrt(WIDTHS / 8)
    noise = relative * rng.normal(size=(replicates, WIDTHS.size))
    y = 0.7 * WIDTHS**0.6 * np.exp(noise)
    return [power_law(WIDTHS, row, row * relative / understated) for row in y]


def coverage(fits):
    return np.mean([fit.interval[0] <= 0.6 <= fit.interval[1] for fit in fits])


def test_stderr_and_chi2_match_the_scatter_of_the_fits():
    fits = fits_of_noisy_data()
    scatter = np.std([fit.exponent for fit in fits])
    assert fits[0].stderr == pytest.approx(scatter, rel=5 / math.sqrt(2 * len(fits)))
    assert np.mean([fit.chi2 for fit in fits]) == pytest.approx(3, abs=5 * math.sqrt(6 / len(fits)))


def test_interval_covers_with_right_errors_and_with_errors_ten_times_too_small():
    five_sigma = 5 * math.sqrt(0.95 * 0.05 / 4000)
    assert 0.95 - five_sigma <= coverage(fits_of_noisy_data()) < 0.995
    assert coverage(fits_of_noisy_data(understated=10)) == pytest.approx(0.95, abs=five_sigma)


def test_weights_prefer_the_precise_points():
    y = WIDTHS**0.6
    y[-1] *= 2
    assert power_law(WIDTHS, y, [1e-3, 1e-3, 1e-3, 1e-3, 1e3]).exponent == pytest.approx(0.6, abs=1e-6)
    assert power_law(WIDTHS, y, y).exponent > 0.7


@pytest.mark.parametrize(
    ("x", "y", "stderr"),
    [([8, 16], [1, 2], [1, 1]), ([8, 8, 8], [1, 2, 3], [1, 1, 1]), ([8, 16, 32], [1, 2, math.nan], [1, 1, 1]),
     ([8, 16, 32], [1, 2, 3], [1, 0, 1])],
)  # fmt: skip
def test_impossible_fits_are_refused(x, y, stderr):
    with pytest.raises(ArgumentError, match="points = "):
        power_law(x, y, stderr)

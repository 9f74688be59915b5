"""Lyapunov spectra by QR, against closed forms."""

import math

import numpy as np
import pytest
from scipy import special

import pyrank
from pyrank import theory

from tolerances import SIGMAS

OPTIONS = {"chains": 8, "progress": False}


def plain(width, **options):
    return pyrank.Chain(width, normalization="none", **options)


def assert_within_error(spectrum, expected):
    assert np.all(np.abs(spectrum.exponents - expected) <= SIGMAS * spectrum.stderr)
    assert not any(e.flags for e in spectrum.estimates)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_gaussian_products_grow_as_newman_says(backend):
    """All exponents; and error bars that are those of independent layers."""
    depth = 20_000 if backend == "cpu" else 1_200
    weights = pyrank.Weights("gaussian", scale=0.5)
    spectrum = pyrank.lyapunov_spectrum(plain(6, weights=weights), depth, backend=backend, seed=1, **OPTIONS)
    assert_within_error(spectrum, theory.ginibre_lyapunov_exponents(6, scale=0.5))
    exact = np.sqrt(theory.ginibre_lyapunov_variances(6) / (spectrum.stride * spectrum.estimates[0].count * 8))
    share = np.sqrt(2 / np.array([e.dof for e in spectrum.estimates]))  # twice the relative error of a standard error
    assert np.all(np.abs(spectrum.stderr / exact - 1) <= SIGMAS * share / 2 + 0.1)


@pytest.mark.parametrize("gamma", [1.0, 0.1])
def test_residual_products_grow_as_their_qr_says(gamma):
    spectrum = pyrank.lyapunov_spectrum(plain(5, gamma=gamma), 30_000, seed=2, **OPTIONS)
    expected, error = theory.residual_lyapunov_spectrum(5, gamma, samples=200_000, seed=3)
    assert np.all(np.abs(spectrum.exponents - expected) <= SIGMAS * np.hypot(spectrum.stderr, error))
    top = theory.residual_top_exponent(5, gamma)
    assert abs(spectrum.exponents[0] - top) <= SIGMAS * spectrum.stderr[0]


def test_the_first_exponents_alone_are_the_first_of_all():
    spectrum = pyrank.lyapunov_spectrum(plain(12), 10_000, count=3, **OPTIONS)
    assert_within_error(spectrum, theory.ginibre_lyapunov_exponents(12)[:3])


def test_orthogonal_products_grow_evenly():
    chain = plain(7, weights=pyrank.Weights("orthogonal", scale=0.3))
    spectrum = pyrank.lyapunov_spectrum(chain, 400, **OPTIONS)
    np.testing.assert_allclose(spectrum.exponents, math.log(0.3 * math.sqrt(7)), rtol=1e-12)


def test_varying_widths_average_over_the_cycle():
    """Each layer adds what a gaussian matrix of its number of rows does: E ln chi with d_out - k + 1 degrees."""
    widths = (9, 4, 6)
    spectrum = pyrank.lyapunov_spectrum(plain(widths), 30_000, seed=4, **OPTIONS)
    k = np.arange(1, 5)
    expected = np.mean([0.5 * (math.log(2) + special.digamma((d - k + 1) / 2)) for d in widths], axis=0)
    assert_within_error(spectrum, expected)


@pytest.mark.parametrize("law", ["uniform", "rademacher"])
def test_exponents_add_up_to_the_mean_log_determinant(law):
    """Uniform weights, by an independent average of ln |det W|; a singular W makes the last exponent minus infinity."""
    spectrum = pyrank.lyapunov_spectrum(plain(4, weights=law), 20_000, seed=5, **OPTIONS)
    if law == "rademacher":
        assert not math.isfinite(spectrum.exponents[-1])
        assert "degenerate" in spectrum.estimates[-1].flags
        return
    side = math.sqrt(3.0)
    logs = np.linalg.slogdet(np.random.default_rng(0).uniform(-side, side, size=(200_000, 4, 4)))[1]
    error = math.hypot(spectrum.stderr.sum(), logs.std() / math.sqrt(len(logs)))
    assert abs(spectrum.exponents.sum() - logs.mean()) <= SIGMAS * error


def test_the_stride_changes_nothing_but_rounding():
    exponents = [pyrank.lyapunov_spectrum(plain(4), 1_000, burn_in=100, stride=stride, **OPTIONS).exponents
                 for stride in (1, 2, 4)]  # fmt: skip
    for other in exponents[1:]:
        np.testing.assert_allclose(other, exponents[0], rtol=1e-9)


@pytest.mark.parametrize("weights", [pyrank.Weights(scale=0.0), pyrank.Weights(mean=1.0, scale=0.0)])
def test_lost_directions_are_flagged(weights):
    spectrum = pyrank.lyapunov_spectrum(plain(3, weights=weights), 400, **OPTIONS)
    assert all("degenerate" in e.flags for e in spectrum.estimates[1:])


def test_it_prints_a_line_for_each_exponent():
    text = str(pyrank.lyapunov_spectrum(plain(3), 400, **OPTIONS))
    assert len(text.splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"chain": pyrank.Chain(4)}, "chain"),
        ({"chain": plain(4, activation="relu")}, "chain"),
        ({"chain": 4}, "chain"),
        ({"count": 5}, "count"),
        ({"depth": 200}, "depth"),
        ({"stride": 0}, "stride"),
        ({"chains": 0}, "chains"),
        ({"threads": "all"}, "threads"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_input_is_refused(arguments, named):
    with pytest.raises(pyrank.ArgumentError, match=f"^{named}"):
        pyrank.lyapunov_spectrum(**{"chain": plain(4), "depth": 1_000, "progress": False, **arguments})

"""Spectra of products of gaussian matrices, against quadrature, recursion and small simulations."""

import math

import numpy as np
import pytest
from scipy import integrate

import pyrank.theory as theory

from oracles import QUAD, agrees
from tolerances import EXACT, SIGMAS


def test_fuss_catalan_moments_by_quadrature():
    for factors in (1, 2, 3, 7):
        nodes, weights = np.polynomial.legendre.leggauss(200)
        v = (1 - nodes) / 2
        t = 1 - v**2  # x = edge t^(L + 1): neither the divergence at 0 nor the root at the edge is left
        x = theory.ginibre_product_edge(factors) * t ** (factors + 1)
        measure = theory.ginibre_product_density(x, factors) * x * (factors + 1) / t * v * weights
        for order in (0, 1, 2, 4):
            expected = theory.ginibre_product_moment(order, factors)
            assert (x**order * measure).sum() == pytest.approx(expected, rel=EXACT)


def test_fuss_catalan_numbers_and_edge():
    assert [theory.ginibre_product_moment(n, 1) for n in range(6)] == [1, 1, 2, 5, 14, 42]
    assert [theory.ginibre_product_moment(n, 2) for n in range(6)] == [1, 1, 3, 12, 55, 273]
    assert theory.ginibre_product_edge(1) == 4.0
    assert theory.ginibre_product_edge(2) == 27 / 4
    ratio = theory.ginibre_product_moment(4000, 3) / theory.ginibre_product_moment(3999, 3)
    assert ratio == pytest.approx(theory.ginibre_product_edge(3), rel=1e-3)  # moments grow like powers of the edge


def test_density_of_one_and_two_factors_is_the_known_one():
    """Marchenko-Pastur, and Penson & Zyczkowski 2011 for two factors."""
    x = np.array([1e-6, 0.1, 1.0, 3.0, 3.99])
    np.testing.assert_allclose(theory.ginibre_product_density(x, 1), np.sqrt(4 / x - 1) / (2 * math.pi), rtol=EXACT)
    x = np.array([1e-6, 0.1, 1.0, 3.0, 6.0, 6.74])
    root = 27 + 3 * np.sqrt(81 - 12 * x)
    two = 2 ** (1 / 3) * math.sqrt(3) / (12 * math.pi)
    two *= (2 ** (1 / 3) * root ** (2 / 3) - 6 * x ** (1 / 3)) / (x ** (2 / 3) * root ** (1 / 3))
    np.testing.assert_allclose(theory.ginibre_product_density(x, 2), two, rtol=EXACT)


@pytest.mark.parametrize("factors", [1, 2, 5, 30])
def test_cdf_is_the_integral_of_the_density(factors):
    edge = theory.ginibre_product_edge(factors)
    assert theory.ginibre_product_cdf([-1.0, 0.0, edge, 99.0 * edge], factors).tolist() == [0, 0, 1, 1]
    assert theory.ginibre_product_density([-1.0, edge, 99.0 * edge], factors).tolist() == [0, 0, 0]
    assert theory.ginibre_product_density(0.0, factors) == math.inf
    for a, b in ((1e-3, 0.01), (0.01, 1.0), (1.0, 0.9 * edge)):
        part = integrate.quad(lambda t: math.exp(t) * theory.ginibre_product_density(math.exp(t), factors),
                              math.log(a), math.log(b), **QUAD)[0]  # fmt: skip
        rise = np.diff(theory.ginibre_product_cdf([a, b], factors))[0]
        assert rise == pytest.approx(part, rel=EXACT)


def product_eigenvalues(rng, width, factors, count):
    P = np.broadcast_to(np.eye(width), (count, width, width))
    for _ in range(factors):
        P = rng.standard_normal((count, width, width)) @ P / math.sqrt(width)
    return np.linalg.svd(P, compute_uv=False) ** 2


@pytest.mark.parametrize("factors", [1, 2, 4])
def test_spectrum_by_simulation(factors):
    """Eigenvalues repel, so that their distribution is off by order 1 / width, not by its root."""
    width = 200
    x = np.sort(product_eigenvalues(np.random.default_rng(14), width, factors, 2), axis=1)
    empirical = (np.arange(width) + 0.5) / width
    distance = np.abs(theory.ginibre_product_cdf(x, factors) - empirical).max()
    assert distance <= SIGMAS / width


@pytest.mark.parametrize(("width", "factors"), [(1, 2), (3, 1), (5, 4)])
def test_second_moments_by_simulation(width, factors):
    x = product_eigenvalues(np.random.default_rng(15), width, factors, 60_000)
    norm, trace = theory.ginibre_product_second_moments(width, factors)
    agrees(x.sum(axis=1), width)
    agrees((x**2).sum(axis=1), norm)
    agrees(x.sum(axis=1) ** 2, trace)


def test_second_moments_by_recursion_and_in_the_limit():
    for d in (1, 2, 7):
        state = np.array([d, d * d], dtype=float)
        for L in range(6):
            np.testing.assert_allclose(theory.ginibre_product_second_moments(d, L), state, rtol=1e-13)
            state = np.array([[d + 1, 1], [2, d]]) @ state / d
    norm, trace = theory.ginibre_product_second_moments(10**7, np.arange(1, 6))
    np.testing.assert_allclose(norm / 10**7, [theory.ginibre_product_moment(2, L) for L in range(1, 6)], rtol=1e-5)
    deep = theory.ginibre_product_second_moments(50, 2000)
    assert deep[1] / deep[0] == pytest.approx(1.0)  # collapsed
    assert np.all(trace >= norm)

"""Growth rates of products and of residual chains, against quadrature, algebra and small simulations."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special, stats

import pyrank.theory as theory

from oracles import QUAD, agrees
from tolerances import EXACT, SIGMAS


def log_stretches(rng, width, gamma, chains, layers, skip):
    """Logarithms of |R_kk|, layer by layer, of frames carried through real products: shape (layers * chains, width)."""
    frames, logs = np.broadcast_to(np.eye(width), (chains, width, width)), []
    for _ in range(layers):
        W = rng.standard_normal((chains, width, width))
        frames, R = np.linalg.qr(skip * frames + gamma * W @ frames)
        logs.append(np.log(np.abs(np.diagonal(R, axis1=1, axis2=2))))
    return np.concatenate(logs)


def chi_moment(function, degrees):
    """E function(ln chi) by quadrature over the logarithm."""
    norm = math.log(2.0) * (degrees / 2.0 - 1.0) + special.gammaln(degrees / 2.0)

    def integrand(t):
        return function(t) * math.exp(degrees * t - math.exp(2.0 * t) / 2.0 - norm)

    return integrate.quad(integrand, -40.0, 4.0, points=[-10.0, 0.0, 1.0, 2.0], **QUAD)[0]


def test_newman_exponents_and_variances_by_quadrature():
    exponents, variances = theory.ginibre_lyapunov_exponents(6, scale=0.3), theory.ginibre_lyapunov_variances(6)
    for k in range(6):
        mean = chi_moment(lambda t: t, 6 - k)
        assert exponents[k] == pytest.approx(math.log(0.3) + mean, rel=EXACT)
        assert variances[k] == pytest.approx(chi_moment(lambda t, m=mean: (t - m) ** 2, 6 - k), rel=EXACT)
    assert theory.ginibre_lyapunov_exponents(1)[0] == pytest.approx(-(np.euler_gamma + math.log(2)) / 2, rel=EXACT)
    assert theory.ginibre_lyapunov_variances(1)[0] == pytest.approx(math.pi**2 / 8, rel=EXACT)


def test_newman_exponents_and_variances_by_simulation():
    logs = log_stretches(np.random.default_rng(1), 5, 0.7, 200, 200, skip=0)
    expected = theory.ginibre_lyapunov_exponents(5, scale=0.7)
    agrees(logs, expected)
    agrees((logs - expected) ** 2, theory.ginibre_lyapunov_variances(5))


def test_numerical_rank_of_two_features_is_lost_by_a_bit_a_layer():
    """Of 2 x 2 matrices the second singular value falls behind by (psi(1) - psi(1/2)) / 2 = ln 2 a layer."""
    found = theory.ginibre_numerical_rank(2, [[0.0, 9.9], [10.1, 1e9]], 2.0**-10)
    assert found.tolist() == [[2, 2], [1, 1]]
    assert theory.ginibre_numerical_rank(5, 3, 1.0).tolist() == 1  # only the first is not below itself


def top_by_quadrature(width, gamma):
    """(E_1(m) + int_0^1 (1 - (1 - u)^(d/2 - 1)) exp(-m u) du / u) / 2 at m = 1 / (2 gamma^2): the sum, summed."""
    m, power = 0.5 / gamma**2, width / 2 - 1

    def integrand(v):  # v = m u
        return -math.expm1(power * math.log1p(-v / m)) / v * math.exp(-v)

    upper = min(m, 60.0)
    ends = integrate.quad(integrand, 0.0, upper / 2, **QUAD)[0] + integrate.quad(integrand, upper / 2, upper, **QUAD)[0]
    return (special.exp1(m) + ends) / 2


@pytest.mark.parametrize("gamma", [1e-4, 0.003, 0.1, 0.5, 0.71, 1.0, 4.0])
@pytest.mark.parametrize("width", [3, 4, 7, 32])
def test_residual_top_exponent_by_quadrature(width, gamma):
    assert theory.residual_top_exponent(width, gamma) == pytest.approx(top_by_quadrature(width, gamma), rel=EXACT)


def test_residual_top_exponent_limits():
    gammas = np.array([0.2, 0.5, 1.0, 3.0, 50.0])
    exact = special.exp1(0.5 / gammas**2) / 2
    np.testing.assert_allclose(theory.residual_top_exponent(2, gammas), exact, rtol=1e-6, atol=1e-15)
    for d in (1, 2, 9):
        newman, spread = theory.ginibre_lyapunov_exponents(d)[0], theory.ginibre_lyapunov_variances(d)[0]
        for gamma in (1e7, 1e99):
            assert theory.residual_top_exponent(d, gamma) - math.log(gamma) == pytest.approx(newman, rel=1e-5)
            assert theory.residual_top_variance(d, gamma) == pytest.approx(spread, rel=1e-5)
    weak = theory.weak_residual_exponents(20, 1e-3)
    assert theory.residual_top_exponent(20, 1e-3) == pytest.approx(weak[0], rel=2e-5)


@pytest.mark.parametrize(("width", "gamma"), [(2, 0.4), (5, 1.0), (8, 0.25), (3, 20.0)])
def test_residual_top_variance_by_quadrature(width, gamma):
    law = stats.ncx2(width, gamma**-2)
    upper = law.mean() + 40 * law.std()

    def moment(function):
        pieces = np.concatenate(([0.0], np.geomspace(1e-12, upper, 40)))
        return sum(integrate.quad(lambda x: function(x) * law.pdf(x), a, b, **QUAD)[0]
                   for a, b in pairwise(pieces))  # fmt: skip

    mean = moment(lambda x: math.log(gamma**2 * x) / 2)
    variance = moment(lambda x: (math.log(gamma**2 * x) / 2 - mean) ** 2)
    assert theory.residual_top_exponent(width, gamma) == pytest.approx(mean, rel=1e-7)
    assert theory.residual_top_variance(width, gamma) == pytest.approx(variance, rel=1e-7)


@pytest.mark.parametrize(("width", "gamma"), [(5, 0.5), (3, 2.0)])
def test_residual_exponents_by_simulation(width, gamma):
    """Real products against the closed top, and against the one-layer expectation for all."""
    logs = log_stretches(np.random.default_rng(2), width, gamma, 200, 200, skip=1)[400:]
    top = theory.residual_top_exponent(width, gamma)
    agrees(logs[:, 0], top)
    agrees((logs[:, 0] - top) ** 2, theory.residual_top_variance(width, gamma))
    exponents, stderr = theory.residual_lyapunov_spectrum(width, gamma, samples=40_000, seed=3)
    error = np.hypot(stderr, logs.std(axis=0) / math.sqrt(len(logs)))
    assert np.all(np.abs(exponents - logs.mean(axis=0)) <= SIGMAS * error)
    assert abs(exponents[0] - top) <= SIGMAS * stderr[0]
    assert stderr[0] == pytest.approx(math.sqrt(theory.residual_top_variance(width, gamma) / 40_000), rel=0.05)


def test_residual_exponents_sum_to_the_mean_log_determinant():
    exponents, stderr = theory.residual_lyapunov_spectrum(4, 0.8, samples=20_000, seed=4)
    W = np.random.default_rng(5).standard_normal((20_000, 4, 4))
    logs = np.linalg.slogdet(np.eye(4) + 0.8 * W)[1]
    assert abs(exponents.sum() - logs.mean()) <= SIGMAS * math.hypot(stderr.sum(), logs.std() / math.sqrt(20_000))


def test_residual_spectrum_is_drawn_in_pieces_of_one_sequence():
    """At this width several pieces are drawn; together they are what one draw gives."""
    layers = np.eye(300) + 0.1 * np.random.default_rng(7).standard_normal((24, 300, 300))
    logs = np.log(np.abs(np.diagonal(np.linalg.qr(layers, mode="r"), axis1=1, axis2=2)))
    exponents, stderr = theory.residual_lyapunov_spectrum(300, 0.1, samples=24, seed=7)
    np.testing.assert_allclose(exponents, logs.mean(axis=0), rtol=EXACT, atol=1e-13)
    np.testing.assert_allclose(stderr, logs.std(axis=0, ddof=1) / math.sqrt(24), rtol=EXACT)


def test_weak_residual_exponents_by_simulation():
    width, gamma = 6, 0.05
    exponents, stderr = theory.residual_lyapunov_spectrum(width, gamma, samples=60_000, seed=6)
    weak = theory.weak_residual_exponents(width, gamma)
    assert np.all(np.abs(exponents - weak) <= SIGMAS * stderr + gamma**4 * width**2)
    assert weak[0] > SIGMAS * stderr[0]  # resolved from zero
    assert weak.sum() == pytest.approx(-width * gamma**2 / 2)  # E ln |det(I + gamma W)| = -gamma^2 E Tr W^2 / 2


def log_determinant_by_quadrature(gamma):
    """E ln |det(I + gamma W)| for two features: |z + 1|^2 - |w|^2 with complex gaussian z and w of variance gamma^2.

    |w|^2 / gamma^2 is an exponential variable, E ln |x - |w|^2 / gamma^2| = ln x - exp(-x) Ei(x).
    """
    law = stats.ncx2(2, 2 / gamma**2)
    pieces = np.concatenate(([0.0], np.geomspace(1e-14, law.mean() + 40 * law.std(), 40)))

    def integrand(q):
        return (math.log(q / 2) - math.exp(-q / 2) * special.expi(q / 2)) * law.pdf(q)

    return 2 * math.log(gamma) + sum(integrate.quad(integrand, a, b, **QUAD)[0] for a, b in pairwise(pieces))


@pytest.mark.parametrize("gamma", [0.15, 0.3, 0.71, 1.0, 4.0])
def test_residual_gap_of_two_features_by_quadrature(gamma):
    """The two exponents sum to the mean logarithm of the determinant, and the first one is E_1(m) / 2."""
    expected = special.exp1(0.5 / gamma**2) - log_determinant_by_quadrature(gamma)
    assert theory.residual_gap(2, gamma) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("width", "gamma"), [(2, 0.3), (3, 1.0), (6, 0.25), (12, 0.6), (12, 5.0)])
def test_residual_gap_by_simulation(width, gamma):
    """Of two columns of one layer; the sum of a layer and its mirror image I - gamma W has less noise."""
    W = np.random.default_rng(8).standard_normal((200_000, width, 2))
    halves = []
    for sign in (1, -1):
        a, b = np.moveaxis(np.eye(width)[:, :2] + sign * gamma * W, -1, 0)
        length = np.linalg.norm(a, axis=-1)
        across = b - a * (np.sum(a * b, axis=-1) / length**2)[:, None]
        halves.append(np.log(length / np.linalg.norm(across, axis=-1)))
    agrees(sum(halves) / 2, theory.residual_gap(width, gamma))


def test_residual_gap_limits():
    for d in (2, 3, 9):
        newman = theory.ginibre_lyapunov_exponents(d)
        for gamma in (1e7, 1e99):
            assert theory.residual_gap(d, gamma) == pytest.approx(newman[0] - newman[1], rel=1e-12)
    for gamma in (1e-2, 1e-3, 1e-4):  # the next order is smaller by about gamma^2 d
        weak = theory.weak_residual_exponents(20, gamma)
        assert theory.residual_gap(20, gamma) == pytest.approx(weak[0] - weak[1], rel=2 * 20 * gamma**2)


def test_residual_gap_of_two_features_without_skip():
    """Of 2 x 2 gaussian matrices the first stretch is chi_2 and the second chi_1: (psi(1) - psi(1/2)) / 2 = ln 2."""
    assert theory.residual_gap(2, [1e6, math.inf]) == pytest.approx([math.log(2)] * 2)

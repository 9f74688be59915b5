"""Closed forms against quadrature or algebra of another kind, and against small simulations at five standard errors."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special, stats

import pyrank.theory as theory
from pyrank.errors import ArgumentError

from tolerances import SIGMAS

EXACT = 1e-9
"""Relative agreement asked of two exact routes to a number: quadrature is asked for 1e-11."""

QUAD = {"epsabs": 1e-12, "epsrel": 1e-11, "limit": 400}


def agrees(samples, expected, axis=0):
    """Assert that the mean of independent samples is the expected value at five standard errors, of size resolved."""
    mean = samples.mean(axis=axis)
    stderr = samples.std(axis=axis, ddof=1) / math.sqrt(samples.shape[axis])
    assert np.all(np.abs(mean - expected) <= SIGMAS * stderr), (mean, expected, stderr)


def log_stretches(rng, width, gamma, chains, layers, skip):
    """Logarithms of |R_kk|, layer by layer, of frames carried through real products: shape (layers * chains, width)."""
    frames, logs = np.broadcast_to(np.eye(width), (chains, width, width)), []
    for _ in range(layers):
        W = rng.standard_normal((chains, width, width))
        frames, R = np.linalg.qr(skip * frames + gamma * W @ frames)
        logs.append(np.log(np.abs(np.diagonal(R, axis1=1, axis2=2))))
    return np.concatenate(logs)


# growth rates


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


# rank


def spectra(rng):
    """Random spectra of mean 1, from flat to very uneven."""
    for _ in range(300):
        eigenvalues = rng.gamma(10.0 ** rng.uniform(-1.5, 1.5), size=rng.integers(1, 30))
        yield eigenvalues * len(eigenvalues) / eigenvalues.sum()


def test_soft_rank_bound_holds_for_any_spectrum():
    for eigenvalues in spectra(np.random.default_rng(7)):
        d, r = len(eigenvalues), eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
        for tau in (0.0, 0.2, 0.5, 0.9, 1.0):
            lemma, sharp = theory.soft_rank_bound(r, tau), theory.soft_rank_bound(r, tau, width=d)
            assert lemma == pytest.approx((1 - tau) ** 2 * d**2 / (eigenvalues**2).sum())
            assert lemma <= sharp * (1 + EXACT)
            assert sharp <= (eigenvalues >= tau).sum() + 1e-6


@pytest.mark.parametrize(("above", "width", "tau"), [(1, 8, 0.5), (3, 10, 0.2), (9, 10, 0.9)])
def test_sharper_soft_rank_bound_is_attained(above, width, tau):
    """Two-valued spectra: all eigenvalues that are not counted lie at the threshold, or just below."""
    high = (width - tau * (width - above)) / above
    squared = above * high**2 + (width - above) * tau**2
    assert theory.soft_rank_bound(width**2 / squared, tau, width=width) == pytest.approx(above, rel=EXACT)


def test_soft_rank_bound_on_a_normalised_chain():
    """Every layer of 300 chains obeys both bounds; the mean is above them by more than five standard errors."""
    rng, d, chains = np.random.default_rng(8), 8, 300
    H = rng.standard_normal((chains, d, d))
    for _ in range(40):
        H = rng.standard_normal((chains, d, d)) @ H
        H /= np.sqrt((H**2).mean(axis=2, keepdims=True))
    eigenvalues = np.linalg.eigvalsh(H @ H.swapaxes(1, 2) / d)
    ranks, r = (eigenvalues >= 0.5).sum(axis=1), d**2 / (eigenvalues**2).sum(axis=1)
    lemma, sharp = theory.soft_rank_bound(r, 0.5), theory.soft_rank_bound(r, 0.5, width=d)
    assert np.all(lemma <= sharp)
    assert np.all(sharp <= ranks + 1e-9)
    assert ranks.mean() - sharp.mean() > SIGMAS * (ranks - sharp).std() / math.sqrt(chains)
    assert theory.soft_rank_bound(r.mean(), 0.5, width=d) <= sharp.mean()  # convex
    agrees(r, 2.248)  # known mean at this width


def test_orthogonality_gap_is_its_definition():
    rng = np.random.default_rng(9)
    for d, n in ((3, 7), (7, 3), (5, 5), (4, 1)):
        H = rng.standard_normal((d, n)) * rng.gamma(0.5, size=n)
        G = H.T @ H
        gap = np.linalg.norm(G / np.trace(G) - np.eye(n) / n)
        r = np.trace(G) ** 2 / np.linalg.norm(G) ** 2
        assert theory.orthogonality_gap(r, n) == pytest.approx(gap, rel=EXACT, abs=1e-7)
        assert theory.ratio_from_gap(gap, n) == pytest.approx(r, rel=EXACT)
    np.testing.assert_allclose(theory.orthogonality_gap([1.0, 4.0], 4), [math.sqrt(0.75), 0.0])


# kernels and angles


def kernel_by_quadrature(rho, positive, negative, power):
    """E F(u) F(v) / E F(u)^2 for F(x) = positive x^power above 0, negative x^power below; the inner mean is closed."""
    c = math.sqrt(1 - rho**2)

    def inner(u):  # E F(v) given u
        t = rho * u / c
        if power == 0:
            return positive * special.ndtr(t) + negative * special.ndtr(-t)
        upper = rho * u * special.ndtr(t) + c * stats.norm.pdf(t)
        return positive * upper + negative * (rho * u - upper)

    def outer(u):
        return (positive if u > 0 else negative) * u**power * inner(u) * math.exp(-u * u / 2) / math.sqrt(2 * math.pi)

    value = sum(integrate.quad(outer, a, b, points=None, **QUAD)[0] for a, b in ((-12.0, 0.0), (0.0, 12.0)))
    return 2 * value / (positive**2 + negative**2)


@pytest.mark.parametrize("rho", [-0.95, -0.5, -1 / 7, 0.0, 0.3, 0.9])
def test_kernels_by_quadrature(rho):
    assert theory.step_kernel(rho) == pytest.approx(kernel_by_quadrature(rho, 1, 0, 0), rel=EXACT)
    assert theory.relu_kernel(rho) == pytest.approx(kernel_by_quadrature(rho, 1, 0, 1), rel=1e-8)
    assert theory.leaky_relu_kernel(rho, 0.2) == pytest.approx(kernel_by_quadrature(rho, 1, 0.2, 1), rel=1e-8)


def test_kernels_at_the_ends_and_their_derivative():
    ends = np.array([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(theory.step_kernel(ends), [0, 0.5, 1], atol=1e-15)
    np.testing.assert_allclose(theory.relu_kernel(ends), [0, 1 / math.pi, 1], atol=1e-15)
    rho = np.linspace(-0.9, 0.9, 7)
    np.testing.assert_allclose(theory.leaky_relu_kernel(rho, 0.0), theory.relu_kernel(rho), rtol=1e-15)
    np.testing.assert_allclose(theory.leaky_relu_kernel(rho, 1.0), rho, atol=1e-15)  # the identity
    slope = (theory.relu_kernel(rho + 1e-5) - theory.relu_kernel(rho - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, theory.step_kernel(rho), rtol=1e-8)


def test_relu_gram_by_simulation():
    rng = np.random.default_rng(10)
    A = rng.standard_normal((4, 6)) * np.array([[1.0], [3.0], [0.2], [1.0]])
    A[3] = -2 * A[0]  # an antiparallel pair
    features = np.maximum(rng.standard_normal((300_000, 6)) @ A.T, 0)
    agrees(features[:, :, None] * features[:, None, :], theory.relu_gram(A @ A.T))


def test_recentred_relu_known_angles():
    """Published and derived values, to the digits given."""
    angles = theory.angle_degrees(theory.recentred_relu_cosine([2, 8, 10, 20, math.inf]))
    np.testing.assert_allclose(angles, [90.0, 75.51, 74.65, 73.0, 71.44], atol=0.05)
    assert theory.recentred_relu_cosine(math.inf) == pytest.approx(1 / math.pi, rel=EXACT)


def symmetric_gram(cosine, n):
    return (1 - cosine) * np.eye(n) + cosine


@pytest.mark.parametrize("cosine", [-0.1, 0.0, 0.7])
def test_recentred_relu_reaches_its_fixed_point_in_one_layer(cosine):
    gram = theory.recentred_relu_gram(5.0 * symmetric_gram(cosine, 8))
    np.testing.assert_allclose(gram / gram[0, 0], symmetric_gram(theory.recentred_relu_cosine(8), 8), rtol=EXACT)


@pytest.mark.parametrize("n", [2, 3, 20])
def test_outlier_is_a_fixed_point_up_to_scale(n):
    state = theory.outlier_gram(n)
    scale = (1 + (n - 1) ** 2) / (2 * n**2)
    np.testing.assert_allclose(theory.recentred_relu_gram(state), scale * state, rtol=EXACT, atol=1e-6 * scale)
    assert math.sqrt(state[-1, -1] / state[0, 0]) == n - 1


def after_layers(features, layers):
    """Gram matrix that many layers on, one sample of the cluster having length 1."""
    gram = features.T @ features
    for _ in range(layers):
        gram = theory.recentred_relu_gram(gram / gram[0, 0])
        gram = (gram + gram.T) / 2
    return gram / gram[0, 0]


def disturbed_outlier(n, size):
    features = np.zeros((n, n))
    features[0, :-1], features[1, -1] = 1, n - 1
    noise = np.random.default_rng(21).normal(size=(n, n)) / math.sqrt(n)
    return features + size * noise * np.linalg.norm(features, axis=0)


@pytest.mark.parametrize("n", [8, 20, 64])
def test_small_distances_in_the_cluster_of_the_outlier_grow_by_the_multiplier(n):
    early, late = (after_layers(disturbed_outlier(n, 1e-5), layers) for layers in (5, 15))
    squares = [gram[0, 0] + gram[1, 1] - 2 * gram[0, 1] for gram in (early, late)]
    growth = (squares[1] / squares[0]) ** (1 / 20)
    assert growth == pytest.approx(theory.cluster_multiplier(n), rel=1e-4)
    assert growth > 1


@pytest.mark.parametrize("n", [7, 8, 20])
def test_disturbed_outlier_ends_in_the_escaped_state(n):
    expected = theory.escaped_gram(n)
    np.testing.assert_allclose(theory.recentred_relu_gram(expected)[0, 0] * expected,
                               theory.recentred_relu_gram(expected), rtol=0, atol=1e-12 * n**2)  # fmt: skip
    for size in (1e-6, 0.3):
        end = after_layers(disturbed_outlier(n, size), 1500)
        np.testing.assert_allclose(end, expected * end[0, 0], rtol=0, atol=1e-7 * n**2)


@pytest.mark.parametrize("n", [8, 20, 64])
def test_deviations_from_the_escaped_state_decay_by_the_multiplier(n):
    state = theory.escaped_gram(n)
    wider = state.copy()
    wider[:-1, :-1] -= 1e-4 * (1 - np.eye(n - 1))
    deviations = []
    for _ in range(10):
        wider = theory.recentred_relu_gram(wider)
        wider /= wider[0, 0]
        deviations.append(state[0, 1] - wider[0, 1])
    assert (deviations[-1] / deviations[0]) ** (1 / 9) == pytest.approx(theory.escaped_multiplier(n), rel=1e-3)


def test_outlier_of_a_small_batch_falls_back():
    end = after_layers(disturbed_outlier(6, 1e-3), 3000)
    np.testing.assert_allclose(end[~np.eye(6, dtype=bool)], theory.recentred_relu_cosine(6), atol=1e-9)
    np.testing.assert_allclose(np.diagonal(end), 1, atol=1e-9)


def test_cluster_of_the_escaped_state_narrows_like_three_pi_over_n():
    angles = np.array([math.acos(theory.escaped_gram(n)[0, 1]) for n in (256, 1024)])
    np.testing.assert_allclose(angles * [256, 1024], 3 * math.pi, rtol=0.01)
    assert abs(angles[1] * 1024 / (3 * math.pi) - 1) < 0.3 * abs(angles[0] * 256 / (3 * math.pi) - 1)


def centre(matrix):
    n = len(matrix)
    P = np.eye(n) - 1 / n
    return P @ matrix @ P


def deviations(n):
    """One of each kind: a sample that stands out; pairs (0, 1), (2, 3) closer and (0, 2), (1, 3) further apart."""
    v = np.full(n, -1.0 / n)
    v[0] += 1
    pairs = np.zeros((n, n))
    pairs[0, 1] = pairs[2, 3] = 1
    pairs[0, 2] = pairs[1, 3] = -1
    return centre(np.diag(v)), pairs + pairs.T


def multiplier(change, deviation, whole):
    """Growth of the deviation relative to the whole; the change must be proportional to the deviation."""
    n, step = len(whole), (change * deviation).sum() / (deviation**2).sum()
    return step / (np.trace(whole) / (n - 1)), np.abs(change - step * deviation).max()


@pytest.mark.parametrize("n", [4, 8, 50])
def test_recentred_relu_multipliers_by_differences(n):
    base, h = np.eye(n) - 1 / n, 1e-5
    whole = centre(theory.recentred_relu_gram(base))
    for deviation, expected in zip(deviations(n), theory.recentred_relu_multipliers(n, rescale=False), strict=True):
        plus, minus = (theory.recentred_relu_gram(base + s * h * deviation) for s in (1, -1))
        found, rest = multiplier(centre(plus - minus) / (2 * h), deviation, whole)
        assert found == pytest.approx(expected, rel=1e-6)
        assert rest < 1e-6


def directions(rng, count, gram, recentre):
    """Rows of the next layer's pre-activations, recentred if asked, divided by their root mean square."""
    z = rng.standard_normal((count, len(gram))) @ np.linalg.cholesky(gram).T
    if recentre:
        z -= z.mean(axis=1, keepdims=True)
    return z / np.sqrt((z**2).mean(axis=1, keepdims=True)), z


def test_rescaled_multipliers_by_simulation():
    """The derivative of an expectation in the covariance is its correlation with (z^T D z - Tr D) / 2."""
    n, rng = 5, np.random.default_rng(11)
    h, z = directions(rng, 200_000, np.eye(n), recentre=True)
    features = np.maximum(h, 0) - np.maximum(h, 0).mean(axis=1, keepdims=True)
    size = 0.5 * (1 - theory.recentred_relu_cosine(n))  # of the centred features: E F(z)^2 = 1/2 exactly
    for deviation, expected in zip(deviations(n), theory.recentred_relu_multipliers(n, rescale=True), strict=True):
        score = (np.einsum("si,ij,sj->s", z, deviation, z) - np.trace(deviation)) / 2
        response = np.einsum("si,ij,sj->s", features, deviation, features) / (deviation**2).sum() / size
        agrees(score * response, expected)


def test_multipliers_tell_why_the_outlier_needs_no_rescaling():
    n = np.array([8.0, 64.0, 4096.0, math.inf])
    without, _ = theory.recentred_relu_multipliers(n, rescale=False)
    with_, _ = theory.recentred_relu_multipliers(n, rescale=True)
    assert np.all(with_[:-1] < without[:-1])
    assert np.all(without[:-1] < 1)
    assert (1 - without[2]) * 4096 == pytest.approx(0.27, abs=0.01)
    assert (1 - with_[2]) * 4096 == pytest.approx(2.27, abs=0.01)
    assert without[3] == pytest.approx(1.0)


def pair_products(h, relu):
    """Mean product over the pairs of samples, one number per row; ReLU features doubled so that squares average 1."""
    F = math.sqrt(2) * np.maximum(h, 0) if relu else h
    n = F.shape[1]
    return (F.sum(axis=1) ** 2 - (F**2).sum(axis=1)) / (n * (n - 1))


def test_recentred_and_rescaled_relu_by_simulation():
    for n in (3, 8):
        h, _ = directions(np.random.default_rng(12), 100_000, symmetric_gram(0.3, n), recentre=True)
        agrees(pair_products(h, relu=True), theory.recentred_relu_cosine(n))


@pytest.mark.parametrize("cosine", [0.05, 0.5, 0.95, 0.9999])
def test_rescaled_relu_map_for_large_batches_by_quadrature(cosine):
    """Given the part t that all samples share, they are independent and |z|^2 / N is its mean: another integral."""
    spread = math.sqrt(cosine / (1 - cosine))

    def mean(g):
        t = spread * g
        relu = stats.norm.pdf(t) + t * special.ndtr(t)
        return 2 * relu**2 / (1 + t * t) * stats.norm.pdf(g)

    def before(g):
        t = spread * g
        return t * t / (1 + t * t) * stats.norm.pdf(g)

    cuts = [s * c / spread for s in (-1, 1) for c in (1, 5, 30) if c / spread < 11]
    expected = integrate.quad(mean, -12, 12, points=cuts, **QUAD)[0]
    assert theory.rescaled_relu_map(cosine, math.inf) == pytest.approx(expected, rel=EXACT)
    assert theory.rescaled_cosine(cosine, math.inf) == pytest.approx(
        integrate.quad(before, -12, 12, points=cuts, **QUAD)[0], rel=EXACT
    )


@pytest.mark.parametrize("cosine", [-0.9, -0.2, 0.0, 0.6, 0.99])
def test_rescaled_relu_map_for_two_samples_by_quadrature(cosine):
    """Two samples: an integral over the angle of z, whose density is that of a projected gaussian."""
    inverse = np.linalg.inv(symmetric_gram(cosine, 2))

    def density(a):
        u = np.array([math.cos(a), math.sin(a)])
        return math.sqrt(np.linalg.det(inverse)) / (2 * math.pi * (u @ inverse @ u))

    expected = integrate.quad(lambda a: 4 * math.cos(a) * math.sin(a) * density(a), 0, math.pi / 2, **QUAD)[0]
    assert theory.rescaled_relu_map(cosine, 2) == pytest.approx(expected, rel=EXACT)


def test_rescaled_relu_map_at_its_ends():
    for n in (3, 8, 1000, math.inf):
        furthest = -1 / (n - 1)
        assert theory.rescaled_relu_map(furthest, n) == pytest.approx(theory.recentred_relu_cosine(n), rel=EXACT)
        assert theory.rescaled_cosine(furthest, n) == pytest.approx(furthest, rel=EXACT, abs=1e-12)
        assert theory.rescaled_relu_map(1.0, n) == 1.0
        near = 1 - theory.rescaled_relu_map([1 - 1e-10, 1 - 1e-12], n)  # the collapsed state repels
        assert near[0] / near[1] == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize(("n", "cosine"), [(2, -0.3), (5, 0.5), (12, 0.9)])
def test_rescaled_relu_map_by_simulation(n, cosine):
    h, _ = directions(np.random.default_rng(13), 100_000, symmetric_gram(cosine, n), recentre=False)
    agrees(pair_products(h, relu=True), theory.rescaled_relu_map(cosine, n))
    agrees(pair_products(h, relu=False), theory.rescaled_cosine(cosine, n))


def test_rescaled_relu_fixed_point():
    sizes = np.array([2, 8, 10, 20, math.inf])
    cosines = theory.rescaled_relu_cosine(sizes)
    np.testing.assert_allclose(theory.rescaled_relu_map(cosines, sizes), cosines, rtol=1e-12)
    np.testing.assert_allclose(theory.angle_degrees(cosines), [63.353, 60.107, 59.845, 59.307, 58.753], atol=1e-3)
    for h in (-1e-4, 1e-4):
        slopes = (theory.rescaled_relu_map(cosines + h, sizes) - cosines) / h
        assert np.all((slopes > 0.3) & (slopes < 0.45))


@pytest.mark.parametrize("recentre", [False, True])
def test_fixed_points_attract_deep_wide_chains(recentre):
    """Forty layers from an arbitrary start; rows of W F are drawn as gaussians of the covariance F^T F."""
    n, width, cosines = 8, 10_000, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        spread = 0.05 if seed % 2 else 2.0  # nearly collapsed, or far apart and of different lengths
        F = np.maximum(rng.standard_normal((width, 1)) + spread * rng.standard_normal((width, n)), 0)
        for _ in range(40 if recentre else 15):
            F = np.maximum(directions(rng, width, F.T @ F / width, recentre)[0], 0)
        unit = F / np.linalg.norm(F, axis=0)
        cosines.append(((unit.T @ unit).sum() - n) / (n * (n - 1)))
    expected = (theory.recentred_relu_cosine if recentre else theory.rescaled_relu_cosine)(n)
    agrees(np.array(cosines), expected)


# products of gaussian matrices


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


# all of them


BAD = {
    "ginibre_lyapunov_exponents": [(0,), (2.5,), ("six",), (4, 0.0), (4, math.nan), ([3, 4],)],
    "ginibre_lyapunov_variances": [(0,), (math.inf,)],
    "residual_top_exponent": [(0, 1.0), (4, 0.0), (4, 1e-5), (4, math.inf), (4, [1.0, -1.0])],
    "residual_top_variance": [(4, 0.0), (-1, 1.0)],
    "residual_gap": [(1, 1.0), (2.5, 1.0), (4, 1e-5), (4, [1.0, math.nan])],
    "residual_lyapunov_spectrum": [(4, 0.0), (4, math.inf), (4, 1.0, 1), (4, 1.0, 10, -1)],
    "weak_residual_exponents": [(4, 0.6), (4, -0.1), (0, 0.1)],
    "soft_rank_bound": [(0.5, 0.5), (2.0, 1.1), (2.0, -0.1), (9.0, 0.5, 8), (2.0, 0.5, 0), (math.nan, 0.5)],
    "orthogonality_gap": [(0.9, 4), (4.1, 4), (2.0, 0), (2.0, 2.5)],
    "ratio_from_gap": [(-0.1, 4), (0.9, 4), (0.1, 0)],
    "step_kernel": [(1.1,), (math.nan,)],
    "relu_kernel": [(-1.1,), ("x",)],
    "leaky_relu_kernel": [(60.0, 0.1), (0.5, math.inf)],
    "relu_gram": [(np.ones(3),), (np.ones((2, 3)),), ([[1.0, 2.0], [2.0, 1.0]],), ([[1.0, 0.5], [0.0, 1.0]],)],
    "recentred_relu_gram": [(-np.eye(3),), (np.full((2, 2), math.nan),), (np.zeros((0, 0)),), ([[1.0, 2.0], [3.0]],)],
    "recentred_relu_cosine": [(1,), (2.5,), (-math.inf,)],
    "recentred_relu_multipliers": [(2, True), (8, 0.5), (8, None)],
    "outlier_gram": [(1,), (2.5,), (math.inf,)],
    "cluster_multiplier": [(2,), (3.5,)],
    "escaped_gram": [(6,), (7.5,), (math.inf,)],
    "escaped_multiplier": [(6,), (7.5,), (math.inf,)],
    "rescaled_relu_map": [(-0.5, 8), (1.1, 8), (0.5, 1), (-0.1, math.inf)],
    "rescaled_cosine": [(-0.5, 8), (0.5, 2.5)],
    "rescaled_relu_cosine": [(1,), (math.nan,)],
    "angle_degrees": [(1.01,), (math.nan,)],
    "ginibre_product_edge": [(0,), (1.5,)],
    "ginibre_product_density": [(math.nan, 2), (1.0, 0)],
    "ginibre_product_cdf": [(math.inf, 2), (1.0, 0)],
    "ginibre_product_moment": [(-1, 2), (2, 0), (1.5, 1)],
    "ginibre_product_second_moments": [(0, 2), (3, -1), (2.5, 1)],
}


@pytest.mark.parametrize(("name", "arguments"), [(name, case) for name, cases in BAD.items() for case in cases])
def test_bad_arguments_are_named(name, arguments):
    function = getattr(theory, name)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    with pytest.raises(ArgumentError, match=f"^({'|'.join(names)}) = .*: expected .*; "):
        function(*arguments)


def test_every_public_name_is_listed_and_checked():
    assert set(BAD) == set(theory.__all__)
    for name in theory.__all__:
        assert f"`{name}`" in theory.__doc__


def test_shapes_follow_the_arguments():
    assert isinstance(theory.relu_kernel(0.5), float)
    assert isinstance(theory.rescaled_relu_cosine(8), float)
    assert isinstance(theory.ginibre_product_density(1.0, 2), float)
    assert isinstance(theory.residual_top_exponent(4, 1.0), float)
    assert isinstance(theory.residual_gap(4, 1.0), float)
    assert isinstance(theory.orthogonality_gap(2.0, 4), float)
    assert isinstance(theory.soft_rank_bound(2.0, 0.5, width=4), float)
    assert theory.residual_top_exponent(4, np.ones((2, 3))).shape == (2, 3)
    assert theory.rescaled_relu_map(np.full((3, 1), 0.5), np.array([4, math.inf])).shape == (3, 2)
    assert theory.recentred_relu_gram(np.stack([np.eye(3)] * 5)).shape == (5, 3, 3)
    assert theory.relu_gram(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]

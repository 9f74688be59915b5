"""Kernels, fixed points and multipliers of ReLU layers, against quadrature, algebra and small simulations."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

import pyrank.theory as theory

from oracles import QUAD, agrees
from tolerances import EXACT, SIGMAS


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


def test_shape_of_the_escaped_state_from_vectors():
    """Vectors of this Gram matrix, by Cholesky; and the numbers in the docstring of `escaped_gram`."""
    vectors = np.linalg.cholesky(theory.escaped_gram(20))
    cluster, outlier = vectors[:-1], vectors[-1]
    cosines = [cluster[0] @ outlier / np.linalg.norm(outlier), cluster[0] @ cluster[1]]
    spread = math.sqrt(((cluster - cluster.mean(axis=0)) ** 2).sum() / (cluster**2).sum())
    expected = [np.linalg.norm(outlier) / 19, *np.degrees(np.arccos(cosines)), spread]
    np.testing.assert_allclose(theory.escaped_shape(20), expected, rtol=EXACT)
    for n, length, angle, within in ((8, 5.10, 87.54, 54.65), (20, 18.08, 89.82, 24.54), (64, 62.67, 89.99, 8.18)):
        shape = theory.escaped_shape(n)
        found = [shape.length * (n - 1), shape.angle, shape.cluster]
        np.testing.assert_allclose(found, [length, angle, within], rtol=0, atol=0.005)


def test_mixtures_lie_between_the_two_states():
    np.testing.assert_allclose(theory.escaped_mixture(8, 1.0), theory.escaped_gram(8), rtol=EXACT)
    symmetric = symmetric_gram(theory.recentred_relu_cosine(8), 8)
    np.testing.assert_allclose(theory.escaped_mixture(8, 0.0), symmetric, rtol=EXACT)
    middle = (symmetric + theory.escaped_gram(8)) / 2
    np.testing.assert_allclose(theory.escaped_mixture(8, 0.5), middle, rtol=EXACT)


@pytest.mark.parametrize("n", [8, 20])
def test_critical_mixture_divides_the_ways_of_infinite_width(n):
    weight = theory.critical_mixture(n)
    for factor, square in ((0.99, 1.0), (1.01, theory.escaped_gram(n)[-1, -1])):
        gram = theory.escaped_mixture(n, factor * weight)
        for _ in range(1500):
            gram = theory.recentred_relu_gram(gram)
            gram = (gram + gram.T) / (2 * gram[0, 0])
        assert gram[-1, -1] == pytest.approx(square, rel=1e-5)


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


@pytest.mark.parametrize("recentre", [False, True])
def test_settled_angles_stay_through_one_layer(recentre):
    """One wide layer of plain numpy on activations at the angle after it: both angles come out again."""
    n, width = 5, 200_000
    before, after = theory.settled_angles(n, recentre)
    gram = symmetric_gram(math.cos(math.radians(after)), n)
    h, _ = directions(np.random.default_rng(21), width, gram, recentre)
    for features, expected in ((h, before), (np.maximum(h, 0), after)):
        unit = features / np.linalg.norm(features, axis=0)
        angles = np.degrees(np.arccos((unit.T @ unit)[np.triu_indices(n, 1)]))
        # a cosine has an error below 1 / sqrt(width), its angle at most 1.2 times that here, and pairs are averaged
        assert angles.mean() == pytest.approx(expected, abs=SIGMAS * np.degrees(1.2 / math.sqrt(width)))


def test_settled_angles_of_recentred_pairs():
    """Two centred samples are opposite; after ReLU they share no feature."""
    assert theory.settled_angles(2, True) == (180.0, 90.0)

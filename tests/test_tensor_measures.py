"""Measures as functions on tensors: closed forms, numpy and scipy, gradients, bad input."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch

from pyrank.reference import layer_step
from pyrank.reference.geometry import Outlier, orthogonality_gap, outlier, pairwise_angles
from pyrank.reference.matrix import power_of_two
from pyrank.reference.spectral import effective_rank, isometry_gap, numerical_rank, singular_values, stable_rank
from pyrank.support.errors import ArgumentError

from harness import TENSOR_MEASURES, gaussian, planted
from tolerances import gram_tolerance

COUNTS = ("numerical_rank", "outlier.index")
SMOOTH = [name for name in TENSOR_MEASURES if name not in COUNTS]
every_measure = pytest.mark.parametrize("name", TENSOR_MEASURES)
every_smooth_measure = pytest.mark.parametrize("name", SMOOTH)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def close(actual, expected, factor=1.0):
    """Within the rounding of the sums that a measure of a small matrix is made of."""
    dtype = actual.dtype
    expected = torch.as_tensor(expected, dtype=dtype)
    rtol = factor * gram_tolerance(np.dtype(str(dtype).removeprefix("torch.")), 32)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * max(1.0, expected.abs().max().item()))


# Known answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "n"), [(5, 3), (3, 5), (4, 4)])
@both_dtypes
def test_a_known_spectrum(d, n, dtype):
    H = planted(np.random.default_rng(0), [4.0, 2.0, 1.0], d, n).to(dtype)
    close(singular_values(H, k=3), [4.0, 2.0, 1.0])
    close(singular_values(H, k=1), [4.0])
    assert singular_values(H).shape == (min(d, n),)
    assert numerical_rank(H) == 3
    assert numerical_rank(H, rtol=0.3) == 2
    assert numerical_rank(torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=dtype)), rtol=0.5) == 1  # above, not at
    close(stable_rank(H), 21 / 16)
    p, q = np.array([4, 2, 1]) / 7, np.array([16, 4, 1]) / 21
    close(effective_rank(H), math.exp(-(p * np.log(p)).sum()))
    close(effective_rank(H, power=2), math.exp(-(q * np.log(q)).sum()))
    close(orthogonality_gap(H), math.sqrt((q**2).sum() - 1 / n))
    close(isometry_gap(H), math.log(7) - math.log(64) / 3 if n == 3 else math.inf)


@pytest.mark.parametrize(("d", "n"), [(6, 4), (4, 4), (1, 1)])
def test_orthogonal_samples_are_perfect(d, n):
    H = 3.0 * torch.linalg.qr(gaussian(d, n))[0]
    for rank in (stable_rank(H), effective_rank(H), effective_rank(H, power=2), numerical_rank(H).double()):
        close(rank, n)
    close(isometry_gap(H), 0.0)
    assert (isometry_gap(torch.linalg.qr(gaussian(50, d, n))[0]) >= 0).all()  # rounding may not make it negative
    close(orthogonality_gap(H), 0.0)
    close(pairwise_angles(H), 90.0 * (1.0 - torch.eye(n)))


def test_rank_one_is_the_worst():
    H = torch.outer(gaussian(6), torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64))
    for rank in (stable_rank(H), effective_rank(H), effective_rank(H, power=2), numerical_rank(H).double()):
        close(rank, 1.0)
    assert isometry_gap(H) == math.inf
    assert isometry_gap(H, rtol=0) > 20  # logarithms of rounding errors, or of 0
    close(orthogonality_gap(H), math.sqrt(1 - 1 / 4))
    close(pairwise_angles(H)[1], [180.0, 0.0, 180.0, 180.0])


def test_zero_is_defined():
    H = torch.zeros(2, 3, 4, dtype=torch.float64)
    assert (singular_values(H) == 0).all()
    assert (numerical_rank(H) == 0).all()
    for name in SMOOTH[1:]:
        assert TENSOR_MEASURES[name](H).isnan().all(), name
    assert (outlier(H).index == -1).all()
    assert isometry_gap(H.mT).isnan().all()


def test_zero_samples_have_no_angle():
    H = gaussian(5, 4)
    H[:, 2] = 0.0
    angles = pairwise_angles(H)
    assert angles[2].isnan().all()
    assert angles[:, 2].isnan().all()
    kept = [0, 1, 3]
    close(angles[kept][:, kept], pairwise_angles(H[:, kept]))
    mine, theirs = outlier(H), outlier(H[:, kept])
    assert mine.index == kept[theirs.index]
    close(mine.norm_ratio, theirs.norm_ratio)
    close(mine.angle, theirs.angle)
    alone = outlier(H * torch.tensor([0.0, 1.0, 1.0, 0.0]))
    assert alone.index == -1
    assert alone.norm_ratio.isnan()
    assert alone.angle.isnan()


@pytest.mark.parametrize("n", [4, 7, 20])
def test_the_escaped_outlier_in_closed_form(n):
    """Rows ReLU(+-(x - mean x)) of a sample that alone is not zero: orthogonal to the rest and N - 1 times as long."""
    rows = torch.zeros(6, n, dtype=torch.float64)
    rows[:, 2] = torch.tensor([1.0, -1.0, 2.0, -2.0, 0.5, -0.5])
    found = outlier(torch.relu(rows - rows.mean(dim=-1, keepdim=True)))
    assert isinstance(found, Outlier)
    assert found.index == 2
    close(found.norm_ratio, n - 1.0)
    close(found.angle, 90.0)


def test_the_escaped_outlier_of_deep_relu_networks():
    """Recentring and ReLU without rescaling (Nachum et al.): in most of 8 chains one of 20 samples leaves the rest."""
    generator = torch.Generator().manual_seed(1)
    H = torch.randn(8, 64, 20, generator=generator)
    for _ in range(300):
        W = torch.randn(8, 64, 64, generator=generator)
        H = layer_step(H, W, activation="relu", normalization="recentre")
        H = H / H.abs().amax(dim=(-2, -1), keepdim=True)
    found = outlier(torch.relu(H))
    escaped = found.norm_ratio > 0.6 * 19
    assert escaped.sum() >= 5
    assert (found.angle[escaped] - 90.0).abs().mean() < 3.0  # now and then one of them comes back for a few layers
    assert 0.8 * 19 < found.norm_ratio[escaped].mean() < 1.2 * 19
    assert outlier(torch.randn(64, 20, generator=generator)).norm_ratio < 2.0  # no outlier among gaussian samples


def test_medians_of_an_outlier():
    """Angles 0, 10, 30, 90 to the first axis: the last one's to the others are 90, 80, 60; lengths 1, 2, 4 and 6."""
    angle = torch.deg2rad(torch.tensor([0.0, 10.0, 30.0, 90.0], dtype=torch.float64))
    H = torch.stack((angle.cos(), angle.sin())) * torch.tensor([1.0, 2.0, 4.0, 6.0])
    found = outlier(H)
    assert found.index == 3
    close(found.angle, 80.0)
    close(found.norm_ratio, 3.0)
    pair = outlier(H[:, :2])  # an odd and an even number of others, and equals: the first
    assert pair.index == 0
    close(pair.angle, 10.0)
    close(pair.norm_ratio, 0.5)
    close(outlier(H[:, 1:]).norm_ratio, 2.0)


# Against numpy and scipy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (12, 12), (20, 9), (9, 20)])
def test_against_numpy_and_scipy(shape):
    H = gaussian(*shape)
    sigma = np.linalg.svd(H.numpy(), compute_uv=False)
    close(singular_values(H), sigma)
    close(stable_rank(H), np.linalg.norm(H) ** 2 / np.linalg.norm(H, 2) ** 2)
    for power in (1, 2):
        close(effective_rank(H, power=power), np.exp(scipy.stats.entropy(sigma**power)))
    gram = H.mT @ H
    spread = sigma[0] / sigma[-1]
    expected = np.log((sigma**2).mean() / scipy.stats.gmean(sigma**2)) if shape[0] >= shape[1] else np.inf
    close(isometry_gap(H), expected, factor=spread)
    deviation = gram / H.square().sum() - torch.eye(shape[1]) / shape[1]
    close(orthogonality_gap(H), torch.linalg.matrix_norm(deviation))
    cosines = 1.0 - scipy.spatial.distance.cdist(H.T, H.T, "cosine")
    np.testing.assert_allclose(pairwise_angles(H), np.degrees(np.arccos(cosines.clip(-1, 1))), atol=1e-5)


@both_dtypes
@pytest.mark.parametrize("shape", [(12, 12), (30, 8), (8, 30)])
def test_numerical_rank_is_numpys(shape, dtype):
    rng = np.random.default_rng(3)
    ranks = set()
    for rank in range(9):
        for decades in (0.0, 6.0, 12.0, 20.0):
            left, right = rng.standard_normal((shape[0], rank)), rng.standard_normal((rank, shape[1]))
            H = torch.tensor((left * np.logspace(0, -decades, rank)) @ right).to(dtype)
            expected = np.linalg.matrix_rank(H.numpy())
            ranks.add(int(expected))
            assert numerical_rank(H) == expected, (rank, decades)
            sigma_max = np.linalg.norm(H.numpy(), 2)
            assert numerical_rank(H, rtol=1e-3) == np.linalg.matrix_rank(H.numpy(), tol=1e-3 * sigma_max)
    assert ranks == set(range(9))


def test_rank_follows_the_dtype():
    H = torch.diag(torch.logspace(0, -14, 8, dtype=torch.float64))  # two decades a step
    assert [numerical_rank(H.to(dtype)).item() for dtype in (torch.float64, torch.float32, torch.bfloat16)] == [8, 4, 1]


def test_small_angles_are_not_lost():
    for tilt in (1e-3, 1e-9, 1e-12):
        H = torch.tensor([[1.0, math.cos(tilt), -1.0], [0.0, math.sin(tilt), 0.0]], dtype=torch.float64)
        radians = torch.deg2rad(pairwise_angles(H))
        assert abs(radians[0, 1].item() - tilt) < 1e-15
        assert abs(math.pi - radians[1, 2].item() - tilt) < 1e-15


# Range -----------------------------------------------------------------------------------------------------------


@both_dtypes
def test_powers_of_two(dtype):
    """Exact, so that dividing by them loses nothing, from the smallest to the largest number."""
    info = torch.finfo(dtype)
    for number in (info.smallest_normal * info.eps, info.tiny, 0.7, 1.0, 1.9, 2.0, 3.0, -info.max):
        H = torch.tensor([[0.0, number]], dtype=dtype)
        scale = power_of_two(H, (-2, -1))
        assert scale.shape == (1, 1)
        assert math.frexp(scale.item())[0] == 0.5
        assert 1.0 <= (H / scale).abs().max() < 2.0
    assert power_of_two(torch.zeros(2, 3), -2).tolist() == [[1.0, 1.0, 1.0]]


def test_tiny_samples_beside_large_ones():
    """Every column is scaled on its own, so squares that would vanish in float32 do not make it a zero sample."""
    H = gaussian(5, 4)
    sizes = torch.tensor([1e-30, 1.0, 1e20, 1e-25], dtype=torch.float64)
    close(pairwise_angles((H * sizes).float()), pairwise_angles(H).float())
    close(outlier((H * sizes).float()).angle, outlier(H).angle.float())


@pytest.mark.parametrize("size", [torch.finfo(torch.float32).max, 1e-40])
def test_lengths_at_the_ends_of_the_range(size):
    H = (size * torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.5, 0.0]])).requires_grad_()
    found = outlier(H)
    close(found.norm_ratio, math.sqrt(2.0 / 1.25))
    (gradient,) = torch.autograd.grad(found.norm_ratio * size, H)
    assert torch.isfinite(gradient).all()


# Tensors ---------------------------------------------------------------------------------------------------------


@every_measure
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (2, 2)])
def test_batching_equals_looping(name, shape):
    measure = TENSOR_MEASURES[name]
    H = gaussian(2, 3, *shape)
    H[0, 1] = torch.outer(H[0, 1, :, 0], H[0, 1, 0])  # rank one
    batched = measure(H)
    single = torch.stack([torch.stack([measure(matrix) for matrix in row]) for row in H])
    torch.testing.assert_close(batched, single, rtol=1e-13, atol=1e-13)
    transposed = measure(H.mT.contiguous().mT)
    torch.testing.assert_close(transposed, batched, rtol=1e-13, atol=1e-13)
    assert measure(H[:0]).shape == (0, *batched.shape[1:])


@every_measure
def test_float32_agrees_with_float64(name):
    measure = TENSOR_MEASURES[name]
    for seed in range(5):
        H = gaussian(24, 16, seed=seed).float()
        single, double = measure(H), measure(H.double())
        assert double.dtype == (torch.int64 if name in COUNTS else torch.float64)
        assert single.dtype == (torch.int64 if name in COUNTS else torch.float32)
        close(single.float(), double.float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    H = (1000.0 * gaussian(9, 6)).to(dtype)  # squares overflow float16
    for name in SMOOTH:
        torch.testing.assert_close(TENSOR_MEASURES[name](H), TENSOR_MEASURES[name](H.float()), rtol=0, atol=0)


def test_input_is_left_alone():
    H = gaussian(6, 5)
    before = H.clone()
    for measure in TENSOR_MEASURES.values():
        measure(H)
    assert torch.equal(H, before)


# Gradients -------------------------------------------------------------------------------------------------------


@every_smooth_measure
@pytest.mark.parametrize("shape", [(2, 6, 4), (4, 6), (3, 3)])
def test_gradients(name, shape):
    H = gaussian(*shape, seed=5).requires_grad_()
    off_diagonal = ~torch.eye(shape[-1], dtype=torch.bool)  # the angle to itself has a kink

    def function(H):
        if name == "isometry_gap" and shape[-1] > shape[-2]:
            H = H.mT  # inf for N > d: that of the features
        value = TENSOR_MEASURES[name](H)
        return value[..., off_diagonal] if name == "pairwise_angles" else value

    assert torch.autograd.gradcheck(function, (H,))


def test_gradient_of_effective_rank_at_deficient_matrices():
    """Exact with p from sigma^2: the gradient lies in the span of H. Finite with p from sigma, whose slope is not."""
    for sigma in ([3.0, 1.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]):
        H = torch.diag(torch.tensor(sigma, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(lambda H: effective_rank(H, power=2), (H,), atol=1e-4)
        (gradient,) = torch.autograd.grad(effective_rank(H), H)
        assert torch.isfinite(gradient).all()
        assert (gradient[2:] == 0).all()
    for power in (1, 2):
        H = planted(np.random.default_rng(0), [3.0, 2.0], 6, 5).requires_grad_()  # zero to rounding only
        (gradient,) = torch.autograd.grad(effective_rank(H, power=power), H)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() < 100.0


@every_smooth_measure
@pytest.mark.parametrize("case", ["repeated", "rank one", "equal samples"])
def test_gradients_are_finite_at_kinks(name, case):
    H = {"repeated": torch.eye(4), "rank one": torch.outer(torch.arange(1.0, 5.0), torch.ones(4)),
         "equal samples": gaussian(4, 1).float() + torch.tensor([[0.0, 0.0, 0.0, 1.0]])}[case]  # fmt: skip
    H.requires_grad_()
    value = TENSOR_MEASURES[name](H)
    (gradient,) = torch.autograd.grad(value.sum(), H)
    assert torch.isfinite(gradient).all()


@every_smooth_measure
def test_undefined_values_do_not_spoil_the_gradients_of_others(name):
    measure = TENSOR_MEASURES[name]
    matrix = gaussian(5, 4)
    H = torch.stack((torch.zeros_like(matrix), matrix)).requires_grad_()
    (gradient,) = torch.autograd.grad(measure(H)[1].sum(), H)
    (alone,) = torch.autograd.grad(measure(H[1]).sum(), H)
    torch.testing.assert_close(gradient[1], alone[1])
    if name.startswith(("pairwise", "outlier")):  # the same for one zero sample among others
        H = (matrix * torch.tensor([1e-3, 1.0, 0.0, 1.0])).requires_grad_()
        (gradient,) = torch.autograd.grad(measure(H).nansum(), H)
        assert torch.isfinite(gradient).all()
        assert (gradient[:, [0, 1, 3]] != 0).any()


# Bad input -------------------------------------------------------------------------------------------------------


@every_measure
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_input(name, bad):
    H = gaussian(2, 4, 3)
    H[1, 2, 0] = bad
    with pytest.raises(FloatingPointError, match=r"^H holds NaN or infinity: .+; [^\n]+$"):
        TENSOR_MEASURES[name](H)


@every_measure
@pytest.mark.parametrize(
    ("H", "message"),
    [
        (torch.ones(3), r"H\.shape = \(3,\): expected \(\.\.\., d, N\)"),
        (torch.tensor(1.0), r"H\.shape = \(\)"),
        (torch.ones(0, 3), r"H\.shape = \(0, 3\)"),
        (torch.ones(2, 3, 0), r"H\.shape = \(2, 3, 0\)"),
        (torch.ones(3, 3, dtype=torch.int64), r"H\.dtype = torch\.int64: expected a real floating point dtype"),
        (torch.ones(3, 3, dtype=torch.complex64), r"H\.dtype = torch\.complex64"),
        (np.ones((3, 3)), r"H = 'ndarray': expected a torch\.Tensor .*; convert it with"),
        (None, r"H = 'NoneType'"),
    ],
    ids=str,
)
def test_what_is_no_matrix(name, H, message):
    with pytest.raises(ArgumentError, match=message):
        TENSOR_MEASURES[name](H)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda H: singular_values(H, k=0), r"k = 0: expected an integer from 1 to 3"),
        (lambda H: singular_values(H, k=4), r"k = 4"),
        (lambda H: singular_values(H, k=1.5), r"k = 1\.5"),
        (lambda H: singular_values(H, k=True), r"k = True"),
        (lambda H: numerical_rank(H, rtol=-1e-9), r"rtol = -1e-09: expected a number from 0 to 1"),
        (lambda H: numerical_rank(H, rtol=math.nan), r"rtol = nan"),
        (lambda H: isometry_gap(H, rtol="small"), r"rtol = 'small'"),
        (lambda H: effective_rank(H, power=3), r"power = 3: expected an integer from 1 to 2; p is proportional"),
        (lambda H: effective_rank(H, power="sigma"), r"power = 'sigma'"),
        (lambda H: outlier(H[:, :1]), r"H\.shape = \(4, 1\): expected \(\.\.\., d, N\) with N >= 2"),
    ],
)
def test_bad_options(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(gaussian(4, 3))

"""Whitening: the compiled step against the reference, the polar factor, and what must become zero."""

import functools
import math

import numpy as np
import pytest
import scipy.linalg
import torch

import pyrank
from pyrank import reference
from pyrank.engine import native
from pyrank.reference.layer import WHITENING_CUTOFF, whiten
from pyrank.reference.weights import weights
from pyrank.specs.chain import ACTIVATIONS

from harness import condition, make_plan, orthonormal, planted, start
from tolerances import gram_tolerance, layer_tolerance, whitening_tolerance

WIDTHS = (1, 2, 3, 8, 15, 17, 32, 33, 64, 65, 100)
DTYPES = ("float32", "float64")
WHITEN = pyrank.Normalization(rescale=False, whiten=True)
RECENTRE = pyrank.Normalization(recentre=True, rescale=False, whiten=True)
PADDED = pyrank.Normalization(rescale=False, whiten=True, eps=0.1)


def batches(width):
    return sorted({1 + width // 3, width, 2 * width + 1})


def compiled(Z, normalization=WHITEN, **options):
    """Whitened states and counts of zeros: one layer with gamma = 0, which leaves H as it is before it normalises."""
    dtype = str(Z.dtype).removeprefix("torch.")
    chain = pyrank.Chain(*Z.shape[-2:], gamma=0.0, normalization=normalization, dtype=dtype)
    plan = make_plan(chain, Z.shape[0], measures=())
    _, accumulator, counters = start(plan)
    state = Z.clone()
    native.advance(plan, state, 0, 1, accumulator, counters, **options)
    return state, counters[0].tolist()


def by_eigenvalues(Z, eps=0.0):
    """M^{-1/2} Z by the eigenvalue decomposition of M, as one would write it in a line."""
    width, batch = Z.shape[-2:]
    eigenvalues, V = torch.linalg.eigh(Z @ Z.mT / batch + eps * torch.eye(width, dtype=Z.dtype))
    kept = eigenvalues > WHITENING_CUTOFF * max(width, batch) * eigenvalues.norm(dim=-1, keepdim=True)
    root = torch.where(kept, eigenvalues.clamp_min(0).rsqrt(), 0.0)
    return (V * root.unsqueeze(-2)) @ (V.mT @ Z)


@functools.cache
def expected(chain, layer):
    """The whitened states of one layer and their zeros, from float64, and how far a kernel may be off."""
    plan, norm = make_plan(chain, 3, measures=()), chain.normalization
    H, W = start(plan)[0], weights(chain, plan.seed, layer, torch.arange(3))
    A = W.double() @ reference.activations.activate(H.double(), chain.activation)
    Z = reference.layer.combine(H.double(), A, chain.gamma)
    exact, zeros = whiten(Z, norm.eps, centred=norm.recentre)
    single = reference.layer_step(H.float(), W.float(), gamma=chain.gamma, activation=chain.activation,
                                  normalization=norm)  # fmt: skip
    size = torch.linalg.matrix_norm(Z, 2)  # before recentring, which costs digits
    Z = reference.layer.recentre(Z) if norm.recentre else Z
    tolerance = layer_tolerance(exact, single, chain.dtype, largest=math.sqrt(chain.batch) * condition(Z, size))
    tolerance += whitening_tolerance(exact, by_eigenvalues(Z, norm.eps), condition(Z), chain.dtype)
    return exact, zeros, tolerance


def assert_close_to_reference(chain, layer=4, **options):
    plan = make_plan(chain, 3, measures=())
    state, accumulator, counters = start(plan)
    native.advance(plan, state, layer, 1, accumulator, counters, **options)
    exact, zeros, tolerance = expected(chain, layer)
    error = (state.double() - exact).abs().max().item()
    assert error <= tolerance, f"{chain}: error {error:.3g} exceeds {tolerance:.3g}"
    np.testing.assert_array_equal(counters[0], zeros)


@pytest.mark.parametrize("gamma", [math.inf, 0.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes(dtype, gamma, isa, layout):
    for width in WIDTHS:
        for batch in batches(width):
            for normalization in (WHITEN, RECENTRE, PADDED):
                chain = pyrank.Chain(width, batch, gamma=gamma, normalization=normalization, activation="tanh",
                                     weights="uniform", dtype=dtype)  # fmt: skip
                assert_close_to_reference(chain, isa=isa, layout=layout)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations(dtype, activation, layout):
    for width in (4, 16, 33):
        for gamma in (math.inf, 0.3):
            for normalization in (WHITEN, RECENTRE):
                chain = pyrank.Chain(width, gamma=gamma, normalization=normalization, activation=activation,
                                     weights="uniform", dtype=dtype)  # fmt: skip
                assert_close_to_reference(chain, layout=layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_orthonormal(width, dtype, layout):
    """H' H'^T / N is the identity, and the projector on the range of Z if that is smaller."""
    rng = np.random.default_rng(width)
    for batch in batches(width):
        for normalization in (WHITEN, RECENTRE):
            Z = torch.tensor(rng.standard_normal((5, width, batch)), dtype=getattr(torch, dtype))
            H, zeros = compiled(Z, normalization, layout=layout)
            H = H.double()
            centred = normalization.recentre
            U, *_ = torch.linalg.svd(reference.layer.recentre(Z.double()) if centred else Z.double())
            U = U[..., : min(width, batch - centred)]
            projector = (H @ H.mT / batch - U @ U.mT).abs().max()
            own = torch.linalg.eigvalsh(H @ H.mT / batch if width < batch else H.mT @ H / batch)
            tolerance = gram_tolerance(dtype, max(width, batch))
            assert (own * (1 - own)).abs().max() <= tolerance
            assert projector <= tolerance * condition(Z)
            assert zeros == [min(width, batch) - min(width, batch - centred)] * 5


@pytest.mark.parametrize("shape", [(3, 5), (9, 9), (20, 7)])
def test_polar_factor(shape):
    """An independent library's polar factor, times sqrt(N)."""
    Z = np.random.default_rng(1).standard_normal(shape)
    U, _ = scipy.linalg.polar(Z, side="left")
    expected = torch.tensor(math.sqrt(shape[1]) * U)
    exact, _ = whiten(torch.tensor(Z))
    tolerance = whitening_tolerance(exact, exact, condition(torch.tensor(Z)), "float64")
    assert (exact - expected).abs().max() <= tolerance
    assert (compiled(torch.tensor(Z)[None])[0] - expected).abs().max() <= tolerance


@pytest.mark.parametrize("eps", [1e-6, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_eps_shrinks_each_singular_value(dtype, eps, layout):
    """A singular value s becomes s / sqrt(s^2 / N + eps), and a zero stays one although nothing is cut off."""
    rng = np.random.default_rng(2)
    for width, batch in ((6, 6), (9, 20), (20, 9), (33, 33)):
        n = min(width, batch)
        s = np.append(np.geomspace(3, 1e-2, n - 1), 0.0)
        U, V = orthonormal(rng, width, n), orthonormal(rng, batch, n)
        Z = torch.tensor((U * s) @ V.T, dtype=getattr(torch, dtype))
        exact = torch.tensor((U * (s / np.sqrt(s**2 / batch + eps))) @ V.T)
        norm = pyrank.Normalization(rescale=False, whiten=True, eps=eps)
        H, zeros = compiled(Z[None], norm, layout=layout)
        rounding = np.finfo(dtype).eps * 3 / math.sqrt(eps)  # of Z, blown up by 1 / sqrt(eps) at most
        plain = by_eigenvalues(Z.double(), eps)
        assert (H.double() - exact).abs().max() <= whitening_tolerance(exact, plain, 1.0, dtype) + 4 * rounding
        assert zeros == [0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS[1::2])
def test_layouts_and_company_change_no_bit(width, dtype, isa):
    """Alone, or in a register with states that are singular, zero or not finite: the same bits."""
    rng = np.random.default_rng(width)
    for batch in batches(width):
        for normalization in (WHITEN, RECENTRE, PADDED):
            Z = torch.tensor(rng.standard_normal((19, width, batch)), dtype=getattr(torch, dtype))
            Z[1] = 0.0
            Z[2, :, 1:] = Z[2, :, :1]
            Z[3, 0] = math.nan
            Z[5] *= 1e-6
            Z[7, width // 2 :] = 0.0
            Z[11, 0] *= 1e5
            H, zeros = compiled(Z, normalization, isa=isa, layout="lanes")
            rows, counted = compiled(Z, normalization, isa=isa, layout="rows")
            np.testing.assert_array_equal(H, rows)
            assert zeros == counted
            assert H[3].isnan().all()
            assert torch.isfinite(H[torch.arange(19) != 3]).all()
            order = rng.permutation(19)
            shuffled, counted = compiled(Z[order], normalization, isa=isa, layout="lanes")
            np.testing.assert_array_equal(shuffled, H[order])
            assert counted == [zeros[i] for i in order]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (33, 80), (65, 64)])
def test_ill_conditioned(shape, dtype, layout):
    """Rows come out orthonormal whatever the condition number, and no worse than by eigenvalues in float64."""
    rng = np.random.default_rng(shape)
    n = min(shape)
    for kappa in (1e2, 1e3, 1e4, 1e5, 3e5):
        for sigma in (np.geomspace(1, 1 / kappa, n), np.append(np.ones(n - 1), 1 / kappa)):
            Z = planted(rng, sigma, *shape).to(getattr(torch, dtype))[None]
            H, zeros = compiled(Z, layout=layout)
            exact, plain = whiten(Z.double())[0], by_eigenvalues(Z.double() if shape[0] <= shape[1] else Z.double().mT)
            if shape[0] > shape[1]:
                plain = plain.mT * math.sqrt(shape[1] / shape[0])
            assert (H.double() - exact).abs().max() <= whitening_tolerance(exact, plain, kappa, dtype)
            G = H.double() @ H.double().mT if shape[0] <= shape[1] else H.double().mT @ H.double()
            assert (G / shape[1] - torch.eye(n)).abs().max() <= gram_tolerance(dtype, max(shape))
            assert zeros == [0]


SINGULAR = {
    "zero": lambda Z, rank: Z * 0.0,
    "one sample": lambda Z, rank: Z[..., :1].expand_as(Z).clone(),
    "low rank": lambda Z, rank: Z[..., :rank] @ Z[..., :rank, :],
    "rows of zeros": lambda Z, rank: torch.cat([Z[..., :rank, :], 0.0 * Z[..., rank:, :]], dim=-2),
    "equal samples": lambda Z, rank: torch.cat([Z[..., :rank], Z[..., :1].expand_as(Z[..., rank:])], dim=-1),
}


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("kind", SINGULAR)
@pytest.mark.parametrize("dtype", DTYPES)
def test_singular_states(dtype, kind, scale, layout):
    """Directions of zero size stay zero and are counted; the others are whitened."""
    rng = np.random.default_rng(3)
    for width, batch in ((3, 2), (8, 8), (17, 40), (40, 17), (64, 64)):
        rank = max(1, min(width, batch) // 2)
        Z = SINGULAR[kind](torch.tensor(rng.standard_normal((4, width, batch))), rank)
        Z = (scale * Z).to(getattr(torch, dtype))
        H, zeros = compiled(Z, layout=layout)
        rank = {"zero": 0, "one sample": 1}.get(kind, rank)
        assert zeros == [min(width, batch) - rank] * 4
        exact, counted = whiten(Z)
        assert counted.tolist() == zeros
        kappa = condition(Z) if rank else 1.0
        tolerance = whitening_tolerance(exact.double(), by_eigenvalues(Z.double()), kappa, dtype)
        assert (H.double() - exact.double()).abs().max() <= tolerance
        sigma = torch.linalg.svdvals(H.double())[:, rank:]
        assert (sigma <= gram_tolerance(dtype, batch) * math.sqrt(batch)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_cut_off(dtype, layout):
    """Twice the cut-off is whitened, half of it becomes zero, in the kernel and in the reference."""
    rng = np.random.default_rng(4)
    for width, batch in ((4, 4), (16, 30), (30, 16), (48, 48)):
        n = min(width, batch)
        ones = np.ones(n - 1)
        cut = WHITENING_CUTOFF * max(width, batch) * math.sqrt(n - 1)
        for factor, zeros in ((2.0, 0), (0.5, 1)):
            Z = planted(rng, np.append(ones, math.sqrt(factor * cut)), width, batch)[None]
            if dtype == "float32":  # planted where single precision can hold it: on coordinate axes
                Z = torch.zeros(1, width, batch)
                Z[0, range(n), range(n)] = torch.tensor(np.append(ones, math.sqrt(factor * cut)), dtype=torch.float32)
            assert compiled(Z, layout=layout)[1] == [zeros]
            assert whiten(Z)[1].tolist() == [zeros]


@pytest.mark.parametrize("law", ["gaussian", "orthogonal", "rademacher"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_narrow_layer_bounds_the_rank(law, dtype, layout):
    """Widths 9, 20, 5: rounding must not be whitened into new directions behind the narrow layer."""
    chain = pyrank.Chain((9, 20, 5), 7, normalization="whiten", weights=law, dtype=dtype)
    plan = make_plan(chain, 30, measures=())
    state, accumulator, counters = start(plan)
    native.advance(plan, state, 0, 60, accumulator, counters, layout=layout)
    rank = pyrank.numerical_rank(state, rtol=1e-3)
    assert (rank <= 5).all()
    if law != "rademacher":
        assert (rank == 5).all()
        assert (counters[0] == 2 * 2 * 20 - 2).all()  # of min(d, 7) = 7 in the wide layers, but for the first two


def test_a_whitened_chain_neither_drifts_nor_loses_rank():
    for normalization in ("whiten", RECENTRE):
        for batch in (6, 12, 24):
            chain = pyrank.Chain(12, batch, normalization=normalization, activation="leaky_relu")
            assert not chain.drifts
            run = pyrank.simulate(chain, 20, chains=5, backend="cpu", progress=False, measures=["participation_ratio"])
            rank = min(12, batch - (normalization is RECENTRE))
            assert run["participation_ratio"].mean == pytest.approx(rank, rel=gram_tolerance("float32", batch))
            np.testing.assert_array_equal(run.events["degenerate_rows"], 20 * (min(12, batch) - rank))
            oracle = pyrank.simulate(chain, 20, chains=5, backend="reference", progress=False, measures=["trace"])
            np.testing.assert_array_equal(oracle.events["degenerate_rows"], run.events["degenerate_rows"])
            assert oracle["trace"].mean == pytest.approx(rank)


@pytest.mark.parametrize("options", [
    {"whiten": True}, {"rescale": False, "whiten": True, "over": "features"}, {"rescale": False, "whiten": 1},
    {"rescale": False, "whiten": True, "beta": 2.0}, {"rescale": False, "whiten": True, "order": 1},
])  # fmt: skip
def test_contradictions_are_refused(options):
    with pytest.raises(pyrank.ArgumentError, match=r"normalization.*expected") as error:
        pyrank.Normalization(**options)
    assert "\n" not in str(error.value)


def test_the_comparison_can_fail():
    """An eps of 1e-4, or one entry off by 1e-4 of its size, is noticed."""
    rng = np.random.default_rng(5)
    Z = torch.tensor(rng.standard_normal((1, 8, 20)), dtype=torch.float32)
    exact, _ = whiten(Z.double())
    tolerance = whitening_tolerance(exact, by_eigenvalues(Z.double()), condition(Z), "float32")
    H, _ = compiled(Z)
    assert (H.double() - exact).abs().max() <= tolerance
    wrong, _ = compiled(Z, pyrank.Normalization(rescale=False, whiten=True, eps=1e-4))
    assert (wrong.double() - exact).abs().max() > tolerance
    Z[0, 2, 3] *= 1.0001
    assert (compiled(Z)[0].double() - exact).abs().max() > tolerance

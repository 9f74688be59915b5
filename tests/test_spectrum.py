"""Eigenvalue counts by inertia: planted spectra, the hard coincidences, and real states of chains."""

import math

import numpy as np
import pytest
import torch

import pyrank
from pyrank import reference
from pyrank.engine import native
from pyrank.specs.measures import parse_measures

from harness import planted
from tolerances import COUNT_MARGIN, gram_tolerance

TAUS = (0.1, 0.5, 1.0, 2.0)


def with_eigenvalues(rng, eigenvalues, width, batch):
    """A state (width, batch) for which H H^T / N has these eigenvalues, and zeros."""
    return planted(rng, np.sqrt(batch * eigenvalues), width, batch)


def counts(states, taus, **options):
    measures = parse_measures(f"soft_rank({tau!r})" for tau in taus)
    return native.measure(torch.as_tensor(states), measures, **options)


def assert_counts(states, taus, **options):
    """Equal to the float64 count wherever no eigenvalue is close to tau; within the margin elsewhere."""
    states = torch.as_tensor(states)
    measured, events = counts(states, taus, **options)
    eigenvalues = torch.linalg.eigvalsh(reference.measures.gram(states.double())).numpy()
    margin = COUNT_MARGIN * np.maximum(1.0, eigenvalues.max(axis=-1))
    for tau, row in zip(taus, measured, strict=True):
        most = (eigenvalues >= tau - margin[:, None]).sum(axis=-1)
        least = (eigenvalues >= tau + margin[:, None]).sum(axis=-1)
        assert ((least <= row) & (row <= most)).all(), (tau, least, row, most)
    assert (np.diff(measured[np.argsort(taus)], axis=0) <= 0).all()  # monotone in tau
    return measured, events


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 5), (8, 8), (17, 17), (33, 12), (12, 33), (64, 64), (100, 70), (129, 129)]
)
def test_planted_spectra(shape, dtype, kernels):
    rng = np.random.default_rng(shape)
    n = min(shape)
    for spread in (0.5, 3.0, 8.0):
        states = [with_eigenvalues(rng, 10.0 ** rng.uniform(-spread, spread / 3, n), *shape) for _ in range(5)]
        assert_counts(torch.stack(states).to(dtype), TAUS, **kernels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (17, 5), (5, 17), (128, 128), (140, 129), (129, 140)])
def test_a_transposed_view_is_read_as_it_lies(shape, dtype, kernels):
    """The same bits as from a copy, also where counts are left open and done again."""
    rng = np.random.default_rng(shape)
    eigenvalues = rng.choice([0.5, 1.0], min(shape))  # ties with two thresholds
    states = torch.stack([with_eigenvalues(rng, eigenvalues, *shape) for _ in range(3)]).to(dtype)
    view = states.mT.contiguous().mT
    measures = parse_measures(["trace", "participation_ratio", "soft_rank(0.5)", "soft_rank(0.7)", "soft_rank(1.0)"])
    (read, events), (copied, other_events) = (native.measure(H, measures, **kernels) for H in (view, states))
    np.testing.assert_array_equal(read, copied)
    for name in events:
        np.testing.assert_array_equal(events[name], other_events[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gap_around_tau_gives_the_exact_count(dtype, kernels):
    rng = np.random.default_rng(7)
    for tau in TAUS:
        for above in range(0, 25, 3):
            values = np.concatenate([tau * rng.uniform(1.01, 4, above), tau * rng.uniform(0.01, 0.99, 24 - above)])
            states = torch.stack([with_eigenvalues(rng, values, 24, 30) for _ in range(3)])
            measured, events = counts(states.to(dtype), [tau], **kernels)
            np.testing.assert_array_equal(measured, above)
            assert events["ambiguous"].sum() == 0


@pytest.mark.parametrize("width", [8, 16, 32, 64, 100])
@pytest.mark.parametrize("normalization", ["rescale", "batch"])
def test_states_of_chains(width, normalization, layout):
    """With normalised rows diag(M) = 1, where a naive factorisation at tau = 1 fails in most cases."""
    for batch in (width, width // 2, 2 * width):
        chain = pyrank.Chain(width, batch, normalization=normalization)
        for depth in (1, 40):
            run = pyrank.simulate(chain, depth, chains=40, measures=[], progress=False, seed=depth)
            assert_counts(run.state, TAUS, layout=layout)


@pytest.mark.parametrize("tau", [1.0, 0.36, 0.64, 0.04])
def test_all_eigenvalues_equal_to_tau(tau, kernels):
    """Undecidable in floating point, but never more than the rounding of tau away from the truth."""
    state = torch.eye(6)[None] * math.sqrt(6 * tau)
    assert_counts(state, [tau], **kernels)
    clear, events = counts(state, [0.999 * tau, 1.001 * tau], **kernels)
    assert clear[:, 0].tolist() == [6, 0]
    assert events["ambiguous"].sum() == 0


def test_exact_tie_is_ambiguous_and_counts_as_at_least_tau(kernels):
    """M = (4) and tau = 4: the pivot is exactly zero in every precision."""
    measured, events = counts(torch.full((3, 1, 1), 2.0), [4.0], **kernels)
    np.testing.assert_array_equal(measured, 1)
    for event in ("flagged", "ambiguous"):
        np.testing.assert_array_equal(events[event], 1)


def test_zero_diagonal(kernels):
    """M - tau I = [[0, 1], [1, 0]]: no pivot is usable before the rows are mixed."""
    root = np.linalg.cholesky(np.array([[1.5, 1.0], [1.0, 1.5]])) * math.sqrt(2)
    measured, events = counts(torch.tensor(root)[None], [1.5], **kernels)
    assert measured[0, 0] == 1
    assert events["ambiguous"].sum() == 0


def test_tau_equal_to_a_diagonal_entry(kernels):
    rng = np.random.default_rng(3)
    states = torch.tensor(rng.standard_normal((50, 12, 12)), dtype=torch.float32)
    for state in states:
        tau = float((state @ state.T / 12)[0, 0])
        assert_counts(state[None], [tau], **kernels)


def test_small_thresholds_use_double():
    """Thresholds far below the largest eigenvalue, where a float32 Gram matrix knows nothing."""
    rng = np.random.default_rng(4)
    values = np.concatenate([np.geomspace(1, 30, 10), np.full(6, 3e-6), np.full(4, 3e-8)])
    state = with_eigenvalues(rng, values, 20, 20)
    measured, events = counts(state[None], [1e-4, 1e-6, 1e-9])
    assert measured[:, 0].tolist() == [10, 16, 20]
    single, events = counts(state[None].float(), [1e-4, 1e-6])
    assert single[:, 0].tolist() == [10, 16]
    assert events["flagged"].sum() >= 1


def test_zero_state(kernels):
    measured, events = counts(torch.zeros(3, 5, 4), TAUS, **kernels)
    np.testing.assert_array_equal(measured, 0)
    assert events["ambiguous"].sum() == 0
    values, _ = native.measure(torch.zeros(3, 5, 4), parse_measures(["frobenius_norm", "trace"]), **kernels)
    np.testing.assert_array_equal(values, 0)


@pytest.mark.parametrize("shape", [(32, 4096), (16, 32768)])
@pytest.mark.parametrize("ratio", [1e-5, 1e-6])
def test_small_thresholds_of_long_sums(shape, ratio, kernels):
    """Eigenvalues five per cent from tau, where the rounding of the Gram matrix alone would decide."""
    rng = np.random.default_rng(shape)
    n = min(shape)
    for above in (n // 3, n // 2):
        values = np.concatenate([[1.0], np.full(above, 1.05 * ratio), np.full(n - above - 1, 0.95 * ratio)])
        state = with_eigenvalues(rng, values, *shape)
        measured, _ = counts(state[None].float(), [ratio], **kernels)
        assert measured[0, 0] == (torch.linalg.eigvalsh(reference.measures.gram(state.float().double())) >= ratio).sum()


def test_nan_row_is_ambiguous_and_stays_in_its_chain(kernels):
    rng = np.random.default_rng(5)
    states = torch.tensor(rng.standard_normal((4, 9, 9)), dtype=torch.float32)
    clean, _ = counts(states, TAUS, **kernels)
    states[2, 4] = math.nan
    dirty, events = counts(states, TAUS, **kernels)
    np.testing.assert_array_equal(events["ambiguous"], [0, 0, len(TAUS), 0])
    np.testing.assert_array_equal(clean[:, [0, 1, 3]], dirty[:, [0, 1, 3]])


@pytest.mark.parametrize("seed", range(60))
def test_permutations_and_transposition_change_nothing(seed):
    rng = np.random.default_rng(seed)
    width, batch = rng.integers(1, 41, 2)
    tau = TAUS[seed % len(TAUS)]
    state = rng.standard_normal((width, batch)) * 10.0 ** rng.uniform(-2, 1, (width, 1))
    # H^T / sqrt(width) * sqrt(batch) has the other Gram matrix, with the same non-zero spectrum
    variants = [state, state[rng.permutation(width)], state[:, rng.permutation(batch)]]
    measured = [int(assert_counts(torch.tensor(v)[None], [tau])[0][0, 0]) for v in variants]
    other, _ = counts(torch.tensor(state.T.copy() * math.sqrt(width / batch))[None], [tau])
    eigenvalues = np.linalg.eigvalsh(state @ state.T / batch)
    if np.abs(eigenvalues - tau).min() > COUNT_MARGIN * max(1.0, eigenvalues.max()):
        assert {*measured, int(other[0, 0])} == {(eigenvalues >= tau).sum()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (16, 16), (31, 64), (64, 31), (130, 129)])
def test_moments(shape, dtype, kernels):
    rng = np.random.default_rng(shape)
    states = torch.tensor(rng.standard_normal((5, *shape)) + 0.5, dtype=dtype)
    measures = parse_measures(["participation_ratio", "frobenius_norm", "trace", "rank_bound_margin(0.5)"])
    values, _ = native.measure(states, measures, **kernels)
    expected = torch.stack([reference.measures.measure(states.double(), m) for m in measures]).numpy()
    dtype_name = str(dtype).removeprefix("torch.")
    np.testing.assert_allclose(values, expected, rtol=gram_tolerance(dtype_name, max(shape)), atol=1e-12)


def test_naive_factorisation_fails():
    """Negative control: without the mixing of rows, tau = 1 makes the first pivot rounding noise."""
    states = pyrank.simulate(pyrank.Chain(16), 50, chains=100, measures=[], progress=False).state
    wrong = 0
    for M in reference.measures.gram(states).numpy():
        pivots, A = [], M - np.eye(16, dtype=np.float32)
        for k in range(16):
            pivots.append(A[k, k])
            with np.errstate(all="ignore"):
                A[k + 1 :, k + 1 :] -= np.outer(A[k + 1 :, k], A[k + 1 :, k] / A[k, k])
        wrong += (np.array(pivots) > 0).sum() != (np.linalg.eigvalsh(M.astype(float)) >= 1).sum()
    assert wrong > 10


@pytest.mark.parametrize("scale", [1e-15, 1e-8, 1e8, 1e15])
def test_participation_ratio_at_any_scale(scale, kernels):
    """It does not depend on the scale, although the fourth powers of the entries do not fit into single precision."""
    rng = np.random.default_rng(8)
    state = torch.tensor(rng.standard_normal((3, 10, 12)), dtype=torch.float32)
    what = parse_measures(["participation_ratio", "frobenius_norm"])
    values, scaled = (native.measure(H, what, **kernels)[0] for H in (state, state * scale))
    np.testing.assert_allclose(scaled[0], values[0], rtol=gram_tolerance("float32", 12))
    np.testing.assert_allclose(scaled[1] / scale**2, values[1], rtol=gram_tolerance("float32", 12))
    for H in (state, state.double()):
        torch.testing.assert_close(pyrank.participation_ratio(H * scale), pyrank.participation_ratio(H))

"""The streaming record against brute force, and its error bars against processes with a known answer."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import pyrank
from pyrank.estimate import Accumulator, estimate
from pyrank.estimate.accumulator import (
    BATCH_COUNT,
    BATCHES,
    BLOCK_SQUARES,
    MAX,
    MIN,
    PENDING,
    SHIFT,
    SUM,
    SUM_SQUARES,
)
from pyrank.estimate.running import running_mean
from pyrank.support.errors import ArgumentError


def record(samples, ranks=None, trace=0, bins=9):
    """Push samples [n, measures, chains]."""
    n, measures, chains = samples.shape
    accumulator = Accumulator.empty(ranks or [False] * measures, chains, bins, trace)
    for i in range(n):
        accumulator.push(samples[i], i)
    return accumulator


def estimate_of(samples, **options):
    """Estimate from samples [n, chains] of one measure."""
    return estimate(record(samples[:, None], **options), 0, len(samples))


def ar1(phi, n, shape, seed=0):
    """Return [n, *shape] of a stationary process x' = phi x + noise of unit variance."""
    rng = np.random.default_rng(seed)
    x = np.empty((n, *shape))
    x[0] = rng.normal(size=shape) / np.sqrt(1 - phi**2)
    for i in range(1, n):
        x[i] = phi * x[i - 1] + rng.normal(size=shape)
    return x


def exact_stderr(phi, n):
    """Return the standard deviation of the mean of n samples of that process: the sum of its autocovariances."""
    lags = np.arange(1, n)
    return np.sqrt((1 + 2 * np.sum((1 - lags / n) * phi**lags)) / (1 - phi**2) / n)


# --- structure -------------------------------------------------------------------------------------------------------


def test_every_slot_equals_brute_force_at_every_length():
    capacity = 24
    samples = np.random.default_rng(1).integers(0, 9, size=(600, 2, 3)).astype(float)
    samples[:, 1] += 0.25  # sums of quarters are exact, so equality is
    accumulator = Accumulator.empty([True, False], 3, 9, capacity)
    for n in range(1, len(samples) + 1):
        accumulator.push(samples[n - 1], n - 1)
        x, slots = samples[:n], accumulator.moments
        v = x - x[0]
        np.testing.assert_array_equal(slots[:, SHIFT], x[0])
        np.testing.assert_array_equal(slots[:, SUM], v.sum(0))
        np.testing.assert_array_equal(slots[:, SUM_SQUARES], (v**2).sum(0))
        np.testing.assert_array_equal(slots[:, MIN], x.min(0))
        np.testing.assert_array_equal(slots[:, MAX], x.max(0))

        length = next(m for m in (1, 2, 4, 8) if n <= BATCH_COUNT * m)
        padded = np.zeros((BATCH_COUNT * length, 2, 3))
        padded[:n] = v
        batches = padded.reshape(BATCH_COUNT, length, 2, 3).sum(1)
        np.testing.assert_array_equal(slots[:, BATCHES:PENDING], batches.swapaxes(0, 1))

        for level in range(n.bit_length()):
            size, number = 2**level, n >> level
            blocks = v[: number * size].reshape(number, size, 2, 3).sum(1)
            np.testing.assert_array_equal(slots[:, BLOCK_SQUARES + level], (blocks**2).sum(0))
            if number % 2:
                np.testing.assert_array_equal(slots[:, PENDING + level], blocks[-1])
        assert not slots[:, BLOCK_SQUARES + n.bit_length() :].any()

        stride = next(s for s in (1, 2, 4, 8, 16, 32) if -(-n // s) <= capacity)
        thinned = x[::stride]
        np.testing.assert_array_equal(accumulator.trace[:, : len(thinned)], thinned.swapaxes(0, 1))

        counts = (x[:, 0, None, :] == np.arange(9)[None, :, None]).sum(0)
        np.testing.assert_array_equal(accumulator.histogram, counts[None])


def test_interruption_cannot_change_a_bit():
    samples = np.random.default_rng(2).normal(3, 1, size=(700, 2, 4))
    whole = record(samples, trace=32)
    parts = Accumulator.empty([False, False], 4, 9, 32)
    for n in range(700):
        if n in (1, 127, 128, 129, 511):
            parts = Accumulator.from_arrays(parts.arrays())
        parts.push(samples[n], n)
    alone = record(samples[:, :, 2:3], trace=32)
    for name, array in whole.arrays().items():
        assert array.tobytes() == parts.arrays()[name].tobytes(), name
    np.testing.assert_array_equal(whole.moments[..., 2:3], alone.moments)
    assert np.abs(whole.moments).sum() > 0


def test_size_is_known_before_anything_is_allocated():
    flags, chains, bins, trace = [True, False, True], 5, 7, 12
    arrays = Accumulator.empty(flags, chains, bins, trace).arrays().values()
    assert Accumulator.size(len(flags), sum(flags), chains, bins, trace) == sum(array.nbytes for array in arrays)


def test_copy_is_independent():
    original = record(np.ones((3, 1, 2)), ranks=[True])
    copy = original.copy()
    copy.push(np.full((1, 2), 5.0), 3)
    assert original.moments[0, MAX, 0] == 1
    assert original.histogram[0, 5, 0] == 0
    assert copy.histogram[0, 5, 0] == 1


@pytest.mark.parametrize("trace", [3, -2])
def test_odd_trace_is_refused(trace):
    with pytest.raises(ArgumentError, match="trace"):
        Accumulator.empty([False], 1, 1, trace)


# --- plain statistics ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 100, 1000])
def test_moments_equal_numpy(n):
    x = np.random.default_rng(3).integers(0, 9, size=(n, 3)).astype(float)
    result = estimate_of(x, ranks=[True], trace=16)
    np.testing.assert_allclose(result.mean, x.mean(), rtol=1e-13)
    np.testing.assert_allclose(result.std, x.std(ddof=1), rtol=1e-12)
    assert (result.min, result.max, result.count, result.chains) == (x.min(), x.max(), n, 3)
    np.testing.assert_array_equal(result.histogram, [[(c == k).sum() for k in range(9)] for c in x.T])
    np.testing.assert_array_equal(result.trace, x[:: result.trace_stride].T)
    m = result.batch_length
    full = x[: n // m * m].T.reshape(3, -1, m).mean(2)
    np.testing.assert_allclose(result.batch_means, full, rtol=1e-13)


def test_a_large_offset_costs_no_digits():
    x = np.random.default_rng(4).normal(size=(500, 2))
    near, far = estimate_of(x), estimate_of(x + 1e9)
    np.testing.assert_allclose([far.std, far.stderr, far.rhat], [near.std, near.stderr, near.rhat], rtol=1e-6)


@pytest.mark.parametrize("chains", [1, 2, 100])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_few_samples_never_crash(n, chains):
    result = estimate_of(np.random.default_rng(5).normal(size=(n, chains)), trace=4)
    assert np.isnan(result.rhat) == (n < 4)
    assert np.isnan(result.stderr) == (n * chains < 2)
    if chains < 16 or n == 0:
        assert "not converged" in result.flags
    assert "degenerate" not in result.flags
    assert len(result.interval()) == 2


def test_last_layer_of_many_chains_has_the_textbook_error():
    x = np.random.default_rng(6).normal(size=(1, 50))
    result = estimate_of(x)
    np.testing.assert_allclose(result.stderr, x.std(ddof=1) / np.sqrt(50), rtol=1e-12)
    assert result.dof == 49
    assert result.flags == ()


# --- error bars ------------------------------------------------------------------------------------------------------

PHIS = np.array([0.0, 0.5, 0.9, -0.5])


def check_ar1(runs, n, coverage):
    """Every run has its own four chains; the processes share their noise, the chains do not."""
    rng = np.random.default_rng(7)
    accumulator = Accumulator.empty([False] * len(PHIS), 4 * runs, 1, 0)
    x = rng.normal(size=(len(PHIS), 4 * runs)) / np.sqrt(1 - PHIS**2)[:, None]
    for i in range(n):
        accumulator.push(x, i)
        x = PHIS[:, None] * x + rng.normal(size=(1, 4 * runs))
    for measure, phi in enumerate(PHIS):
        for chains in (1, 4):
            results = [estimate(accumulator, measure, n, slice(4 * r, 4 * r + chains)) for r in range(runs)]
            exact = exact_stderr(phi, n) / np.sqrt(chains)
            ratio = np.mean([result.stderr for result in results]) / exact
            assert abs(ratio - 1) < 0.1, (phi, chains, ratio)
            covered = np.mean([low <= 0 <= high for low, high in (result.interval() for result in results)])
            assert coverage[0] <= covered <= coverage[1], (phi, chains, covered)
            assert np.mean([result.flags != () for result in results]) < 0.05, (phi, chains)
            ess = np.mean([result.ess for result in results])
            assert abs(ess * exact**2 * (1 - phi**2) - 1) < 0.2, (phi, chains, ess)


def test_ar1_error_bars():
    check_ar1(runs=250, n=2**14, coverage=(0.90, 0.99))  # 250 runs know the coverage to 1.4 %


@pytest.mark.validate
def test_ar1_error_bars_in_2000_runs():
    check_ar1(runs=2000, n=2**14, coverage=(0.92, 0.97))


def test_the_naive_error_would_fail_the_ar1_test():
    result = estimate_of(ar1(0.9, 2**13, (1,)))
    naive = result.std / np.sqrt(result.count)
    assert naive < 0.3 * exact_stderr(0.9, 2**13) < 0.9 * result.stderr


def test_slow_process_is_flagged():
    assert "not converged" in estimate_of(ar1(0.999, 2**11, (4,))).flags
    assert estimate_of(ar1(0.5, 2**11, (4,))).flags == ()


def test_trend_is_flagged():
    x = ar1(0.0, 2**12, (1,))
    assert "not converged" in estimate_of(x + np.linspace(0, 2, len(x))[:, None]).flags


@pytest.mark.parametrize("chains", [4, 32, 100])
def test_disagreeing_chains(chains):
    offsets = 3 * np.random.default_rng(8).normal(size=chains)
    result = estimate_of(ar1(0.0, 2**10, (chains,)) + offsets)
    assert result.rhat > 1.5
    assert "not converged" in result.flags
    assert result.stderr > 0.95 * offsets.std(ddof=1) / np.sqrt(chains)


def test_slightly_disagreeing_chains_are_seen_although_rhat_is_small():
    offsets = 0.1 * np.array([-1, 1, -1, 1])
    result = estimate_of(ar1(0.0, 2**14, (4,)) + offsets)
    assert result.rhat < 1.01
    assert "not converged" in result.flags
    assert result.stderr > 0.04


def test_rhat_equals_arviz_on_the_same_samples():
    from arviz_stats.base import array_stats

    for phi, n in ((0.0, 2**10), (0.9, 2**10), (0.99, 2**10), (0.9, 1001)):
        x = ar1(phi, n, (4,))
        expected = array_stats.rhat(x.T, chain_axis=0, draw_axis=1, method="split")
        tolerance = 1e-10 if n % 256 == 0 else 0.1 * (expected - 1)  # else the halves differ by a batch
        assert abs(estimate_of(x).rhat - expected) <= tolerance


def test_stderr_and_rhat_equal_their_definitions_at_an_awkward_length():
    n, chains = 1001, 2
    x = ar1(0.9, n, (chains,), seed=12)
    result = estimate_of(x)

    def block_variance(m):
        return m * x[: n // m * m].reshape(-1, m, chains).mean(1).var(ddof=1)

    assert block_variance(16) > block_variance(8)  # 16: the longest of which 2 chains have 64
    expected = block_variance(16) + (1 - 16 / n) * (block_variance(16) - block_variance(8))
    np.testing.assert_allclose(result.stderr, np.sqrt(expected / (n * chains)), rtol=1e-12)

    parts = np.split(x, [496, 992])  # 125 batches of 8: halves of 62, and a rest
    within = sum(((part - part.mean(0)) ** 2).sum() for part in parts) / (chains * (n - 3))
    between = np.var([parts[0].mean(0), parts[1].mean(0)], ddof=1)
    np.testing.assert_allclose(result.rhat, np.sqrt(495 / 496 + between / within), rtol=1e-12)


def test_a_slow_wave_is_flagged_although_the_halves_agree():
    n = 2**12
    wave = np.sin(2 * np.pi * 8 * np.arange(n) / n)[:, None]
    result = estimate_of(wave + ar1(0.0, n, (1,)))
    assert result.rhat < 1.01
    assert "not converged" in result.flags


def test_interval_widens_with_its_level():
    result = estimate_of(ar1(0.0, 2**10, (1,)))
    (a, b), (c, d) = result.interval(0.5), result.interval(0.99)
    assert c < a < result.mean < b < d
    with pytest.raises(ArgumentError, match="level"):
        result.interval(95)


# --- a start that shows ----------------------------------------------------------------------------------------------


def many_runs(phi, n, chains, runs, start=0.0, seed=0):
    """Estimates of ``runs`` runs of that process in units of its standard deviation, begun ``start`` of them off."""
    x = ar1(phi, n, (chains * runs,), seed) * np.sqrt(1 - phi**2) + start * phi ** np.arange(n)[:, None]
    accumulator = record(x[:, None])
    return [estimate(accumulator, 0, n, slice(chains * r, chains * (r + 1))) for r in range(runs)]


def alarms(chains, phi, n, runs, seed=0):
    return sum("not converged" in e.flags for e in many_runs(phi, n, chains, runs, seed=seed))


@pytest.mark.parametrize(("chains", "phi", "n", "runs"), [
    (64, 0.0, 2, 1000), (64, 0.9, 100, 1000), (300, 0.5, 30, 300), (10_000, 0.9, 60, 10),
])  # fmt: skip
def test_many_short_chains_are_flagged_once_in_a_thousand(chains, phi, n, runs):
    """R-hat would flag all of them but the first; the bound is the rate and five standard errors of its count."""
    assert alarms(chains, phi, n, runs) <= 1e-3 * runs + 5 * np.sqrt(1e-3 * runs)


@pytest.mark.validate
@pytest.mark.parametrize(("chains", "phi", "n"), [(64, 0.5, 50), (64, 0.8, 60), (200, 0.5, 20)])
def test_false_alarms_come_at_the_stated_rate(chains, phi, n):
    runs = 40_000
    found = sum(alarms(chains, phi, n, 1000, seed) for seed in range(runs // 1000))
    assert abs(found - 1e-3 * runs) <= 5 * np.sqrt(1e-3 * runs)


@pytest.mark.parametrize(
    ("chains", "phi", "n", "runs"), [(2, 0.5, 2**12, 200), (8, 0.5, 2**10, 400), (63, 0.5, 200, 200)]
)
def test_few_chains_that_have_forgotten_their_start_are_hardly_flagged(chains, phi, n, runs):
    """Chains that disagree and blocks that grow are further doubts, each at about one in a thousand."""
    assert alarms(chains, phi, n, runs) <= 0.01 * runs + 5 * np.sqrt(0.01 * runs)


@pytest.mark.parametrize(("chains", "phi", "n"), [
    (4, 0.9, 2**11), (32, 0.9, 200), (64, 0.9, 1000), (1000, 0.9, 1000), (1000, 0.99, 1000), (1000, 0.9999, 100),
])  # fmt: skip
def test_a_start_not_forgotten_is_flagged(chains, phi, n):
    """From chains that move away from it to some that hardly move; its bias is four standard errors or more."""
    bias = 4 * exact_stderr(phi, n) * np.sqrt(1 - phi**2) / np.sqrt(chains)
    start = max(3.0, bias / np.mean(phi ** np.arange(n)))
    assert all("not converged" in e.flags for e in many_runs(phi, n, chains, 10, start))
    assert all("not converged" in e.after(0).flags for e in many_runs(phi, n, chains, 10, start))


def test_a_drift_that_no_single_chain_shows_is_flagged():
    x = ar1(0.0, 200, (2000,))
    assert estimate_of(x).flags == ()
    drifting = estimate_of(x + np.linspace(0, 0.1, 200)[:, None])
    assert drifting.rhat < 1.01
    assert "not converged" in drifting.flags


def test_chains_that_do_not_leave_their_places_are_flagged():
    """Fast noise on a place that a chain keeps: nothing drifts, and nothing tells whether the places are right."""
    places = 0.1 * np.random.default_rng(13).normal(size=2000)
    stuck = estimate_of(ar1(0.0, 2000, (2000,)) + places)
    assert stuck.rhat < 1.01
    assert "not converged" in stuck.flags


def test_runs_of_many_and_of_few_chains():
    """The first has a mean right to one in a thousand; the second has a right error bar, and a start that is in it."""
    many = pyrank.simulate(pyrank.Chain(8), 300, burn_in=100, chains=2048, progress=False)
    assert many["participation_ratio"].rhat > 1.01
    assert [e.flags for e in many.values()] == [(), ()]
    for seed in range(3):
        few = pyrank.simulate(pyrank.Chain(32, gamma=0.05), 3000, chains=8, seed=seed, progress=False)
        assert [e.flags for e in few.values()] == [("not converged",)] * 2


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.1, 1e30, 0.0])
@pytest.mark.parametrize("chains", [1, 3, 70])
def test_constant_samples(value, chains):
    result = estimate_of(np.full((300, chains), value))
    assert result.flags == ("degenerate",)
    assert (result.mean, result.stderr, result.std) == (value, 0, 0)
    assert result.interval() == (value, value)
    later = result.after(10)
    assert later.flags == ("degenerate",)
    assert (later.mean, later.stderr) == (value, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 77])
def test_one_bad_sample_is_flagged(bad, at):
    x = np.random.default_rng(9).integers(0, 9, size=(300, 2)).astype(float)
    x[at, 1] = bad
    result = estimate_of(x, ranks=[True])
    assert "degenerate" in result.flags
    assert not np.isfinite(result.mean)
    assert result.histogram.sum() == x.size - 1
    assert "degenerate" in result.after(10).flags


# --- burn-in afterwards, trace ---------------------------------------------------------------------------------------


def test_after_drops_a_transient():
    n, transient = 2**13, 300
    x = ar1(0.5, n, (4,), seed=10)
    x[:transient] += 50
    everything, later = estimate_of(x, trace=64), estimate_of(x, trace=64).after(transient)
    start = -(-transient // everything.batch_length) * everything.batch_length
    np.testing.assert_allclose(later.mean, x[start:].mean(), rtol=1e-10)
    assert abs(later.mean) < 4 * later.stderr < everything.mean
    assert abs(later.stderr / exact_stderr(0.5, n - start) * 2 - 1) < 0.4
    assert "not converged" in everything.flags
    assert later.flags == ()
    assert later.count == n - start
    np.testing.assert_array_equal(later.trace, x[-(-start // 128) * 128 :: 128].T)


@pytest.mark.parametrize("chains", [1, 4])
def test_after_has_honest_errors(chains):
    n, runs = 2**11, 200
    accumulator = record(ar1(0.5, n, (1, chains * runs), seed=11))
    results = [estimate(accumulator, 0, n, slice(chains * r, chains * (r + 1))).after(n // 4) for r in range(runs)]
    ratio = np.mean([result.stderr for result in results]) / exact_stderr(0.5, n - n // 4) * np.sqrt(chains)
    assert abs(ratio - 1) < 0.1
    assert 0.9 <= np.mean([low <= 0 <= high for low, high in (result.interval() for result in results)]) <= 0.99


def test_after_nothing_left():
    result = estimate_of(ar1(0.0, 300, (2,)))
    assert result.after(296).batch_means.shape == (2, 1)
    for samples in (300, 10**9, -5):
        with pytest.raises(ArgumentError, match="samples"):
            result.after(samples)
    with pytest.raises(ArgumentError, match="samples"):
        estimate_of(np.empty((0, 1))).after(0)


def test_the_running_mean_is_what_a_shorter_run_would_have_said():
    x = ar1(0.5, 1000, (3,))
    result = estimate_of(x)
    running = running_mean(result.batch_means, result.batch_length)
    np.testing.assert_array_equal(running.samples, np.arange(8, 1001, 8))
    np.testing.assert_allclose(running.mean, [x[:n].mean() for n in running.samples], rtol=1e-9, atol=1e-12)
    for n in range(352, 1001, 8):  # from here on the blocks that decide are two batches or more
        at = n // 8 - 1
        np.testing.assert_allclose([running.low[at], running.high[at]], estimate_of(x[:n]).interval(), rtol=1e-9)


def test_one_batch_of_one_chain_has_a_mean_without_an_interval():
    running = running_mean(np.array([[0.5]]), 4)
    assert (running.samples.tolist(), running.mean.tolist()) == ([4], [0.5])
    assert np.isnan([running.low, running.high]).all()


def test_an_estimate_shows_itself_with_its_error_and_its_flags():
    result = estimate_of(ar1(0.0, 2**12, (4,)) + 7)
    value, error = re.fullmatch(r"(\d\.\d+) ± (0\.\d+)", repr(result)).groups()
    assert float(error) == pytest.approx(result.stderr, rel=0.05)
    assert float(value) == pytest.approx(result.mean, abs=result.stderr / 10)
    assert repr(estimate_of(np.full((300, 2), 8.0))) == "8 ± 0 (degenerate)"
    assert str({"rank": result}) == f"{{'rank': {result}}}"


def test_trace_diagnostics():
    result = estimate_of(ar1(0.9, 2**12, (4,)), trace=2**12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # arviz's imports
        found = result.diagnostics()
    assert set(found) == {"ess_bulk", "ess_tail", "rhat", "mcse"}
    assert 0.7 < found["ess_bulk"] / result.ess < 1.4
    assert 0.8 < found["mcse"] / result.stderr < 1.25
    assert 1 <= found["rhat"] < 1.05


def test_diagnostics_without_a_trace():
    with pytest.raises(ArgumentError, match="trace=4096"):
        estimate_of(ar1(0.0, 100, (1,))).diagnostics()

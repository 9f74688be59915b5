"""The stride chosen by every="auto", against exact autocorrelations and a brute-force search."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import signal

import pyrank
from pyrank.engine import thinning
from pyrank.engine.thinning import STRIDES, autocorrelation, best_stride

from harness import make_plan, start

CHAIN = pyrank.Chain(16)
OPTIONS = {"chains": 8, "progress": False}
LAGS = np.arange(5_000)


def loss(phi, k, cost):
    """Squared error per unit of time for an AR(1) series: its thinned series is AR(1) with phi^k."""
    return (k + cost) * (1 + phi**k) / (1 - phi**k)


@pytest.mark.parametrize("cost", [0.0, 0.2, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("phi", [0.0, 0.3, 0.9, 0.99])
def test_the_best_stride_of_an_autoregression(phi, cost):
    """No stride at all, in the list or not, is better by more than the steps of the list allow."""
    chosen = best_stride([phi**LAGS], cost)
    best = min(loss(phi, k, cost) for k in range(1, max(STRIDES) + 1))
    assert chosen == min(STRIDES, key=lambda k: loss(phi, k, cost))
    assert loss(phi, chosen, cost) <= 1.03 * best


def test_the_worst_measure_decides():
    """A free-running measure alone would take a stride of 1, a slow one a long one; together neither loses much."""
    fast, slow = 0.0**LAGS, 0.99**LAGS
    strides = [best_stride(measures, 2.0) for measures in ([fast], [fast, slow], [slow])]
    assert strides[0] == 1
    assert strides[0] < strides[1] < strides[2]


@pytest.mark.parametrize("widths", [2, 3, 6])
def test_no_width_is_left_out(widths):
    """A stride with a common divisor would record some of the widths and never the others: another mean."""
    for cost in (0.2, 1.0, 5.0, 30.0):
        for phi in (0.3, 0.9, 0.99):
            assert math.gcd(best_stride([phi**LAGS], cost, widths), widths) == 1


def test_nothing_to_measure_needs_no_stride():
    assert best_stride([], 3.0) == 1
    assert pyrank.simulate(CHAIN, 20, measures=[], every="auto", **OPTIONS).plan.every == 1
    constant = pyrank.simulate(pyrank.Chain(4, gamma=0.0), 2_000, measures=["trace"], every="auto", **OPTIONS)
    assert constant.plan.every in STRIDES


@pytest.mark.parametrize("phi", [0.5, 0.95])
def test_autocorrelation_of_an_autoregression(phi):
    """Against the exact phi^k, with Bartlett's standard error of an estimated autocorrelation."""
    chains, samples = 16, 20_000
    noise = np.random.default_rng(1).normal(size=(chains, samples + 500))
    series = signal.lfilter([1], [1, -phi], noise)[:, 500:]
    rho = autocorrelation(series)
    assert rho[0] == 1
    error = math.sqrt((1 + phi**2) / (1 - phi**2) / (chains * samples))
    assert np.all(np.abs(rho - phi ** np.arange(len(rho))) <= 5 * error)
    assert phi ** len(rho) <= 5 * error  # cut off where noise takes over, not before


def test_the_choice_is_that_of_a_brute_force_search(monkeypatch):
    """With recording made to cost three layers, the error of real runs of equal cost is smallest near the choice."""
    cost = 3.0
    monkeypatch.setattr(thinning, "best_stride", lambda rho, *_: best_stride(rho, cost))
    measure = "participation_ratio"
    chosen = pyrank.simulate(CHAIN, 2_000, measures=[measure], every="auto", **OPTIONS).plan.every
    errors = {}
    for k in STRIDES[:9]:
        depth = int(400_000 * k / (k + cost))
        run = pyrank.simulate(CHAIN, depth, measures=[measure], every=k, burn_in=100, seed=2, **OPTIONS)
        errors[k] = run[measure].stderr ** 2
        noise = math.sqrt(2 / run[measure].dof)  # relative standard error of a squared standard error
    assert errors[chosen] <= min(errors.values()) * (1 + 5 * noise)
    assert errors[1] > errors[chosen]


def test_a_device_that_is_slow_to_start_does_not_spoil_the_pilot(monkeypatch):
    """By a clock that counts layers, but for the first call, which takes longer than the whole pilot may."""
    engine = pyrank.engine.backends.choose(CHAIN)
    now, calls = [0.0], []

    def advance(plan, state, first_layer, layers, *record):
        now[0] += layers * thinning.PILOT_SECONDS / 1_000 + (0 if calls else 10)
        calls.append((layers, bool(plan.measures)))
        engine.advance(plan, state, first_layer, layers, *record)

    monkeypatch.setattr(thinning.time, "perf_counter", lambda: now[0])
    plan = make_plan(CHAIN)
    thinning.choose(plan, dataclasses.replace(engine, advance=advance), start(plan)[0])
    unrecorded = [layers for layers, _ in itertools.takewhile(lambda call: not call[1], calls)]
    assert sum(unrecorded) >= 1_000  # as many layers to settle in as fit


def test_a_checkpoint_keeps_its_stride(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    first = pyrank.simulate(CHAIN, 500, every="auto", checkpoint=path, **OPTIONS)
    monkeypatch.setattr(thinning, "best_stride", lambda *_: 48)
    second = pyrank.simulate(CHAIN, 900, every="auto", checkpoint=path, **OPTIONS)
    assert second.plan.every == first.plan.every != 48
    assert pyrank.simulate(CHAIN, 900, every="auto", **OPTIONS).plan.every == 48
    again = pyrank.simulate(CHAIN, 900, every=first.plan.every, **OPTIONS)
    assert again["participation_ratio"].mean == second["participation_ratio"].mean


def test_the_number_gives_the_same_run_where_a_stride_of_snapshots_plays_no_role(tmp_path, monkeypatch):
    monkeypatch.setattr(thinning, "best_stride", lambda *_: 3)
    options = {"snapshot_every": 5, "checkpoint": tmp_path / "run.ckpt", **OPTIONS}
    first = pyrank.simulate(CHAIN, 30, every="auto", **options)
    assert first.plan == pyrank.simulate(CHAIN, 30, every=3, **options).plan


def test_a_bad_path_is_refused_before_the_pilot(tmp_path):
    with pytest.raises(pyrank.ArgumentError, match="checkpoint"):
        pyrank.simulate(CHAIN, 20, every="auto", checkpoint=tmp_path, **OPTIONS)


def test_other_words_are_refused():
    with pytest.raises(pyrank.ArgumentError, match="every"):
        pyrank.simulate(CHAIN, 20, every="often", **OPTIONS)

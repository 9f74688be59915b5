"""What is claimed about descent from the equivalent point, and how the records of its seeds answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pyrank.estimate.intervals import Interval
from pyrank.experiments.claims import Claim, at_least, at_most, between, close_to, extension, published
from pyrank.experiments.declaration import Found
from pyrank.experiments.optimization.full_batch import LIMIT, Record
from pyrank.experiments.optimization.trainings import Floats
from pyrank.experiments.papers import MORWANI

NORMS = ("activations", "gradients", "weights")
MOST = 0.5
"""Share of the seeds in which a claim about one network has to hold."""
TAME = 10.0
"""Growth of a norm up to which it does not blow up."""
ROUNDING = 1e-3
"""Relative difference of first losses that is rounding, ten layers deep."""


@dataclass(frozen=True)
class Measured:
    """Records by kind of network, one a seed, at the note's rate and a small one; largest rates (seeds,) by depth."""

    records: Mapping[str, Sequence[Record]]
    gentle: Mapping[str, Sequence[Record]]
    rates: Mapping[tuple[str, int], Floats]


def factor(ratios: Floats) -> Interval:
    """Return the geometric mean of independent positive numbers, with its interval."""
    logs = Interval.mean(np.log(ratios))
    return Interval(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high))


def claims(found: Found) -> list[Claim]:
    """Return what section 3 says, and how far it reaches."""
    data: Measured = found.data
    normalized, without, plain = (data.records[kind] for kind in ("BN", "equivalent", "plain"))
    rate = f"lr = {found.settings.rate:g}"
    shallow, deep = min(found.settings.depths), max(found.settings.depths)
    pairs = list(zip(without, normalized, strict=True))
    end = [len(np.flatnonzero(np.isfinite(record.loss))) - 1 for record in without]
    return [
        published(f"{rate}: the network without BN diverges", MORWANI.at("§ 3"),
                  _share([record.diverged for record in without]), at_least(MOST),
                  reading=f"in most starts the loss grows {LIMIT:g}-fold or is no number",
                  note=f"last finite loss after {min(end)} to {max(end)} steps"),
        published(f"{rate}: BN does not diverge", MORWANI.at("§ 3"), _share([not r.diverged for r in normalized]),
                  at_least(MOST), reading="in most starts",
                  note=f"losses after {found.settings.steps} steps: {_range([r.loss[-1] for r in normalized])}"),
        published(f"{rate}: activations and weights of the network without BN diverge", MORWANI.at("§ 3.1"),
                  _share([min(r.growth("activations"), r.growth("weights")) >= LIMIT for r in without]),
                  at_least(MOST), reading=f"in most starts both norms grow {LIMIT:g}-fold or to no number"),
        published(f"{rate}: activations and weights of the BN network do not", MORWANI.at("§ 3.1"),
                  _share([max(r.growth("activations"), r.growth("weights")) <= TAME for r in normalized]),
                  at_least(MOST), reading=f"in most starts neither norm grows more than {TAME:g}-fold in any layer"),
        published(f"{rate}: gradients by activations explode without BN, but not with it",
                  MORWANI.at("§ 3, figures (b)"),
                  _share([a.growth("gradients") >= LIMIT and b.growth("gradients") <= TAME
                          for a, b in pairs]), at_least(MOST),
                  reading=f"in most starts, {LIMIT:g}-fold without and at most {TAME:g}-fold with BN"),
        published("without BN, norms of weights, gradients and activations are positively correlated",
                  MORWANI.at("§ 3.1"), Interval.mean([correlation(record) for record in without]), at_least(0.0),
                  reading="least correlation of two of the three, of logarithms over layers and steps, mean"),
        published("without BN, divergence comes suddenly as depth increases", MORWANI.at("§ 3.1"),
                  factor(data.rates["equivalent", deep] / data.rates["equivalent", shallow]), at_most(1.0),
                  reading=f"the largest rate that does not diverge is smaller with {deep} layers than with {shallow}: "
                          "factor"),
        *_rates(data, shallow, deep),
        *_learning(data, found.settings.gentle, found.settings.gentle_steps),
        extension("both start as the same function: largest relative difference of the first losses",
                  "pyrank.optimization.equivalent_network",
                  Interval.exact(max(abs(a.loss[0] / b.loss[0] - 1.0) for a, b in pairs)), at_most(ROUNDING)),
        extension("the equivalent start has the rank of BN: r of the last hidden layer over that with BN",
                  "networks.initialize(model, 'equivalent', x)",
                  factor(np.array([a.rank / b.rank for a, b in pairs])),
                  close_to(1.0, 0.01),
                  note=f"r is {_range([r.rank for r in normalized])} with BN, {_range([r.rank for r in plain])} from "
                       "torch's own start without it"),
    ]  # fmt: skip


def _rates(data: Measured, shallow: int, deep: int) -> list[Claim]:
    place = "bisection of the logarithm of the rate"
    return [
        extension(f"BN raises the largest rate that does not diverge, {deep} layers: factor over the equivalent point",
                  place, factor(data.rates["BN", deep] / data.rates["equivalent", deep]), at_least(1.0)),
        extension(f"with BN that rate does not depend on depth: factor from {shallow} to {deep} layers", place,
                  factor(data.rates["BN", deep] / data.rates["BN", shallow]), between(0.5, 2.0)),
        extension(f"torch's own start without BN is as unstable, {deep} layers: its rate over that of the equivalent "
                  "point", place, factor(data.rates["plain", deep] / data.rates["equivalent", deep]), between(0.5, 2.0),
                  note="above: hardly any gradient passes through so many layers of rank one, and nothing is learnt"),
    ]  # fmt: skip


def _learning(data: Measured, rate: float, steps: int) -> list[Claim]:
    """Return whether the equivalent point is a start to learn from: by training losses."""
    last = {kind: np.array([record.loss[-1] for record in records]) for kind, records in data.gentle.items()}
    statement = f"rate {rate:g}, without BN, from the equivalent point: loss after {steps} steps"
    note = f"{_range(last['equivalent'])} from the equivalent point, {_range(last['BN'])} with BN, "
    note += f"{_range(last['plain'])} from torch's own start"
    place = "networks.initialize(model, 'equivalent', x)"
    return [
        extension(f"{statement}, over that with BN", place, factor(last["equivalent"] / last["BN"]), at_most(2.0)),
        extension(f"{statement}, over that from torch's own start", place, factor(last["equivalent"] / last["plain"]),
                  at_most(0.5), note=note),
    ]  # fmt: skip


def correlation(record: Record) -> float:
    """Return the smallest correlation between logarithms of two norms, relative to their first ones."""
    kept = np.isfinite(record.loss)
    with np.errstate(divide="ignore"):
        logs = [np.log(getattr(record, what)[kept] / getattr(record, what)[0]).ravel() for what in NORMS]
    some = np.all(np.isfinite(logs), axis=0)
    return float(min(np.corrcoef(a[some], b[some])[0, 1] for a, b in combinations(logs, 2)))


def _share(flags: Sequence[bool]) -> Interval:
    return Interval.share(sum(flags), len(flags))


def _range(values: Sequence[float] | Floats) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"

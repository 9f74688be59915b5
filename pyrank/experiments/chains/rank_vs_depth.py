"""Does batch normalisation keep the rank that a vanilla network loses with depth? It does, by three kinds of rank.

Linear and ReLU networks of width 32 without skip connection, H' = BN(W F(H)), with a batch of as many gaussian samples
and uniform weights, as torch initialises them (a common scale of the weights does not matter here). BN rescales only,
as in the paper's equations, or recentres first, as libraries do; "vanilla" is without. Ten runs of each; all curves
see the same weights, so that the float32 and the float64 curve belong to the same networks.

Three ranks are shown, because they answer differently. The numerical rank counts singular values > max(d, N) eps
sigma_max, eps being the unit of the dtype: it is the published one, there in float32, but partly a property of the
arithmetic. A linear layer with N = d, BN without recentring and continuous weights cannot lose rank at all: det H' =
det(D) det(W) det(H) with the diagonal D of the row sizes, and none of these is 0. What is lost lies below rounding. The
soft rank of Theorem 2, rank_tau at tau = 1/2, and the participation ratio r do not have this defect. For the soft rank
every state is brought to Tr M = d, the trace that BN gives and a vanilla state lacks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyrank import theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains.decades import Course, courses, stretch_tasks
from pyrank.experiments.chains.rank_curves import HEADINGS, MEASURES, TAU, Network, networks, panels, points
from pyrank.experiments.claims import Claim, at_least, at_most, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import DANESHMAND
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Sheet

WIDTH = 32
"""Of the published figure."""
QUICKLY = 1_000
"""Layers that are few in a claim which names none: the depth of the deepest networks that are trained."""


@dataclass(frozen=True)
class Settings:
    """The curves, and how deep and how often each is run."""

    networks: tuple[Network, ...]
    depth: int
    chains: int = 10
    seed: int = 0


PRESETS = {
    "quick": Settings(networks(WIDTH), depth=10_000),
    "paper": Settings(networks(WIDTH) + networks(128), depth=100_000),
}


def tasks(settings: Settings) -> list[Simulation]:
    """Return the stretches of each network."""
    options = {"chains": settings.chains, "seed": settings.seed, "measures": tuple(MEASURES.values())}
    stretches = [stretch_tasks(str(network), network.chain, settings.depth, options) for network in settings.networks]
    return [task for some in stretches for task in some]


def analyse(settings: Settings, runs: Sequence[Run]) -> dict[Network, Course]:
    """Join the stretches of each network."""
    return dict(zip(settings.networks, courses(runs, MEASURES), strict=True))


COLUMNS = (
    Column("width", "d = N"),
    Column("activation", "F"),
    Column("normalization", "normalization"),
    Column("weights", "weights"),
    Column("dtype", "dtype"),
    Column("tolerance", "tolerance", ".1e", meaning="share of sigma_max above which a singular value counts for the "
           "numerical rank, max(d, N) eps"),
    Column("first_layer"),
    Column("last_layer"),
    Column("numerical_rank", HEADINGS["numerical_rank"], error="numerical_rank_error"),
    Column("numerical_rank_error"),
    Column("soft_rank", HEADINGS["soft_rank"], error="soft_rank_error", meaning="of M brought to Tr M = d"),
    Column("soft_rank_error"),
    Column("r", "r", error="r_error", meaning="participation ratio"),
    Column("r_error"),
    Column("degenerate_rows", "zero rows", meaning="met by the normalisation, in all runs"),
    Column("flags", "flags", meaning="of the estimates within runs, from a few correlated layers or of a constant; the "
           "intervals do without"),
)  # fmt: skip


def rows(settings: Settings, data: Mapping[Network, Course]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each network."""
    for network, course in data.items():
        late = {name: mean_interval(course.at_the_end(name)) for name in MEASURES}
        yield {
            **asdict(network),
            "tolerance": network.tolerance,
            "first_layer": int(course.late[0]),
            "last_layer": int(course.late[-1]),
            **{name: float(mean) for name, (mean, _) in late.items()},
            **{f"{name}_error": float(half_width) for name, (_, half_width) in late.items()},
            "degenerate_rows": course.degenerate_rows,
            "flags": course.flags,
        }


def claims(found: Found) -> list[Claim]:
    """Return what figure and text say, then the same in other arithmetic, for other widths and kinds of rank."""
    every = dict(zip(found.data, found.rows, strict=True))
    vanilla = {network: row for network, row in every.items() if network.normalization == "none"}
    normalised = {n: row for n, row in every.items() if n.normalization != "none" and n.weights == "uniform"}
    return [
        *(_collapse(row) for network, row in vanilla.items() if _in_figure(network)),
        *(_survival(row) for network, row in normalised.items() if _in_figure(network)),
        *_drop(found),
        *_collapse_elsewhere({network: row for network, row in vanilla.items() if not _in_figure(network)}),
        *(claim for name in MEASURES for claim in _survival_elsewhere(name, normalised)),
        *_rounding(every, found),
    ]


def _in_figure(network: Network) -> bool:
    """Whether it is a published curve: the layer of the paper's equations, in the arithmetic that torch starts with."""
    law = network.width, network.weights, network.dtype
    return law == (WIDTH, "uniform", "float32") and network.normalization != "batch"


def _rank(row: Row, name: str = "numerical_rank", over: float = 1.0) -> Interval:
    return Interval.around(getattr(row, name) / over, getattr(row, f"{name}_error") / over)


def _reading(row: Row) -> str:
    layers = f"mean of layers {row.first_layer:,} to {row.last_layer:,}"
    return f"numerical rank of H in float32 with the tolerance of note 3, {row.tolerance:.1e} sigma_max; {layers}"


def _noise(row: Row) -> str:
    """Say what is left, and when the second singular value of a linear chain is expected below the tolerance."""
    text = f"r = {row.r:.6f}; rounding noise above the tolerance, {row.tolerance:.1g}, is counted, too"
    if row.activation != "linear":
        return text
    first, second = theory.ginibre_lyapunov_exponents(row.width)[:2]
    layers = -math.log(row.tolerance) / (first - second)
    return f"{text}; sigma_2 falls below it after about {layers:,.0f} layers (Newman)"


def _collapse(row: Row) -> Claim:
    statement = f"the hidden representation collapses to a rank one matrix in vanilla networks: {row.activation}"
    place = DANESHMAND.at("Fig. 2, §1.1")
    return published(statement, place, _rank(row), close_to(1.0, 0.5), reading=_reading(row), note=_noise(row))


def _survival(row: Row) -> Claim:
    root = math.sqrt(row.width)
    return published(
        f"BN stabilizes the rank above sqrt(d) = {root:.2f}: {row.activation}",
        DANESHMAND.at("Fig. 2, abstract"),
        _rank(row),
        at_least(root),
        reading=_reading(row),
        note=f"rank_{TAU:g} = {_rank(row, 'soft_rank')}, r = {_rank(row, 'r')}",
    )


def _drop(found: Found) -> Iterable[Claim]:
    networks: dict[bool, dict[str, Interval]] = {False: {}, True: {}}  # without BN, and with it
    for network, course in found.data.items():
        if _in_figure(network):
            layer = course.depths[course.nearest(QUICKLY)]
            rank = Interval.mean(course.over("numerical_rank", layer, layer))
            networks[network.normalization != "none"][network.title] = rank
    for with_bn, ranks in networks.items():
        if not ranks:
            continue
        largest = max(ranks.values(), key=lambda rank: rank.value)
        note = "; ".join(f"{title}: {rank}" for title, rank in ranks.items())
        if with_bn:
            statement = f"the rank of both BN networks, linear and ReLU, has halved by layer {layer:,}"
            place = DANESHMAND.at('another reading of "both" in Fig. 2')
            yield extension(statement, place, largest, at_most(WIDTH / 2), note=note)
        else:
            statement, place = "the rank quickly drops in depth for both networks", DANESHMAND.at("Fig. 2")
            yield published(statement, place, largest, at_most(math.sqrt(WIDTH)), note=note,
                            reading="both: linear and ReLU, without BN; the larger numerical rank is below sqrt(d), "
                            f"where BN keeps it above, by layer {layer:,}")  # fmt: skip


def _collapse_elsewhere(some: Mapping[Network, Row]) -> Iterable[Claim]:
    if some:
        network, row = max(some.items(), key=lambda pair: float(pair[1].numerical_rank))
        statement = "numerical rank of vanilla networks in float64, and at other widths"
        note = f"the largest of {len(some)}: {network.title}; {_noise(row)}"
        yield extension(statement, DANESHMAND.at("Fig. 2"), _rank(row), close_to(1.0, 0.5), note=note)


def _survival_elsewhere(name: str, some: Mapping[Network, Row]) -> Iterable[Claim]:
    ratios = {network.title: _rank(row, name, math.sqrt(network.width)) for network, row in some.items()}
    if ratios:
        least, most = (pick(ratios, key=lambda title: ratios[title].value) for pick in (min, max))
        yield extension(
            f"{HEADINGS[name]} / sqrt(d) with BN, linear and ReLU, with and without recentring, in either precision",
            "a constant that Theorem 2 leaves open",
            ratios[least],
            at_least(1.0),
            note=f"the smallest of {len(ratios)}: {least}; the largest: {ratios[most].value:.2f}, {most}",
        )


def _rounding(every: Mapping[Network, Row], found: Found) -> Iterable[Claim]:
    pairs = [network for network in every if network.weights == "gaussian"]
    for double, single in zip(pairs[::2], pairs[1::2], strict=True):
        early, first = [], []
        for network in (single, double):
            course = found.data[network]
            rank = course.values["numerical_rank"]
            lost = course.depths[(rank < network.width).any(axis=0)]
            early.append(f"{rank[:, course.nearest(100)].mean():.1f} in {network.dtype}")
            first.append(f"{next(iter(lost), '-')} in {network.dtype}")
        yield extension(
            f"numerical rank where the rank is d at every depth: {double.title}, gaussian W",
            "det H' = det(D) det(W) det(H)",
            _rank(every[double]),
            close_to(double.width, 0.5),
            note=f"what it shows is rounding. The same networks at layer 100: {', '.join(early)}; a run first shows "
            f"less than {double.width} at layer {', '.join(first)}; at the end float32 shows {_rank(every[single])}",
        )


def caption(found: Found) -> str:
    """Say what is shown."""
    first = found.settings.networks[0].width
    tolerances = {row.dtype: f"{row.tolerance:.1e} ({row.dtype})" for row in found.rows if row.width == first}
    return (
        "H' = BN(W F(H)), uniform W, batch N = d, gaussian input, no skip connection. Lines: mean of "
        f"{found.settings.chains} runs at a depth; bands, in float64: its 95 % interval (Student); the same weights "
        "for all curves. Numerical rank: singular values > max(d, N) eps sigma_max, that is "
        f"{', '.join(tolerances.values())} for d = {first}; rank_{TAU:g}: eigenvalues >= {TAU:g} of "
        "M = H Hᵀ / N, brought to Tr M = d; r = (Tr M)² / ||M||². Dotted: number of Lyapunov exponents (gaussian W) "
        "whose lag behind the first leaves sigma_k above the tolerance."
    )


EXPERIMENT = Experiment(
    name="rank-vs-depth",
    question="Does batch normalisation keep the rank that a vanilla network loses with depth?",
    sources=(DANESHMAND.at("Fig. 2"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="Means over the last decade of layers; ± half of the 95 % interval over runs (Student).",
    claims=claims,
    sheet=Sheet("Rank against depth, with and without batch normalisation", panels, columns=3, size=(13, 8),
                options={"sharex": True, "sharey": "row"}),
    caption=caption,
    more=lambda found: {"curves": [points(*pair) for pair in found.data.items()]},
)  # fmt: skip

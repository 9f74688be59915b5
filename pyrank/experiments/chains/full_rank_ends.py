"""Where the full rank of batches ends, with the width: what full-rank-batches asks beyond N = O(sqrt(d))."""

from __future__ import annotations

import math
from itertools import takewhile
from typing import TYPE_CHECKING

from pyrank import plotting, theory
from pyrank.estimate.intervals import Interval
from pyrank.experiments.claims import Claim, at_most, close_to, extension
from pyrank.experiments.declaration import Found
from pyrank.experiments.tables import Row
from pyrank.support.text import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LASTING = 0.95
"""Share of states of full rank from which it counts as lasting."""


def measured_end(width: int) -> float:
    """Return the N at which full rank ends; the 2 is experience, not derived."""
    return float(theory.full_rank_batch(width)) - 2


def ends(found: Found) -> list[tuple[Row, list[Row]]]:
    """Return the last row of full rank and those beyond, for each law and width that has both."""
    lines = []
    for some in found.rows_by("weights", "gamma", "width").values():
        full = list(takewhile(lambda row: row.full >= LASTING, some))
        if 0 < len(full) < len(some):
            lines.append((full[-1], some[len(full) :]))
    return lines


def end_claims(found: Found) -> list[Claim]:
    """Return where full rank ends, and what is there and beyond."""
    full = [end for end, _ in ends(found)]
    series = [row for row in full if (row.weights, row.gamma) == (full[0].weights, full[0].gamma)]
    first, last, theory_says = series[0], series[-1], "pyrank.theory.full_rank_batch"
    off = max(full, key=lambda row: abs(row.batch - measured_end(row.width)))
    soft = max(full, key=lambda row: float(row.soft / row.batch))
    beyond = max((rows for _, rows in ends(found)), key=lambda rows: abs(rows[-1].rank - rows[0].rank))
    low, high = beyond[0], beyond[-1]
    return [
        extension(
            "largest N of full rank, less 2 sqrt(d) - 2", f"{theory_says} for 2 sqrt(d); that 2 is measured",
            Interval.exact(off.batch - measured_end(off.width)), close_to(0.0, 1.0),
            note=f"farthest {place(off)}; {', '.join(str(row.batch) for row in series)} for d = "
            f"{span(row.width for row in series)}",
        ),
        extension(
            f"exponent of the largest N of full rank as a power of d, from d = {first.width} to {last.width}",
            "that of 2 sqrt(d) - 2, which tends to 1/2",
            Interval.exact(math.log(last.batch / first.batch, last.width / first.width)),
            close_to(math.log(measured_end(last.width) / measured_end(first.width), last.width / first.width), 0.05),
        ),
        extension(
            "rank at the largest N less that at the first N beyond full rank: it depends on d alone", theory_says,
            Interval.around(high.rank - low.rank, math.hypot(high.rank_half_width, low.rank_half_width)),
            close_to(0.0, 1.0), note=f"farthest {place(high)}, N = {low.batch} to {high.batch}",
        ),
        extension(
            "rank_0.5 / N at the largest N of full rank: it falls short of 1 earlier", theory_says,
            Interval.around(soft.soft / soft.batch, soft.soft_half_width / soft.batch), at_most(LASTING),
            note=f"largest {place(soft)}, N = {soft.batch}; to leading order it does from "
            f"{theory.full_rank_batch(soft.width, 0.5):.1f} on",
        ),
    ]  # fmt: skip


def draw_ends(axes: Axes, found: Found) -> None:
    """Draw the largest N of full rank against the width, for each law."""
    laws = Found(found.settings, None, [end for end, _ in ends(found)]).rows_by("weights", "gamma")
    widths = sorted({row.width for row in found.rows})
    for number, ((weights, gamma), some) in enumerate(laws.items()):
        at = [1.03 ** (number - (len(laws) - 1) / 2) * row.width for row in some]
        label = rf"{weights}, $\gamma$ = {plotting.symbol(gamma)}"
        plotting.points(axes, at, [row.batch for row in some], None, len(widths) + number, label)
    plotting.guide(axes, widths, [measured_end(width) for width in widths], r"$2 \sqrt{d} - 2$")
    axes.plot(widths, [math.sqrt(width) for width in widths], ":", color="black", label=r"$\sqrt{d}$")
    plotting.log_ticks(axes.xaxis, widths)
    plotting.log_ticks(axes.yaxis, (4, 6, 8, 12, 16, 24, 32))


def place(row: Row) -> str:
    """Say at which point of the grid a row was found."""
    return f"at d = {row.width}, gamma = {row.gamma:g}, {row.weights} weights"

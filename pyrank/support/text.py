"""Numbers with errors, ranges and aligned tables, as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def plus_minus(value: float, error: float) -> str:
    """Write ``value ± error`` with two significant digits of the error: ``7.0412 ± 0.0021``."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.4g} ± {error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def span(values: Iterable[float]) -> str:
    """Write the range of values: ``8 to 4,096``, or ``32`` if they are all equal."""
    distinct = sorted(set(values))
    return " to ".join(f"{value:,}" for value in dict.fromkeys((distinct[0], distinct[-1])))


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: to the right, but the last one to the left."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        [cell.rjust(width) for cell, width in zip(line[:-1], widths[:-1], strict=True)] + [line[-1]] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in aligned)

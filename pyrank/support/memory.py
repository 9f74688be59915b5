"""What would not fit is refused before it is allocated."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pyrank.support.errors import invalid

SMALLER_RECORD = "keep a shorter trace (trace=0: none), run fewer chains, or measure fewer numbers"
"""The remedy where it is the record of a run that does not fit."""


def require(needed: float, sizes: Mapping[str, int], remedy: str) -> None:
    """Raise ArgumentError if ``needed`` bytes, which follow from ``sizes``, are more than this machine has."""
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if needed > available:
        wanted = f"at most the {available / 2**30:.0f} GiB of this machine, not {needed / 2**30:.0f}"
        raise invalid("sizes", dict(sizes), wanted, remedy)

"""Claims on how often something happens."""

from __future__ import annotations

from collections.abc import Callable

from pyrank.estimate.intervals import share_interval
from pyrank.experiments.claims import Claim


def share_claim(
    statement: str,
    source: str,
    counted: tuple[int, int],
    verdict: Callable[[float, float, float], str],
    bound: float,
    note: str,
) -> Claim:
    """Judge a share of independent trials.

    Parameters
    ----------
    statement, source
        As in `Claim`.
    counted
        How often it happened, in how many trials.
    verdict
        `at_least` or `at_most`.
    bound
        The share that is asked for.
    note
        What was counted, and what else there is to say.

    Returns
    -------
    Claim
        Its error is the longer side of the exact 95 % interval, which the note gives and the verdict uses.

    Raises
    ------
    ArgumentError
        If there are no trials.
    """
    successes, trials = counted
    low, high = share_interval(successes, trials)
    share = successes / trials
    return Claim(
        statement=statement,
        source=source,
        value=share,
        error=max(high - share, share - low),
        verdict=verdict(low, high, bound),
        note=f"{successes:,} of {trials:,}, exact interval {low:.3f} to {high:.3f}; asked for: "
        f"{verdict.__name__.replace('_', ' ')} {bound:g}; {note}",
    )

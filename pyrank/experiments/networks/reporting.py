"""How trainings are told: as a table, in captions, and as claims, whose verdict may have to wait for longer ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pyrank.estimate.intervals import Interval
from pyrank.experiments.claims import Claim, Wanted, extension, published
from pyrank.experiments.networks.rates import Chosen, Settings, at_hand, over_seeds
from pyrank.experiments.networks.recipes import told
from pyrank.experiments.papers import Source
from pyrank.experiments.tables import Column
from pyrank.support.text import span

COLUMNS = (
    Column("network", "network"),
    Column("depth", "depth", lambda row: f"{row.depth}" if row.depth else "-"),
    Column("rate", "rate", "g", meaning="the learning rate chosen"),
    Column("losses", "loss by rate", meaning="training loss of the last epoch at each rate, mean over seeds"),
    Column("accuracy", "accuracy", error="accuracy_error", meaning="of training images, at the end"),
    Column("accuracy_error"),
    Column("test_accuracy", "test", error="test_accuracy_error", meaning="accuracy of test images, at the end"),
    Column("test_accuracy_error"),
    Column("diverged", "diverged", lambda row: f"{row.diverged} of {row.seeds}", meaning="seeds, at that rate"),
    Column("seeds"),
    Column("r_start", "r at start", error="r_start_error", meaning="1 / mean(1 / r) over the hidden layers"),
    Column("r_start_error"),
    Column("r_end", "r at end", error="r_end_error"),
    Column("r_end_error"),
    Column("rank_start", "rank at start", ".1f", meaning="numerical rank of the last hidden layer in float32: "
           "singular values above sigma_max d 1e-7"),
    Column("rank_end", "rank at end", ".1f"),
    Column("kind", "kind"),
)  # fmt: skip

NOTE = "Means over seeds, ± half of the 95 % interval (Student)."


def rows(settings: Settings, data: Sequence[Chosen]) -> Iterable[dict[str, Any]]:
    """Return a line for each trial."""
    for each in data:
        recipe, empty = each.trial.recipe, Interval.exact(math.nan)
        shown = {
            "accuracy": each.at("accuracy"),
            "test_accuracy": each.at("test_accuracy") if recipe.tests else empty,
            "r_start": over_seeds(each.r[:, 0]),
            "r_end": over_seeds(each.r[:, -1]),
        }
        yield {
            "network": recipe.network,
            "depth": recipe.depth,
            "rate": each.rate,
            "losses": " ".join(f"{rate:g}: {_told(loss)}" for rate, loss in each.losses.items()),
            **{name: interval.value for name, interval in shown.items()},
            **{f"{name}_error": interval.error for name, interval in shown.items()},
            "diverged": each.diverged,
            "seeds": len(each.trainings),
            "rank_start": float(each.values("rank")[:, 0].mean()),
            "rank_end": float(each.values("rank")[:, -1].mean()),
            "kind": each.trial.kind,
        }


def _told(loss: float) -> str:
    return f"{loss:.3g}" if math.isfinite(loss) else "diverged"


def by_rate(each: Chosen) -> str:
    """Say what training loss each learning rate of a trial leads to."""
    return f"training loss at {', '.join(f'{rate:g}: {_told(loss)}' for rate, loss in each.losses.items())}"


def trained_how(settings: Settings) -> str:
    """Say for a caption what the trainings have in common."""
    settings = at_hand(settings)
    recipes = [trial.recipe for trial in settings.trials]
    optimizers = " or ".join(dict.fromkeys(recipe.optimizer.upper() for recipe in recipes))
    samples, pixels, batches, epochs, steps = (
        span(getattr(recipe, name) for recipe in recipes) for name in ("samples", "pixels", "batch", "epochs", "steps")
    )
    return (
        f"{told(recipes[0].images)}, {samples} images, pixels up to {pixels.removesuffix('.0')}; {optimizers}, batches "
        f"of {batches}, {epochs} epochs ({steps} steps), {_rates(settings)}. Means of {settings.seeds} seeds with 95 % "
        "intervals (Student). Accuracy: whole batches with their own statistics."
    )


def _rates(settings: Settings) -> str:
    """Say at which learning rates the networks are trained, and how one is chosen."""
    grids = {trial.rates for trial in settings.trials}
    listed = ", ".join(f"{rate:g}" for rate in sorted(set().union(*grids)))
    if all(len(grid) == 1 for grid in grids):
        return f"at {listed}" + ": as in the script" * settings.script
    fewer = " (some networks have fewer, see the table)" * (len(grids) > 1)
    return f"at the best of {listed}{fewer}: by the training loss of the last epoch, mean over seeds"


def judged(
    settings: Settings, statement: str, source: Source, measured: Interval, wanted: Wanted, *, reading: str,
    more: str = "", note: str = "",
) -> Claim:  # fmt: skip
    """Return a published claim; what was measured as the script has it, not the text, is told as an extension.

    ``more`` says what longer training, or a larger network, could still do to the number where the settings are not
    those of the paper: ``"raise"``, ``"lower"`` or ``"both"``. Such a claim is undecided if that could turn it over.
    """
    if settings.script:
        note = "; ".join(filter(None, (f"read as: {reading}", note)))
        return beyond(settings, statement, source, measured, wanted, note=note)
    note = "; ".join(filter(None, (note, _place(settings))))
    claim = published(statement, source, measured, wanted, reading=reading, note=note)
    if settings.complete or not more:
        return claim
    low = -math.inf if more in ("lower", "both") else measured.low
    high = math.inf if more in ("raise", "both") else measured.high
    if wanted.verdict(Interval(measured.value, low, high)) == claim.verdict:
        return claim
    steps = span(trial.recipe.steps for trial in settings.trials)
    return replace(claim, verdict="undecided", note="; ".join(filter(None, (note, f"open after {steps} steps"))))


def beyond(
    settings: Settings, statement: str, source: Source, measured: Interval, wanted: Wanted, *, note: str = ""
) -> Claim:
    """Return an extension, which says where the images are not those of the paper."""
    return extension(statement, source, measured, wanted, note="; ".join(filter(None, (note, _place(settings)))))


def _place(settings: Settings) -> str:
    """Name the images where they are not those of the paper."""
    images = at_hand(settings).trials[0].recipe.images
    return f"on {told(images)}" if images.startswith("fashion-mnist ") else ""

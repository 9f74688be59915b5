"""How long a pre-training and an epoch take: measured, so not the same twice, and kept apart from all that is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrank import networks
from pyrank.experiments.declaration import Found, Table
from pyrank.experiments.networks.recipes import Recipe, built, pictures
from pyrank.experiments.tables import Column
from pyrank.support.ambient import one_thread

TIMED = 8
"""Steps that are timed."""


def seconds_of(recipes: Sequence[Recipe]) -> NDArray[np.float64]:
    """Return the seconds of the pre-training of each recipe, and of an epoch, (recipes, 2): measured on one thread."""
    found = []
    with one_thread():
        for recipe in recipes:
            began = time.perf_counter()
            built(replace(recipe, raising=None), 0)
            between = time.perf_counter()
            model = built(recipe, 0)
            raising = time.perf_counter() - between - (between - began)
            x, y = pictures(recipe, samples=TIMED * recipe.batch)
            began = time.perf_counter()
            networks.train(model, (x, y), epochs=1, batch=recipe.batch, learning_rate=0.0)
            epoch = (time.perf_counter() - began) / TIMED * (recipe.samples // recipe.batch)
            found.append((max(0.0, raising) if recipe.raising else 0.0, epoch))
    return np.array(found)


def _seconds(found: Found) -> Iterable[Mapping[str, Any]]:
    """Return seconds for each network."""
    for each, (raising, epoch) in zip(found.data.trainings, found.data.seconds.tolist(), strict=True):
        yield {"depth": each.trial.recipe.depth, "raising": raising, "epoch": epoch, "ratio": raising / epoch,
               "kind": each.trial.kind}  # fmt: skip


SECONDS = Table(
    "timing",
    "Seconds, measured once, on one thread:",
    (
        Column("depth", "depth"),
        Column("raising", "pre-training", ".3g"),
        Column("epoch", "epoch", ".3g", meaning="of training, its evaluation included"),
        Column("ratio", "epochs", ".3g", meaning="that take as long as the pre-training"),
        Column("kind", "kind"),
    ),
    _seconds,
)

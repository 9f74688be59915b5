"""How specs are told to the compiled extension: laws, activations and measures by their places in its lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrank.specs.chain import ACTIVATIONS, Chain
from pyrank.specs.measures import KERNEL_MEASURES, Measure
from pyrank.specs.weights import WEIGHT_LAWS


def params(module: Any, chain: Chain, seed: int) -> Any:
    """Return a chain as ``module``, the extension, has it."""
    skip = np.isfinite(chain.gamma)
    norm = chain.normalization
    cycle = range(len(chain.widths))
    fans = [(chain.width_at(layer + 1), chain.width_at(layer)) for layer in cycle]
    law = chain.weights
    return module.Chain(
        width=chain.width,
        batch=chain.batch,
        gamma=chain.gamma if skip else 0.0,
        skip=bool(skip),
        law=WEIGHT_LAWS.index(law.law),
        weights=[(out, into, law.average(into, out), law.standard_deviation(into, out)) for out, into in fans],
        activation=ACTIVATIONS.index(chain.activation),
        over_features=norm.over == "features",
        recentre=norm.recentre,
        rescale=norm.rescale,
        whiten=norm.whiten,
        order=0 if np.isinf(norm.order) else int(norm.order),
        eps=norm.eps,
        alpha=norm.alpha,
        beta=norm.beta,
        seed=seed,
    )


def measures_of(measures: tuple[Measure, ...]) -> list[tuple[int, float]]:
    """Return each measure as its place in the compiled list and its threshold."""
    return [(KERNEL_MEASURES.index(measure.name), measure.argument or 0.0) for measure in measures]

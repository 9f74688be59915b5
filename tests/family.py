"""Random members of the whole family: any chain, any way to run it. `draw` takes whatever chooses as `random` does."""

import math
from dataclasses import dataclass

import numpy as np

from pyrank.specs.chain import ACTIVATIONS, Chain
from pyrank.specs.measures import SCALAR_MEASURES, Measure, parse_measures
from pyrank.specs.normalization import Normalization
from pyrank.specs.plan import POINTS
from pyrank.specs.weights import SCALES, WEIGHT_LAWS, Weights

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33)
LARGE = (40, 63, 64, 65, 100, 127, 128, 129, 150)
"""Around the sizes of vectors, panels and teams."""


@dataclass(frozen=True)
class Case:
    """A chain, and how it is run."""

    chain: Chain
    chains: int
    seed: int
    layer: int
    measures: tuple[Measure, ...]
    observe: str
    burn_in: int
    every: int
    trace: int
    isa: str
    layout: str
    threads: int

    def state(self):
        """Return gaussian states (chains, d, N); rows that the first of the layers does not have are zero."""
        shape = (self.chains, self.chain.width, self.chain.batch)
        state = np.random.default_rng(self.seed).standard_normal(shape).astype(self.chain.dtype)
        state[:, self.chain.width_at(self.layer) :] = 0
        return state


def _normalization(rng):
    kind = rng.choice(("rescale", "rescale", "rescale", "plain", "whiten"))
    recentre = rng.choice((False, True))
    if kind == "plain":
        return Normalization(recentre, rescale=False)
    eps = rng.choice((0.0, 0.0, 0.1))
    if kind == "whiten":
        return Normalization(recentre, rescale=False, whiten=True, eps=eps)
    return Normalization(
        recentre,
        order=rng.choice((1, 2, 3, math.inf)),
        over=rng.choice(("batch", "features")),
        eps=eps,
        alpha=rng.choice((0.0, 0.0, 0.5)),
        beta=rng.choice((1.0, 1.0, -0.7)),
    )


def _chain(rng, sizes):
    widths = [rng.choice(sizes) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    law = rng.choice(WEIGHT_LAWS)
    return Chain(
        widths,
        rng.choice([size for size in sizes if law != "gram" or size <= min(widths)]),
        gamma=math.inf if len(widths) > 1 else rng.choice((math.inf, math.inf, 1.0, 0.3, 0.05)),
        weights=Weights(
            law,
            mean=0.0 if law in ("orthogonal", "gram") else rng.choice((0.0, 0.0, 0.25)),
            scale=rng.choice((1.0, 0.5, *SCALES)),
        ),
        activation=rng.choice(ACTIVATIONS),
        normalization=_normalization(rng),
        dtype=rng.choice(("float32", "float64")),
    )


def draw(rng, isas, sizes=SIZES):
    """Return a random case for one of these instruction sets."""
    thresholds = [f"soft_rank({tau})" for tau in (0.1, 0.5, 1.0, 2.0)] + ["rank_bound_margin(0.5)"]
    wanted = [name for name in (*SCALAR_MEASURES, *thresholds) if rng.choice((False, True))]
    return Case(
        chain=_chain(rng, sizes),
        chains=rng.choice((1, 2, 3, 5, 8, 9, 17, 40)),
        seed=rng.randrange(2**64),
        layer=rng.choice((0, 5, 2**31)),
        measures=parse_measures(wanted),
        observe=rng.choice(POINTS),
        burn_in=rng.choice((0, 1)),
        every=rng.choice((1, 2)),
        trace=rng.choice((0, 2, 8)),
        isa=rng.choice(isas),
        layout=rng.choice(("auto", "lanes", "rows")),
        threads=rng.choice((1, 2, 3)),
    )

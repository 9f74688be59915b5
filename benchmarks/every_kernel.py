"""A small run of every kernel for GPUs, for the programs that watch each access to memory."""

from __future__ import annotations

import numpy as np
import torch

import pyrank
from pyrank import native
from pyrank.measures import parse_measures

WIDTHS = ((8, 8), (17, 30), (64, 64), (130, 128), (40, 200), (40, 300))
"""Widths and batches: for float32 each has a kernel of its own."""

LAWS = ("gaussian", "uniform", "rademacher")
MEASURES = ("participation_ratio", "soft_rank(0.5)")


def main() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        for number, (width, batch) in enumerate(WIDTHS):
            law = LAWS[number % len(LAWS)]
            chain = pyrank.Chain(width, batch, gamma=0.5, activation="relu", normalization="batch", dtype=dtype,
                                 weights=law)  # fmt: skip
            pyrank.simulate(chain, 3, chains=3, measures=MEASURES, trace=4, device="cuda:0", progress=False)
            states = torch.tensor(rng.standard_normal((2, width, batch)), dtype=getattr(torch, dtype))
            native.measure(states, parse_measures(MEASURES), gpus=(0,))
            native.draw_weights(chain, 1, 0, gpus=(0,))
    print("every kernel ran")


if __name__ == "__main__":
    main()

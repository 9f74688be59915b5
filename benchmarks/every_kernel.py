"""A small run of every kernel for GPUs, for the programs that watch each access to memory."""

from __future__ import annotations

import os

import numpy as np
import torch

import pyrank
from pyrank.engine import native
from pyrank.specs.measures import parse_measures

SHAPES = ((8, 8), (17, 30), (64, 64), (130, 100), (40, 200), (40, 300))
"""Widths and batches: kernels for at most 16, 32, 64, 128 and 256 samples on the tensor cores, then the plain one."""

LAWS = ("quick", "gaussian", "uniform")
"""Of weights; gaussian ones are quick, or those of the CPU."""

SIGNS = (17, 30, "rademacher")
"""Sums of which may cancel: there is a kernel for chains that rescale them."""

MEASURES = ("participation_ratio", "soft_rank(0.5)")


def main() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        for width, batch, law in (*((*shape, law) for shape in SHAPES for law in LAWS), SIGNS):
            os.environ["PYRANK_CUDA_KERNEL"] = "tensor" if law == "gaussian" else "quick"
            chain = pyrank.Chain(width, batch, gamma=0.5, activation="relu", normalization="batch", dtype=dtype,
                                 weights="gaussian" if law == "quick" else law)  # fmt: skip
            pyrank.simulate(chain, 3, chains=3, measures=MEASURES, trace=4, device="cuda:0", progress=False)
            states = torch.tensor(rng.standard_normal((2, width, batch)), dtype=getattr(torch, dtype))
            native.measure(states, parse_measures(MEASURES), gpus=(0,))
            native.draw_weights(chain, 1, 0, gpus=(0,))
    print("every kernel ran")


if __name__ == "__main__":
    main()

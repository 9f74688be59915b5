"""What is timed: one table of cases."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

WIDTHS = (8, 16, 32, 64, 128, 256, 512)
TAU = 0.5


@dataclass(frozen=True)
class Case:
    """One job: chains with gaussian weights, gamma = inf, rows rescaled to p = 2, measured at every layer or never.

    ``measures`` is "none", "r" (participation ratio), or "rank" (participation ratio and soft rank at tau = 0.5).
    ``device`` is "cpu", which means one core of it, or "cuda", which means one GPU.
    """

    width: int
    batch: int
    measures: str = "rank"
    activation: str = "linear"
    chains: int = 16
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.measures not in ("none", "r", "rank"):
            raise ValueError(f"measures = {self.measures!r}: expected none, r or rank")

    def __str__(self) -> str:
        job = f"{self.width}x{self.batch}-{self.activation}-{self.measures}-{self.chains}-{self.dtype}"
        return job if self.device == "cpu" else f"{job}-{self.device}"

    @property
    def pyrank_measures(self) -> tuple[str, ...]:
        """What is recorded, as pyrank names it."""
        every = ("participation_ratio", f"soft_rank({TAU})")
        return {"none": (), "r": every[:1], "rank": every}[self.measures]

    @property
    def least_layers(self) -> int:
        """Layers of a timed run, so that what is done once a run (states, statistics) does not count as layers.

        On a GPU, where nobody knows how long a layer takes, `Contender.patience` sees to that.
        """
        return max(1, min(64, 16384 // self.width)) if self.device == "cpu" else 1

    @property
    def gram(self) -> tuple[int, int]:
        """Side of the smaller Gram matrix, and the length of the sums in it."""
        return min(self.width, self.batch), max(self.width, self.batch)

    @property
    def weights(self) -> int:
        """Random numbers that one layer of one chain draws."""
        return self.width**2

    @property
    def flops(self) -> float:
        """Least work of one layer: the product, half of the symmetric Gram matrix, and one LDL^T for the count."""
        side, inner = self.gram
        flops = 2.0 * self.width**2 * self.batch
        if self.measures != "none":
            flops += side * (side + 1) * inner
        if self.measures == "rank":
            flops += side**3 / 3
        return flops

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def square(width: int, measures: str = "rank") -> Case:
    """As many samples as features, and many chains; from width 512 on fewer, because the peers take seconds a layer."""
    return Case(width, width, measures, chains=16 if width < 512 else 4)


CORE = tuple(square(d, measures) for measures in ("rank", "none") for d in WIDTHS)

EXTENDED = (
    *(square(1024, measures) for measures in ("rank", "none")),
    *(square(d, "r") for d in (8, 32, 128)),
    *(replace(square(d, measures), batch=n)
      for d in (8, 32, 128, 512) for n in (d // 4, 4 * d) for measures in ("rank", "none")),
    *(replace(square(64, measures), activation=name) for name in ("relu", "tanh") for measures in ("rank", "none")),
    *(replace(square(d, measures), chains=1) for d in (8, 16, 32, 64, 256) for measures in ("rank", "none")),
    *(replace(square(d, measures), dtype="float64") for d in (8, 32, 128) for measures in ("rank", "none")),
)  # fmt: skip

QUICK = tuple(case for case in CORE if case.width in (8, 32, 128))

SELECTIONS = {"core": CORE, "quick": QUICK, "all": CORE + EXTENDED}

GPU_CHAINS = {16: 4224, 32: 3168, 64: 792, 128: 264, 8: 4224, 256: 132, 512: 132, 1024: 132}
"""Chains by width, few enough that states and records are soon copied, and as many as an H200 advances in whole waves.

Each of its 132 multiprocessors holds 16 of the blocks at a time up to width 16, 6 at 32, 3 at 64 and 1 beyond, as
registers allow. The widths are in the order of their worth, in which they are measured until the time is up.
"""

ON_GPU = tuple(Case(d, d, m, chains=n, device="cuda") for d, n in GPU_CHAINS.items() for m in ("none", "rank"))
GPU_SELECTIONS = {"core": ON_GPU, "quick": tuple(case for case in ON_GPU if case.width in (8, 32)), "all": ON_GPU}


def select(wanted: str, device: str = "cpu") -> tuple[Case, ...]:
    """Return a selection by its name, or the cases whose name contains the text."""
    selections = SELECTIONS if device == "cpu" else GPU_SELECTIONS
    if wanted in selections:
        return selections[wanted]
    found = tuple(case for case in selections["all"] if wanted in str(case))
    if not found:
        names = ", ".join(map(str, selections["all"]))
        raise SystemExit(f"--select {wanted}: expected {', '.join(selections)}, or a part of one of {names}")
    return found

"""What one GPU can do at most, measured: the twin of `roofline.py` for a device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from contenders import PATIENCE
from roofline import Roofline, rate

import pyrank

SIDE = 8192
COPIED = 2**30
DRAWN = 2**27
CHAINS = 2112
WIDTHS, BATCH = (16, 64, 256), 8


@dataclass(frozen=True)
class Ceiling:
    """A rate per second, of what, and how it was reached."""

    per_second: float
    unit: str
    how: str

    def to_dict(self) -> dict[str, float | str]:
        """Return plain values for JSON."""
        return asdict(self)


def measure(seconds: float, device: str = "cuda") -> dict[str, Ceiling]:
    """Measure all ceilings of a device, each as the best of several repetitions.

    Normals: chains with few samples, as many as a product has columns, whose layer hardly does more than draw; and a
    fill by torch, which writes them to memory. Products: of large square matrices with random entries, since zeros take
    less power and run faster.
    """
    found = {"normals, filled by torch": _fill(seconds, device)}
    for name, precision, dtype in (
        ("fp32 products", "highest", torch.float32),
        ("tf32 products", "high", torch.float32),
        ("bf16 products", "highest", torch.bfloat16),
    ):
        torch.set_float32_matmul_precision(precision)
        found[name] = _product(dtype, seconds, device)
        torch.set_float32_matmul_precision("highest")
    found["copy"] = _copy(seconds, device)
    try:
        drawn = [_normals(d, BATCH, PATIENCE * seconds, device) for d in WIDTHS]
        found["normals, drawn by chains"] = max(drawn, key=lambda ceiling: ceiling.per_second)
    except RuntimeError as error:  # the other kernels may be better
        print(f"normals, drawn by chains: {error}", file=sys.stderr, flush=True)
    return found


def limit(ceilings: dict[str, Ceiling]) -> Roofline:
    """Return the machine's limit: fastest generation, and fastest product with the accuracy of fp32.

    Three products in tf32 give that accuracy.
    """
    normals = [name for name in ceilings if name.startswith("normals")]
    weights = max(normals, key=lambda name: ceilings[name].per_second)
    fp32, tf32 = ceilings["fp32 products"].per_second, ceilings["tf32 products"].per_second / 3
    how = "fp32" if fp32 > tf32 else "tf32 in three terms"
    drawn = ceilings[weights]
    return Roofline(drawn.per_second, f"{weights}: {drawn.how}", max(fp32, tf32), f"{how}, {SIDE} x {SIDE}")


def _normals(width: int, batch: int, seconds: float, device: str) -> Ceiling:
    chain = pyrank.Chain(width, batch)
    place = {"device": "cuda:0"} if device != "cpu" else {"threads": 1}

    def run(layers: int) -> None:
        pyrank.simulate(chain, layers, chains=CHAINS, measures=[], initial="identity", progress=False, trace=0, **place)

    return Ceiling(rate(run, CHAINS * width**2, seconds, repeats=3), "1/s", f"chains with d = {width}, N = {batch}")


def _fill(seconds: float, device: str) -> Ceiling:
    numbers = torch.empty(DRAWN, device=device)
    return Ceiling(rate(_times(numbers.normal_, device), DRAWN, seconds), "1/s", f"{DRAWN} numbers")


def _product(dtype: torch.dtype, seconds: float, device: str) -> Ceiling:
    A, B = torch.randn(2, SIDE, SIDE, device=device).to(dtype)
    out = torch.empty_like(A)
    run = _times(lambda: torch.mm(A, B, out=out), device)
    return Ceiling(rate(run, 2 * SIDE**3, seconds), "FLOP/s", f"{SIDE} x {SIDE}")


def _copy(seconds: float, device: str) -> Ceiling:
    here = torch.randn(COPIED // 4, device=device)
    there = torch.empty_like(here)
    run = _times(lambda: there.copy_(here), device)
    return Ceiling(rate(run, 2 * COPIED, seconds), "B/s", f"{COPIED >> 20} MiB, bytes read and written")


def _times(work: Callable[[], object], device: str) -> Callable[[int], None]:
    """Return a function that does some work a number of times and waits for the end."""

    def run(times: int) -> None:
        for _ in range(times):
            work()
        if device != "cpu":
            torch.cuda.synchronize()

    return run

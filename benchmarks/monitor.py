"""What it costs to watch a network: the 32-layer MLP of width 128, batch 128, forward and backward.

`python benchmarks/monitor.py --rounds 30`

One run, interleaved: steps without a monitor, with r and soft_rank(0.5) of all 32 activations at every step, the same
every 20 steps, the same two numbers by torch.linalg.eigvalsh from a hook, and delve, where it is there
(`pip install --no-deps delve tqdm`; it also wants pandas and matplotlib). delve looks at the outputs of linear layers,
not at activations, and gives one number, the saturation: how many directions hold 99 % of the variance, by a product
and an eigendecomposition in double precision. Shares are of the plain step, by paired rounds, with intervals of 95 %.

Before anything is timed all must have given the same numbers: eigvalsh but for layers where it gives NaN, which in
single precision happens on finite matrices (torch 2.13, one layer of 32 here); delve to one direction, because it does
not count the one with which 99 % are reached unless more than 2 % are missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from timing import Band
from torch import Tensor, nn

from pyrank.networks import RankMonitor

DEPTH, WIDTH, BATCH, SPARSE = 32, 128, 128, 20
MEASURES = ["participation_ratio", "soft_rank(0.5)"]


class ByEigenvalues:
    """What people write: a hook that asks torch.linalg.eigvalsh for the spectrum of the smaller Gram matrix."""

    def __init__(self, model: nn.Module) -> None:
        self.values: list[tuple[float, int]] = []
        self.handles = [m.register_forward_hook(self.see) for m in model.modules() if isinstance(m, nn.ReLU)]

    def see(self, module: nn.Module, given: object, output: Tensor) -> None:
        """Measure what a layer returned."""
        H = output.detach()
        eigenvalues = torch.linalg.eigvalsh(H.T @ H / len(H))
        ratio = eigenvalues.sum() ** 2 / eigenvalues.square().sum()
        self.values.append((ratio.item(), int((eigenvalues >= 0.5).sum())))

    def stop(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()


class ByDelve:
    """Saturation of the outputs of all hidden linear layers, for a network that delve keeps: it leaves its hooks."""

    def __init__(self, model: nn.Module, folder: str) -> None:
        import delve.writers

        class Kept(delve.writers.AbstractWriter):  # type: ignore[misc]
            def __init__(self) -> None:
                self.values: dict[str, Any] = {}

            def add_scalars(self, prefix: str, value_dict: dict[str, Any], sample_value_dict: object = None) -> None:
                self.values |= value_dict

            def add_scalar(self, name: str, value: float, **_: object) -> None: ...
            def add_sample_scalars(self, *_: object, **__: object) -> None: ...
            def save(self) -> None: ...
            def close(self) -> None: ...
            def resume_from_saved_state(self, initial_epoch: int) -> None: ...

        self.writer = Kept()
        self.tracker = delve.SaturationTracker(folder, self.writer, model, stats=["lsat"], device="cpu")

    def read(self) -> list[float]:
        """Return the saturation of the last step, layer by layer."""
        self.tracker.add_saturations()
        return list(self.writer.values.values())


def network() -> nn.Sequential:
    """Return the MLP with He weights, so that activations neither vanish nor grow."""
    widths = [784, *[WIDTH] * DEPTH]
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(widths):
        layers += [nn.Linear(into, out), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def check(model: nn.Module, x: Tensor) -> None:
    """Raise if the two ways disagree."""
    other = ByEigenvalues(model)
    with RankMonitor(model, MEASURES, layers=nn.ReLU) as monitor:
        model(x)
    other.stop()
    ours = np.array(list(monitor.scalars().values())).reshape(DEPTH, 2)
    theirs = np.array(other.values)
    finite = np.isfinite(theirs).all(axis=1)
    if finite.sum() < DEPTH - 2 or not np.allclose(ours[finite], theirs[finite], rtol=1e-4):
        raise SystemExit("the monitor and eigvalsh disagree: nothing is timed")


def check_delve(delve: ByDelve, watched: nn.Module, x: Tensor) -> None:
    """Raise if delve's saturation is not our explained rank: up to one direction."""
    with RankMonitor(watched, "explained_rank(0.99)", layers=nn.Linear, centre=True) as monitor:
        watched(x)
    ours = np.array(list(monitor.scalars().values()))[:DEPTH]
    theirs = WIDTH * np.array(delve.read())[:DEPTH]
    if not (np.abs(ours - theirs) <= 1).all():
        raise SystemExit("the monitor and delve disagree: nothing is timed")


def measure(rounds: int, threads: int) -> dict[str, list[float]]:
    """Return the seconds of a step, round by round: plain, watched, watched every 20 steps, by eigvalsh."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model, x, y = network(), torch.rand(BATCH, 784), torch.randint(0, 10, (BATCH,))
    check(model, x)

    def steps(count: int, model: nn.Module = model, after: Callable[[], object] = lambda: None) -> float:
        began = time.perf_counter()
        for _ in range(count):
            model.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            after()
        return (time.perf_counter() - began) / count

    def watched(every: int) -> float:
        with RankMonitor(model, MEASURES, every, layers=nn.ReLU):
            return steps(SPARSE)

    def by_eigenvalues() -> float:
        hooks = ByEigenvalues(model)
        try:
            return steps(SPARSE // 4)
        finally:
            hooks.stop()

    ways: dict[str, Callable[[], float]] = {
        "plain": lambda: steps(SPARSE),
        "every step": lambda: watched(1),
        f"every {SPARSE}": lambda: watched(SPARSE),
        "eigvalsh": by_eigenvalues,
    }
    if importlib.util.find_spec("delve"):
        twin = deepcopy(model)
        delve = ByDelve(twin, tempfile.mkdtemp())
        check_delve(delve, twin, x)
        ways["delve"] = lambda: steps(SPARSE // 4, twin, delve.read)
    steps(5)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        for name in names:
            times[name].append(ways[name]())
    return times


def markdown(times: dict[str, list[float]]) -> str:
    """Return the table: the step, and what each way adds to it."""
    plain = np.array(times["plain"])
    lines = ["| step | ms | added to a step | 95 % |", "|---|---|---|---|"]
    for name, seconds in times.items():
        added = Band.of((np.array(seconds) / plain - 1.0).tolist())
        median = 1e3 * float(np.median(seconds))
        lines.append(f"| {name} | {median:.2f} | {added.median:.1%} | {added.low:.1%} to {added.high:.1%} |")
    for name in ("eigvalsh", "delve"):
        if name not in times:
            lines += ["", f"{name}: missing, not installed"]
            continue
        cost = Band.of(((np.array(times[name]) - plain) / (np.array(times["every step"]) - plain)).tolist())
        lines += ["", f"{name} costs {cost.median:.1f} times as much ({cost.low:.1f} to {cost.high:.1f})"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    print(markdown(measure(options.rounds, options.threads)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

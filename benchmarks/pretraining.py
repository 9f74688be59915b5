"""How far the defaults of `networks.increase_rank` reach: depth, width, weights, schedule, perceptrons and VGG19.

`python benchmarks/pretraining.py --seeds 3`, with Fashion-MNIST where `pyrank.data` finds it; `--only last` takes less

A fraction of the grid, one level of each factor against every level of each other one (Taguchi's L9): depth 8, 32, 64,
width 32, 128, 512 and torch's, He's and Xavier's weights; `schedule="last"` at 10, 16 and 20 layers of width 128; VGG19
at an eighth of its width. A row is printed when its last seed is done: r of the last hidden layer before and after, the
norm of the gradient at the weights of the first layer before and after, seconds, and the training loss of the last 20
steps of one epoch of 9,984 images by SGD, at the better of the rates, with and without pre-training. Numbers are
medians over seeds, with their range where it says "to".
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from pyrank import data, networks

IMAGES, BATCH, RATES = 9984, 128, (0.1, 0.01)


@dataclass(frozen=True)
class Row:
    """One setting."""

    depth: int
    width: int
    weights: str
    schedule: str = "layerwise"
    convolutional: bool = False

    def __str__(self) -> str:
        name = "VGG19 / 8" if self.convolutional else f"{self.depth} x {self.width}"
        return f"{name} | {self.weights} | {self.schedule}"

    def network(self, seed: int) -> nn.Sequential:
        """Return the network without normalisation."""
        if self.convolutional:
            return networks.vgg19(1, 10, width_factor=1 / 8, normalization="none", weights=self.weights, seed=seed)
        return networks.mlp(self.depth, self.width, 784, 10, normalization="none", weights=self.weights, seed=seed)


ROWS = (
    Row(8, 32, "torch"), Row(8, 128, "he"), Row(32, 32, "he"), Row(32, 128, "xavier"), Row(8, 512, "xavier"),
    Row(64, 32, "xavier"), Row(64, 128, "torch"), Row(32, 512, "torch"), Row(64, 512, "he"),
    *[Row(depth, 128, weights, "last") for depth in (10, 16, 20) for weights in ("torch", "xavier")],
    Row(16, 64, "he", convolutional=True),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one seed gave."""

    rank: tuple[float, float]
    gradient: tuple[float, float]
    seconds: float
    loss: tuple[float, float]


def trained(row: Row, seed: int, x: Tensor, y: Tensor, start: dict[str, Tensor]) -> float:
    """Return the loss at the end of an epoch, at the better of the rates; NaN if all diverge."""
    losses = []
    for rate in RATES:
        model = row.network(seed)
        model.load_state_dict(start)
        history = networks.train(model, (x, y), epochs=1, batch=BATCH, learning_rate=rate, seed=seed)
        losses.append(float(history.loss[-20:].mean()))
    return min((loss for loss in losses if loss == loss), default=float("nan"))


def outcome(row: Row, seed: int, x: Tensor, y: Tensor, train: bool) -> Outcome:
    """Pre-train one network, and train it and its untouched twin."""
    model = row.network(seed)
    images = x if row.convolutional else x.flatten(1)
    untouched = {name: value.clone() for name, value in model.state_dict().items()}
    began = time.perf_counter()
    report = networks.increase_rank(model, images, schedule=row.schedule, seed=seed)
    seconds = time.perf_counter() - began
    starts = (untouched, model.state_dict()) if train else ()
    losses = [trained(row, seed, images, y, start) for start in starts] or [float("nan")] * 2
    return Outcome(
        (report.before[-1], report.after[-1]),
        (report.gradient_before[0], report.gradient_after[0]),
        seconds,
        (losses[0], losses[1]),
    )


def entry(values: Sequence[float]) -> str:
    """Return the median, and the range where it is wider than a digit."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return f"{median(values):.3g}" + (f" ({low} to {high})" if low != high else "")


def line(row: Row, outcomes: Sequence[Outcome]) -> str:
    """Return a row of the table."""
    columns = [[o.rank[0] for o in outcomes], [o.rank[1] for o in outcomes]]
    columns += [[o.gradient[0] for o in outcomes], [o.gradient[1] for o in outcomes]]
    columns += [[o.seconds for o in outcomes], [o.loss[0] for o in outcomes], [o.loss[1] for o in outcomes]]
    return f"| {row} | " + " | ".join(map(entry, columns)) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="rows that contain this, such as 'last', 'VGG19' or '64 x'")
    parser.add_argument("--untrained", action="store_true", help="pre-train, and leave out what trains afterwards")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    x, y = data.load("fashion-mnist", samples=IMAGES, seed=0)
    print("| network | weights | schedule | r before | after | gradient before | after | s | loss untouched | after |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for row in ROWS:
        if options.only in str(row):
            outcomes = [outcome(row, seed, x, y, not options.untrained) for seed in range(options.seeds)]
            print(line(row, outcomes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

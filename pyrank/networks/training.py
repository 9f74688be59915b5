"""Training by minibatches in plain torch, with what a study of it needs written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pyrank.networks.evaluation import STATISTICS, accuracy, as_pair
from pyrank.networks.kept import kept
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_choice, as_integer, as_number, invalid

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
Optimizer = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]
Evaluation = Callable[[], Mapping[str, Any]]


class Monitor(Protocol):
    """What `train` asks of a monitor."""

    every: int
    batches: int

    def start(self) -> object:
        """Watch the model."""

    def stop(self) -> object:
        """Look away, for the while of an evaluation."""

    def scalars(self) -> dict[str, float]:
        """Return what was measured in the last step."""


@dataclass(frozen=True)
class History:
    """What happened in a training.

    Attributes
    ----------
    loss
        (steps,): of each minibatch, before its step; NaN where a diverged training never came.
    accuracy, test_accuracy
        (epochs,): shares of the training and of the test data after each epoch; the latter is empty without test data.
    measures
        By name, (steps,): what a monitor measured, NaN in steps that it left out.
    evaluations
        By name, (epochs + 1, ...): what ``evaluate`` returned before the first step and after each epoch, NaN where a
        diverged training never came.
    steps
        How many steps were taken.
    diverged
        Whether the loss, or an output, stopped being finite, which ended the training.
    """

    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    evaluations: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    steps: int = 0
    diverged: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return numbers and arrays by name, as a task of a study does; what was measured keeps its names."""
        own = ("loss", "accuracy", "test_accuracy", "steps", "diverged")
        return {**{name: getattr(self, name) for name in own}, **self.measures, **self.evaluations}

    def __repr__(self) -> str:
        loss = self.loss[self.steps - 1] if self.steps else math.nan
        end = ", diverged" if self.diverged else ""
        return f"History({self.steps} steps, loss {loss:.4g}, accuracy {self.accuracy[-1]:.3f}{end})"


@unmoved
def train(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch: int = 128,
    learning_rate: float,
    optimizer: str | Optimizer = "sgd",
    seed: int = 0,
    monitor: Monitor | None = None,
    evaluate: Evaluation | None = None,
    test: tuple[Tensor, Tensor] | None = None,
    statistics: str = "batch",
    shuffle: bool = True,
    drop_last: bool = True,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
) -> History:
    """Train a classifier, in place.

    Parameters
    ----------
    model
        Takes x to scores (B, classes). It is left in train mode.
    data, test
        x (n, ...), as the model takes it, and y (n,).
    epochs, batch
        How often each sample is seen, and how many at a time.
    learning_rate
        The step, constant.
    optimizer
        ``"sgd"`` (no momentum), ``"adam"``, or a function of parameters and learning rate that returns one of torch's.
    seed
        Of the order of samples, and of what is random in the model. Torch's own generator is left where it was. Given
        the weights, the seed fixes the result up to the order in which torch adds on other numbers of threads.
    monitor
        A rank monitor of this model, or what has its methods: it is started for the steps, stopped for evaluations and
        at the end.
    evaluate
        Called before the first step and after each epoch; the numbers, or arrays of one shape, that it returns by name
        are kept. What it does to modes, buffers, gradients and the random state is put back.
    statistics
        What normalisation uses in evaluations: ``"batch"``, whole batches of the same size and their own statistics;
        or ``"running"``, the averages of training, as in eval mode. Running statistics are not moved by either.
    shuffle
        Draw a new order for each epoch; otherwise batches are the same in each.
    drop_last
        Leave out what fills no whole batch, of each order anew: a small last batch spoils statistics of batches.
    loss
        A function of scores and y.

    Returns
    -------
    History
        Training that diverges ends early and says so.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    epochs = as_integer("epochs", epochs, 1, 2**31, "give the number of epochs")
    learning_rate = as_number("learning_rate", learning_rate, 0.0, 1e12, "give a step >= 0")
    seed = as_integer("seed", seed, 0, 2**63 - 1, "give an integer seed")
    as_choice("statistics", statistics, STATISTICS)
    pairs = [as_pair("data", data)] + ([] if test is None else [as_pair("test", test)])
    (x, y), n = pairs[0], len(data[1])
    batch = as_integer("batch", batch, 1, n, "give no more than there are samples")
    per_epoch = n // batch if drop_last else -(-n // batch)
    descent = _optimizer(optimizer, list(model.parameters()), learning_rate)
    losses, seen = np.full(epochs * per_epoch, math.nan), _Seen(monitor, epochs * per_epoch)
    shares, evaluations = np.full((len(pairs), epochs), math.nan), _Evaluations(model, evaluate)
    device = next((each.device for each in model.parameters()), x.device)
    order = torch.Generator(device="cpu").manual_seed(seed)
    steps, diverged = 0, False
    with torch.enable_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        evaluations.take()
        for epoch in range(epochs):
            model.train()
            places = torch.randperm(n, generator=order, device="cpu") if shuffle else torch.arange(n, device="cpu")
            with seen:
                for chosen in torch.split(places, batch)[:per_epoch]:
                    value = loss(model(x[chosen].to(device)), y[chosen].to(device))
                    losses[steps] = value.item()
                    seen.record(steps)
                    if diverged := not math.isfinite(losses[steps]):
                        break
                    descent.zero_grad()
                    value.backward()  # type: ignore[no-untyped-call]
                    descent.step()
                    steps += 1
            if not diverged:
                shares[:, epoch] = [accuracy(model, pair, batch=batch, statistics=statistics) for pair in pairs]
                diverged = bool(np.isnan(shares[:, epoch]).any())
            if diverged:
                break
            evaluations.take()
    by_epoch = evaluations.by_name(epochs + 1)
    return History(losses, shares[0], shares[1:].ravel(), seen.measures, by_epoch, steps, diverged)


class _Seen:
    """What a monitor has measured, step by step; it watches within ``with``."""

    def __init__(self, monitor: Monitor | None, steps: int) -> None:
        self.monitor, self.steps = monitor, steps
        self.measures: dict[str, NDArray[np.float64]] = {}

    def __enter__(self) -> None:
        if self.monitor is not None:
            self.monitor.start()

    def __exit__(self, *_: object) -> None:
        if self.monitor is not None:
            self.monitor.stop()

    def record(self, step: int) -> None:
        if self.monitor is not None and (self.monitor.batches - 1) % self.monitor.every == 0:
            for name, value in self.monitor.scalars().items():
                self.measures.setdefault(name, np.full(self.steps, math.nan))[step] = value


class _Evaluations:
    """What a function of the user's has returned, time after time."""

    def __init__(self, model: nn.Module, evaluate: Evaluation | None) -> None:
        self.model, self.evaluate = model, evaluate
        self.found: list[dict[str, NDArray[np.float64]]] = []

    def take(self) -> None:
        if self.evaluate is None:
            return
        with kept(self.model):
            found = {name: _floats(value) for name, value in self.evaluate().items()}
        self.found.append(found)
        now, before = ({name: value.shape for name, value in each.items()} for each in (found, self.found[0]))
        if now != before:
            raise invalid("evaluate", now, f"{before}, the shapes of the first call", "return the same at each call")

    def by_name(self, length: int) -> dict[str, NDArray[np.float64]]:
        """Return (length, ...) by name, filled up with NaN."""
        missing = length - len(self.found)
        return {
            name: np.stack([each[name] for each in self.found] + [np.full_like(first, math.nan)] * missing)
            for name, first in (self.found[0] if self.found else {}).items()
        }


def _floats(value: Any) -> NDArray[np.float64]:
    return torch.as_tensor(value, dtype=torch.float64, device="cpu").detach().numpy().copy()


def _optimizer(choice: str | Optimizer, parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    if callable(choice):
        return choice(parameters, rate)
    return OPTIMIZERS[as_choice("optimizer", choice, tuple(OPTIMIZERS))](parameters, lr=rate)

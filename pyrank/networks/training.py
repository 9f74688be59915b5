"""Training by minibatches in plain torch, with what a study of it needs written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from pyrank.networks.normalize import Normalize
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_choice, as_integer, as_number, invalid

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
STATISTICS = ("batch", "running")
Optimizer = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


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
    steps
        How many steps were taken.
    diverged
        Whether the loss, or an output, stopped being finite, which ended the training.
    """

    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    steps: int = 0
    diverged: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return numbers and arrays by name, as a task of a study does; measures have the names of the monitor."""
        own = ("loss", "accuracy", "test_accuracy", "steps", "diverged")
        return {**{name: getattr(self, name) for name in own}, **self.measures}

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
    pairs = [_pair("data", data)] + ([] if test is None else [_pair("test", test)])
    (x, y), n = pairs[0], len(data[1])
    batch = as_integer("batch", batch, 1, n, "give no more than there are samples")
    per_epoch = n // batch if drop_last else -(-n // batch)
    descent = _optimizer(optimizer, list(model.parameters()), learning_rate)
    losses, seen = np.full(epochs * per_epoch, math.nan), _Seen(monitor, epochs * per_epoch)
    shares = np.full((len(pairs), epochs), math.nan)
    device = next(model.parameters()).device
    order = torch.Generator(device="cpu").manual_seed(seed)
    steps, diverged = 0, False
    with torch.enable_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
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
    return History(losses, shares[0], shares[1:].ravel(), seen.measures, steps, diverged)


@unmoved
@torch.no_grad()
def accuracy(model: nn.Module, data: tuple[Tensor, Tensor], *, batch: int = 128, statistics: str = "batch") -> float:
    """Return the share of samples whose largest score is that of their class.

    Parameters
    ----------
    model
        Takes x to scores (B, classes); it is left as it was, running statistics and modes of its parts included.
    data
        x (n, ...), as the model takes it, and y (n,).
    batch
        How many at a time.
    statistics
        ``"batch"``: normalisation uses those of whole batches, and samples that fill none are left out; ``"running"``:
        eval mode.

    Returns
    -------
    float
        NaN if a score is not finite.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    as_choice("statistics", statistics, STATISTICS)
    x, y = _pair("data", data)
    size = min(as_integer("batch", batch, 1, 2**31, "give the size of a batch"), len(y))
    whole = len(y) - len(y) % size if statistics == "batch" else len(y)
    device = next(model.parameters()).device
    right = 0
    with _evaluating(model, statistics == "batch"):
        for xs, ys in zip(torch.split(x[:whole], size), torch.split(y[:whole], size), strict=True):
            scores = model(xs.to(device))
            if not torch.isfinite(scores).all():
                return math.nan
            right += int((scores.argmax(dim=1) == ys.to(device)).sum())
    return right / whole


@contextmanager
def _evaluating(model: nn.Module, by_batch: bool) -> Iterator[None]:
    """Put a model into eval mode, but for normalisation by batch, whose buffers come back as they were."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    norms = [module for module in modes if by_batch and isinstance(module, Normalize | _BatchNorm)]
    before = {buffer: buffer.clone() for norm in norms for buffer in norm.buffers()}
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for buffer, value in before.items():
            buffer.copy_(value)
        for module, mode in modes.items():
            module.training = mode


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


def _pair(argument: str, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    if not (isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)):
        raise invalid(argument, type(data).__name__, "a pair of tensors (x, y)", "see pyrank.data.load")
    x, y = data
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y) or not len(y):
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise invalid(argument, shapes, "x (n, ...) and y (n,) with n >= 1", "give a label for each sample")
    return x, y


def _optimizer(choice: str | Optimizer, parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    if callable(choice):
        return choice(parameters, rate)
    return OPTIMIZERS[as_choice("optimizer", choice, tuple(OPTIMIZERS))](parameters, lr=rate)

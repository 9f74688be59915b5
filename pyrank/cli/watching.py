"""A user's network, found by name, built, and run once under a monitor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pyrank.support.errors import ArgumentError, as_integer, invalid

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrank.networks import RankMonitor

T = TypeVar("T")

RANDOM = "random"
SAMPLES = 128


def watch(
    network: str, data: str, shape: Sequence[int], samples: int, seed: int, measures: Sequence[str] | None
) -> RankMonitor:
    """Build a network, run it once in train mode on a batch, and return what its monitor measured."""
    import torch

    from pyrank.networks import RankMonitor
    from pyrank.networks.measures import parse

    as_integer("--samples", samples, 1, 2**31, "take 128")
    as_integer("--seed", seed, 0, 2**63 - 1, "take 0")
    x = _inputs(data, shape, samples, seed)
    if measures:
        parse(measures)

    def watched(model: nn.Module, x: Tensor) -> RankMonitor:
        monitor = RankMonitor(model, measures) if measures else RankMonitor(model)
        with torch.no_grad(), monitor:
            model(x)
        return monitor

    return as_it_takes(network, seed, x, watched)


def as_it_takes(network: str, seed: int, x: Tensor, run: Callable[[nn.Module, Tensor], T]) -> T:
    """Return what ``run`` gives for a network and inputs on its device: as they are or, if that fails, flat."""
    problems = []
    for form in (x, x.flatten(1))[: 1 + (x.ndim > 2)]:
        model = built(network, seed)
        try:
            return run(model, form.to(next(model.parameters(), x).device))
        except Exception as error:  # whatever a network of somebody else may raise
            problems.append(error)
    wanted = f"a network for inputs {tuple(x.shape)}; it says: {_told(problems[0])}"
    raise invalid("network", network, wanted, "choose other inputs, or call it in Python to see where") from problems[0]


def built(network: str, seed: int) -> nn.Module:
    """Return what ``module:factory`` gives for a seed; modules of the working folder are found, too."""
    import torch
    from torch import nn

    module, colon, name = network.partition(":")
    if not (module and colon and name):
        raise invalid(
            "network", network, "module:factory, such as my_networks:build", "name a function without arguments"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    torch.manual_seed(seed)
    try:
        factory: Any = import_module(module)
        for part in name.split("."):
            factory = getattr(factory, part)
    except Exception as error:  # whatever a file of somebody else may raise
        told = f"network = {network!r}: {_told(error)}; run it where `import {module}` works"
        raise ArgumentError(told) from error
    torch.manual_seed(seed)  # whatever the import has drawn
    try:
        model = factory if isinstance(factory, nn.Module) else factory()
    except Exception as error:
        raise invalid("network", network, f"a function without arguments; it says: {_told(error)}",
                      "call it in Python to see where") from error  # fmt: skip
    if not isinstance(model, nn.Module):
        raise invalid("network", network, f"a torch.nn.Module, not {type(model).__name__}", "let the factory return it")
    return model


def _inputs(data: str, shape: Sequence[int], samples: int, seed: int) -> Tensor:
    if data == RANDOM:
        import torch

        if not shape or min(shape) < 1:
            raise invalid("--shape", list(shape), "the sizes of one input", "write for example 3,32,32")
        return torch.randn(samples, *shape, generator=torch.Generator().manual_seed(seed))
    from pyrank.data import load

    return load(data, samples=samples, seed=seed).x


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")

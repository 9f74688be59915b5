"""A user's network, found by name, built, and run once under a monitor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrank.support.errors import ArgumentError, as_integer, invalid

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrank.networks import RankMonitor

RANDOM = "random"
SAMPLES = 128


def watch(
    network: str, data: str, shape: Sequence[int], samples: int, seed: int, measures: Sequence[str] | None
) -> RankMonitor:
    """Build a network, run it once in train mode on a batch, and return what its monitor measured."""
    import torch

    from pyrank.networks import RankMonitor

    as_integer("--samples", samples, 1, 2**31, "take 128")
    as_integer("--seed", seed, 0, 2**63 - 1, "take 0")
    x = _inputs(data, shape, samples, seed)
    model = built(network, seed)
    if x.ndim > 2 and takes_vectors(model):
        x = x.flatten(1)
    monitor = RankMonitor(model, measures) if measures else RankMonitor(model)
    try:
        with torch.no_grad(), monitor:
            model(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        wanted = f"a network for inputs {tuple(x.shape)}; it says: {type(error).__name__}: {error}"
        raise invalid("network", network, wanted, f"choose --data, or --data {RANDOM} and --shape") from error
    return monitor


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
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"network = {network!r}: {error}; run it where `import {module}` works") from error
    torch.manual_seed(seed)  # whatever the import has drawn
    model = factory if isinstance(factory, nn.Module) else factory()
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


def takes_vectors(model: nn.Module) -> bool:
    """Whether the first layer with weights is linear: then images are flattened."""
    from torch import nn

    weighted = (m for m in model.modules() if any(True for _ in m.parameters(recurse=False)))
    return isinstance(next(weighted, None), nn.Linear) and not any(isinstance(m, nn.Flatten) for m in model.modules())

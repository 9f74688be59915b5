"""What draws random numbers has no Hessian and no equivalent: it is found out, and the generators are put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from pyrank.support.errors import ArgumentError, invalid

_REMEDY = "use model.eval(), set p = 0 of what drops, or take that module out"


@contextmanager
def no_chance(model: nn.Module) -> Iterator[None]:
    """Raise ArgumentError if the model is known to drop at random, or random numbers are drawn within.

    torch's generators are as before in any case, those of the devices on which the model lies.
    """
    for name, module in model.named_modules():
        if isinstance(module, _DropoutNd) and module.training and module.p > 0:
            raise invalid("model", f"{name or type(module).__name__} = {module}", "a deterministic model", _REMEDY)
    devices = [d for d in {p.device for p in model.parameters()} if d.type == "cuda"]
    before = _states(devices)
    random = invalid("model", type(model).__name__, "a deterministic model, but it drew random numbers", _REMEDY)
    try:
        yield
        if _moved(before, devices):
            raise random
    except ArgumentError as error:
        if error is not random and _moved(before, devices):
            raise random from error
        raise
    finally:
        torch.set_rng_state(before[0])
        for device, state in zip(devices, before[1:], strict=True):
            torch.cuda.set_rng_state(state, device)


def _moved(before: list[Tensor], devices: list[torch.device]) -> bool:
    return not all(map(torch.equal, before, _states(devices)))


def _states(devices: list[torch.device]) -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]

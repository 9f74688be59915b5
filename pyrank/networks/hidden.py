"""From what a layer returns to its hidden matrix: which tensor, and which of its dimensions are samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

MATRICES = ("channels", "samples")
"""What a feature is: a channel, so that places in an image or a sequence are samples; or a channel at a place."""

_AS_IT_IS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def tensors(output: Any) -> Iterator[Tensor]:
    """Go through the tensors of nested tuples, lists, dicts and dataclasses, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from tensors(value)
    elif dataclasses.is_dataclass(output):
        for entry in dataclasses.fields(output):
            yield from tensors(getattr(output, entry.name))


def named(output: Any, name: str | int | None) -> Any:
    """Return the entry of a dict, dataclass or tuple that is meant; all of it if it has none of that name."""
    if name is None or isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get(name, output)
    if isinstance(name, int):
        fits = isinstance(output, tuple | list) and -len(output) <= name < len(output)
        return output[name] if fits else output
    found = getattr(output, name, output)
    return output if callable(found) else found  # a method, such as tuple.count


def hidden(output: Any, matrix: str, name: str | int | None = None) -> Tensor | str:
    """Return the hidden matrix in what a layer returned, or why there can be none.

    It is a view, (samples, features), or (items, places, features) where a sample is a place of an item: (B, C, H, W)
    has H W places, unless ``matrix`` is ``"samples"``, where all C H W numbers of an item are features; (B, T, D)
    likewise. An empty batch gives an empty matrix.
    """
    x = output
    if (
        type(x) is Tensor
        and x.ndim == 2
        and x.dtype in _AS_IT_IS
        and x.layout is torch.strided
        and (x.is_cpu or x.is_cuda)
        and not x.is_nested
        and not is_functorch_wrapped_tensor(x)
    ):
        return x  # as nearly always: the questions below take as long as a copy of it
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = list(tensors(named(output, name)))
        x = next((tensor for tensor in found if tensor.is_floating_point()), None)
        if x is None:
            kinds = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in found}))
            return f"{kinds} output" if found else "no tensor in its output"
    if is_functorch_wrapped_tensor(x):
        return "its output is inside of a transform of torch.func"
    if x.layout is not torch.strided or x.is_quantized or x.is_nested:
        return "its output is no dense tensor"
    if x.ndim == 0:
        return "its output is a single number"
    if x.is_meta:
        return "its output is on the meta device, without numbers"
    if hasattr(x, "fake_mode"):
        return "its output is a fake tensor, without numbers"
    if x.dtype not in _AS_IT_IS:  # eight bits, which have no arithmetic
        x = x.float()
    if x.device.type == "mps":  # which has no double precision
        x = x.cpu()
    if x.ndim == 2:
        return x
    if x.ndim == 1 or matrix == "samples":
        return x.reshape(len(x), -1 if x.numel() else 0)
    return x if x.ndim == 3 else x.movedim(1, -1).flatten(1, -2)

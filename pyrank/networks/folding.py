"""Normalisations as the affine maps that they are on one batch, folded into layers (Morwani 2020, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyrank.networks.chance import no_chance
from pyrank.networks.normalize import Normalize
from pyrank.reference.layer import mean_power, size_of
from pyrank.support.errors import ArgumentError, invalid

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
Norm = _BatchNorm | Normalize
_OTHERS = (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.modules.instancenorm._InstanceNorm)


def folded(model: nn.Module, x: Tensor) -> nn.Module:
    """Return a copy of a model in which each normalisation is folded into the layer before it.

    On this batch it computes what the model does in train mode; see `pyrank.optimization.equivalent_network`, which
    says what can be folded and raises what this raises.
    """
    if not isinstance(model, nn.Module):
        raise invalid("model", type(model).__name__, "a torch.nn.Module", "pass the network itself")
    plain = deepcopy(model)
    norms = {name: module for name, module in plain.named_modules() if isinstance(module, Norm)}
    _check_kinds(plain)
    for norm in norms.values():
        norm.train()
    with no_chance(plain):
        expected = _call(plain, x)
        _fold_all(plain, norms, x)
        found = _call(plain, x)
    for here, there in zip(plain.modules(), model.modules(), strict=True):
        here.training = there.training
    _check_equal(expected, found)
    return plain


def fold_in_place(model: nn.Module, x: Tensor) -> None:
    """Do to a model what `folded` does to a copy, or nothing if that raises; its parameters stay the same objects."""
    if not isinstance(model, nn.Module) or not any(isinstance(module, Norm) for module in model.modules()):
        raise invalid("model", type(model).__name__, "a network with normalisation over the batch",
                      "build it with normalization='batch', and let x make it a plain one")  # fmt: skip
    plain = dict(folded(model, x).named_modules())
    for name, module in list(model.named_modules()):
        for child, part in module.named_children():
            twin = plain[f"{name}.{child}".lstrip(".")]
            if isinstance(part, Norm) and isinstance(twin, nn.Identity):
                setattr(module, child, twin)
        if isinstance(module, Layer):
            module.weight.copy_(plain[name].weight)
            if module.bias is None:
                module.bias = plain[name].bias
            elif plain[name].bias is not None:
                module.bias.copy_(plain[name].bias)


def _fold_all(plain: nn.Module, norms: dict[str, Norm], x: Tensor) -> None:
    """Fold while the batch passes: later statistics are those of what the folded layers before give."""
    names = {norm: name for name, norm in norms.items()}
    made: dict[int, tuple[Tensor, int, Layer, Tensor]] = {}  # outputs of layers, kept so that no id is used again
    done: set[nn.Module] = set()

    def remember(layer: Layer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        made[id(output)] = output, output._version, layer, inputs[0]

    def fold(norm: Norm, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        z = inputs[0]
        _, version, layer, y = made.pop(id(z), (z, -1, None, z))
        if layer is None or version != z._version or (isinstance(layer, nn.Linear) and z.ndim != 2):
            raise invalid("model", f"{names[norm]} = {norm}", "a linear or convolutional layer right before it",
                          "only there can it be folded in")  # fmt: skip
        if norm in done or layer in done:
            raise invalid("model", f"{names[norm]} = {norm}", "each normalisation and layer called once",
                          "give each call a module of its own")  # fmt: skip
        done.update((norm, layer))
        _fold(layer, *affine_map(norm, z))
        again: Tensor = layer.forward(y)
        return again

    hooks = [module.register_forward_hook(remember) for module in plain.modules() if isinstance(module, Layer)]
    hooks += [norm.register_forward_hook(fold) for norm in names]
    try:
        _call(plain, x)
    finally:
        for hook in hooks:
            hook.remove()
    for module in list(plain.modules()):
        for name, child in module.named_children():
            if child in names and child in done:
                setattr(module, name, nn.Identity())


def affine_map(norm: Norm, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a normalisation does to this batch: factor and shift of each feature, (C,) in float64."""
    z = z.double()
    along = (0, *range(2, z.ndim))
    mean, size = z.new_zeros(z.shape[1]), z.new_ones(z.shape[1])
    scale = 1.0 if norm.weight is None else norm.weight.double()
    shift = 0.0 if norm.bias is None else norm.bias.double()
    recentre, rescale, order, eps = True, True, 2.0, 0.0
    if isinstance(norm, Normalize):
        law = norm.normalization
        recentre, rescale, order, eps = law.recentre, law.rescale, law.order, law.eps
        if norm.weight is None:
            scale, shift = law.beta, law.alpha
    else:
        eps = norm.eps
    if recentre:
        mean = z.mean(dim=along)
        z = z - z.mean(dim=along, keepdim=True)
    if rescale:
        size = size_of(mean_power(z, order, along), order, eps).flatten()
    factor = scale / size
    return factor, shift - factor * mean


def _fold(layer: Layer, factor: Tensor, shift: Tensor) -> None:
    weight, bias = layer.weight, layer.bias
    new = factor.view(-1, *[1] * (weight.ndim - 1)) * weight.double()
    shift = shift if bias is None else shift + factor * bias.double()
    layer.weight = nn.Parameter(new.to(weight.dtype), weight.requires_grad)
    layer.bias = nn.Parameter(shift.to(weight.dtype), weight.requires_grad if bias is None else bias.requires_grad)


def _call(model: nn.Module, x: Tensor) -> Any:
    try:
        return model(x)
    except ArgumentError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shown = f"{x.dtype}, {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        why = " ".join(str(error).split())[:200]
        raise invalid("x", shown, f"a batch that the model takes ({why})", "try model(x)") from error


def _check_kinds(model: nn.Module) -> None:
    for name, module in model.named_modules():
        over_features = isinstance(module, Normalize) and module.normalization.over != "batch"
        if over_features or isinstance(module, _OTHERS):
            raise invalid("model", f"{name} = {module}", "normalisation over the batch",
                          "over features it is another map for each sample")  # fmt: skip


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from _tensors(list(output.values()))
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)


def _check_equal(expected: Any, found: Any) -> None:
    """Raise if something else than rounding lies between the two; rounding grows with depth."""
    for one, other in zip(_tensors(expected), _tensors(found), strict=True):
        if one.is_floating_point():
            error = (other.double() - one.double()).norm() / one.double().norm()
            if not error <= torch.finfo(one.dtype).eps ** 0.25 and bool((one != other).any()):
                raise invalid("model", f"output off by {float(error):.1g}", "the same output without normalisation",
                              "share no layers, and use what goes into a normalisation nowhere else")  # fmt: skip

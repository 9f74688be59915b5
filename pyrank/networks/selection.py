"""Which layers of a module are meant: by name, pattern, type or predicate."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from torch import nn

from pyrank.support.errors import invalid

Wish: TypeAlias = str | type | Callable[..., bool]
Layers: TypeAlias = Wish | Iterable[Wish] | None

_COMPILED = "_orig_mod"


def readable(name: str) -> str:
    """Return the name of a layer without what `torch.compile` has put into it."""
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def select(model: nn.Module, layers: Layers = None) -> dict[str, nn.Module]:
    """Return the chosen layers by name, in the order of `named_modules`; without a choice all that have no children.

    ``torch.nn.MultiheadAttention`` counts as one of those: it uses the weights of its child without a call of it. A
    module that has several names can be chosen by each of them, and has the first.

    Raises
    ------
    ArgumentError
        If ``model`` is no module, or a wish fits no layer.
    """
    if not isinstance(model, nn.Module):
        raise invalid("model", type(model).__name__, "a torch.nn.Module", "pass the network itself")
    present = {readable(name): module for name, module in model.named_modules()}
    if layers is None:
        whole = {name for name, module in present.items() if isinstance(module, nn.MultiheadAttention)}
        return {name: module for name, module in present.items() if name in whole or _is_leaf(name, module, whole)}
    wishes = [layers] if isinstance(layers, str | type) or callable(layers) else list(layers)
    first = {module: name for name, module in present.items()}
    every = [(readable(name), module) for name, module in model.named_modules(remove_duplicate=False)]
    chosen: set[str] = set()
    for wish in wishes:
        fitting = {first[module] for name, module in every if _fits(wish, name, module)}
        if not fitting:
            names = ", ".join(list(present)[1:9])
            raise invalid("layers", wish, f"a name, pattern, type or predicate that fits one of {names}, ...",
                          "see model.named_modules()")  # fmt: skip
        chosen |= fitting
    return {name: module for name, module in present.items() if name in chosen}


def _is_leaf(name: str, module: nn.Module, whole: set[str]) -> bool:
    return not any(True for _ in module.children()) and not any(name.startswith(f"{each}.") for each in whole)


def _fits(wish: Any, name: str, module: nn.Module) -> bool:
    if isinstance(wish, str):
        return name == wish or fnmatch.fnmatchcase(name, wish)
    if isinstance(wish, type):
        return isinstance(module, wish)
    if not callable(wish):
        raise invalid("layers", wish, "names, patterns, types or predicates", "write for example 'blocks.*.mlp'")
    takes_one = len(inspect.signature(wish).parameters) == 1
    return bool(wish(module) if takes_one else wish(name, module))

"""A network as a row of stages: what is called up to one chosen layer, after the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """One call of a chosen layer, and the parameters used on the way to it from the stage before."""

    layer: str
    module: nn.Module
    call: int
    parameters: tuple[nn.Parameter, ...]

    @property
    def name(self) -> str:
        """Return the layer, with the number of a second call."""
        return f"{self.layer}[{self.call}]" if self.call else self.layer


class _Reached(Exception):  # noqa: N818, it is no error: it ends a forward pass where the rest is not needed
    def __init__(self, output: Any) -> None:
        self.output = output


def stages(model: nn.Module, chosen: Mapping[str, nn.Module], x: Tensor) -> list[Stage]:
    """Return the stages of a network in the order in which it calls them on ``x``."""
    names = {module: name for name, module in chosen.items()}
    calls = dict.fromkeys(chosen, 0)
    found: list[Stage] = []
    used: dict[nn.Parameter, None] = {}

    def enter(module: nn.Module, _: Any) -> None:
        used.update(dict.fromkeys(module.parameters(recurse=False)))

    def leave(module: nn.Module, _args: Any, _output: Any) -> None:
        name = names[module]
        found.append(Stage(name, module, calls[name], tuple(used)))
        calls[name] += 1
        used.clear()

    handles = [module.register_forward_pre_hook(enter) for module in model.modules()]
    handles += [module.register_forward_hook(leave) for module in chosen.values()]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def parameters_of(way: Iterable[Stage]) -> list[nn.Parameter]:
    """Return the parameters of several stages, each once."""
    return list(dict.fromkeys(parameter for stage in way for parameter in stage.parameters))


def output_at(model: nn.Module, stage: Stage, x: Tensor) -> Any:
    """Return what the layer of a stage returns; nothing after it is computed."""
    left = stage.call

    def stop(_module: nn.Module, _args: Any, output: Any) -> None:
        nonlocal left
        if left == 0:
            raise _Reached(output)
        left -= 1

    with _hook(stage.module, stop):
        try:
            model(x)
        except _Reached as reached:
            return reached.output
    raise RuntimeError(f"layer {stage.name} was not called this time")


@contextmanager
def _hook(module: nn.Module, function: Any) -> Iterator[None]:
    handle = module.register_forward_hook(function)
    try:
        yield
    finally:
        handle.remove()

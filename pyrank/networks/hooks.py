"""What a module calls when it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch._compile import _disable_dynamo  # the public one imports the compiler, which takes seconds
from torch.compiler import is_compiling


class Hook:
    """Hands what a module is called with, or returns, to a function; copies of the module get one that does nothing.

    While ``is_open`` is false nothing is handed on. The hook stays: compiled code would not see one that comes back.
    """

    def __init__(self, module: nn.Module, receive: Callable[..., None]) -> None:
        self.module, self.receive, self.is_open = module, receive, True

    def __call__(self, module: nn.Module, *seen: Any) -> None:
        """Do it, unless a copy has taken the hook over with it."""
        if is_compiling():
            _outside_of_graphs(self, module, seen)
        elif self.is_open and module is self.module:
            self.receive(*seen)

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        """Let `copy.deepcopy`, `torch.save` and pickle have no part of a monitor."""
        return _no_hook, ()


@_disable_dynamo
def _outside_of_graphs(hook: Hook, module: nn.Module, seen: tuple[Any, ...]) -> None:
    if not is_compiling():  # as it still is where a graph is exported, whose tensors have no numbers
        hook(module, *seen)


def _no_hook() -> Callable[..., None]:
    return do_nothing


def do_nothing(*_: Any) -> None:
    """Stand in for the hook of a module that was copied."""

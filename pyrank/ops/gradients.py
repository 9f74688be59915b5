"""How an operation gets its gradient, wherever it is differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def with_gradient(
    operation: Any, eager: Callable[..., Any], keep: Callable[..., None], gradient: Callable[..., Any]
) -> Callable[..., Any]:
    """Register the gradient of an operation, and return what is to be called from Python.

    A registered gradient serves `torch.compile` and `torch.ops`. It does not serve `torch.func`, and forward mode takes
    the operation for a constant; a `torch.autograd.Function` serves the one and refuses the other.

    Parameters
    ----------
    operation
        What `torch.library.custom_op` returned, with a rule for shapes.
    eager
        What to call outside of graphs: the same, but it may be a plain function, which spares the dispatch.
    keep
        Takes ctx, inputs and output.
    gradient
        Takes ctx and the gradients of all results, and returns those of all inputs.
    """
    operation.register_autograd(gradient, setup_context=keep)

    class Function(torch.autograd.Function):
        generate_vmap_rule = True
        setup_context = staticmethod(keep)
        backward = staticmethod(gradient)

        @staticmethod
        def forward(*inputs: Any) -> Any:
            return eager(*inputs)

    def call(*inputs: Any) -> Any:
        return (operation if torch.compiler.is_compiling() else Function.apply)(*inputs)

    return call

"""Differentiable operations with gradients of their own, registered with torch under the namespace ``pyrank``.

Each computes what its namesake in `pyrank.reference` does, out of torch's own operations, so on any device. What is
gained is in the gradient: a formula that needs fewer tensors kept, and fewer products, than autograd does.
"""

from pyrank.ops.layer import layer_step
from pyrank.ops.ratio import participation_ratio

__all__ = ["layer_step", "participation_ratio"]

"""What every measure on a matrix asks of it, and the power of two that takes its size out of harm's way."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrank.support.errors import invalid

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def as_matrix(H: Tensor) -> Tensor:
    """Return H (..., d, N) if it can be decomposed, or raise; 16-bit numbers become float32.

    Raises
    ------
    ArgumentError
        If H is no floating point tensor of at least two dimensions, or d or N is 0.
    FloatingPointError
        If H holds NaN or infinity.
    """
    return as_finite(as_shaped(H))


def as_shaped(H: Tensor) -> Tensor:
    """Return H if its type and shape are right, or raise ArgumentError; 16-bit numbers become float32."""
    remedy = "pass the hidden matrix, rows = features, columns = samples"
    if not isinstance(H, Tensor):
        raise invalid("H", type(H).__name__, "a torch.Tensor (..., d, N)", "convert it with torch.as_tensor")
    if H.dtype not in _DTYPES:
        raise invalid(
            "H.dtype", H.dtype, "a real floating point dtype of 16, 32 or 64 bits", "convert it with H.double()"
        )
    if H.ndim < 2 or 0 in H.shape[-2:]:
        raise invalid("H.shape", tuple(H.shape), "(..., d, N) with d, N >= 1", remedy)
    return H.float() if H.dtype.itemsize == 2 else H


def as_finite(H: Tensor) -> Tensor:
    """Return H, or raise FloatingPointError if it holds NaN or infinity."""
    if not torch.isfinite(H).all():
        raise FloatingPointError(
            "H holds NaN or infinity: it has no spectrum and no angles; find the layer that overflowed"
        )
    return H


def power_of_two(H: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Return the largest power of two <= max |H| over ``dim`` (kept, with size 1), and 1 where H is zero.

    Dividing by it is exact, and squares of what is left can neither overflow nor vanish all together. It is a constant
    to autograd.
    """
    largest = H.detach().abs().amax(dim, keepdim=True)
    mantissa, _ = torch.frexp(largest)  # in [1/2, 1), or 0
    return torch.where(largest == 0, 1.0, largest / (2.0 * mantissa))

"""What a chain is: the layer `H' = Normalise(H + gamma W F(H))` as immutable, validated values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

from pyrank.specs.normalization import NORMALIZATIONS, Normalization
from pyrank.specs.weights import INITIALIZATIONS, Weights
from pyrank.specs.writing import as_call
from pyrank.support.errors import as_choice, as_integer, as_number, invalid

if TYPE_CHECKING:
    import numpy as np
    import torch

ACTIVATIONS = ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "gelu", "softplus")
HOMOGENEOUS = ("linear", "relu", "leaky_relu")
"""Activations with F(c h) = c F(h) for c > 0."""
DTYPES = ("float32", "float64")
MAX_SIZE = 1 << 20
"""Largest width or batch: far above what fits in memory, far below what the stream's counters can number."""

# Cubes of state entries must neither overflow nor vanish, or a row would be lost without a trace.
SCALE_RANGE = {"float32": (1e-9, 1e9), "float64": (1e-90, 1e90)}


@dataclass(frozen=True, init=False)
class Chain:
    """A random network, as the law of a Markov chain on d x N matrices.

    One layer takes H to ``Normalise(H + gamma W F(H))`` with a fresh (d, d) matrix W; for ``gamma = inf`` there is
    no skip connection and the layer is ``Normalise(W F(H))``. The defaults are Eq. (1) of Daneshmand et al. 2020.

    Parameters
    ----------
    width
        d, the number of rows (features). Or a sequence of widths, gone through again and again: with ``(8, 32)``, H_0
        has 8 rows, H_1 32, H_2 8, and W is rectangular; that needs ``gamma=inf``. Measures are of the state as it is.
    batch
        N, the number of columns (samples); the (first) width if not given.
    gamma
        Strength of the random branch, from 0 to infinity.
    weights
        A `Weights`, or a name: one of its laws, ``"lecun"``, ``"he"`` or ``"xavier"`` for gaussian weights of that
        scale, ``"torch"`` for uniform ones, or ``"broken"`` for those shifted to [0, 2 / sqrt fan_in].
    activation
        F, elementwise: linear, relu, leaky_relu (slope 0.01), tanh, sigmoid, gelu (the exact one) or softplus.
    normalization
        ``"rescale"`` (the paper's), ``"batch"`` (recentre and rescale), ``"recentre"``, ``"layer"``, ``"whiten"``,
        ``"none"``, or a `Normalization`. Without rescaling or whitening, and with F linear, relu or leaky_relu, the
        state is divided by a power of two after every layer, which is exact, and the powers are added up: see
        `pyrank.Run.log_scale`.
    dtype
        ``"float32"`` or ``"float64"``: the precision of the state and of the weights.
    widths
        The sequence of widths, if ``width`` is not given: `dataclasses.replace` passes it on, so that
        ``replace(chain, gamma=1.0)`` and ``replace(chain, width=64)`` give a chain that differs in that alone.

    Raises
    ------
    ArgumentError
        If a value is outside of what is said here.
    """

    widths: tuple[int, ...]
    batch: int
    gamma: float
    weights: Weights
    activation: str
    normalization: Normalization
    dtype: str

    def __init__(
        self,
        width: SupportsIndex | Sequence[SupportsIndex] | None = None,
        batch: SupportsIndex | None = None,
        *,
        gamma: float = math.inf,
        weights: str | Weights = "gaussian",
        activation: str = "linear",
        normalization: str | Normalization = "rescale",
        dtype: str | torch.dtype | type[np.floating[Any]] = "float32",
        widths: Sequence[SupportsIndex] | None = None,
    ) -> None:
        widths = _as_widths(widths if width is None else width)
        batch = widths[0] if batch is None else as_integer("batch", batch, 1, MAX_SIZE, "give the number of samples N")
        gamma, activation, normalization = as_law(gamma, activation, normalization)
        if len(widths) > 1 and not math.isinf(gamma):
            raise invalid("width", list(widths), "one width with a skip connection", "use gamma=math.inf")
        if not isinstance(weights, Weights):
            weights = INITIALIZATIONS[as_choice("weights", weights, tuple(INITIALIZATIONS))]
        if weights.law == "gram" and batch > min(widths):
            raise invalid("batch", batch, f"at most the width {min(widths)} with the law 'gram'", "use 'gaussian'")
        dtype = as_choice("dtype", _name_of(dtype), DTYPES)
        values = {"widths": widths, "batch": batch, "gamma": gamma, "weights": weights, "activation": activation,
                  "normalization": normalization, "dtype": dtype}  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_scale()

    @property
    def width(self) -> int:
        """The width, or the largest of several."""
        return max(self.widths)

    def __repr__(self) -> str:
        width = self.widths if len(self.widths) > 1 else self.width
        return as_call(self, Chain(self.widths, self.batch), {"width": width, "batch": self.batch})

    def width_at(self, layer: int) -> int:
        """Return the number of rows of H_layer."""
        return self.widths[layer % len(self.widths)]

    @property
    def drifts(self) -> bool:
        """Whether the state would grow or vanish exponentially and is kept in range by powers of two."""
        norm = self.normalization
        return not (norm.rescale or norm.whiten) and self.activation in HOMOGENEOUS

    def _check_scale(self) -> None:
        low, high = SCALE_RANGE[self.dtype]
        gamma = 1.0 if math.isinf(self.gamma) else self.gamma
        norm = self.normalization
        fans = list(zip(self.widths, self.widths[1:] + self.widths[:1], strict=True))
        scale = max(self.weights.standard_deviation(*fan) for fan in fans)
        for name, size in (
            ("gamma * weights.scale", gamma * scale),
            ("gamma * weights.mean", gamma * max(abs(self.weights.average(*fan)) for fan in fans)),
            ("gamma * weights.scale * normalization.beta", gamma * scale * abs(norm.beta)),
            ("normalization.beta", abs(norm.beta)),
            ("normalization.alpha", abs(norm.alpha)),
            ("normalization.eps ** (1 / order)", norm.eps**norm.root),
        ):
            if size and not low <= size <= high:
                wanted = f"0 or {low:g} to {high:g} in {self.dtype}"
                raise invalid(name, size, wanted, "choose a moderate size, or dtype='float64'")

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-friendly values (infinities as strings)."""
        values = asdict(self)
        values["widths"] = list(self.widths)
        values["gamma"] = _plain(self.gamma)
        values["normalization"]["order"] = _plain(self.normalization.order)
        return values


def as_law(gamma: float, activation: str, normalization: str | Normalization) -> tuple[float, str, Normalization]:
    """Return what a layer is besides its sizes and its weights as checked values, or raise ArgumentError."""
    gamma = as_number("gamma", gamma, 0.0, math.inf, "give a number >= 0, or math.inf for no skip connection")
    as_choice("activation", activation, ACTIVATIONS)
    if not isinstance(normalization, Normalization):
        normalization = NORMALIZATIONS[as_choice("normalization", normalization, tuple(NORMALIZATIONS))]
    return gamma, activation, normalization


def _as_widths(width: object) -> tuple[int, ...]:
    """Return the shortest cycle of checked widths."""
    remedy = "give the number of features d, or a sequence of them"
    if isinstance(width, str | bytes) or not isinstance(width, Sequence):
        return (as_integer("width", width, 1, MAX_SIZE, remedy),)
    if not width:
        raise invalid("width", width, "at least one width", remedy)
    widths = tuple(as_integer("width", each, 1, MAX_SIZE, remedy) for each in width)
    divisors = (n for n in range(1, len(widths) + 1) if len(widths) % n == 0)
    return next(widths[:n] for n in divisors if widths[:n] * (len(widths) // n) == widths)


def _name_of(dtype: object) -> str:
    """Return "float32" for "float32", torch.float32 and numpy.float32."""
    return dtype.__name__ if isinstance(dtype, type) else str(dtype).removeprefix("torch.")


def _plain(number: float) -> float | str:
    return "inf" if math.isinf(number) else number

"""What a chain is: the layer `H' = Normalise(H + gamma W F(H))` as immutable, validated values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

from pyrank.errors import as_choice, as_integer, as_number, invalid

if TYPE_CHECKING:
    import numpy as np
    import torch

WEIGHT_LAWS = ("gaussian", "uniform", "rademacher")
ACTIVATIONS = ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "gelu")
HOMOGENEOUS = ("linear", "relu", "leaky_relu")
"""Activations with F(c h) = c F(h) for c > 0."""
DTYPES = ("float32", "float64")
MAX_SIZE = 1 << 20
"""Largest width or batch: far above what fits in memory, far below what the stream's counters can number."""

# Cubes of state entries must neither overflow nor vanish, or a row would be lost without a trace.
SCALE_RANGE = {"float32": (1e-9, 1e9), "float64": (1e-90, 1e90)}


@dataclass(frozen=True)
class Weights:
    """The law of the independent entries of W: ``mean + scale * w`` with w of mean 0 and variance 1.

    Parameters
    ----------
    law
        ``"gaussian"`` N(0, 1), ``"uniform"`` on [-sqrt 3, sqrt 3], or ``"rademacher"`` (+1 or -1 with equal chance).
    mean, scale
        Shift and standard deviation of an entry.

    Raises
    ------
    ArgumentError
        If the law is unknown, or a number is not finite or the scale negative.
    """

    law: str = "gaussian"
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        as_choice("weights", self.law, WEIGHT_LAWS)
        mean = as_number("weights.mean", self.mean, -1e12, 1e12, "give a finite mean")
        scale = as_number("weights.scale", self.scale, 0.0, 1e100, "give a finite standard deviation >= 0")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", scale)


@dataclass(frozen=True)
class Normalization:
    """What follows the product: each line is recentred, then rescaled, each on its own switch.

    Parameters
    ----------
    recentre
        Subtract each line's mean.
    rescale
        Divide each line by its L_p size ``(mean |z|^p + eps)^(1/p)``; a line of zeros stays zero and is counted.
    order
        p: 1, 2, 3, or infinity for ``max |z| + eps``. With ``recentre``, 2 is the biased standard deviation.
    over
        ``"batch"``: a line is a row (one feature, all samples), as in batch normalisation; ``"features"``: a line is a
        column (one sample, all features), as in layer normalisation.
    eps
        Added inside the root; 0 is the theory's choice.
    alpha, beta
        Affine parameters of a rescaled line: ``alpha + beta * z``.

    Raises
    ------
    ArgumentError
        If a value is outside of what is said here, or order, eps, alpha or beta are set without ``rescale``.
    """

    recentre: bool = False
    rescale: bool = True
    order: float = 2.0
    over: str = "batch"
    eps: float = 0.0
    alpha: float = 0.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        for switch in ("recentre", "rescale"):
            if not isinstance(getattr(self, switch), bool):
                raise invalid(f"normalization.{switch}", getattr(self, switch), "True or False", "give a bool")
        as_choice("normalization.over", self.over, ("batch", "features"))
        if self.order not in (1, 2, 3, math.inf) or isinstance(self.order, bool):
            raise invalid("normalization.order", self.order, "1, 2, 3 or math.inf", "2 is the usual choice")
        eps = as_number("normalization.eps", self.eps, 0.0, 1e12, "give a small number >= 0")
        alpha = as_number("normalization.alpha", self.alpha, -1e12, 1e12, "give a finite shift")
        beta = as_number("normalization.beta", self.beta, -1e12, 1e12, "give a finite factor")
        order = float(self.order)
        if not self.rescale and (order, eps, alpha, beta) != (2.0, 0.0, 0.0, 1.0):
            given, wanted = (order, eps, alpha, beta), "order, eps, alpha and beta only with rescale=True"
            raise invalid("normalization", given, wanted, "switch rescale on or leave them at 2, 0, 0, 1")
        for name, value in (("order", order), ("eps", eps), ("alpha", alpha), ("beta", beta)):
            object.__setattr__(self, name, value)

    @property
    def root(self) -> float:
        """The power that turns ``mean |z|^p + eps`` into the size of a line: 1/p, and 1 for the largest entry."""
        return 1.0 if math.isinf(self.order) else 1.0 / self.order


NORMALIZATIONS = {
    "rescale": Normalization(),
    "batch": Normalization(recentre=True),
    "recentre": Normalization(recentre=True, rescale=False),
    "layer": Normalization(recentre=True, over="features"),
    "none": Normalization(rescale=False),
}


@dataclass(frozen=True, init=False)
class Chain:
    """A random network of constant width, as the law of a Markov chain on d x N matrices.

    One layer takes H to ``Normalise(H + gamma W F(H))`` with a fresh (d, d) matrix W; for ``gamma = inf`` there is
    no skip connection and the layer is ``Normalise(W F(H))``. The defaults are Eq. (1) of Daneshmand et al. 2020.

    Parameters
    ----------
    width
        d, the number of rows (features).
    batch
        N, the number of columns (samples); d if not given.
    gamma
        Strength of the random branch, from 0 to infinity.
    weights
        A law's name or a `Weights`.
    activation
        F, elementwise: linear, relu, leaky_relu (slope 0.01), tanh, sigmoid or gelu (the exact one).
    normalization
        ``"rescale"`` (the paper's), ``"batch"`` (recentre and rescale), ``"recentre"``, ``"layer"``, ``"none"``, or a
        `Normalization`. Without rescaling and with F linear, relu or leaky_relu, the state is divided by a power of
        two after every layer, which is exact, and the powers are added up: see `pyrank.Run.log_scale`.
    dtype
        ``"float32"`` or ``"float64"``: the precision of the state and of the weights.

    Raises
    ------
    ArgumentError
        If a value is outside of what is said here.
    """

    width: int
    batch: int
    gamma: float
    weights: Weights
    activation: str
    normalization: Normalization
    dtype: str

    def __init__(
        self,
        width: SupportsIndex,
        batch: SupportsIndex | None = None,
        *,
        gamma: float = math.inf,
        weights: str | Weights = "gaussian",
        activation: str = "linear",
        normalization: str | Normalization = "rescale",
        dtype: str | torch.dtype | type[np.floating[Any]] = "float32",
    ) -> None:
        width = as_integer("width", width, 1, MAX_SIZE, "give the number of features d")
        batch = width if batch is None else as_integer("batch", batch, 1, MAX_SIZE, "give the number of samples N")
        gamma = as_number("gamma", gamma, 0.0, math.inf, "give a number >= 0, or math.inf for no skip connection")
        if not isinstance(weights, Weights):
            weights = Weights(as_choice("weights", weights, WEIGHT_LAWS))
        if not isinstance(normalization, Normalization):
            normalization = NORMALIZATIONS[as_choice("normalization", normalization, tuple(NORMALIZATIONS))]
        as_choice("activation", activation, ACTIVATIONS)
        dtype = as_choice("dtype", _name_of(dtype), DTYPES)
        values = {"width": width, "batch": batch, "gamma": gamma, "weights": weights, "activation": activation,
                  "normalization": normalization, "dtype": dtype}  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_scale()

    @property
    def drifts(self) -> bool:
        """Whether the state would grow or vanish exponentially and is kept in range by powers of two."""
        return not self.normalization.rescale and self.activation in HOMOGENEOUS

    def _check_scale(self) -> None:
        low, high = SCALE_RANGE[self.dtype]
        gamma = 1.0 if math.isinf(self.gamma) else self.gamma
        norm = self.normalization
        for name, size in (
            ("gamma * weights.scale", gamma * self.weights.scale),
            ("gamma * weights.mean", gamma * abs(self.weights.mean)),
            ("gamma * weights.scale * normalization.beta", gamma * self.weights.scale * abs(norm.beta)),
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
        values["gamma"] = _plain(self.gamma)
        values["normalization"]["order"] = _plain(self.normalization.order)
        return values


def _name_of(dtype: object) -> str:
    """Return "float32" for "float32", torch.float32 and numpy.float32."""
    return dtype.__name__ if isinstance(dtype, type) else str(dtype).removeprefix("torch.")


def _plain(number: float) -> float | str:
    return "inf" if math.isinf(number) else number

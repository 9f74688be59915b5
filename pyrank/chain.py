"""What a chain is: the layer `H' = Normalise(H + gamma W F(H))` as immutable, validated values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, SupportsIndex

from pyrank.errors import as_choice, as_integer, as_number, invalid

if TYPE_CHECKING:
    import numpy as np
    import torch

WEIGHT_LAWS = ("gaussian", "uniform", "rademacher", "orthogonal", "gram")
"""In the order of the compiled list."""
SCALES: dict[str, Callable[[int, int], float]] = {
    "unit": lambda fan_in, fan_out: 1.0,
    "lecun": lambda fan_in, fan_out: math.sqrt(1.0 / fan_in),
    "he": lambda fan_in, fan_out: math.sqrt(2.0 / fan_in),
    "xavier": lambda fan_in, fan_out: math.sqrt(2.0 / (fan_in + fan_out)),
    "torch": lambda fan_in, fan_out: math.sqrt(1.0 / (3.0 * fan_in)),
}
"""Standard deviations of a weight that depend on the widths before and after it; "torch" is that of `torch.nn.Linear`,
whose weights are uniform on [-1, 1] / sqrt(fan_in)."""
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
    """The law of the entries of W: ``mean + scale * w`` with w of mean 0 and variance 1.

    Parameters
    ----------
    law
        Independent entries: ``"gaussian"`` N(0, 1), ``"uniform"`` on [-sqrt 3, sqrt 3], ``"rademacher"`` (+1 or -1 with
        equal chance).
        ``"orthogonal"``: sqrt(d) times a matrix with orthonormal rows or columns from the Haar measure, d being the
        larger side of W (Stewart, SIAM J. Numer. Anal. 17, 403, 1980).
        ``"gram"``: gaussian too, but of W only the product is drawn, ``W F = G R`` with R^T R = F^T F and gaussian G of
        N columns: the same law for d N instead of d^2 numbers, so it pays when the batch is much smaller than the
        width. The states differ from those of ``"gaussian"``; their distribution does not, but for differences of
        samples below sqrt(d 2.2e-16) of their length, which are lost.
    mean, scale
        Mean and standard deviation of an entry; the last two laws have mean 0. The scale is a number or ``"unit"``,
        ``"lecun"`` (1 / sqrt fan_in), ``"he"`` (sqrt(2 / fan_in)), ``"xavier"`` (sqrt(2 / (fan_in + fan_out))) or
        ``"torch"`` (1 / sqrt(3 fan_in), that of `torch.nn.Linear`), fan_in and fan_out being the widths before and
        after the layer.

    Raises
    ------
    ArgumentError
        If the law or the name of a scale is unknown, a number is not finite, the scale is negative, or a mean other
        than 0 is asked for where there is none.
    """

    law: str = "gaussian"
    mean: float = 0.0
    scale: float | str = 1.0

    def __post_init__(self) -> None:
        as_choice("weights", self.law, WEIGHT_LAWS)
        mean = as_number("weights.mean", self.mean, -1e12, 1e12, "give a finite mean")
        if mean and self.law in ("orthogonal", "gram"):
            raise invalid("weights.mean", mean, f"0 with law={self.law!r}", "use the gaussian law for a shift")
        if isinstance(self.scale, str):
            scale: float | str = as_choice("weights.scale", self.scale, tuple(SCALES))
        else:
            scale = as_number(
                "weights.scale", self.scale, 0.0, 1e100, "give a finite standard deviation >= 0, or a name"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", scale)

    @classmethod
    def between(cls, low: float, high: float) -> Weights:
        """Return uniform weights on [low, high]: ``between(0, 2 / sqrt(d))`` is the "broken" initialisation.

        Raises
        ------
        ArgumentError
            Unless low < high, both finite.
        """
        low = as_number("low", low, -1e12, 1e12, "give the smallest weight")
        high = as_number("high", high, -1e12, 1e12, "give the largest weight")
        if not low < high:
            raise invalid("low", low, f"a number < high = {high:g}", "exchange the two")
        return cls("uniform", mean=(low + high) / 2.0, scale=(high - low) / math.sqrt(12.0))

    def __repr__(self) -> str:
        return _call(self, Weights(), {"law": self.law})

    def standard_deviation(self, fan_in: int, fan_out: int) -> float:
        """Return the scale of the entries of a (fan_out, fan_in) matrix."""
        return SCALES[self.scale](fan_in, fan_out) if isinstance(self.scale, str) else self.scale


INITIALIZATIONS = {law: Weights(law) for law in WEIGHT_LAWS} | {
    "lecun": Weights("gaussian", scale="lecun"),
    "he": Weights("gaussian", scale="he"),
    "xavier": Weights("gaussian", scale="xavier"),
    "torch": Weights("uniform", scale="torch"),
}
"""Weights that a chain knows by one name."""


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
    whiten
        In place of rescaling, multiply by ``(Z Z^T / N + eps I)^(-1/2)``. Eigenvalues that rounding cannot tell from
        zero, below ``2^-48 max(d, N) ||M||_F``, become zero and are counted; all of it is done in double precision.

    Raises
    ------
    ArgumentError
        If a value is outside of what is said here, or order, eps, alpha or beta are set without ``rescale``
        (eps: without ``rescale`` or ``whiten``).
    """

    recentre: bool = False
    rescale: bool = True
    order: float = 2.0
    over: str = "batch"
    eps: float = 0.0
    alpha: float = 0.0
    beta: float = 1.0
    whiten: bool = False

    def __post_init__(self) -> None:
        for switch in ("recentre", "rescale", "whiten"):
            if not isinstance(getattr(self, switch), bool):
                raise invalid(f"normalization.{switch}", getattr(self, switch), "True or False", "give a bool")
        as_choice("normalization.over", self.over, ("batch", "features"))
        order = as_number("normalization.order", self.order, 1.0, math.inf, "2 is the usual choice")
        if order not in (1, 2, 3, math.inf) or isinstance(self.order, bool):
            raise invalid("normalization.order", self.order, "1, 2, 3 or math.inf", "2 is the usual choice")
        eps = as_number("normalization.eps", self.eps, 0.0, 1e12, "give a small number >= 0")
        alpha = as_number("normalization.alpha", self.alpha, -1e12, 1e12, "give a finite shift")
        beta = as_number("normalization.beta", self.beta, -1e12, 1e12, "give a finite factor")
        if self.whiten and (self.rescale or self.over != "batch"):
            given = f"whiten=True, rescale={self.rescale}, over={self.over!r}"
            raise invalid("normalization", given, "rescale=False and over='batch'", "choose one way to normalise")
        if not self.rescale and (order, 0.0 if self.whiten else eps, alpha, beta) != (2.0, 0.0, 0.0, 1.0):
            given, wanted = f"{order}, {eps}, {alpha}, {beta}", "order, eps, alpha and beta only with rescale=True"
            raise invalid("normalization", given, wanted, "switch rescale on or leave them at 2, 0, 0, 1")
        for name, value in (("order", order), ("eps", eps), ("alpha", alpha), ("beta", beta)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return _call(self, Normalization(), {})

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
    "whiten": Normalization(rescale=False, whiten=True),
}


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
        scale, or ``"torch"`` for uniform ones.
    activation
        F, elementwise: linear, relu, leaky_relu (slope 0.01), tanh, sigmoid or gelu (the exact one).
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
        gamma = as_number("gamma", gamma, 0.0, math.inf, "give a number >= 0, or math.inf for no skip connection")
        if len(widths) > 1 and not math.isinf(gamma):
            raise invalid("width", list(widths), "one width with a skip connection", "use gamma=math.inf")
        if not isinstance(weights, Weights):
            weights = INITIALIZATIONS[as_choice("weights", weights, tuple(INITIALIZATIONS))]
        if not isinstance(normalization, Normalization):
            normalization = NORMALIZATIONS[as_choice("normalization", normalization, tuple(NORMALIZATIONS))]
        if weights.law == "gram" and batch > min(widths):
            raise invalid("batch", batch, f"at most the width {min(widths)} with the law 'gram'", "use 'gaussian'")
        as_choice("activation", activation, ACTIVATIONS)
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
        return _call(self, Chain(self.widths, self.batch), {"width": width, "batch": self.batch})

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
        fans = zip(self.widths, self.widths[1:] + self.widths[:1], strict=True)
        scale = max(self.weights.standard_deviation(*fan) for fan in fans)
        for name, size in (
            ("gamma * weights.scale", gamma * scale),
            ("gamma * weights.mean", gamma * abs(self.weights.mean)),
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


def _call(value: Weights | Normalization | Chain, default: object, always: dict[str, object]) -> str:
    """Write a value as the call that gives it, with what is not the default."""
    own = {field.name: getattr(value, field.name) for field in fields(value)}
    chosen = always | {name: argument for name, argument in own.items() if argument != getattr(default, name)}
    written = (
        f"{name}=" + ("float('inf')" if argument == math.inf else repr(argument)) for name, argument in chosen.items()
    )
    return f"{type(value).__name__}({', '.join(written)})"


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

"""What follows the product of a layer: recentring, rescaling, whitening, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyrank.specs.writing import as_call
from pyrank.support.errors import as_choice, as_number, invalid


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
        return as_call(self, Normalization(), {})

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

"""Largest eigenvalues of the Hessian of a loss (Morwani 2020, section 4): the sharpness of its landscape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh  # type: ignore[import-untyped]
from torch import Tensor, nn

from pyrank.optimization.hessian_product import Floats, HessianProduct, Loss
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_integer, as_number, invalid

_RESTARTS = 1000
_CHANCE = 1e-3


@dataclass(frozen=True, eq=False)
class HessianSpectrum:
    """The largest eigenvalues of a Hessian.

    Attributes
    ----------
    values
        The eigenvalues, largest first, (k,).
    residuals
        Norms ``|H v - value v|`` of unit vectors v, from a product of its own each: an eigenvalue of H is that near.
    vectors
        Those vectors, (P, k), in the order of ``model.parameters()`` without those that require no gradient.
    products
        How many products with H were taken.
    """

    values: NDArray[np.float64]
    residuals: NDArray[np.float64]
    vectors: NDArray[np.float64]
    products: int

    def __repr__(self) -> str:
        lines = [f"{value:12.6g} +- {error:.1e}" for value, error in zip(self.values, self.residuals, strict=True)]
        return "\n".join([f"Hessian of {len(self.vectors):,} parameters, {self.products} products", *lines])


@unmoved
def hessian_eigenvalues(
    model: nn.Module,
    loss: Loss,
    data: tuple[Tensor, Tensor],
    k: int = 10,
    *,
    tolerance: float | None = None,
    recompute: bool = False,
    chunk: int | None = None,
    start: HessianSpectrum | None = None,
) -> HessianSpectrum:
    """Compute the k largest eigenvalues of the Hessian of ``loss(model(x), y)`` in the parameters.

    Lanczos' method (ARPACK, with restarts) over exact products. Modules are in the mode that the model has: in train
    mode, normalisation takes the statistics of this batch, and the Hessian is that of the loss of the whole batch, what
    passes through the statistics included. Running statistics, gradients, the state of torch's generators and the mode
    are the same bits afterwards.

    Parameters
    ----------
    model
        Any module. Parameters that require no gradient are constants.
    loss
        Takes the output and y to one number, for example `torch.nn.functional.cross_entropy`.
    data
        The pair (x, y), on the device of the model.
    k
        How many, at most the number P of parameters. Memory for 2 k + 1 vectors, at least 20, in float64 is needed.
    tolerance
        Relative error at which an eigenvalue is done, by default the roundoff of the parameters to the power 2/3.
    recompute
        Whether to form the graph anew in each product, which takes a third longer: nothing is held between products.
        The peak within a product is the same.
    chunk
        Samples at once, for a loss that is a mean over samples that do not see each other (no normalisation over the
        batch in train mode); the graph is formed anew, and memory is that of so many samples.
    start
        The spectrum of a Hessian near by, from which fewer products are needed; otherwise a fixed random vector.

    Returns
    -------
    HessianSpectrum
        ``.values`` (k,), largest first, and their ``.residuals``.

    Raises
    ------
    ArgumentError
        If an argument cannot be used: no parameter requires a gradient, the model or loss is random (dropout), the loss
        is not one finite number or does not take the labels, k is out of range, chunks see each other, an operation
        cannot be differentiated twice, or there is no convergence.
    FloatingPointError
        If a second derivative is not finite.
    """
    if not isinstance(model, nn.Module):
        raise invalid("model", type(model).__name__, "a torch.nn.Module", "pass the network itself")
    if not callable(loss):
        raise invalid("loss", loss, "a function of output and labels", "for example torch.nn.functional.cross_entropy")
    if not isinstance(data, (tuple, list)) or [isinstance(part, Tensor) for part in data] != [True, True]:
        raise invalid("data", type(data).__name__, "a pair of tensors (x, y)", "pass the whole batch at once")
    x, y = data
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or not len(x):
        raise invalid("data", (tuple(x.shape), tuple(y.shape)), "as many labels as samples", "check the batch")
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not count:
        raise invalid("model", type(model).__name__, "a parameter that requires a gradient", "there is no other H")
    k = as_integer("k", k, 1, count, f"the Hessian has {count:,} eigenvalues")
    chunk = None if chunk is None else as_integer("chunk", chunk, 1, 2**62, "give a number of samples")
    product = HessianProduct(model, loss, (x, y), recompute, chunk)
    remedy = "give the relative error of the eigenvalues"
    tol = product.roundoff ** (2 / 3) if tolerance is None else as_number("tolerance", tolerance, 1e-15, 1.0, remedy)
    if start is not None and len(start.vectors) != count:
        raise invalid("start", f"vectors of {len(start.vectors):,}", f"{count:,} parameters", "leave it out")
    values, vectors = _largest(product, count, k, tol, start)
    residuals = [np.linalg.norm(product(v) - value * v) for value, v in zip(values, vectors.T, strict=True)]
    return HessianSpectrum(values, np.array(residuals), vectors, product.calls)


def _largest(
    product: HessianProduct, count: int, k: int, tolerance: float, start: HessianSpectrum | None
) -> tuple[Floats, Floats]:
    """Return eigenvalues (k,), largest first, and unit eigenvectors (P, k)."""
    size = max(2 * k + 1, 20)
    if size >= count:  # Lanczos would take as many products as there are columns
        H = np.stack([product(column) for column in np.eye(count)])
        values, vectors = np.linalg.eigh((H + H.T) / 2)
        return values[::-1][:k].copy(), vectors[:, ::-1][:, :k].copy()
    first = np.random.default_rng(0).standard_normal(count)
    if start is not None:  # a little chance stays: what is new now may be at right angles to all that there was
        first = start.vectors.sum(axis=1) + _CHANCE * first / np.linalg.norm(first)
    operator = LinearOperator((count, count), matvec=product, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k, which="LA", v0=first, ncv=size, tol=tolerance, maxiter=_RESTARTS)
    except ArpackNoConvergence as error:
        done = f"{len(error.eigenvalues)} of {k} eigenvalues after {product.calls:,} products"
        raise invalid("tolerance", tolerance, f"a larger one: it has {done}", "or use float64") from error
    except ArpackError:
        if product(first).any():
            raise
        return np.zeros(k), np.eye(count, k)  # H = 0
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]

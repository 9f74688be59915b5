"""The sharpness of a loss along training: the largest eigenvalues of its Hessian every so many steps."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from pyrank.networks.hooks import Hook
from pyrank.optimization.hessian import HessianSpectrum, hessian_eigenvalues
from pyrank.optimization.hessian_product import Loss
from pyrank.support import optional
from pyrank.support.errors import as_integer, as_number, invalid

if TYPE_CHECKING:
    import pandas as pd


class SharpnessMonitor:
    """Watches the largest eigenvalues of the Hessian of a loss while a network is trained.

    Pass it to `pyrank.networks.train` as ``monitor=``, or use it as a context around a loop of your own. When the model
    is called in train mode it takes the spectrum of the loss of ``data``, always the same samples, with the parameters
    as they are: before the first step, and then before each that comes ``every`` calls later. Each spectrum begins with
    the vectors of the one before, which saves products (`hessian_eigenvalues`). Training computes what it would compute
    without: parameters, buffers, gradients, mode and random state stay the same bits.

    Where the loss or a derivative is not finite, as in a training that diverges, values are NaN.

    Parameters
    ----------
    model
        Any `torch.nn.Module` that `hessian_eigenvalues` takes.
    data
        The pair (x, y) at which to look, on the device of the model, such as a part of the training data. In train mode
        normalisation has the statistics of these samples as one batch.
    every
        Look each so many calls in train mode, the first one included.
    k
        How many eigenvalues.
    loss
        A function of the output and y.
    tolerance
        Relative size of a residual ``|H v - value v|`` at which an eigenvalue is done; its own error is of the second
        order in that.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or later, if `hessian_eigenvalues` refuses model, loss or data.
    """

    def __init__(
        self,
        model: nn.Module,
        data: tuple[Tensor, Tensor],
        every: int = 100,
        k: int = 1,
        *,
        loss: Loss = functional.cross_entropy,
        tolerance: float = 1e-3,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise invalid("model", type(model).__name__, "a torch.nn.Module", "pass the network itself")
        self.model, self.data, self.loss = model, data, loss
        self.every = as_integer("every", every, 1, 2**62, "look at each call with 1")
        self.k = as_integer("k", k, 1, 2**31, "give the number of eigenvalues")
        self.tolerance = as_number("tolerance", tolerance, 1e-15, 1.0, "give the relative size of a residual")
        self.batches = 0
        self._found: list[tuple[int, list[float], list[float], int]] = []
        self._last: HessianSpectrum | None = None
        self._looking = False
        self._handle: RemovableHandle | None = None

    def start(self) -> Self:
        """Watch the network from here on, as ``with`` does at its beginning."""
        if self._handle is None:
            self._handle = self.model.register_forward_pre_hook(Hook(self.model, self._called), prepend=True)
        return self

    def stop(self) -> None:
        """Leave the network as it was found; what was measured stays."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _called(self, *_: Any) -> None:
        if self._looking or not self.model.training:
            return
        self.batches += 1
        if (self.batches - 1) % self.every == 0:
            self._look(self.batches - 1)

    def measure(self) -> dict[str, float]:
        """Look now, whatever is due, such as at the end of a training; return `scalars`.

        Raises
        ------
        ArgumentError
            As `hessian_eigenvalues`.
        """
        self._look(self.batches)
        return self.scalars()

    def _look(self, step: int) -> None:
        look = partial(hessian_eigenvalues, self.model, self.loss, self.data, self.k, tolerance=self.tolerance)
        self._looking = True  # the model is called for it, too
        try:
            spectrum = look(start=self._last)
        except FloatingPointError:
            self._found.append((step, [math.nan] * self.k, [math.nan] * self.k, 0))
        else:
            self._last = spectrum
            self._found.append((step, spectrum.values.tolist(), spectrum.residuals.tolist(), spectrum.products))
        finally:
            self._looking = False

    def scalars(self) -> dict[str, float]:
        """Return what was found last, for any logger.

        Returns
        -------
        dict
            ``"hessian/eigenvalue_1"``, the largest one, to ``"hessian/eigenvalue_k"``; empty before the first look.
        """
        last = self._found[-1][1] if self._found else []
        return {f"hessian/eigenvalue_{number}": value for number, value in enumerate(last, 1)}

    def table(self) -> pd.DataFrame:
        """Return a row for each look.

        Returns
        -------
        pandas.DataFrame
            ``step``, how many calls in train mode came before; ``eigenvalue_1`` to ``eigenvalue_k``, largest first;
            ``residual_1`` to ``residual_k``; ``products``, how many it took.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        pandas = optional.load("pandas", "table")
        steps, values, residuals, products = zip(*self._found, strict=True) if self._found else ([], [], [], [])
        columns: dict[str, Any] = {"step": list(steps)}
        for name, each in (("eigenvalue", values), ("residual", residuals)):
            numbers = np.array(each, dtype=np.float64).reshape(len(steps), self.k)
            columns |= {f"{name}_{i + 1}": numbers[:, i] for i in range(self.k)}
        return pandas.DataFrame(columns | {"products": list(products)})

    def __repr__(self) -> str:
        last = ", ".join(f"{value:.4g}" for value in self.scalars().values())
        return f"<sharpness of {type(self.model).__name__}: {len(self._found)} looks, last {last or 'none'}>"

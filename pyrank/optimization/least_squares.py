"""Least squares with and without batch normalisation (Morwani 2020, section 2): gradients and paths of descent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank.support.errors import as_integer, as_number, invalid
from pyrank.theory._arguments import numbers, positive_definite_matrices

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Descent:
    """The path of descent: one entry a recorded step, the start first; what diverged is infinite or NaN.

    Attributes
    ----------
    steps
        Numbers of the steps, (n,).
    weights
        v, with which x.v is predicted, (n, ..., d). With normalisation that is scale w / sqrt(w^T H w).
    residual
        sqrt(E (x.(v - u))^2), the distance of the prediction from the best one, (n, ...).
    w
        The parameters themselves, (n, ..., d); without normalisation they are v.
    scale
        gamma, (n, ...); None without normalisation.
    """

    steps: NDArray[np.int64]
    weights: NDArray[np.float64]
    residual: NDArray[np.float64]
    w: NDArray[np.float64]
    scale: NDArray[np.float64] | None


class LeastSquares:
    """Minimise E (y - x.v)^2 / 2 for features x of mean zero, for one problem or many at once.

    Both arguments are kept, as ``H`` and ``u`` in float64, and so is ``g`` = E x y = H u.

    Parameters
    ----------
    H
        E x x^T, symmetric and positive definite, (..., d, d).
    u
        The solution, (..., d).

    Raises
    ------
    ArgumentError
        If H is not positive definite, or u does not go with it.
    """

    def __init__(self, H: ArrayLike, u: ArrayLike) -> None:
        self.H: Floats = positive_definite_matrices("H", H)
        self.u: Floats = self._vectors("u", u)
        self.g: Floats = self._product(self.u)

    @classmethod
    def random(cls, features: int, condition: float, seed: int = 0, problems: int | None = None) -> LeastSquares:
        """Draw problems: H with eigenvalues 1 to ``condition``, in geometric steps and random directions; u ~ N(0, I).

        Parameters
        ----------
        features
            d, at least 2.
        condition
            Condition number of H, at least 1, which is also its largest eigenvalue.
        seed
            Of `numpy.random.default_rng`.
        problems
            How many: those of a seed are the first ones of a larger number. None is one without a leading dimension.

        Returns
        -------
        LeastSquares
            With H (problems, d, d), or (d, d).

        Raises
        ------
        ArgumentError
            If an argument is outside of what is said here.
        """
        d = as_integer("features", features, 2, 10_000, "with one feature there is no direction to find")
        kappa = as_number("condition", condition, 1.0, 1e14, "give lambda_max / lambda_min")
        seed = as_integer("seed", seed, 0, 2**64 - 1, "give a seed")
        count = 1 if problems is None else as_integer("problems", problems, 1, 10**7, "give a number of problems")
        rng = np.random.default_rng(seed)
        H, u = np.empty((count, d, d)), np.empty((count, d))
        eigenvalues = np.geomspace(1.0, kappa, d)
        for k in range(count):
            Q, R = np.linalg.qr(rng.standard_normal((d, d)))
            Q *= np.sign(np.diagonal(R))  # uniform over all rotations and reflections
            H[k] = (Q * eigenvalues) @ Q.T
            u[k] = rng.standard_normal(d)
        H = (H + H.swapaxes(-1, -2)) / 2
        return cls(H, u) if problems is not None else cls(H[0], u[0])

    def __repr__(self) -> str:
        shape = self.H.shape
        return f"<{' x '.join(map(str, shape[:-2])) or 'one'} least squares in {shape[-1]} features>"

    def residual(self, weights: ArrayLike) -> Floats:
        """Distance sqrt(E (x.(v - u))^2) of a prediction from the best one.

        Parameters
        ----------
        weights
            v, (..., d).

        Returns
        -------
        float or ndarray
            Of shape (...).

        Raises
        ------
        ArgumentError
            If the weights have another shape.
        """
        return self._residual(self._vectors("weights", weights))

    def gradient(self, weights: ArrayLike) -> Floats:
        """Gradient H v - g of the loss without normalisation.

        Parameters
        ----------
        weights
            v, (..., d).

        Returns
        -------
        ndarray
            (..., d).

        Raises
        ------
        ArgumentError
            If the weights have another shape.
        """
        return self._product(self._vectors("weights", weights)) - self.g

    def normalized_gradient(self, w: ArrayLike, scale: ArrayLike) -> tuple[Floats, Floats]:
        """Gradients of the loss at v = scale w / s, s = sqrt(w^T H w).

        Parameters
        ----------
        w
            (..., d), not zero.
        scale
            gamma, (...).

        Returns
        -------
        w : ndarray
            (scale / s) ((w.g / s^2) H w - g), at right angles to w, (..., d).
        scale : ndarray
            scale - w.g / s, (...).

        Raises
        ------
        ArgumentError
            If an argument has another shape, or w is zero.
        """
        of_w, of_scale, _ = self._normalized(self._directions("w", w), self._scales(scale))
        return of_w, of_scale

    def descend(
        self,
        normalized: bool = True,
        learning_rate: ArrayLike = 1.0,
        steps: int = 1_000,
        *,
        scale_rate: ArrayLike | None = None,
        start: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        every: int = 1,
    ) -> Descent:
        """Follow descent with a constant step.

        Parameters
        ----------
        normalized
            Whether w and the scale are the parameters, or v itself.
        learning_rate
            The step of w, or of v, (...) or one for all problems. What counts with normalisation is its ratio to
            ``|w|^2``.
        steps
            How many.
        scale_rate
            The step of the scale, likewise: that of w if not given.
        start
            w, or v, at the start, (..., d) or one for all problems, not zero; by default (1, ..., 1) / sqrt(d), a unit
            vector, as random as any other for an H without preferred directions.
        scale
            gamma at the start, (...). By default sqrt(w^T H w), so that both methods start from the same v.
        every
            Record every so many steps.

        Returns
        -------
        Descent
            The path. Divergence is no error.

        Raises
        ------
        ArgumentError
            If an argument is outside of what is said here.
        """
        rate = self._steps("learning_rate", learning_rate)
        of_scale = rate if scale_rate is None else self._steps("scale_rate", scale_rate)
        steps = as_integer("steps", steps, 1, 2**40, "give the number of steps")
        every = as_integer("every", every, 1, 2**40, "record every so many steps")
        d = self.H.shape[-1]
        w = self._directions("start", np.full(d, 1.0 / math.sqrt(d)) if start is None else start)
        times = np.arange(0, steps + 1, every)
        path = np.empty((len(times), *w.shape))
        with np.errstate(over="ignore", invalid="ignore"):
            if not normalized:
                for step in range(steps + 1):
                    if step % every == 0:
                        path[step // every] = w
                    w = w - rate[..., None] * (self._product(w) - self.g)
                return Descent(times, path, self._residual(path), path, None)
            gamma = self._size(w) if scale is None else self._scales(scale)
            weights, scales = np.empty_like(path), np.empty(path.shape[:-1])
            for step in range(steps + 1):
                by_w, by_scale, size = self._normalized(w, gamma)
                if step % every == 0:
                    k = step // every
                    path[k], scales[k], weights[k] = w, gamma, (gamma / size)[..., None] * w
                w, gamma = w - rate[..., None] * by_w, gamma - of_scale * by_scale
            return Descent(times, weights, self._residual(weights), path, scales)

    def _product(self, v: Floats) -> Floats:
        product: Floats = (self.H @ v[..., None])[..., 0]
        return product

    def _size(self, w: Floats) -> Floats:
        size: Floats = np.sqrt((w * self._product(w)).sum(axis=-1))
        return size

    def _residual(self, v: Floats) -> Floats:
        return self._size(v - self.u)

    def _normalized(self, w: Floats, scale: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the gradients with respect to w and the scale, and s."""
        Hw = self._product(w)
        s = np.sqrt((w * Hw).sum(axis=-1))
        along = (w * self.g).sum(axis=-1) / s
        of_w = (scale / s)[..., None] * ((along / s)[..., None] * Hw - self.g)
        return of_w, scale - along, s

    def _vectors(self, argument: str, value: ArrayLike) -> Floats:
        """Return one vector a problem, finite, or raise."""
        try:
            array = np.asarray(value, dtype=np.float64)
            good = array.ndim > 0 and array.shape[-1] == self.H.shape[-1] and bool(np.all(np.isfinite(array)))
            array = np.broadcast_to(array, self.H.shape[:-1])
        except (TypeError, ValueError):
            good = False
        if not good:
            shown = value.shape if isinstance(value, np.ndarray) else value
            raise invalid(argument, shown, f"finite numbers of shape {self.H.shape[:-1]}", "give one vector a problem")
        return array

    def _directions(self, argument: str, value: ArrayLike) -> Floats:
        """Return one vector other than zero a problem, or raise."""
        w = self._vectors(argument, value)
        if not np.all(np.any(w, axis=-1)):
            raise invalid(argument, 0, "w other than zero", "a vector of zeros has no direction to normalise")
        return w

    def _steps(self, argument: str, value: ArrayLike) -> Floats:
        """Return one step a problem, or one for all, or raise."""
        steps = numbers(argument, value, 0.0, 1e150, "give the step of descent")
        if steps.ndim and steps.shape != self.H.shape[:-2]:
            raise invalid(argument, steps.shape, f"one number, or shape {self.H.shape[:-2]}", "give one step a problem")
        return steps

    def _scales(self, value: ArrayLike) -> Floats:
        try:
            array = np.broadcast_to(np.asarray(value, dtype=np.float64), self.H.shape[:-2])
        except (TypeError, ValueError):
            array = np.full((), math.nan)
        if not np.all(np.isfinite(array)):
            raise invalid("scale", value, f"finite numbers of shape {self.H.shape[:-2]}", "give one a problem")
        return array

"""Fits of laws to measured means, with intervals that own up to a law that does not fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from pyrank.support.errors import invalid

LEVEL = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """The fit ``y = prefactor * x ** exponent``.

    Attributes
    ----------
    exponent, prefactor
        The weighted least-squares line through (log x, log y).
    stderr
        Standard error of the exponent that follows from the errors of y alone.
    half_width
        Of the 95 % interval of the exponent.
    chi2, dof
        Weighted sum of squared residuals, and points - 2. Far more than ``dof`` means that the law is only
        approximate at the precision of the data.
    """

    exponent: float
    prefactor: float
    stderr: float
    half_width: float
    chi2: float
    dof: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the exponent."""
        return self.exponent - self.half_width, self.exponent + self.half_width


def power_law(x: Sequence[float], y: Sequence[float], stderr: Sequence[float]) -> PowerLaw:
    """Fit a power law to y measured with independent errors.

    The relative errors ``stderr / y`` are the errors of log y, and weigh the points. The 95 % interval is the wider one
    of two: the normal one that follows from these errors, and Student's with points - 2 degrees of freedom that
    follows from the scatter of the points about the line. So a curved y, which no power law describes, gets an
    interval that covers the slopes a reader could draw, not one that shrinks with the errors of y.

    Parameters
    ----------
    x, y, stderr
        Positive numbers, at least three.

    Raises
    ------
    ArgumentError
        If there are fewer than three points, or a number is not positive and finite.
    """
    if not len(x) == len(y) == len(stderr) >= 3 or len(set(x)) < 2:
        raise invalid("points", len(x), "at least three points, not all at one x", "measure more widths")
    values = np.array([x, y, stderr], dtype=float)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise invalid("points", values.tolist(), "positive finite numbers", "measure more layers")
    log_x, log_y, sigma = np.log(values[0]), np.log(values[1]), values[2] / values[1]
    weight = sigma**-2
    centre_x, centre_y = np.average(log_x, weights=weight), np.average(log_y, weights=weight)
    information = np.sum(weight * (log_x - centre_x) ** 2)
    exponent = np.sum(weight * (log_x - centre_x) * (log_y - centre_y)) / information
    chi2 = np.sum(weight * (log_y - centre_y - exponent * (log_x - centre_x)) ** 2)
    dof = len(x) - 2
    by_errors = special.ndtri((1 + LEVEL) / 2)
    by_scatter = special.stdtrit(dof, (1 + LEVEL) / 2) * math.sqrt(chi2 / dof)
    stderr_exponent = 1 / math.sqrt(information)
    return PowerLaw(
        exponent=float(exponent),
        prefactor=float(np.exp(centre_y - exponent * centre_x)),
        stderr=stderr_exponent,
        half_width=float(max(by_errors, by_scatter) * stderr_exponent),
        chi2=float(chi2),
        dof=dof,
    )

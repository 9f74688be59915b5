"""Angles at which the samples of a batch settle under rescaling and ReLU, in layers of infinite width."""

from __future__ import annotations

from numpy.typing import ArrayLike

from pyrank.support.errors import invalid
from pyrank.theory._arguments import Floats, whole_numbers
from pyrank.theory.centred_angles import angle_degrees, recentred_relu_cosine
from pyrank.theory.rescaled_relu import rescaled_cosine, rescaled_relu_cosine


def settled_angles(samples: ArrayLike, recentre: bool) -> tuple[Floats, Floats]:
    """Angles between samples at the attracting fixed point of RS + ReLU, or of RC + RS + ReLU, in degrees.

    Parameters
    ----------
    samples
        N, at least 2, or infinity; any shape.
    recentre
        Whether rows are recentred before they are rescaled.

    Returns
    -------
    before, after : float or ndarray
        At the pre-activations and at the activations. For N = 20 they are 70.0 and 59.3 degrees without recentring,
        93.0 and 73.0 with it.

    Raises
    ------
    ArgumentError
        If a batch is smaller than 2 or ``recentre`` is no bool.
    """
    n = whole_numbers("samples", samples, 2, "an angle needs two samples or more", infinite=True)
    if not isinstance(recentre, bool):
        raise invalid("recentre", recentre, "True or False", "give a bool")
    after = recentred_relu_cosine(n) if recentre else rescaled_relu_cosine(n)
    before = -1.0 / (n - 1.0) if recentre else rescaled_cosine(after, n)
    return angle_degrees(before), angle_degrees(after)

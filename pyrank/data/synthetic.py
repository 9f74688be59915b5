"""Classes that a few features tell apart, among many that are noise: section 5 of Morwani 2020."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_integer, as_number, invalid

_LARGEST = 1 << 24
_CHUNK = 256
"""Points drawn at a time, always as many, so that fewer samples are the first of more."""


@unmoved
def separable(
    classes: int, features: int, informative: int, samples: int, seed: int = 0, *, noise: float = 1.0, gap: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Draw points whose first features separate the classes linearly, while the others are noise.

    Section 5 of Morwani 2020 asks for "d_1 dimensions where data is linearly separable for the classes" and gaussian
    noise in the others, and leaves the rest open. Here the informative features are gaussian, too, N(0, 1), so that
    nothing but the labels tells them apart; a point belongs to the class k with the largest score w_k . x, where the
    w_k are the corners of a regular simplex in a random direction. So no class is favoured, and the classes meet; with
    a gap, those of class k are moved along w_k, away from all others. They take turns: of any samples that follow each
    other the classes have as many, to within one.

    Parameters
    ----------
    classes
        K, from 2 to ``informative`` + 1, as many as a simplex can have corners.
    features, informative
        Dimension d of a point, and how many of its first entries, d_1, carry the class.
    samples
        How many points. Fewer are the first ones of more, with the same seed: so take training and validation data from
        one call.
    seed
        Of the directions and of the points.
    noise
        Standard deviation of the other features.
    gap
        Least distance of two classes in the informative features, which have a standard deviation of 1 before that.

    Returns
    -------
    x : torch.Tensor
        (samples, features), float32.
    y : torch.Tensor
        (samples,), int64.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """
    features = as_integer("features", features, 1, _LARGEST, "give the dimension d of a point")
    informative = as_integer("informative", informative, 1, features, "give a part of the features")
    classes = as_integer("classes", classes, 2, _LARGEST, "give the number of classes")
    if classes > informative + 1:
        raise invalid(
            "classes", classes, f"at most informative + 1 = {informative + 1}", "make more of them informative"
        )
    samples = as_integer("samples", samples, 1, _LARGEST, "give the number of points")
    noise = as_number("noise", noise, 0.0, 1e12, "give a standard deviation")
    gap = as_number("gap", gap, 0.0, 1e12, "give a distance between classes")
    generator = torch.Generator().manual_seed(as_integer("seed", seed, 0, 2**63 - 1, "give an integer seed"))
    corners = _simplex(classes, informative, generator)
    y = torch.arange(samples) % classes
    x = torch.empty(samples, features, dtype=torch.float32)
    missing = [list(range(k, samples, classes)) for k in range(classes)]  # places of each class, in order
    filled = [0] * classes
    while any(done < len(places) for done, places in zip(filled, missing, strict=True)):
        points = torch.randn(_CHUNK, features, generator=generator, dtype=torch.float32)
        points[:, informative:] *= noise
        label = (points[:, :informative].double() @ corners).argmax(dim=1)
        for k, places in enumerate(missing):
            drawn = points[label == k][: len(places) - filled[k]]
            x[places[filled[k] : filled[k] + len(drawn)]] = drawn
            filled[k] += len(drawn)
    if gap:  # moving by s w_k changes the score of k, less any other, by s; across a border the scores rise by sqrt(2)
        x[:, :informative] += (gap / math.sqrt(2.0) * corners).T[y].float()
    return x, y


def _simplex(classes: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Return the corners of a regular simplex in a random direction, as columns (dimension, classes), in float64."""
    centred = torch.eye(classes, dtype=torch.float64) - 1.0 / classes
    flat = torch.linalg.qr(centred[:, :-1]).Q  # the corners as rows, in classes - 1 dimensions
    gaussian = torch.randn(dimension, classes - 1, generator=generator, dtype=torch.float64)
    corners: Tensor = torch.linalg.qr(gaussian).Q @ flat.T
    return corners

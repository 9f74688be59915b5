"""What an escaped sample is: for the experiments that look for one under recentring and ReLU.

Some sample always lies furthest from the others, so an escape needs a definition: the median angle of that sample to
the others is above 85 degrees, and it is more than (N - 1) / 2 times as long as the median of the others. Angles
without an escape are those of the symmetric state, at most 76 degrees for N >= 8, and its lengths are equal, so that
the definition leaves room on both sides. Everything is looked at after the activation, at F(H).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank.reference.geometry import outlier, pairwise_angles
from pyrank.specs.chain import Chain

Floats = NDArray[np.float64]

NORMALIZATIONS = {"recentre": "RC", "batch": "RC + RS"}
"""Recentring alone, and recentring and rescaling: by the name of the chain's normalisation, as the paper has it."""
ESCAPE_ANGLE, ESCAPE_LENGTH = 85.0, 0.5
"""Least angle, in degrees, and least length, in units of N - 1 times that of the others, of an escaped sample."""
DEFINITION = f"escaped: angle above {ESCAPE_ANGLE:g} degrees, length above {ESCAPE_LENGTH:g} (N - 1), against medians"
"""In a few words, for readings and legends."""
NONE_SHARE = 0.05
"""Share of chains below which "no escape" stands."""


def relu_chain(width: int, batch: int, normalization: str) -> Chain:
    """Return ``H' = Normalise(W ReLU(H))``; W F is drawn by the law "gram", which is exact."""
    return Chain(width, batch, weights="gram", activation="relu", normalization=normalization)


def has_escaped(length: Floats, angle: Floats) -> NDArray[np.bool_]:
    """Tell which samples escaped, from lengths in units of N - 1 and angles in degrees."""
    escaped: NDArray[np.bool_] = (length > ESCAPE_LENGTH) & (angle > ESCAPE_ANGLE)
    return escaped


@dataclass(frozen=True)
class Ends:
    """The sample that lies furthest from the others in each of some states; all of shape (states,).

    Attributes
    ----------
    index
        Which one it is.
    length
        In units of N - 1 times the median of the others.
    angle
        Its median angle to the others, in degrees.
    cluster
        Mean angle between the others, in degrees.
    """

    index: NDArray[np.int64]
    length: Floats
    angle: Floats
    cluster: Floats

    @classmethod
    def of(cls, state: Tensor) -> Ends:
        """Look at the activations of states (states, d, N)."""
        features = torch.relu(state.double())
        batch = features.shape[-1]
        index, ratio, angle = outlier(features)
        own = torch.nn.functional.one_hot(index.clamp(min=0), batch).bool()
        others = ~(own.unsqueeze(-1) | own.unsqueeze(-2) | torch.eye(batch, dtype=torch.bool))
        cluster = pairwise_angles(features).masked_fill(~others, math.nan).flatten(-2).nanmean(dim=-1)
        return cls(index.numpy(), ratio.numpy() / (batch - 1), angle.numpy(), cluster.numpy())

    @property
    def escaped(self) -> NDArray[np.bool_]:
        """Whether it escaped."""
        return has_escaped(self.length, self.angle)

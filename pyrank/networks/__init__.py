"""Real networks, `torch.nn.Module`s: layers and builders to study them, weights, training, and chains as networks."""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.networks.normalize import Normalize

_HOMES = {
    "normalize": "Normalize",
}

__all__ = ["Normalize"]

__getattr__, __dir__ = names_of(__name__, _HOMES)

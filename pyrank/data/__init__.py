"""Images and synthetic sets to train on, offline first."""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.data.files import DataError
    from pyrank.data.loading import Images, load
    from pyrank.data.synthetic import separable

_HOMES = {
    "files": "DataError",
    "loading": "Images load",
    "synthetic": "separable",
}

__all__ = ["DataError", "Images", "load", "separable"]

__getattr__, __dir__ = names_of(__name__, _HOMES)

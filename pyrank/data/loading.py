"""Labelled images as tensors, from the first place that has them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pyrank.data.sources import SOURCES, VARIABLE, Source, named
from pyrank.support.ambient import unmoved
from pyrank.support.errors import ArgumentError, as_choice, as_integer, invalid


class _Pair(NamedTuple):
    x: Tensor
    y: Tensor


class Images(_Pair):
    """Images and their labels: a pair of tensors that knows where it was read from.

    Attributes
    ----------
    x
        (n, channels, height, width), float32 in [0, 1].
    y
        (n,), int64.
    source
        The folder that was read.
    """

    source: str

    def __new__(cls, x: Tensor, y: Tensor, source: str = "") -> Images:
        """Pair the tensors."""
        pair = super().__new__(cls, x, y)
        pair.source = source
        return pair

    def __repr__(self) -> str:
        size = "x".join(map(str, self.x.shape[1:]))
        return f"Images({len(self.y):,} of {size}, from {self.source})"


@unmoved
def load(
    name: str, split: str = "train", samples: int | None = None, seed: int | None = None, *, download: bool = False
) -> Images:
    """Return images and labels, from the first place that has them.

    Looked into are, in this order: the folder that the environment variable ``PYRANK_DATA`` names, ``data`` in the
    working folder, and ``~/.cache/pyrank``, in each of them the folder of this name and the one in which torchvision
    keeps its files (``FashionMNIST/raw``, ``MNIST/raw``); for Fashion-MNIST what Debian's package
    ``dataset-fashion-mnist`` installs; and last the first 4,000 training and 1,000 test images of Fashion-MNIST, which
    come with pyrank. CIFAR-10 is read in its binary version; the pickled one is never opened.

    Parameters
    ----------
    name
        ``"fashion-mnist"``, ``"mnist"`` or ``"cifar-10"``.
    split
        ``"train"`` or ``"test"``.
    samples
        How many images; all that the place has if not given.
    seed
        Draws the samples without replacement, in random order; without it they are the first ones of the file. As long
        as they are no more than what comes with pyrank they are drawn from those, so that they do not depend on
        whether the whole set is there.
    download
        Fetch the set into ``~/.cache/pyrank`` first (by pooch, which checks its SHA-256 digests), unless a place has
        it.

    Returns
    -------
    Images
        x (n, channels, height, width), float32 in [0, 1], and y (n,), int64; ``.source`` is the folder.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, no place has these images, or a file is damaged (a `DataError`).
    ImportError
        If something has to be downloaded and pooch is not installed.

    Warns
    -----
    UserWarning
        If all images are asked for, and ``PYRANK_DATA`` is set, but those that come with pyrank are all that was found.
    """
    source = SOURCES[as_choice("name", name, tuple(SOURCES))]
    as_choice("split", split, ("train", "test"))
    if samples is not None:
        samples = as_integer("samples", samples, 1, 2**31, "give the number of images")
    if seed is not None:
        seed = as_integer("seed", seed, 0, 2**63 - 1, "give an integer seed, or None for the first images")
    paths, whole = _find(name, source, split, download)
    images, labels = source.read(paths, source.shape)
    if samples is None and not whole and named():
        wanted = f"{'/ or '.join(source.folders)}/ with {' and '.join(source.files[split])} in it"
        left = f"the {len(labels)} images that come with pyrank are taken"
        warnings.warn(str(invalid(VARIABLE, named(), wanted, left)), UserWarning, stacklevel=3)  # past `unmoved`
    count = len(labels) if samples is None else samples
    if count > len(labels):
        if not whole:
            raise _missing(name, source, ("samples", samples), f"at most the {len(labels)} that come with pyrank")
        raise invalid("samples", samples, f"at most {len(labels)}", f"{paths[0].parent} has no more")
    chosen = torch.arange(count)
    if seed is not None:
        reach = len(labels) if count > source.first[split] else min(source.first[split], len(labels))
        chosen = torch.randperm(reach, generator=torch.Generator().manual_seed(seed))[:count]
    x = torch.from_numpy(images[chosen.numpy()]).float() / 255.0
    return Images(x, torch.from_numpy(labels[chosen.numpy()]).long(), str(paths[0].parent))


def _find(name: str, source: Source, split: str, download: bool) -> tuple[list[Path], bool]:
    """Return the files to read, and whether they are the whole set."""
    for fetched in (False, True):
        for folder in source.places():
            if paths := source.paths(split, folder):
                return paths, True
        if not download or fetched:
            break
        source.fetch()
    if source.shipped and (paths := source.paths(split, source.shipped)):
        return paths, False
    raise _missing(name, source, ("name", name), "images that are on this machine")


def _missing(name: str, source: Source, given: tuple[str, object], wanted: str) -> ArgumentError:
    places = ", ".join(str(folder) for folder in source.places())
    remedies = f"set {VARIABLE} to the folder that holds {source.folders[0]}/ or pass download=True"
    return invalid(*given, f"{wanted}; the whole of {name} is in none of {places}", remedies)

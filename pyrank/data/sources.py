"""Which sets of images are known, what their files are called, and in which folders they are looked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyrank.data.files import find
from pyrank.data.readers import Bytes, cifar_images, idx_images
from pyrank.support.errors import invalid
from pyrank.support.optional import load as load_module

VARIABLE = "PYRANK_DATA"
"""The environment variable that names a folder of data."""


@dataclass(frozen=True)
class Source:
    """A set of images.

    Attributes
    ----------
    folders
        Where it may be below a folder of data: under its name here, and as torchvision has it.
    files
        Names without ``.gz`` of the files of each split.
    shape
        Of an image.
    read
        Takes paths and shape to images and labels.
    url, digests
        Where it is published, and the SHA-256 digests of what is to be fetched.
    system
        Where a package of the operating system puts it.
    shipped, first
        The folder of a part that comes with pyrank, and how many of the first images of each split it has.
    """

    folders: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    shape: tuple[int, int, int]
    read: Callable[[Sequence[Path], tuple[int, int, int]], tuple[Bytes, Bytes]]
    url: str
    digests: Mapping[str, str]
    system: Path | None = None
    shipped: Path | None = None
    first: Mapping[str, int] = field(default_factory=lambda: {"train": 0, "test": 0})

    def places(self) -> list[Path]:
        """Return the folders that may hold the whole set, in the order in which they are looked into."""
        roots = [*([Path(given)] if (given := named()) else []), Path("data"), cache()]
        found = [root / folder for root in roots for folder in self.folders]
        return [*found, *([self.system] if self.system else [])]

    def paths(self, split: str, folder: Path) -> list[Path] | None:
        """Return the files of a split in a folder, if they are all there."""
        found = [path for name in self.files[split] if (path := find(folder, name))]
        return found if len(found) == len(self.files[split]) else None

    def fetch(self) -> None:
        """Download what is published into the cache, unless it is there, and check its digests; pooch does it."""
        pooch = load_module("pooch", "download=True")
        for name, digest in self.digests.items():
            unpack = pooch.Untar(extract_dir=".") if name.endswith(".tar.gz") else None
            try:
                with _silent(pooch.get_logger()):
                    pooch.retrieve(f"{self.url}{name}", f"sha256:{digest}", name, cache() / self.folders[0], unpack)
            except (OSError, ValueError) as error:  # no network, no such file, or another digest
                why = " ".join(str(error).split())[:200]
                wanted = f"{self.url}{name} to be had ({why})"
                raise invalid("download", True, wanted, f"put the files where ${VARIABLE} says") from error


@contextmanager
def _silent(logger: Any) -> Iterator[None]:
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def named() -> str | None:
    """Return the folder that the environment variable names, if it is set."""
    return os.environ.get(VARIABLE) or None


def cache() -> Path:
    """Return the folder for what is downloaded."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyrank"


_IDX = {
    split: (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    for split, prefix in (("train", "train"), ("test", "t10k"))
}

SOURCES = {
    "fashion-mnist": Source(
        ("fashion-mnist", "FashionMNIST/raw"),
        _IDX,
        (1, 28, 28),
        idx_images,
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        },
        system=Path("/usr/share/datasets/fashion-mnist"),
        shipped=Path(__file__).parent / "fashion_mnist",
        first={"train": 4_000, "test": 1_000},
    ),
    "mnist": Source(
        ("mnist", "MNIST/raw"),
        _IDX,
        (1, 28, 28),
        idx_images,
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "cifar-10": Source(
        ("cifar-10", "cifar-10/cifar-10-batches-bin", "cifar-10-batches-bin"),
        {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
        (3, 32, 32),
        cifar_images,
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    ),
}
"""By the names that `load` takes."""

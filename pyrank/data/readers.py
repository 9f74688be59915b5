"""Readers of the two formats in which the images come: IDX, of MNIST and its kin, and the binary one of CIFAR-10."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyrank.data.files import DataError, contents

CLASSES = 10
Bytes = NDArray[np.uint8]


def read_idx(path: Path, dimensions: int) -> Bytes:
    """Return what an IDX file of bytes holds: a big-endian header (magic number and sizes), then the bytes.

    Raises
    ------
    DataError
        If the magic number is not that of bytes in so many dimensions, or fewer or more bytes follow than it tells.
    """
    data, header = contents(path), 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic:
        wanted = f"{magic.hex()}, IDX of bytes in {dimensions} dimension{'s' if dimensions > 1 else ''}"
        raise DataError(path, f"it begins with {data[:4].hex() or 'nothing'}, not {wanted}")
    if len(data) < header:
        raise DataError(path, f"it ends within its header, after {len(data)} bytes of {header}")
    shape = tuple(np.frombuffer(data, ">u4", dimensions, offset=4).tolist())
    told, there = math.prod(shape), len(data) - header
    if told != there:
        raise DataError(path, f"its header tells of {'x'.join(map(str, shape))} bytes, but {there} follow")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def idx_images(paths: Sequence[Path], shape: tuple[int, int, int]) -> tuple[Bytes, Bytes]:
    """Return images (n, *shape) and labels (n,) of a pair of IDX files."""
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if images.shape[1:] != shape[1:]:
        raise DataError(paths[0], f"its images are {images.shape[1:]}, not {shape[1:]}")
    if len(images) != len(labels):
        raise DataError(paths[1], f"it has {len(labels)} labels for {len(images)} images")
    return images.reshape(-1, *shape), _checked(labels, paths[1])


def cifar_images(paths: Sequence[Path], shape: tuple[int, int, int]) -> tuple[Bytes, Bytes]:
    """Return images (n, *shape) and labels (n,) of binary files: records of one label and the bytes of an image."""
    size = 1 + math.prod(shape)
    parts = []
    for path in paths:
        data = contents(path)
        if not data or len(data) % size:
            raise DataError(path, f"it has {len(data)} bytes, no whole number of records of {size}")
        records = np.frombuffer(data, np.uint8).reshape(-1, size)
        _checked(records[:, 0], path)
        parts.append(records)
    most = max(map(len, parts))
    for path, records in zip(paths, parts, strict=True):
        if len(records) < most:
            raise DataError(path, f"it has {len(records)} images, and another batch {most}")
    records = np.concatenate(parts)
    return records[:, 1:].reshape(-1, *shape), records[:, 0]


def _checked(labels: Bytes, path: Path) -> Bytes:
    if not len(labels):
        raise DataError(path, "it is empty")
    if labels.max() >= CLASSES:
        where = int(labels.argmax())
        raise DataError(path, f"label {labels[where]} of image {where} is not within 0 to {CLASSES - 1}")
    return labels

"""A checkpoint comes back bit for bit or is known to be bad."""

from __future__ import annotations

import hashlib
import math
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from pyrank.engine import checkpoint
from pyrank.engine.checkpoint import CheckpointError, check_writable, differences, exists, load, save
from pyrank.support.errors import ArgumentError

HEADER = {"seed": 1, "chain": {"width": 32, "gamma": math.inf}, "note": "Größe", "measures": ["a", "b"]}
PREFIX_SIZE = 20
DTYPES = [np.bool_, *np.typecodes["AllInteger"].replace("p", "").replace("P", ""), *"efdFD"]


def small(value=1.0):
    return {"a": np.full((2, 3), value), "n": np.int64(7)[()] * np.ones((), dtype=np.int64)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


def seal(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5, 3)])
def test_round_trip(path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, size=shape).astype(dtype)
    save(path, HEADER, {"first": array, "second": array})
    header, arrays = load(path)
    assert header == HEADER
    assert list(arrays) == ["first", "second"]
    for found in arrays.values():
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        assert found.flags.writeable
    assert names(path.parent) == ["run.ckpt"]


def test_layout_and_special_values_survive(path):
    base = np.array([[np.nan, -0.0, np.inf], [5e-324, 1.5, -np.inf]])
    arrays = {"transposed": base.T, "strided": base[:, ::2], "big endian": base.astype(">f8")}
    save(path, {}, arrays)
    for name, found in load(path)[1].items():
        assert found.tobytes() == arrays[name].astype("<f8").tobytes(), name


@pytest.mark.parametrize("bad", [np.array([{}], dtype=object), np.array(["text"]), np.zeros(2, dtype="f8,i4")])
def test_other_dtypes_are_refused(path, bad):
    with pytest.raises(TypeError, match="'bad'"):
        save(path, HEADER, {"bad": bad})
    assert names(path.parent) == []


def test_any_flipped_bit_is_detected(path):
    save(path, HEADER, small())
    good = path.read_bytes()
    text_length = struct.unpack_from("<Q", good, 12)[0]
    regions = {"prefix and header": range(PREFIX_SIZE + text_length), "rest": range(PREFIX_SIZE, len(good))}
    for region, positions in regions.items():
        for position in positions:
            broken = bytearray(good)
            broken[position] ^= 1 << position % 8
            path.write_bytes(broken)
            with pytest.raises(CheckpointError, match=r"run\.ckpt.*delete it"):
                load(path)
            assert region
    path.write_bytes(good)
    assert load(path)[0] == HEADER


def test_any_truncation_is_detected(path):
    save(path, HEADER, small())
    good = path.read_bytes()
    for length in [*range(len(good)), len(good) + 1]:
        path.write_bytes((good + b"\0")[:length])
        with pytest.raises(CheckpointError):
            load(path)


def test_previous_is_used_when_the_current_is_damaged(path):
    save(path, {"n": 1}, small(1.0))
    save(path, {"n": 2}, small(2.0))
    assert names(path.parent) == ["run.ckpt", "run.ckpt.previous"]
    assert load(path)[0] == {"n": 2}

    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="previous checkpoint"):
        header, arrays = load(path)
    assert header == {"n": 1}
    assert arrays["a"][0, 0] == 1

    save(path, {"n": 3}, small())  # the damaged file must not displace the good previous one
    assert load(path)[0] == {"n": 3}
    path.unlink()
    assert exists(path)
    with pytest.warns(UserWarning, match="is missing"):
        assert load(path)[0] == {"n": 1}


def test_both_damaged(path):
    for n in range(2):
        save(path, {"n": n}, small())
    for place in path.parent.iterdir():
        place.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="to start again") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_nothing_there(path):
    assert not exists(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load(path)


@pytest.mark.parametrize("step", range(4))
def test_a_save_can_stop_anywhere(path, monkeypatch, step):
    """Stop at the fsync, before each rename, and at the folder's fsync: an intact checkpoint remains."""
    save(path, {"n": 0}, small())
    save(path, {"n": 1}, small())
    calls = []

    def stopping(function):
        def wrapped(*arguments):
            calls.append(function)
            if len(calls) == step + 1:
                raise KeyboardInterrupt
            return function(*arguments)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", stopping(checkpoint.os.fsync))
        patch.setattr(Path, "replace", stopping(Path.replace))
        with pytest.raises(KeyboardInterrupt):
            save(path, {"n": 2}, small())
    assert not [name for name in names(path.parent) if name.endswith(".partial")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load(path)[0] == {"n": 2 if step == 3 else 1}


def test_bogus_lengths_allocate_nothing(path):
    save(path, HEADER, small())
    body = path.read_bytes()[:-32]
    text = b'{"header": {}, "arrays": [{"name": "a", "dtype": "<f8", "shape": [1000000000000]}]}'
    bogus = [
        body[:12] + struct.pack("<Q", 2**62) + body[20:],
        body[:12] + struct.pack("<Q", len(text)) + text,
        body + b"\0",
    ]
    tracemalloc.start()
    for content in bogus:
        path.write_bytes(seal(content))
        with pytest.raises(CheckpointError):
            load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_newer_format_is_named(path):
    save(path, HEADER, small())
    body = path.read_bytes()[:-32]
    path.write_bytes(seal(body[:8] + struct.pack("<I", 9) + body[12:]))
    with pytest.raises(CheckpointError, match="format 9"):
        load(path)


def test_pickle_is_never_read(path):
    text = b'{"header": {}, "arrays": [{"name": "a", "dtype": "|O", "shape": [1]}]}'
    path.write_bytes(seal(struct.pack("<8sIQ", checkpoint.MAGIC, 1, len(text)) + text + b"\0" * 8))
    with pytest.raises(CheckpointError, match="dtype"):
        load(path)


def test_symbolic_link_is_followed(tmp_path):
    (tmp_path / "scratch").mkdir()
    link = tmp_path / "run.ckpt"
    link.symlink_to(tmp_path / "scratch" / "real.ckpt")
    save(link, {"n": 1}, small())
    assert link.is_symlink()
    assert names(tmp_path / "scratch") == ["real.ckpt"]


def test_check_writable(tmp_path, path, monkeypatch):
    check_writable(path)
    assert names(tmp_path) == []
    (tmp_path / "folder").mkdir()
    for bad in (tmp_path / "folder", tmp_path / "absent" / "run.ckpt"):
        with pytest.raises(ArgumentError, match="checkpoint"):
            check_writable(bad)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(ArgumentError, match="Permission denied"):
        check_writable(path)


def test_differences():
    wanted = {"seed": 2, "chain": {"width": 32, "gamma": 1.0}, "measures": ("a", "b"), "x": math.nan, "new": 0}
    saved = {**HEADER, "x": math.nan}
    assert differences(saved, wanted) == [
        "seed: 1 in the checkpoint, 2 asked for",
        "chain.gamma: inf in the checkpoint, 1.0 asked for",
        "note: 'Größe' in the checkpoint, not asked for",
        "new: not in the checkpoint, 0 asked for",
    ]
    assert differences(saved, dict(saved)) == []

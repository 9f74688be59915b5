"""Whatever bytes stand in a checkpoint's place, what is read is exactly what was saved, or a CheckpointError.

What is read may still not be a run that can go on: whatever it is, it is refused in one line.
"""

import copy
import hashlib
import json
import math
import random
import struct
import tracemalloc
import warnings

import numpy as np
import pytest

import pyrank
from pyrank.engine.checkpoint import MAGIC, VERSION, CheckpointError, load, save

FILES = 10_000
HEADER = {"seed": 1, "chain": {"width": 8, "gamma": math.inf}, "layer": 2**60}
ARRAYS = {"state": np.arange(6.0).reshape(2, 3), "counts": np.array(7), "none": np.zeros((0, 3), dtype=np.int8)}
PREFIX_SIZE, DIGEST_SIZE = 20, 32

SIZES = [0, 1, 3, 6, -1, -2, 2**31, 2**62, 2**63, 2**64, 10**30, True, 2.0, 1e300, math.nan, None, "3", [], {}]
VALUES = [*SIZES, "", "<f8", "|O", "|V8", "<U3", "float64", "seed", "\ud800", [6], [0, 2**64], [2**32, 2**32], [1] * 70]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


@pytest.fixture
def saved(path):
    """The bytes of a small checkpoint."""
    save(path, HEADER, ARRAYS)
    return path.read_bytes()


def seal(body):
    return body + hashlib.sha256(body).digest()


def is_refused(path, content):
    """Tell whether the content is refused; if it is not, check that what comes back is what it says."""
    path.write_bytes(content)
    try:
        header, arrays = load(path)
    except CheckpointError as error:
        return "\n" not in str(error)
    end = PREFIX_SIZE + struct.unpack_from("<Q", content, 12)[0]
    text = json.loads(content[PREFIX_SIZE:end])
    assert json.dumps(header) == json.dumps(text["header"])
    assert isinstance(header, dict)
    assert [{"name": name, "dtype": array.dtype.str, "shape": list(array.shape)} for name, array in arrays.items()] == [
        {key: entry[key] for key in ("name", "dtype", "shape")} for entry in text["arrays"]
    ]
    assert b"".join(array.tobytes() for array in arrays.values()) == content[end:-DIGEST_SIZE]
    return False


def places(tree):
    """Yield every place of a tree of lists and dictionaries, as the container and the key."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from places(tree[key])


def with_another_text(saved, rng):
    """Return the checkpoint with one to three entries of its text changed, left out or doubled, and a right digest."""
    length = struct.unpack_from("<Q", saved, 12)[0]
    content = json.loads(saved[PREFIX_SIZE : PREFIX_SIZE + length])
    for _ in range(rng.randint(1, 3)):
        container, key = rng.choice([*places(content)] or [({0: 0}, 0)])
        action = rng.random()
        if action < 0.7:
            container[key] = copy.deepcopy(rng.choice(VALUES))
        elif action < 0.85:
            del container[key]
        elif isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
    text = json.dumps(content).encode()
    return seal(struct.pack("<8sIQ", MAGIC, VERSION, len(text)) + text + saved[PREFIX_SIZE + length : -DIGEST_SIZE])


def with_other_bytes(saved, rng):
    """Return the checkpoint with some bytes replaced, inserted or left out, every second time with a right digest."""
    content = bytearray(saved[:-DIGEST_SIZE])
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(content) + 1)
        content[start : start + rng.choice((0, 1, 8))] = rng.randbytes(rng.choice((0, 1, 8)))
    return seal(bytes(content)) if rng.random() < 0.5 else bytes(content) + saved[-DIGEST_SIZE:]


def random_bytes(saved, rng):
    start = rng.choice((b"", saved[:8], saved[:12], saved[:PREFIX_SIZE]))
    content = start + rng.randbytes(rng.randrange(200))
    return seal(content) if rng.random() < 0.5 else content


@pytest.mark.parametrize("change", [with_another_text, with_other_bytes, random_bytes])
def test_changed_files_are_refused_or_intact(saved, path, change):
    rng = random.Random(0)
    refused = sum(is_refused(path, change(saved, rng)) for _ in range(FILES // 3))
    assert refused > FILES // 6
    assert not is_refused(path, saved)


def test_every_truncation_is_refused(saved, path):
    assert all(is_refused(path, saved[:length]) for length in range(len(saved)))
    assert all(is_refused(path, seal(saved[:length])) for length in range(len(saved) - DIGEST_SIZE))


def test_every_flipped_bit_is_refused(saved, path):
    content = bytearray(saved)
    for position in range(len(saved)):
        for bit in range(8):
            content[position] ^= 1 << bit
            assert is_refused(path, content), (position, bit)
            content[position] ^= 1 << bit
    assert not is_refused(path, content)


HOSTILE = [[size] for size in SIZES] + [[0, 10**30], [10**30, 0], [-1, -6], [2**32, 2**32], [1] * 70, "6", {"6": 6}]


@pytest.mark.parametrize("length", [None, 0, 10**6, 2**62, 2**64 - 1])
def test_declared_sizes_allocate_nothing(path, length):
    for shape in HOSTILE:
        listing = [{"name": "a", "dtype": "|u1", "shape": shape}, {"name": "b", "dtype": "|u1", "shape": [6]}]
        text = json.dumps({"header": {}, "arrays": listing}).encode()
        prefix = struct.pack("<8sIQ", MAGIC, VERSION, len(text) if length is None else length)
        content = seal(prefix + text + bytes(6))
        tracemalloc.start()
        try:
            refused = is_refused(path, content)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2**16
        assert refused == (length is not None or shape != [0]), shape


def test_deeply_nested_text_is_refused(path):
    for text in (b"[" * 10**5, b'{"a":' * 10**5, b'{"header": {}, "arrays": ' + b"[" * 10**5):
        assert is_refused(path, seal(struct.pack("<8sIQ", MAGIC, VERSION, len(text)) + text))


RUN = {"measures": ["trace", "soft_rank(0.5)", "numerical_rank"], "chains": 3, "trace": 4, "progress": False}


def go_on(path, **options):
    """Continue the run at ``path``; what is wrong with it, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # another version or backend
        try:
            pyrank.simulate(pyrank.Chain(4, 5), 6, checkpoint=path, **RUN | options)
        except (CheckpointError, pyrank.ArgumentError) as error:
            return str(error)
    return ""


@pytest.fixture
def begun(path):
    """The header and the arrays of a run of a few layers."""
    assert not go_on(path)
    return load(path)


def strange(array):
    """Yield arrays that are not quite this one."""
    for dtype in ("f2", "f4", "f8", "i4", "i8", "u8", "c16", "?"):
        yield array.astype(dtype)
    yield from (array[None], array[..., None], array[:-1], array.ravel(), array.T, array.ravel()[0], array[:0])


USABLE = {
    "layer": lambda value: type(value) is int and 0 <= value <= 6,
    "seconds": lambda value: type(value) in (int, float) and 0 <= value < math.inf,
    "version": lambda value: isinstance(value, str),
    "backend": lambda value: isinstance(value, str),
}
"""What is believed, whatever it was."""
STRANGE = [0, 3, -1, 2**64, 10**30, True, 2.0, 1e300, math.nan, None, "3", "\ud800", [], [6], {}]


@pytest.mark.parametrize("every", [1, "auto"])
def test_a_header_that_is_none_of_a_run_is_refused(path, begun, every):
    header, arrays = begun
    for place, key in [*places(header)]:
        if every == "auto" and key not in ("plan", "every", "layer"):
            continue
        kept, usable = place[key], USABLE.get(key, lambda _: False)
        for value in STRANGE:
            place[key] = copy.deepcopy(value)
            save(path, header, arrays)
            why = go_on(path, every=every)
            assert "\n" not in why
            assert bool(why) != (value == kept or usable(value)), (key, value)
        if isinstance(place, dict):
            del place[key]
            save(path, header, arrays)
            assert str(key) in go_on(path, every=every)
        place[key] = kept
    save(path, header, arrays)
    assert not go_on(path, every=every)


def test_arrays_that_are_none_of_a_run_are_refused(path, begun):
    header, arrays = begun
    assert len(arrays) == 10
    for name, array in arrays.items():
        save(path, header, {other: arrays[other] for other in arrays if other != name})
        assert f"({name} is missing)" in go_on(path)
        for changed in strange(array):
            save(path, header, arrays | {name: changed})
            same = changed.shape == array.shape and changed.dtype in (array.dtype, np.float64)  # the reference has that
            if not (same and (name == "state" or changed.dtype == array.dtype)):
                assert f"({name} is " in go_on(path), (changed.dtype, changed.shape)
        if "rank_index" in name:
            save(path, header, arrays | {name: array + 7})
            assert f"{name} is wrong" in go_on(path)
    for value in (math.nan, math.inf):
        save(path, header, arrays | {"state": np.full_like(arrays["state"], value)})
        assert "state is not finite" in go_on(path)
    save(path, header, arrays)
    assert not go_on(path)

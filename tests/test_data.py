"""`pyrank.data`: what comes with the package, the places that are searched, damaged files, and synthetic classes."""

import copy
import gzip
import pickle
import struct
import tarfile
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bad_input import assert_one_line

import pyrank
from pyrank import data
from pyrank.data import files, sources
from pyrank.data.readers import read_idx

from tolerances import SIGMAS


@pytest.fixture(autouse=True)
def nothing_else(tmp_path, monkeypatch):
    """A machine that has no data but what comes with the package."""
    monkeypatch.delenv("PYRANK_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    fashion = replace(sources.SOURCES["fashion-mnist"], system=tmp_path / "system")
    monkeypatch.setitem(sources.SOURCES, "fashion-mnist", fashion)
    return tmp_path


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def made(count, shape=(28, 28), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8)


def leave_idx(folder, count=50, packed=False, prefix="train", shape=(28, 28)):
    images, labels = made(count, shape)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((f"{prefix}-images-idx3-ubyte", idx(images)), (f"{prefix}-labels-idx1-ubyte", idx(labels))):
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return images, labels


def leave_cifar(folder, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, name in enumerate([f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]):
        images, labels = made(count, (3, 32, 32), seed=number)
        (folder / name).write_bytes(b"".join(bytes([y]) + x.tobytes() for x, y in zip(images, labels, strict=True)))
        parts.append((images, labels))
    return parts


# --- what is shipped -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "count"), [("train", 4_000), ("test", 1_000)])
def test_shipped_images(split, count):
    """Fashion-MNIST is balanced; its mean pixel is 0.286 (72.94 of 255), and its first labels are 9, 0, 0, 3, 0."""
    x, y = images = data.load("fashion-mnist", split)
    assert (x.shape, x.dtype, y.dtype) == ((count, 1, 28, 28), torch.float32, torch.int64)
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert x.mean().item() == pytest.approx(0.286, abs=SIGMAS * 0.12 / count**0.5)
    share = torch.bincount(y, minlength=10) / count
    assert (share - 0.1).abs().max() < SIGMAS * (0.09 / count) ** 0.5
    if split == "train":
        assert y[:5].tolist() == [9, 0, 0, 3, 0]
    assert images.source.endswith("fashion_mnist")
    assert repr(images) == f"Images({count:,} of 1x28x28, from {images.source})"


def test_licence_is_beside_the_images():
    text = (sources.SOURCES["fashion-mnist"].shipped / "LICENSE").read_text()
    assert "MIT License" in text
    assert "2017 Zalando" in text


def test_samples():
    whole = data.load("fashion-mnist", "test")
    first = data.load("fashion-mnist", "test", 7)
    assert torch.equal(first.x, whole.x[:7])
    assert torch.equal(first.y, whole.y[:7])
    drawn, again, other = (data.load("fashion-mnist", "test", 200, seed=s) for s in (3, 3, 4))
    assert torch.equal(drawn.x, again.x)
    assert not torch.equal(drawn.x, other.x)
    rows = {bytes(x.numpy()): y.item() for x, y in zip(whole.x, whole.y, strict=True)}
    assert len(rows) == len(whole.x)
    assert len({bytes(x.numpy()) for x in drawn.x}) == 200  # without replacement
    assert all(rows[bytes(x.numpy())] == y.item() for x, y in zip(drawn.x, drawn.y, strict=True))


def test_images_can_be_copied():
    images = data.load("fashion-mnist", "test", 3)
    for twin in (copy.deepcopy(images), pickle.loads(pickle.dumps(images))):  # noqa: S301, its own
        assert torch.equal(twin.x, images.x)
        assert twin.source == images.source


def test_ambient_state_changes_nothing():
    plain = data.load("fashion-mnist", "test", 9, seed=2), data.separable(3, 5, 4, 20)
    with torch.device("meta"), torch.inference_mode():
        moved = data.load("fashion-mnist", "test", 9, seed=2), data.separable(3, 5, 4, 20)
    torch.set_default_dtype(torch.float64)
    try:
        wide = data.load("fashion-mnist", "test", 9, seed=2), data.separable(3, 5, 4, 20)
    finally:
        torch.set_default_dtype(torch.float32)
    for pairs in (moved, wide):
        for (x, y), (x0, y0) in zip(pairs, plain, strict=True):
            assert torch.equal(x, x0)
            assert torch.equal(y, y0)
            assert not x.is_inference()


# --- places ----------------------------------------------------------------------------------------------------------

PLACES = ["given/mnist", "given/MNIST/raw", "data/mnist", "data/MNIST/raw", "cache/pyrank/mnist"]


def test_places_are_searched_in_order(nothing_else, monkeypatch):
    monkeypatch.setenv("PYRANK_DATA", str(nothing_else / "given"))
    for number, place in enumerate(reversed(PLACES)):
        leave_idx(nothing_else / place, 10 + number, packed=number % 2)
        images = data.load("mnist")
        assert (nothing_else / images.source).resolve() == (nothing_else / place).resolve()
        assert len(images.y) == 10 + number


def test_package_of_the_system(nothing_else):
    leave_idx(nothing_else / "system", 12, packed=True)
    assert len(data.load("fashion-mnist").y) == 12
    assert len(data.load("fashion-mnist", "test").y) == 1_000  # which is not there: what is shipped


def test_pixels_and_labels_are_those_of_the_file(nothing_else):
    images, labels = leave_idx(nothing_else / "data/mnist", 9)
    x, y = data.load("mnist")
    np.testing.assert_array_equal(x.numpy(), (images / 255.0).astype(np.float32)[:, None])
    np.testing.assert_array_equal(y.numpy(), labels)


@pytest.mark.parametrize("folder", ["cifar-10", "cifar-10-batches-bin"])
def test_cifar(nothing_else, folder):
    parts = leave_cifar(nothing_else / "data" / folder)
    x, y = data.load("cifar-10")
    np.testing.assert_array_equal(x.numpy(), np.concatenate([p[0] for p in parts[:5]]).astype(np.float32) / 255.0)
    np.testing.assert_array_equal(y.numpy(), np.concatenate([p[1] for p in parts[:5]]))
    np.testing.assert_array_equal(data.load("cifar-10", "test").y.numpy(), parts[5][1])


def test_draws_do_not_depend_on_whether_the_whole_set_is_there(nothing_else, monkeypatch):
    shipped = [data.load("fashion-mnist", samples=n, seed=1) for n in (10, 4_000)]
    whole = leave_idx(nothing_else / "data/fashion-mnist", 4_500)
    first = data.load("fashion-mnist", samples=4_000)
    order = torch.randperm(4_000, generator=torch.Generator().manual_seed(1))
    for images in shipped:
        now = data.load("fashion-mnist", samples=len(images.y), seed=1)
        assert torch.equal(now.y, first.y[order[: len(images.y)]])
        assert len(set(order.tolist())) == 4_000
    more = data.load("fashion-mnist", samples=4_500, seed=1)
    np.testing.assert_array_equal(torch.bincount(more.y), np.bincount(whole[1]))


# --- what is missing or damaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["misspelt", "given/fashion-mnist", "given"])
def test_a_variable_that_names_no_such_set_is_told(nothing_else, monkeypatch, place):
    """Misspelt, the set's own folder, or one of two files missing; not where the images would be the same."""
    leave_idx(nothing_else / "given/fashion-mnist", 4_500)
    if place == "given":
        (nothing_else / "given/fashion-mnist/train-labels-idx1-ubyte").unlink()
    monkeypatch.setenv("PYRANK_DATA", str(nothing_else / place))
    message = "PYRANK_DATA = .*fashion-mnist/ or FashionMNIST/raw/ with train-images.*4000 images"
    with pytest.warns(UserWarning, match=message) as told:
        assert len(data.load("fashion-mnist").y) == 4_000
    assert "\n" not in str(told[0].message)
    assert told[0].filename == __file__
    assert len(data.load("fashion-mnist", samples=4_000).y) == 4_000


@pytest.mark.parametrize(("arguments", "words"), [
    ({"name": "imagenet"}, ["name", "fashion-mnist, mnist, cifar-10"]),
    ({"name": "mnist"}, ["name", "PYRANK_DATA", "mnist/", "download=True", "MNIST/raw"]),
    ({"name": "cifar-10"}, ["name", "PYRANK_DATA", "cifar-10-batches-bin"]),
    ({"name": "fashion-mnist", "samples": 4_001}, ["samples", "4000", "PYRANK_DATA", "download=True"]),
    ({"name": "fashion-mnist", "split": "validation"}, ["split"]),
    ({"name": "fashion-mnist", "samples": 0}, ["samples"]),
    ({"name": "fashion-mnist", "seed": -1}, ["seed"]),
])  # fmt: skip
def test_what_cannot_be_had_is_said_in_one_line(arguments, words):
    with pytest.raises(pyrank.ArgumentError) as error:
        data.load(**arguments)
    assert_one_line(error, *words)


def test_more_than_there_are(nothing_else):
    leave_idx(nothing_else / "data/mnist", 9)
    with pytest.raises(pyrank.ArgumentError) as error:
        data.load("mnist", samples=10)
    assert_one_line(error, "samples", "at most 9")


IMAGES, LABELS = made(5)
BAD_LABEL = np.array([1, 2, 3, 10, 4], np.uint8)


@pytest.mark.parametrize(("images", "labels", "words"), [
    (b"", idx(LABELS), ["train-images", "nothing"]),
    (b"\x80\x04" + idx(IMAGES), idx(LABELS), ["train-images", "00000803"]),
    (idx(LABELS), idx(LABELS), ["train-images", "00000801", "00000803"]),
    (idx(IMAGES), idx(IMAGES), ["train-labels", "00000801"]),
    (idx(IMAGES)[:10], idx(LABELS), ["train-images", "within its header"]),
    (idx(IMAGES)[:-1], idx(LABELS), ["train-images", "5x28x28", "3919"]),
    (idx(IMAGES) + b"\0", idx(LABELS), ["train-images", "3921"]),
    (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), idx(LABELS), ["train-images", "but 0 follow"]),
    (idx(IMAGES), idx(LABELS[:4]), ["train-labels", "4 labels for 5 images"]),
    (idx(IMAGES), idx(BAD_LABEL), ["train-labels", "label 10 of image 3"]),
    (idx(IMAGES[:0]), idx(LABELS[:0]), ["train-labels", "empty"]),
    (idx(made(5, (28, 27))[0]), idx(LABELS), ["train-images", "(28, 27)"]),
    (gzip.compress(idx(IMAGES), mtime=0)[:-20], idx(LABELS), ["train-images", "unpacked"]),
    (gzip.compress(idx(IMAGES), mtime=0)[:40] + bytes(60), idx(LABELS), ["train-images", "unpacked"]),
])  # fmt: skip
def test_damaged_files_are_named(nothing_else, images, labels, words):
    folder = nothing_else / "data/mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_bytes(images)
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(data.DataError) as error:
        data.load("mnist")
    assert_one_line(error, *words, "cannot be used")


@pytest.mark.parametrize(("change", "words"), [
    (lambda raw: raw[:-1], ["12291 bytes", "3073"]), (lambda raw: b"", ["0 bytes"]),
    (lambda raw: b"\x0a" + raw[1:], ["label 10 of image 0"]),
    (lambda raw: raw[:-3073], ["3 images", "another batch 4"]),
])  # fmt: skip
def test_damaged_cifar_is_named(nothing_else, change, words):
    leave_cifar(nothing_else / "data/cifar-10")
    path = nothing_else / "data/cifar-10/data_batch_3.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(data.DataError) as error:
        data.load("cifar-10")
    assert_one_line(error, "data_batch_3.bin", *words)


def test_a_file_without_end_is_given_up(nothing_else, monkeypatch):
    monkeypatch.setattr(files, "MOST", 1_000)
    (nothing_else / "bomb").write_bytes(gzip.compress(bytes(10_000)))
    with pytest.raises(data.DataError, match="more than 1000 bytes"):
        read_idx(nothing_else / "bomb", 1)
    with pytest.raises(data.DataError, match="cannot be read"):
        read_idx(nothing_else / "nothing", 1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_refused_or_harmless(tmp_path_factory, draw):
    """Bytes changed, cut off or added: an array of bytes as told by the header, or one line."""
    raw = idx(LABELS)
    raw = gzip.compress(raw, mtime=0) if draw.draw(st.booleans()) else raw
    start = draw.draw(st.integers(0, len(raw)))
    new = draw.draw(st.binary(max_size=6))
    end = start + draw.draw(st.integers(0, 6))
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(raw[:start] + new + raw[end:])
    try:
        array = read_idx(path, 1)
    except data.DataError as error:
        assert "\n" not in str(error)  # noqa: PT017, either may happen
    else:
        assert array.ndim == 1
        assert array.dtype == np.uint8


# --- download --------------------------------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def published(tmp_path):
    """A folder that is served on the loopback, and its address."""
    folder = tmp_path / "published"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def digests(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_idx_files_are_fetched_once(published, monkeypatch, capfd):
    pytest.importorskip("pooch")
    folder, url = published
    for prefix in ("train", "t10k"):
        leave_idx(folder, 8, packed=True, prefix=prefix)
    source = replace(sources.SOURCES["mnist"], url=url, digests=digests(folder))
    monkeypatch.setitem(sources.SOURCES, "mnist", source)
    first = data.load("mnist", download=True)
    assert first.source == str(sources.cache() / "mnist")
    for path in folder.iterdir():
        path.unlink()
    assert torch.equal(data.load("mnist", download=True).x, first.x)
    assert torch.equal(data.load("mnist").x, first.x)
    assert capfd.readouterr() == ("", "")


def test_cifar_is_fetched_and_unpacked(published, monkeypatch):
    pytest.importorskip("pooch")
    folder, url = published
    made_at = folder.parent / "cifar-10-batches-bin"
    leave_cifar(made_at)
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(made_at, made_at.name)
    monkeypatch.setitem(sources.SOURCES, "cifar-10",
                        replace(sources.SOURCES["cifar-10"], url=url, digests=digests(folder)))  # fmt: skip
    assert len(data.load("cifar-10", download=True).y) == 20


def test_what_is_not_as_published_is_refused(published, monkeypatch):
    pytest.importorskip("pooch")
    folder, url = published
    monkeypatch.setitem(sources.SOURCES, "mnist", replace(sources.SOURCES["mnist"], url=url))
    with pytest.raises(pyrank.ArgumentError) as error:
        data.load("mnist", download=True)
    assert_one_line(error, "download", "404", "PYRANK_DATA")
    leave_idx(folder, 8, packed=True)
    with pytest.raises(pyrank.ArgumentError) as error:
        data.load("mnist", download=True)
    assert_one_line(error, "download", "SHA256", "PYRANK_DATA")
    assert not sources.cache().joinpath("mnist/train-images-idx3-ubyte.gz").exists()


# --- synthetic classes -----------------------------------------------------------------------------------------------


def test_classes_are_linearly_separable_in_the_informative_features():
    """By linear programming: weights w_k with w_y . x >= w_k . x + 1 for every point and every other class."""
    x, y = data.separable(classes=3, features=6, informative=4, samples=60, seed=0)
    assert (x.shape, x.dtype, y.dtype) == ((60, 6), torch.float32, torch.int64)

    def feasible(part, labels):
        rows = []
        for point, label in zip(part.double().numpy(), labels.tolist(), strict=True):
            for k in set(range(3)) - {label}:
                row = np.zeros((3, part.shape[1]))
                row[label], row[k] = -point, point
                rows.append(row.ravel())
        bounds = [(None, None)] * (3 * part.shape[1])
        found = scipy.optimize.linprog(np.zeros(len(bounds)), np.array(rows), -np.ones(len(rows)), bounds=bounds)
        return found.success

    assert feasible(x[:, :4], y)
    assert not feasible(x[:, :4], y[torch.randperm(60, generator=torch.Generator().manual_seed(0))])
    assert not feasible(x[:, 4:], y)


def test_points_are_balanced_gaussian_and_the_first_of_more():
    x, y = data.separable(5, 12, 8, 1_000, seed=2, noise=3.0)
    assert torch.equal(y, torch.arange(1_000) % 5)
    deviation = x.std(dim=0)
    assert (deviation[:8] - 1.0).abs().max() < SIGMAS / (2 * 1_000) ** 0.5
    assert (deviation[8:] - 3.0).abs().max() < 3.0 * SIGMAS / (2 * 1_000) ** 0.5
    assert x.mean(dim=0).abs().max() < 3.0 * SIGMAS / 1_000**0.5
    fewer = data.separable(5, 12, 8, 33, seed=2, noise=3.0)
    assert torch.equal(fewer[0], x[:33])
    assert not torch.equal(data.separable(5, 12, 8, 33, seed=3)[0], fewer[0])


def test_two_classes_in_one_feature_are_two_half_lines():
    x, y = data.separable(2, 2, 1, 40, seed=1)
    signs = x[:, 0].sign() * (2.0 * y - 1.0)
    assert (signs == signs[0]).all()


def test_classes_are_apart_by_the_gap():
    """The least distance of two classes, as hulls, is that of the nearest pair along the line through two corners."""
    near, y = data.separable(3, 5, 2, 4_000, seed=2)
    x, moved = data.separable(3, 5, 2, 4_000, seed=2, gap=4.0)
    assert torch.equal(y, moved)
    assert torch.equal(near[:, 2:], x[:, 2:])
    shifts = x[:, :2] - near[:, :2]  # along the corners
    for k, j in ((0, 1), (0, 2), (1, 2)):
        across = shifts[y == k][0] - shifts[y == j][0]
        places = x[:, :2] @ (across / across.norm())
        apart = (places[y == k].min() - places[y == j].max()).item()
        assert 4.0 - 1e-5 < apart < 4.1  # thousands of gaussian points come near to a border


@pytest.mark.parametrize(("arguments", "word"), [
    ((1, 4, 2, 9), "classes"), ((4, 4, 2, 9), "classes"), ((2, 4, 5, 9), "informative"), ((2, 0, 1, 9), "features"),
    ((2, 4, 2, 0), "samples"), ((2, 4, 2, 9, -1), "seed"),
])  # fmt: skip
def test_bad_arguments_of_separable(arguments, word):
    with pytest.raises(pyrank.ArgumentError) as error:
        data.separable(*arguments)
    assert_one_line(error, word)


@pytest.mark.parametrize("word", ["noise", "gap"])
def test_bad_distances_of_separable(word):
    with pytest.raises(pyrank.ArgumentError) as error:
        data.separable(2, 4, 2, 9, **{word: -1.0})
    assert_one_line(error, word)

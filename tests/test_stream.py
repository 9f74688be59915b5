"""The random stream: known answers, the published mapping, and the same weights from every implementation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import pyrank
from pyrank.engine import native
from pyrank.reference import stream

from tolerances import GAUSSIAN_ULPS, SIGMAS

KNOWN_ANSWERS = [
    [int(word, 16) for word in line.split()]
    for line in (Path(__file__).parent / "data/philox4x32_10.txt").read_text().splitlines()
    if not line.startswith("#")
]
LAWS = ("gaussian", "uniform", "rademacher")
SEED = 0xA4093822299F31D0


def philox_of_torch(counter, key):
    words = stream.philox(tuple(torch.tensor(c) for c in counter), (key & 0xFFFFFFFF, key >> 32))
    return [int(word) for word in words]


@pytest.mark.parametrize("implementation", [native.philox, philox_of_torch])
@pytest.mark.parametrize("answer", KNOWN_ANSWERS)
def test_known_answers(implementation, answer):
    counter, key, words = tuple(answer[:4]), answer[4] | answer[5] << 32, answer[6:]
    assert any(words)
    assert list(implementation(counter, key)) == words


def test_known_answers_can_fail():
    counter = (1, 0, 0, 0)
    assert list(native.philox(counter, 0)) == philox_of_torch(counter, 0)
    assert list(native.philox(counter, 0)) != KNOWN_ANSWERS[0][6:]


@pytest.mark.parametrize(("i", "j"), [(0, 0), (2, 3), (5, 4), (129, 131), (64, 77)])
def test_mapping_is_the_published_one(i, j):
    """One entry at a time, in exact integer and plain float arithmetic, from the published description."""
    layer, index, d = 70_000, 9, 132
    words = native.philox((layer, i, index, j >> 2), SEED)
    u = [(word + 0.5) * 2.0**-32 for word in words]
    radius, angle = u[j & 2], 2 * math.pi * u[(j & 2) + 1]
    gaussian = math.sqrt(-2 * math.log(radius)) * (math.sin(angle) if j & 1 else math.cos(angle))
    uniform = math.sqrt(3) * (2 * u[j & 3] - 1)
    bits = native.philox((layer, i, index, j >> 7), SEED)
    rademacher = 2 * (bits[(j >> 5) & 3] >> (j & 31) & 1) - 1
    for law, expected in zip(LAWS, (gaussian, uniform, rademacher), strict=True):
        chain = pyrank.Chain(d, weights=law, dtype="float64")
        for drawn in (
            pyrank.draw_weights(chain, SEED, layer, index).numpy(),
            native.draw_weights(chain, SEED, layer, index),
        ):
            assert drawn[i, j] == pytest.approx(expected, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("d", [1, 3, 8, 17, 128, 131, 260])
def test_compiled_weights_equal_the_reference(law, dtype, d, isa):
    chain = pyrank.Chain(d, weights=pyrank.Weights(law, mean=0.25, scale=1.7), dtype=dtype)
    compiled = native.draw_weights(chain, SEED, 3, 2**32 - 1, isa=isa)
    expected = pyrank.draw_weights(chain, SEED, 3, 2**32 - 1).numpy()
    assert compiled.shape == (d, d)
    if law == "gaussian":
        tolerance = GAUSSIAN_ULPS * np.finfo(dtype).eps * max(1.0, np.abs(expected).max())
        assert np.abs(compiled - expected).max() <= tolerance
    else:
        np.testing.assert_array_equal(compiled, expected)


def test_extreme_words_give_finite_weights():
    words = torch.tensor([0, 0xFFFFFFFF, 1, 0x80000000])
    for dtype in (torch.float32, torch.float64):
        for numbers in (stream._gaussian(words, dtype), stream._uniform(words, dtype)):
            assert torch.isfinite(numbers).all()


@pytest.mark.parametrize("law", LAWS)
def test_law(law):
    chain = pyrank.Chain(256, weights=law)
    w = np.concatenate([native.draw_weights(chain, 5, layer, 0).ravel() for layer in range(8)]).astype(float)
    kurtosis = {"gaussian": 3.0, "uniform": 1.8, "rademacher": 1.0}[law]
    assert abs(w.mean()) <= SIGMAS / math.sqrt(w.size)
    assert abs((w * w).mean() - 1) <= SIGMAS * math.sqrt((kurtosis - 1) / w.size) + 1e-7
    if law != "rademacher":
        cdf = stats.norm.cdf if law == "gaussian" else stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)).cdf
        assert stats.kstest(w, cdf).pvalue > 1e-6
        assert stats.kstest(w * 1.02, cdf).pvalue < 1e-6  # the test would notice two per cent
    matrix = native.draw_weights(chain, 5, 0, 0).astype(float)
    rows, columns = np.corrcoef(matrix), np.corrcoef(matrix.T)
    for correlation in (rows, columns):
        off = correlation[~np.eye(256, dtype=bool)]
        assert np.abs(off).max() < 7 / math.sqrt(256)


@pytest.mark.parametrize("change", [{"seed": 6}, {"layer": 1}, {"index": 1}])
def test_every_coordinate_matters(change):
    chain = pyrank.Chain(64)
    at = {"seed": 5, "layer": 0, "index": 0}
    a, b = native.draw_weights(chain, **at), native.draw_weights(chain, **{**at, **change})
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < SIGMAS / 64
    assert not np.array_equal(a, b)


def test_initial_state_uses_its_own_stream():
    chain = pyrank.Chain(16, dtype="float64")
    run = pyrank.simulate(chain, 1, chains=1, seed=5, backend="reference", measures=[], progress=False)
    weights = pyrank.draw_weights(chain, 5, 0)
    initial = stream.draw("gaussian", 5, stream.INITIAL, 0, 16, 16, torch.tensor([0]), torch.float64)[0]
    assert not torch.equal(weights, initial)
    torch.testing.assert_close(run.state[0], pyrank.layer_step(initial, weights))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 7), (1, 131, 3), (2, 16, 1), (1, 1, 260)])
@pytest.mark.parametrize("seed", [0, SEED, 2**64 - 1])
def test_compiled_initial_states_equal_the_reference(shape, seed, isa):
    for layer in (0, 1):
        compiled = native.initial_normals(seed, layer, shape, isa=isa)
        expected = stream.initial_normals(seed, layer, shape)
        assert np.abs(compiled - expected).max() <= GAUSSIAN_ULPS * np.finfo(float).eps * np.abs(expected).max()

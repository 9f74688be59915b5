"""The kernels on 64-bit Arm: they compile without a warning, and an emulated processor gives the bits of AVX2."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import pyrank
from pyrank.engine import native
from pyrank.specs.chain import ACTIVATIONS
from pyrank.specs.weights import WEIGHT_LAWS

ROOT = Path(__file__).resolve().parents[1]
UNITS = [
    ROOT / "tests/aarch64/chain.cpp",
    *(ROOT / "csrc/cpu" / f"{name}.cpp" for name in ("backend", "team", "isa_baseline")),
]
COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
CHAINS = [
    pyrank.Chain(9, 7),
    pyrank.Chain(9, 7, gamma=0.5, weights="uniform", activation="gelu", normalization="batch", dtype="float64"),
    pyrank.Chain(5, 6, weights="rademacher", activation="softplus", normalization="layer"),
    pyrank.Chain(6, 6, weights="orthogonal", activation="tanh", normalization="whiten", dtype="float64"),
    pyrank.Chain(8, 3, weights="gram", activation="leaky_relu", normalization="none"),
    pyrank.Chain(130, 2, gamma=0.25, activation="sigmoid", normalization=pyrank.Normalization(order=3)),
]


def line_of(chain):
    """A chain as the program reads it."""
    norm, law, skip = chain.normalization, chain.weights, np.isfinite(chain.gamma)
    fields = (chain.dtype == "float64", chain.width, chain.batch, skip, chain.gamma if skip else 0.0,
              WEIGHT_LAWS.index(law.law), law.mean, law.standard_deviation(chain.width, chain.width),
              ACTIVATIONS.index(chain.activation), norm.over == "features", norm.recentre, norm.rescale, norm.whiten,
              norm.order, 1)  # fmt: skip
    return " ".join(f"{field:.17g}" for field in map(float, fields))


def here(chain):
    """What the program computes, on this machine."""
    entries = np.arange(3 * chain.width * chain.batch)
    start = ((entries * 37 % 101 - 50) / 64).reshape(3, chain.width, chain.batch)
    run = pyrank.simulate(chain, 5, chains=3, seed=1, initial=start, measures=[], backend="cpu", progress=False)
    return run.state.numpy()


@pytest.mark.skipif(COMPILER is None, reason="there is no aarch64-linux-gnu-g++")
def test_the_kernels_compile_and_give_the_same_bits(tmp_path, monkeypatch):
    program = tmp_path / "chain"
    options = ["-std=c++20", "-O0", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-psabi", "-Werror", "-static"]
    subprocess.run([COMPILER, *options, *UNITS, "-o", program], check=True)
    if EMULATOR is None or "avx2" not in native.isas():
        pytest.skip("it compiles; to run it there have to be qemu-aarch64 and AVX2")
    lines = "\n".join(map(line_of, CHAINS))
    answer = subprocess.run([EMULATOR, program], input=lines, capture_output=True, text=True, check=True, timeout=300)
    monkeypatch.setenv("PYRANK_ISA", "avx2")
    for chain, line in zip(CHAINS, answer.stdout.splitlines(), strict=True):
        bits = np.array([int(word, 16) for word in line.split()], dtype=chain.dtype.replace("float", "uint"))
        expected = here(chain)
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(bits.view(chain.dtype).reshape(expected.shape), expected, err_msg=str(chain))

"""Chains as values: written as the call that gives them, and changed in one respect."""

import copy
import math
import sys
from dataclasses import replace

import pytest

import pyrank

CHAINS = [
    pyrank.Chain(32),
    pyrank.Chain(8, 16, gamma=0.3, activation="relu", dtype="float64"),
    pyrank.Chain((8, 32), weights="he", normalization="layer"),
    pyrank.Chain(4, weights=pyrank.Weights.between(0.0, 0.7), normalization=pyrank.Normalization(order=math.inf)),
    pyrank.Chain(4, 9, weights="torch", normalization="whiten", gamma=0.0),
    pyrank.Chain(4, weights="orthogonal", normalization=pyrank.Normalization(rescale=True, eps=1e-5, alpha=-0.1)),
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_repr_gives_the_chain_again(chain):
    names = {name: getattr(pyrank, name) for name in ("Chain", "Weights", "Normalization")}
    for value in (chain, chain.weights, chain.normalization):
        assert eval(repr(value), names) == value  # noqa: S307, this is what is tested


def test_repr_shows_what_is_not_the_default():
    assert repr(pyrank.Chain(3, gamma=math.inf)) == "Chain(width=3, batch=3)"
    assert repr(pyrank.Normalization(recentre=True, order=math.inf)) == (
        "Normalization(recentre=True, order=float('inf'))"
    )
    assert repr(pyrank.Chain((2, 4), 1, weights="lecun")) == (
        "Chain(width=(2, 4), batch=1, weights=Weights(law='gaussian', scale='lecun'))"
    )


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_replace_changes_one_thing(chain):
    values = {"weights": chain.weights, "gamma": chain.gamma, "activation": chain.activation, "dtype": chain.dtype,
              "normalization": chain.normalization}  # fmt: skip
    assert replace(chain) == chain
    assert replace(chain, activation="tanh") == pyrank.Chain(
        chain.widths, chain.batch, **{**values, "activation": "tanh"}
    )
    assert replace(chain, width=64, weights="he") == pyrank.Chain(64, chain.batch, **{**values, "weights": "he"})


def test_replace_checks_what_it_is_given():
    with pytest.raises(pyrank.ArgumentError, match="gamma"):
        replace(CHAINS[0], gamma=-1)
    with pytest.raises(pyrank.ArgumentError, match="skip connection"):
        replace(CHAINS[1], width=(4, 8))


@pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace came with Python 3.13")
def test_copy_replace():
    assert copy.replace(CHAINS[0], gamma=1.0) == replace(CHAINS[0], gamma=1.0)


def test_a_width_is_needed():
    with pytest.raises(pyrank.ArgumentError, match="width"):
        pyrank.Chain()

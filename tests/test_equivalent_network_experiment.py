"""Descent from the equivalent point: norms against a plain loop, searches by their definition, verdicts both ways."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import pyrank
from pyrank.experiments import Found
from pyrank.experiments.optimization import full_batch
from pyrank.experiments.optimization.equivalent_network import EXPERIMENT, Settings, tasks
from pyrank.experiments.optimization.full_batch import KINDS, LIMIT, Bracket, Problem, Record, follow, largest_rate
from pyrank.experiments.optimization.full_batch_claims import Measured, claims, correlation, factor

from tolerances import EXACT, gram_tolerance

SMALL = Problem("fashion-mnist", 60, 3, 12)
TINY = Settings(SMALL, steps=4, seeds=2, searched=SMALL, depths=(1, 3), search_steps=3, halvings=2, gentle_steps=2)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return EXPERIMENT.find(TINY, tmp_path_factory.mktemp("tiny"))


# --- descents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_those_of_a_plain_loop(kind):
    """With torch's optimiser, hooks for the outputs and gradients that torch keeps."""
    record = follow(SMALL, kind, 0.5, 3, seed=1)
    x, y = SMALL.batch(1)
    model = SMALL.network(kind, x, seed=1)
    descent = torch.optim.SGD(model.parameters(), lr=0.5)
    before = [layer for layer, after in pairwise(model) if isinstance(after, nn.ReLU)]
    outputs = []
    for layer in before:
        layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    for step in range(4):
        outputs.clear()
        loss = nn.functional.cross_entropy(model(x), y)
        for output in outputs:
            output.retain_grad()
        descent.zero_grad()
        loss.backward()
        assert record.loss[step] == pytest.approx(loss.item(), rel=1e-5)
        for norms, tensors in (
            (record.activations, outputs), (record.gradients, [output.grad for output in outputs]),
            (record.weights, [layer.weight for layer in linear[:-1]]),
        ):  # fmt: skip
            np.testing.assert_allclose(norms[step], [tensor.norm().item() for tensor in tensors], rtol=1e-4)
        descent.step()
    assert len(outputs) == 3


def test_the_equivalent_network_is_the_same_function_and_has_the_same_rank():
    one, other, plain = (follow(SMALL, kind, 0.0, 1, seed=2) for kind in KINDS)
    assert other.loss[0] == pytest.approx(one.loss[0], rel=1e-5)
    assert other.rank == pytest.approx(one.rank, rel=1e-5)
    np.testing.assert_allclose(other.activations[0], one.activations[0], rtol=1e-5)
    assert not np.allclose(other.weights[0], one.weights[0], rtol=0.1)
    x, _ = SMALL.batch(2)
    features = SMALL.network("BN", x, 2)[:-1](x).detach()
    rounding = gram_tolerance("float32", features.numel())
    assert one.rank == pytest.approx(pyrank.participation_ratio(features.T).item(), rel=rounding)
    assert abs(plain.loss[0] - one.loss[0]) > 1e-3


def test_what_diverges_is_a_result():
    record = follow(dataclasses.replace(SMALL, depth=10), "equivalent", 30.0, 6, seed=0)
    assert record.diverged
    assert np.isfinite(record.loss[0])
    assert np.isnan(record.loss[-1])
    last = np.flatnonzero(~np.isnan(record.loss))[-1]
    assert np.isinf(record.loss[last])
    assert np.isnan(record.activations[last + 1 :]).all()
    assert not np.isnan(record.weights[last]).any()
    assert record.growth("activations") == math.inf
    assert record.growth("weights") > LIMIT
    assert follow(SMALL, "BN", 0.5, 4, seed=0).diverged is False


def test_a_search_ends_between_what_is_stable_and_what_is_not():
    """Each end of the bracket is tried once more."""
    found = largest_rate(SMALL, "equivalent", 4, 5, seed=0)
    assert found.high / found.low == pytest.approx(2 ** (16 / 2**5))
    assert not follow(SMALL, "equivalent", found.low, 4, seed=0).diverged
    assert follow(SMALL, "equivalent", found.high, 4, seed=0).diverged
    assert Bracket(2.0, 8.0).rate == pytest.approx(4)


def test_seeds_draw_images_and_weights():
    assert follow(SMALL, "BN", 0.1, 1, seed=3).loss.tolist() == follow(SMALL, "BN", 0.1, 1, seed=3).loss.tolist()
    assert follow(SMALL, "BN", 0.1, 1, seed=3).loss[0] != follow(SMALL, "BN", 0.1, 1, seed=4).loss[0]
    assert not torch.equal(SMALL.batch(3)[0], SMALL.batch(4)[0])


def test_threads_change_nothing():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = follow(SMALL, "BN", 0.5, 3, seed=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(again.loss, follow(SMALL, "BN", 0.5, 3, seed=1).loss)


# --- claims ----------------------------------------------------------------------------------------------------------


def test_factors_are_geometric_means():
    mean = factor(np.array([1.0, 4.0]))
    assert mean.value == pytest.approx(2)
    assert mean.low * mean.high == pytest.approx(4)


def planted(losses, growth, rank=8.0):
    """A record whose norms grow geometrically to these factors."""
    steps = len(losses)
    norms = [np.ones((steps, 3)) * each ** np.linspace(0, 1, steps)[:, None] for each in growth]
    return Record(np.array(losses), *norms, rank)


GOOD = planted([2.3, 2.0, 1.5], (1.1, 2.0, 1.5))
BAD = planted([2.3, 30.0, math.nan], (1e6, 1e5, 1e4))


def judged(normalized=GOOD, without=BAD, rates=(20.0, 1.0, 0.2), learnt=0.6):
    records = {"BN": [normalized] * 6, "equivalent": [without] * 6, "plain": [GOOD] * 6}
    jitter = 1 + 0.01 * np.arange(6)
    deep = {("BN", 3): rates[0], ("BN", 1): rates[0], ("equivalent", 1): rates[1], ("equivalent", 3): rates[2],
            ("plain", 3): 1.0, ("plain", 1): 1.0}  # fmt: skip
    gentle = {kind: [planted([2.3, last], (1.0, 1.0, 1.0))] * 6 for kind, last in
              {"BN": 0.5, "equivalent": learnt, "plain": 2.0}.items()}  # fmt: skip
    data = Measured(
        records, gentle, {key: value * (jitter if key[1] == 3 else jitter[::-1]) for key, value in deep.items()}
    )
    return claims(Found(TINY, data))


def test_verdicts():
    def verdicts(**changes):
        return [claim.verdict for claim in judged(**changes) if claim.kind == "published"]

    assert verdicts() == ["holds"] * 7
    assert verdicts(without=GOOD)[:5] == ["fails", "holds", "fails", "holds", "fails"]
    assert verdicts(normalized=BAD)[:5] == ["holds", "fails", "holds", "fails", "fails"]
    heavy = planted([2.3, 30.0, math.nan], (1e6, 1e5, 2.0))
    assert verdicts(without=heavy)[2] == "fails"  # the weights did not grow
    assert verdicts(without=planted([2.3, 30.0, math.nan], (1e6, 1e5, 1e-4)))[5] == "fails"
    assert verdicts(rates=(20.0, 0.2, 1.0))[6] == "fails"
    assert verdicts(rates=(20.0, 1.0, 1.0))[6] == "undecided"


def test_extensions_tell_how_far_it_reaches():
    by_word = {word: next(c for c in judged() if word in c.statement)
               for word in ("BN raises", "depend on depth", "same function", "has the rank")}  # fmt: skip
    assert by_word["BN raises"].value == pytest.approx(100, rel=EXACT)
    assert {claim.verdict for claim in by_word.values()} == {"holds"}
    assert {claim.kind for claim in by_word.values()} == {"extension"}
    other = dataclasses.replace(BAD, loss=1.01 * BAD.loss, rank=1.0)
    assert [c.verdict for c in judged(without=other) if "same function" in c.statement] == ["fails"]
    assert [c.verdict for c in judged(without=other) if "has the rank" in c.statement] == ["fails"]
    for learnt, verdicts in ((0.6, ["holds", "holds"]), (1.1, ["fails", "fails"]), (math.nan, ["undecided"] * 2)):
        found = [claim.verdict for claim in judged(learnt=learnt) if "loss after" in claim.statement]
        assert found == verdicts


def test_correlation_is_the_smallest_of_three():
    assert correlation(BAD) == pytest.approx(1)
    assert correlation(planted([2.3, 30.0, 40.0], (1e6, 1e5, 1e-4))) == pytest.approx(-1)


# --- the experiment --------------------------------------------------------------------------------------------------


def test_rows_and_rates_are_those_of_the_records(found):
    assert [row.kind for row in found.rows] == list(KINDS)
    assert [row.first for row in found.rows][:2] == pytest.approx(
        [min(r.loss[0] for r in found.data.records["BN"])] * 2
    )
    names = [task.name for task in tasks(TINY)]
    assert len(names) == len(set(names)) == 2 * 3 * 2 + 3 * 2 * 2
    assert found.data.gentle["plain"][1].loss.tolist() == follow(SMALL, "plain", TINY.gentle, 2, 1).loss.tolist()
    assert found.data.rates["plain", 3].shape == (2,)
    one = largest_rate(dataclasses.replace(SMALL, depth=3), "equivalent", 3, 2, 1)
    assert found.data.rates["equivalent", 3][1] == one.rate


def test_presets_have_what_is_published():
    paper = EXPERIMENT.presets["as-published"]
    assert (paper.problem, paper.rate) == (Problem("mnist", 10_000, 10, 100), 1.0)
    for preset in EXPERIMENT.presets.values():
        assert preset.problem.depth in preset.depths
        assert preset.seeds >= 6  # fewer cannot show that it is so in most
    assert full_batch.BN.recentre


def test_files_are_complete(tmp_path):
    result = EXPERIMENT.run(TINY, tmp_path)
    assert all(path.stat().st_size for path in result.files)
    assert "Seeds: 0 to 1." in result.caption

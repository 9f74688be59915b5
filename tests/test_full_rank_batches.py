"""Rank of batches: counts against hand-made ranks, states against numpy, known means, and verdicts both ways."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pyrank import Chain, draw_weights
from pyrank.engine import initial
from pyrank.experiments import Found, Row
from pyrank.experiments.chains import full_rank_batches as batches
from pyrank.experiments.chains.full_rank_ends import ends

from tolerances import SIGMAS

TINY = batches.Settings(
    (
        batches.Setting(16, (4, 6, 7, 16), layers=1024, every=8),
        batches.Setting(36, (6, 10, 11, 12), layers=2304, every=18),
        batches.Setting(16, (4,), layers=64, every=8, gamma=1.0, weights="uniform"),
    ),
    seed=3,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    result = batches.EXPERIMENT.run(TINY, folder)
    return result, batches.EXPERIMENT.find(TINY, folder)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_count_ranks_over_states():
    """The least rank is that of all states, everything else of the last half."""
    traces = {
        "numerical_rank": [[3, 1, 3, 3], [3, 3, 3, 2]],
        "soft_rank(0.5)": [[0, 0, 1, 2], [0, 0, 2, 2]],
        "participation_ratio": [[9, 9, 1.0, 1.5], [9, 9, 2.0, 2.5]],
    }
    estimates = {name: SimpleNamespace(trace=np.array(values, dtype=float)) for name, values in traces.items()}

    class Run(dict):
        plan = SimpleNamespace(chain=Chain(16, 3))

    (row,) = batches.rows(TINY, [Run(estimates)])
    assert (row["states"], row["least"], row["full"]) == (8, 1, 0.75)
    assert (row["rank"], row["soft"], row["r"]) == (2.75, 1.75, 1.75)
    assert row["r_half_width"] == pytest.approx(12.706 * 0.5, rel=1e-4)  # Student's, from the means 1.25 and 2.25
    assert row["limit"] == pytest.approx(3 / (1 + 9 / 64))


def test_rows_are_those_of_the_states(tmp_path):
    settings = batches.Settings((batches.Setting(12, (3, 9), layers=8, every=2, chains=2, gamma=2.0),), seed=8)
    found = batches.EXPERIMENT.find(settings, tmp_path)
    for number, row in enumerate(found.rows):
        chain = Chain(12, row.batch, gamma=2.0)
        r, soft = [], []
        for c in range(2):
            H = initial.state("gaussian", chain, 2, 8 + number, torch.float64)[c].numpy()
            for layer in range(8):
                Z = H + 2.0 * draw_weights(chain, 8 + number, layer, c).double().numpy() @ H
                H = Z / np.sqrt((Z**2).mean(axis=1, keepdims=True))
                if layer in (4, 6):
                    eigenvalues = np.linalg.eigvalsh(H @ H.T / row.batch)
                    r.append(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
                    soft.append((eigenvalues >= 0.5).sum())
        assert row.r == pytest.approx(np.mean(r), rel=1e-4)  # eight layers in single precision
        assert row.soft == np.mean(soft)
        assert (row.states, row.least, row.rank) == (8, row.batch, row.batch)  # too early to lose rank


def test_whole_batches_have_the_known_means(finished):
    row = finished[1].rows[3]
    assert (row.width, row.batch) == (16, 16)
    for name, known in (("soft", 4.456), ("r", 3.305)):
        stderr = getattr(row, f"{name}_half_width") / 2.365  # eight chains
        assert abs(getattr(row, name) - known) <= SIGMAS * stderr
        assert stderr < 0.02 * known


def test_full_rank_ends_at_twice_the_root_less_two(finished):
    assert [(end.width, end.batch) for end, _ in ends(finished[1])] == [(16, 6), (36, 10)]
    assert {claim.verdict for claim in finished[0].claims} == {"holds"}
    assert [claim.kind for claim in finished[0].claims] == ["published"] + ["extension"] * 5


# --- verdicts --------------------------------------------------------------------------------------------------------


def made_up(end=lambda width: 2 * math.sqrt(width) - 2, loss=0, late=0.0, soft=0.8, r=1.0):
    """Rows of a chain that keeps rank ``end`` and loses ``loss`` early, ``late`` at N = d."""
    rows = []
    for width in (16, 64, 256):
        most = round(end(width))
        for batch in (round(math.sqrt(width)), *range(most - 1, most + 3), width):
            rank = min(batch, most)
            rows.append(
                Row(gamma=math.inf, width=width, batch=batch, states=10, least=rank - loss, full=float(batch <= most),
                    rank=rank + late * (batch == width), rank_half_width=0.1, soft=soft * batch, soft_half_width=0.01,
                    r=r, r_half_width=0.001, limit=1.0, weights="gaussian")
            )  # fmt: skip
    return Found(TINY, [], rows)


def verdicts(**changes):
    return [claim.verdict for claim in batches.claims(made_up(**changes))]


def test_verdicts():
    assert verdicts() == ["holds"] * 6
    assert verdicts(loss=1)[0] == "fails"
    assert verdicts(end=lambda width: 2 * math.sqrt(width) + 2)[1] == "fails"
    assert verdicts(end=lambda width: width / 4 + 2)[2] == "fails"
    assert [verdicts(late=late)[3] for late in (0.5, 1.0, 3.0)] == ["holds", "undecided", "fails"]
    assert verdicts(soft=0.99)[4] == "fails"
    assert [verdicts(r=r)[5] for r in (0.95, 0.85, 1.15)] == ["holds", "fails", "fails"]


@pytest.mark.parametrize("batch", [8, 13])
def test_one_state_at_the_root_decides_the_published_claim(batch):
    found = made_up()
    (row,) = (row for row in found.rows if (row.width, row.batch) == (64, batch))
    row.least -= 1
    claim = batches.claims(found)[0]
    assert (claim.verdict, claim.value) == (("fails", 7 / 8) if batch == 8 else ("holds", 1.0))


def test_one_gap_ends_full_rank():
    rows = [Row(gamma=1.0, weights="uniform", width=16, batch=batch, full=full)
            for batch, full in ((3, 1.0), (4, 0.96), (5, 0.9), (6, 1.0))]  # fmt: skip
    (line,) = ends(Found(TINY, [], rows))
    assert (line[0].batch, [row.batch for row in line[1]]) == (4, [5, 6])
    assert ends(Found(TINY, [], rows[:2])) == []
    assert ends(Found(TINY, [], rows[2:])) == []


# --- presets and figure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_presets_reach_what_they_ask(preset):
    settings = batches.EXPERIMENT.presets[preset]
    gone = {}
    for setting in settings.grid:
        assert round(math.sqrt(setting.width)) in setting.batches
        assert list(setting.batches) == sorted(set(setting.batches))
        end = math.floor(2 * math.sqrt(setting.width)) - 2
        if setting.batches[-1] > end:
            assert {end - 1, end, end + 1, end + 2} <= set(setting.batches)
            slow = max(1, 1 / (2 * setting.gamma**2 * setting.width))
            assert setting.layers >= 64 * setting.width * slow
            gone.setdefault((setting.weights, setting.gamma), []).append(setting.width)
    assert gone["gaussian", math.inf][:4] == [16, 32, 64, 128]
    assert {math.inf, 1.0} <= {setting.gamma for setting in settings.grid}
    tasks = batches.tasks(settings)
    assert len({task.name for task in tasks}) == len({task.options["seed"] for task in tasks}) == len(tasks)


def test_figure_is_labelled(finished):
    found = finished[1]
    ranks, last = batches.EXPERIMENT.sheet.figure(found, batches.EXPERIMENT.full_caption(found)).axes
    assert ranks.get_legend_handles_labels()[1] == ["d = 16", "d = 36"]
    assert {r"$2 \sqrt{d} - 2$", r"$\sqrt{d}$"} < set(last.get_legend_handles_labels()[1])
    drawn = [line.get_xydata().tolist() for line in last.lines]
    assert [[16, 6], [36, 10]] in drawn
    assert [[16, 4], [36, 6]] in drawn
    assert "Flagged" not in finished[0].caption
    assert "Seeds: 3 to 11." in finished[0].caption

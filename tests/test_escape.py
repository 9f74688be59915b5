"""What counts as an escaped sample, and what it looks like beside closed forms: against geometry and numpy."""

import math

import numpy as np
import pytest
import torch

from pyrank import theory
from pyrank.experiments import Row
from pyrank.experiments.chains.escape import Ends, has_escaped
from pyrank.experiments.chains.escaped_shape import SHAPE, shape, shape_questions
from pyrank.experiments.chains.over_chains import means, share

from tolerances import SIGMAS


def with_outlier(batch, length, angle):
    """Features of a cluster of one angle (20 degrees), and a last sample of that length and angle to its mean."""
    features = np.zeros((1, batch + 2, batch))
    features[0, range(batch - 1), range(batch - 1)] = math.sin(math.radians(20))
    features[0, batch, :-1] = math.cos(math.radians(20))
    features[0, batch, -1] = length * math.cos(math.radians(angle))
    features[0, batch + 1, -1] = length * math.sin(math.radians(angle))
    return torch.tensor(features)


@pytest.mark.parametrize(("length", "angle", "escaped"), [(8.0, 89.0, True), (3.0, 89.0, False), (8.0, 80.0, False)])
def test_what_counts_as_escaped(length, angle, escaped):
    ends = Ends.of(with_outlier(10, length, angle))
    assert ends.escaped.tolist() == [escaped]
    assert ends.index.tolist() == [9]
    assert ends.length[0] == pytest.approx(length / 9)
    product = math.cos(math.radians(20)) * math.cos(math.radians(angle))
    assert ends.angle[0] == pytest.approx(math.degrees(math.acos(product)))
    assert ends.cluster[0] == pytest.approx(math.degrees(math.acos(math.cos(math.radians(20)) ** 2)))


def test_length_and_angle_are_both_asked_for():
    assert has_escaped(np.array([0.6, 0.6, 0.4]), np.array([86.0, 84.0, 86.0])).tolist() == [True, False, False]


def test_ends_look_at_the_activation():
    features = with_outlier(10, 8.0, 89.0)
    hidden = torch.where(features == 0, -3.0, features)
    for name in SHAPE:
        np.testing.assert_allclose(getattr(Ends.of(hidden), name), getattr(Ends.of(features), name), rtol=1e-12)


def test_escaped_samples_by_numpy():
    """The same layer with explicit weights; for N = 20 and infinite width the length is 18.08."""
    rng = np.random.default_rng(6)
    H = rng.normal(size=(16, 300, 20))
    for _ in range(150):
        H = rng.normal(size=(16, 300, 300)) @ np.maximum(H, 0)
        H -= H.mean(axis=2, keepdims=True)
        H /= np.abs(H).max()
    ends = Ends.of(torch.tensor(H))
    exact = theory.escaped_shape(20)
    assert exact.length * 19 == pytest.approx(18.08, abs=0.01)
    assert ends.escaped.sum() > 12
    for name, finite_width in (("length", 0.05), ("angle", 0.1), ("cluster", 2.0)):
        chosen = getattr(ends, name)[ends.escaped]
        error = chosen.std(ddof=1) / math.sqrt(len(chosen))
        assert chosen.mean() == pytest.approx(getattr(exact, name), abs=finite_width + SIGMAS * error)


def test_shape_is_that_of_the_escaped_alone():
    two = np.array([0.9, 0.1, 1.1])
    ends = Ends(np.zeros(3, dtype=np.int64), two, np.array([89.0, 75.0, 89.5]), np.array([20.0, 70.0, 22.0]))
    found = shape(ends)
    assert found["length"] == pytest.approx(1.0)
    assert found["cluster"] == pytest.approx(21.0)
    assert found["length_half_width"] == pytest.approx(12.706 * 0.1, rel=1e-3)  # Student, one degree of freedom


def test_a_mean_needs_two_chains_and_a_share_has_an_exact_interval():
    assert all(math.isnan(value) for value in means(length=np.array([0.9])).values())
    found = share("escaped", 0, 10)
    assert (found["escaped"], found["chains"], found["share_low"]) == (0, 10, 0.0)
    assert found["share_high"] == pytest.approx(1 - 0.025 ** (1 / 10))


def like(state, batch=20, **changes):
    half_widths = {f"{name}_half_width": 0.01 for name in SHAPE}
    return Row(batch=batch, width=400, **dict(zip(SHAPE, state, strict=True)), **half_widths, **changes)


def test_shapes_are_held_against_both_states():
    exact, point = tuple(theory.escaped_shape(20)[:3]), (1.0, 90.0, 0.0)
    wide, narrow = (theory.escaped_shape(n)[:3] for n in (8, 64))
    verdicts = [claim.verdict for claim in shape_questions([like(wide, 8), like(narrow, 64)])]
    assert verdicts == ["holds", "fails", "holds", "fails", "holds", "fails"]  # N = 8 is what decides
    verdicts = [claim.verdict for claim in shape_questions([like(point)])]
    assert verdicts == ["undecided", "holds", "holds", "holds", "fails", "holds"]  # its length is off by 0.048 +- 0.01
    assert [claim.value for claim in shape_questions([like(exact)])] == pytest.approx(np.repeat(exact, 2))
    assert list(shape_questions([])) == []

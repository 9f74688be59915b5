"""Verdicts on intervals, and what may be claimed."""

import math

import pytest

from pyrank import experiments
from pyrank.experiments import Claim
from pyrank.support.errors import ArgumentError


@pytest.mark.parametrize(
    ("low", "high", "least", "most", "close"),
    [(0.1, 0.2, "fails", "holds", "fails"), (0.1, 0.45, "fails", "holds", "undecided"),
     (0.45, 0.5, "undecided", "holds", "holds"), (0.45, 0.55, "undecided", "undecided", "holds"),
     (0.5, 0.55, "holds", "undecided", "holds"), (0.55, 0.7, "holds", "fails", "undecided"),
     (0.65, 0.7, "holds", "fails", "fails"), (0.1, 0.9, "undecided", "undecided", "undecided")],
)  # fmt: skip
def test_verdict_on_an_interval(low, high, least, most, close):
    assert experiments.at_least(low, high, 0.5) == least
    assert experiments.at_most(low, high, 0.5) == most
    assert experiments.close_to(low, high, 0.5, 0.125) == close


@pytest.mark.parametrize(("low", "high"), [(math.nan, math.nan), (0.9, math.nan), (math.nan, 0.1), (math.nan, 0.9),
                                           (0.1, math.nan)])  # fmt: skip
def test_nan_decides_nothing(low, high):
    assert experiments.at_least(low, high, 0.5) == "undecided"
    assert experiments.at_most(low, high, 0.5) == "undecided"
    assert experiments.close_to(low, high, 0.5, 0.125) == "undecided"


def test_margin_of_nothing_needs_the_very_number():
    assert experiments.close_to(2.0, 2.0, 2.0, 0.0) == "holds"
    assert experiments.close_to(2.0, 2.0000001, 2.0, 0.0) == "undecided"
    assert experiments.close_to(2.0000001, 2.0000001, 2.0, 0.0) == "fails"


def test_misspelt_verdict_is_refused():
    with pytest.raises(ArgumentError, match="verdict = 'Holds': expected one of holds, fails, undecided"):
        Claim("a > b", "A 2020", 1.0, None, "Holds")


def test_flags_are_named_where_they_are():
    assert experiments.provisional("width", []) == ""
    assert experiments.provisional("width", [8, 16]) == "provisional: flagged at width 8, 16, see the table"

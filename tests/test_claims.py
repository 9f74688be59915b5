"""Verdicts on intervals, and how claims of both kinds are told."""

import math
from dataclasses import asdict

import pytest

from pyrank.estimate.intervals import Interval
from pyrank.experiments import DANESHMAND, TALK, Claim, at_least, at_most, between, close_to, extension, published
from pyrank.experiments.claims import claims_text, count_sentence, provisional
from pyrank.experiments.papers import full, short
from pyrank.support.errors import ArgumentError


@pytest.mark.parametrize(
    ("low", "high", "least", "most", "close"),
    [(0.1, 0.2, "fails", "holds", "fails"), (0.1, 0.45, "fails", "holds", "undecided"),
     (0.45, 0.5, "undecided", "holds", "holds"), (0.45, 0.55, "undecided", "undecided", "holds"),
     (0.5, 0.55, "holds", "undecided", "holds"), (0.55, 0.7, "holds", "fails", "undecided"),
     (0.65, 0.7, "holds", "fails", "fails"), (0.1, 0.9, "undecided", "undecided", "undecided")],
)  # fmt: skip
def test_verdict_on_an_interval(low, high, least, most, close):
    measured = Interval((low + high) / 2, low, high)
    assert at_least(0.5).verdict(measured) == least
    assert at_most(0.5).verdict(measured) == most
    assert close_to(0.5, 0.125).verdict(measured) == close
    assert between(0.375, 0.625).verdict(measured) == close


@pytest.mark.parametrize(("low", "high"), [(math.nan, math.nan), (0.9, math.nan), (math.nan, 0.1), (math.nan, 0.9),
                                           (0.1, math.nan)])  # fmt: skip
def test_nan_decides_nothing(low, high):
    for wanted in (at_least(0.5), at_most(0.5), close_to(0.5, 0.125)):
        assert wanted.verdict(Interval(math.nan, low, high)) == "undecided"


def test_margin_of_nothing_needs_the_very_number():
    wanted = close_to(2.0, 0.0)
    assert wanted.verdict(Interval.exact(2.0)) == "holds"
    assert wanted.verdict(Interval(2.0, 2.0, 2.0000001)) == "undecided"
    assert wanted.verdict(Interval.exact(2.0000001)) == "fails"
    assert [each.text for each in (wanted, close_to(2.0, 0.5), at_least(3), at_most(4), between(1, 2))] == [
        "2", "2 to within 0.5", "at least 3", "at most 4", "1 to 2",
    ]  # fmt: skip


def test_misspelt_words_are_refused():
    with pytest.raises(ArgumentError, match="verdict = 'Holds': expected one of holds, fails, undecided"):
        Claim("published", "a > b", "A 2020", 1.0, None, "1", "", "Holds")
    with pytest.raises(ArgumentError, match="kind = 'said': expected one of published, extension"):
        Claim("said", "a > b", "A 2020", 1.0, None, "1", "", "holds")


CLAIMS = [
    published("a > b", DANESHMAND.at("Fig. 2"), Interval.around(0.5, 0.125), at_least(0.25), reading="about", note="n"),
    published("quickly", DANESHMAND.at("§3.2"), Interval.exact(9.0), at_most(3.0)),
    published("c", TALK.at("proof"), Interval.around(1.0, 1.0), at_most(1.5)),
    extension("farther", "a closed form", Interval.share(3, 4), at_least(0.999)),
]


def test_a_claim_keeps_what_was_measured_and_wanted():
    first, second, _, last = CLAIMS
    assert (first.value, first.error, first.measured, first.expected) == (0.5, 0.125, "0.50 ± 0.12", "at least 0.25")
    assert (second.error, second.measured) == (None, "9")
    assert (last.kind, last.verdict, last.source) == ("extension", "fails", "a closed form")
    assert last.measured.startswith("0.750 (3 of 4; 0.194 to 0.994)")
    for claim in CLAIMS:
        assert Claim.from_dict(asdict(claim)) == claim


def test_published_claims_alone_are_counted():
    assert count_sentence(CLAIMS) == "Of 3 published claims 1 holds, 1 fails and 1 stays undecided."
    assert count_sentence(CLAIMS[:1] * 2) == "Of 2 published claims 2 hold, 0 fail and 0 stay undecided."


def test_text_tells_published_claims_first_and_extensions_without_blame():
    text = claims_text([CLAIMS[3], *CLAIMS[:3]])
    assert text.startswith(
        "HOLDS: a > b\n    measured 0.50 ± 0.12, wanted at least 0.25  (Daneshmand et al. 2020, Fig. 2)"
    )
    assert "    read as: about\n    n\nFAILS: quickly\n" in text
    beyond = text[text.index("How far it reaches:") :]
    assert "* farther" in beyond
    assert "differs" in beyond
    assert "FAILS" not in beyond


def test_places_are_named_once_a_paper():
    sources = (DANESHMAND.at("Fig. 3a"), DANESHMAND.at("Theorem 2"), TALK.at("proof"))
    assert short(sources) == "Daneshmand et al. 2020, Fig. 3a, Theorem 2; Daneshmand 2020 (talk), proof"
    assert full(sources[:2]).endswith("arXiv:2003.01652. Fig. 3a, Theorem 2.")


def test_flags_are_named_where_they_are():
    assert provisional("width", []) == ""
    assert provisional("width", [8, 16]) == "provisional: flagged at width 8, 16, see the table"

"""Formulas of the documentation become MathML, as browsers draw it well."""

import re

import pytest

pytest.importorskip("pypandoc")  # one of the packages that only the documentation needs

from mathml import keep_together, mathml


def drawn(tex):
    """The elements of a formula, without the TeX that goes along for readers who copy it."""
    return re.fullmatch(r"<math .*?><semantics>(.*)<annotation .*</math>", mathml(tex))[1]


def test_what_pandoc_does_not_know_is_an_error():
    assert r"\nosuch" not in drawn("x")
    with pytest.raises(RuntimeError, match="nosuch"):
        mathml(r"\nosuch x")


def test_inline_and_displayed():
    assert 'display="inline"' in mathml("x")
    assert 'display="block"' in mathml("x", display=True)


SPACE = '<mspace width="0.17em"></mspace>'


@pytest.mark.parametrize(("tex", "spaces"), [
    (r"\ln 2", 1), (r"p \ln p", 2), (r"2 \operatorname{Var}_j x", 2), (r"\left[ \ln 2 \right]", 1), (r"\ln \cos x", 2),
    (r"= \ln(x)", 0), (r"\ln\left(x\right)", 0), (r"x_{\max}", 0), ("a b", 0), (r"p\, \ln(x)", 0),
])  # fmt: skip
def test_functions_stand_apart(tex, spaces):
    assert drawn(tex).count(SPACE) == spaces


def test_primes_are_raised_once():
    assert drawn("H'") == "<mrow><mi>H</mi><mo>\N{PRIME}</mo></mrow>"
    assert "<msup>" in drawn("H^2")


def test_large_parentheses_with_exponents_keep_their_size():
    assert re.search(r"<msup><mrow><mo minsize[^>]*>\)</mo></mrow>", drawn(r"\big(x\big)^2"))


def test_punctuation_stays_with_its_formula():
    x = mathml("x")
    assert keep_together(f"<p>({x}), then {x} and {mathml('y', display=True)}.</p>") == (
        f'<p><span class="text-nowrap">({x}),</span> then <span class="text-nowrap">{x}</span> and '
        f"{mathml('y', display=True)}.</p>"
    )

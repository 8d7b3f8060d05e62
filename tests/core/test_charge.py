"""Discounts and margins: what is found for a model, and that every part is exact."""

from __future__ import annotations

from decimal import Decimal as D
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.charge import Terms, terms_of

DISCOUNTS = {"vertex_ai": 0.05, "vertex_ai/gemini-2.5-pro": 0.2, "vertex_ai/gemini-*": 0.1, "vertex_ai/*": 0.07, "openai": 0}
MARGINS: dict[str, Any] = {"openai": 0.1, "gemini": {"percentage": 0.08, "fixed_amount": 0.0005}, "global": {"fixed_amount": 0.001}}


@pytest.mark.parametrize(
    ("provider", "model", "terms"),
    [
        ("vertex_ai", "gemini-2.5-pro", Terms(D("0.2"), D(0), D("0.001"))),
        ("vertex_ai", "gemini-2.5-flash", Terms(D("0.1"), D(0), D("0.001"))),
        ("vertex_ai", "claude-sonnet-4-5", Terms(D("0.07"), D(0), D("0.001"))),
        ("openai", "gpt-4o", Terms(D(0), D("0.1"))),
        ("gemini", "gemini-2.5-pro", Terms(D(0), D("0.08"), D("0.0005"))),
        ("groq", "x", Terms(fixed=D("0.001"))),
    ],
)
def test_the_most_special_one_holds(provider: str, model: str, terms: Terms) -> None:
    assert terms_of(DISCOUNTS, MARGINS, provider, model) == terms


def test_no_terms() -> None:
    assert terms_of({}, {}, "openai", "gpt-4o") is None
    assert terms_of({"openai": 0.1}, {"groq": 0.1}, "anthropic", "claude") is None
    assert terms_of({"open*": 0.1}, {}, "openai", "gpt-4o") is None, "a provider's name is no pattern"


def test_the_discount_is_first_and_the_margin_on_what_is_left() -> None:
    told = Terms(D("0.05"), D("0.1"), D("0.0005")).charge(D("0.01"))
    assert (told.original, told.discount, told.margin) == (D("0.01"), D("0.0005"), D("0.00145"))
    assert told.total == D("0.01095")


def test_words_for_a_price_version() -> None:
    assert str(Terms(D("0.05"), D("0.1"), D("0.0005"))) == "-5%+10%+0.0005"
    assert str(Terms(D("0.125"))) == "-12.5%" and str(Terms()) == ""


_SHARE = st.decimals(0, 1, allow_nan=False, places=12)
_COST = st.decimals(0, 10_000, allow_nan=False, places=20)


@given(_COST, _SHARE, st.decimals(0, 10, allow_nan=False, places=12), _SHARE)
def test_it_is_exact(cost: D, discount: D, margin: D, fixed: D) -> None:
    told = Terms(discount, margin, fixed).charge(cost)
    left = Fraction(cost) * (1 - Fraction(discount))
    assert Fraction(told.total) == left * (1 + Fraction(margin)) + Fraction(fixed)
    assert Fraction(told.original) - Fraction(told.discount) + Fraction(told.margin) == Fraction(told.total)

"""What is set aside for a request is never less than what it can cost, for every model of the price map."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.admit.amount import pico
from penstock.core.admit.estimate import DEFAULT_OUTPUT, MOST_PICTURE, UNKNOWN, Asked, dearest_of, read_asked
from penstock.core.charge import Terms
from penstock.core.ir import Usage
from penstock.core.price import Price, Units
from penstock.runtime.prices import MAP

NAMES = [name for name in MAP.names() if (entry := MAP.get(name)) and Price(name, entry).known]
TIERS = ("", "flex", "priority", "batch", "fast", "ultrafast", "balanced")


@st.composite
def used(draw: st.DrawFn, most_in: int, most_out: int) -> Usage:
    """Usage that a request with these bounds can have."""
    parts = sorted(draw(st.integers(0, most_in)) for _ in range(3))
    output = draw(st.integers(0, most_out))
    fresh = parts[0]
    return Usage(
        fresh=fresh,
        cache_read=parts[1] - parts[0],
        cache_write=parts[2] - parts[1],
        cache_write_1h=draw(st.integers(0, most_in - parts[2])),
        output=output,
        reasoning=draw(st.integers(0, output)),
        audio_in=draw(st.integers(0, fresh)),
        audio_out=draw(st.integers(0, output)),
    )


@given(st.data())
@settings(max_examples=max(300, settings.default.max_examples))
def test_no_usage_within_the_bounds_costs_more(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    entry = MAP.get(name) or {}
    size, most = data.draw(st.integers(1, 600_000)), data.draw(st.integers(0, 70_000))
    terms = data.draw(st.sampled_from((None, Terms(Decimal("0.05"), Decimal("0.1"), Decimal("0.0005")))))
    price, found = Price(name, entry), dearest_of(Price(name, entry), entry, terms)
    usage, tier = data.draw(used(size, most)), data.draw(st.sampled_from(TIERS))
    at = data.draw(st.floats(1.79e9, 1.8e9))
    units = Units(
        images=1, size=data.draw(st.sampled_from(("", "1024x1024", "512", "4K"))), characters=size, queries=1,
        seconds=Decimal(size // 1000), requests=1, pages=data.draw(st.integers(0, 1000)), sessions=1,
    )  # fmt: skip
    cost = price.cost(usage, tier, units, at).total
    if terms is not None:
        cost = terms.charge(cost).total
    assert pico(cost) <= found.cost(Asked(size, most)), (name, usage, tier)


@pytest.mark.parametrize(
    ("body", "output", "answers"),
    [
        ({"max_tokens": b"7"}, 7, 1),
        ({"max_completion_tokens": b"9", "max_tokens": b"7", "n": b"3"}, 9, 3),
        ({"max_output_tokens": b"5"}, 5, 1),
        ({"generationConfig": b'{"maxOutputTokens": 4, "candidateCount": 2}'}, 4, 2),
        ({"inferenceConfig": b'{"maxTokens": 6}'}, 6, 1),
        ({"options": b'{"num_predict": 8}'}, 8, 1),
        ({"options": b'{"num_predict": -1}'}, None, 1),
        ({"max_tokens": b'"many"', "n": b"null", "generationConfig": b"[]"}, None, 1),
        ({}, None, 1),
    ],
)
def test_every_dialect_says_its_limit(body, output, answers) -> None:
    asked = read_asked({key: Raw(value) for key, value in body.items()}, 10)
    assert (asked.output, asked.answers) == (output, answers)


def test_what_is_not_in_the_body_counts() -> None:
    entry = {"input_cost_per_token": 1e-6, "output_cost_per_token": 0, "max_input_tokens": 100_000}
    found = dearest_of(Price("x", entry), entry)

    def tokens(body: bytes) -> int:
        return found.cost(read_asked({}, len(body), body)) // 1_000_000

    assert tokens(b"x" * 500) == 500
    assert tokens(b'{"type": "image", "source": {"data": "QUJD"}}') == 45 + MOST_PICTURE
    assert tokens(b'{"previous_response_id": "r"}') == 100_000
    assert tokens(b'{"image_url": {"url": "https://example.org/a.png"}}') == 51 + MOST_PICTURE
    assert tokens(b'{"tools": [{"type": "web_search"}]}') == 100_000
    assert tokens(b'{"text": "look at https://example.org"}') == 39
    assert tokens(b"x" * 300_000) == 300_000  # longer than the window: its vendor's to refuse


@pytest.mark.parametrize(
    ("more", "elsewhere", "pictures"),
    [
        ({}, False, 0),
        ({"temperature": b"1", "stream": b"true", "metadata": b'{"say": "image search"}'}, False, 0),
        ({"web_search_options": b"{}"}, True, 0),
        ({"model": b'"gpt-4o-search-preview"'}, True, 0),
        ({"tools": b'[{"type": "mcp"}]'}, True, 0),
        ({"previous_response_id": b'"r"'}, True, 0),
        ({"messages": b'[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]'}, False, 1),
        ({"messages": b'[{"role": "user", "content": [{"type": "\\u0069mage_url"}]}]'}, False, 1),
        ({"messages": b'[{"role": "user", "content": [{"file": {"\\u0066ile\\u005fid": "f"}}]}]'}, True, 0),
        ({"messages": b'[{"role": "user", "content": "x", "images": ["QUJD"], "image": 1}]'}, False, 1),
        ({"messages": b'[{"role": "user", "content": null, "tool_calls": []}]'}, False, 0),
        ({"messages": b'[{"role": "user", "content": "[an image]"}]'}, False, 0),
    ],
)
def test_chats_of_text_alone_are_told_from_others(more, elsewhere, pictures) -> None:
    words = b'[{"role": "user", "content": "an image, a \\"file_id\\" and a web_search"}]'
    fields = {"model": b'"m"', "messages": words, **more}
    body = b"{%b}" % b", ".join(b'"%b": %b' % (name.encode(), raw) for name, raw in fields.items())
    asked = read_asked({name: Raw(raw) for name, raw in fields.items()}, len(body), body)
    assert (asked.elsewhere, min(asked.pictures, 1)) == (elsewhere, pictures)


def test_a_limit_that_nobody_said_is_the_models_or_a_default() -> None:
    entry = {"input_cost_per_token": 0, "output_cost_per_token": 1e-6}
    assert dearest_of(Price("x", entry), entry).cost(Asked(10)) == DEFAULT_OUTPUT * 10**6
    entry["max_output_tokens"] = 50
    assert dearest_of(Price("x", entry), entry).cost(Asked(10)) == 50 * 10**6
    assert dearest_of(Price("x", entry), entry).cost(Asked(10), 20) == 20 * 10**6
    assert dearest_of(Price("x", entry), entry).cost(Asked(10, 30, answers=2), 20) == 60 * 10**6


def test_what_is_free_is_free_and_what_is_unknown_is_marked() -> None:
    entry = {"input_cost_per_token": 0, "output_cost_per_token": 0}
    assert dearest_of(Price("x", entry), entry).free
    assert not UNKNOWN.free and UNKNOWN.cost(Asked(10)) == 0
    assert dearest_of(None, {}) is UNKNOWN

"""Rough counts: monotone, marked as estimated, made of what a prompt is made of."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.count import BYTES_PER_TOKEN, MEDIUM_TOKENS, estimate, text_size, tokens


@given(st.integers(0, 10**9))
def test_tokens_round_up(size):
    assert (tokens(size) - 1) * BYTES_PER_TOKEN < size <= tokens(size) * BYTES_PER_TOKEN or size == tokens(size) == 0


PROMPT = ("messages", "input", "system", "instructions", "tools", "prompt")


@given(st.dictionaries(st.sampled_from([*PROMPT, "temperature", "user"]), st.text(max_size=40)), st.integers(0, 99))
def test_an_estimate_counts_the_prompt_and_nothing_else(fields, output):
    raw = {key: Raw(msgspec.json.encode(value)) for key, value in fields.items()}
    usage = estimate(raw, output)
    assert usage.estimated and usage.output == output and usage.cache_read == usage.cache_write == 0
    assert usage.fresh == tokens(sum(text_size(bytes(raw[key])) for key in PROMPT if key in raw))
    assert usage.input == usage.fresh


@given(st.text(alphabet=st.characters(min_codepoint=0xA0, max_codepoint=0xFFFD, exclude_categories=["Cs"]), max_size=200))
def test_escaped_characters_count_as_what_they_stand_for(text):
    escaped, plain = json.dumps(text).encode(), json.dumps(text, ensure_ascii=False).encode()
    between = sum(0x800 <= ord(c) < 0x1000 for c in text)  # three bytes that are counted as two
    assert text_size(escaped) == text_size(plain) - between


@given(st.text(max_size=100), st.integers(0, 50))
def test_no_size_is_negative(text, backslashes):
    # A backslash of the text's own is not the beginning of an escape, and looks like one here.
    for value in (text, "\\u0" * backslashes, "\\u" * backslashes):
        raw = json.dumps(value).encode()
        assert 0 <= text_size(raw) <= len(raw)


def test_a_picture_counts_by_what_it_costs_and_not_by_its_bytes():
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 40_000
    part = json.dumps([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}]).encode()
    assert MEDIUM_TOKENS < tokens(text_size(part)) < MEDIUM_TOKENS + 60
    # Long text without a space is text, where nothing says that it is a picture.
    assert tokens(text_size(b"a" * 8000)) == 2000

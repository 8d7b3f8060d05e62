"""Rules over texts, whole and in pieces; masks and what they stand for."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.guarding.answers import Edit, opened, put_together, spans_in
from penstock.core.guarding.deltas import DELTAS
from penstock.core.guarding.lint import BadPattern, look_at
from penstock.core.guarding.masking import RESTORED, Masks, masked
from penstock.core.guarding.pii import ENTITIES
from penstock.core.guarding.rules import MASK, Finding, Rule, findings_of
from penstock.core.guarding.secrets import SECRETS
from penstock.core.guarding.streams import Stream, TooMuchHeld
from penstock.core.guarding.window import Window
from penstock.guards.content_filter import word_rule

DIGITS = Rule("digits", re.compile(r"\d+"), MASK, 8)
PAIR = Rule("pair", re.compile(r"\d\d-[a-c]{2}"), MASK, 5)
WORDS = word_rule(["fig", "blue fig", "a-b"], MASK, "")
RULES = (*ENTITIES.values(), DIGITS, PAIR, WORDS)
PIECES = st.sampled_from(
    [
        "a", "b", " ", "\n", "1", "23", "-", "@", ".", "fig", "blue", "blue  fig", "bob@example.org", "12-ab", "é", "123-45-6789",
        "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "10.0.0.1", "::1", "+49 30 1234567", "[EMAIL_ADDRESS_1]", "\\", '"',
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=60).map("".join)


def spans(rules: tuple[Rule, ...], text: str) -> list[tuple[int, int, str]]:
    return [(one.start, one.end, one.kind) for one in findings_of(rules, [text])]


@given(TEXTS.filter(lambda text: text[:1] not in ("{", "[")), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_a_text_in_pieces_is_judged_as_the_whole(text: str, sizes: list[int]) -> None:
    window, found, at, turn = Window(RULES), [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        found += window.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    found += window.feed("", True)
    assert sorted((one.span.start, one.span.end, one.span.rule.kind) for one in found) == spans(RULES, text)
    assert all(one.value == text[one.span.start : one.span.end] for one in found)


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_what_was_masked_comes_back(texts: list[str]) -> None:
    masks = Masks()
    masks.avoid(texts)
    findings = findings_of(RULES, texts)
    told = [
        masked(text, [one for one in findings if one.text == number], masks, True) for number, text in enumerate(texts)
    ]
    rule = masks.rule()
    for text, mask in zip(texts, told, strict=True):
        back = mask
        if rule is not None:
            back = rule.find.sub(lambda found: masks.back[found[0]], mask)  # type: ignore[attr-defined]
        assert back == text
    for number, text in enumerate(texts):  # nothing of what was found is left but what stands for it
        at, parts = 0, []
        for one in sorted((one for one in findings if one.text == number), key=lambda one: one.start):
            parts += [text[at : one.start], masks.put(one.kind, text[one.start : one.end], True)]
            at = one.end
        assert told[number] == "".join(parts) + text[at:]


@given(TEXTS)
def test_no_span_lies_over_another(text: str) -> None:
    found = sorted(spans(RULES, text))
    assert all(one[1] <= other[0] for one, other in zip(found, found[1:], strict=False))


def test_what_crosses_a_border_is_found() -> None:
    window = Window((ENTITIES["EMAIL_ADDRESS"],))
    assert window.feed("write to bo") == []
    assert window.feed("b@exam") == []
    (found,) = window.feed("ple.org now")
    assert found.value == "bob@example.org"


def test_what_is_safe_is_known_at_once() -> None:
    window = Window((*(one for one in SECRETS if one.spaceless), ENTITIES["EMAIL_ADDRESS"]))
    window.feed("plain words flow on ")
    assert window.size - window.known <= 1


def test_the_same_value_has_the_same_placeholder() -> None:
    masks = Masks()
    masks.avoid(["[DIGITS_1] 12 34 12"])
    findings = [
        Finding("digits", 0, 11, 13, MASK),
        Finding("digits", 0, 14, 16, MASK),
        Finding("digits", 0, 17, 19, MASK),
    ]
    assert masked("[DIGITS_1] 12 34 12", findings, masks) == "[DIGITS_1] [DIGITS_2] [DIGITS_3] [DIGITS_2]"


@pytest.mark.parametrize(
    ("source", "bounded"),
    [
        (r"\b[A-Z]{3}-\d{4}\b", True),
        (r"(?:\d{1,3}\.){3}\d{1,3}", True),
        (r"\w+@\w+", False),
        (r"(a+)+$", False),
        (r"(a|aa){1,30}b", False),
        (r"(x)\1", False),
        (r"a(?=b{1,9})", True),
    ],
)
def test_an_expression_that_may_take_long_is_known(source: str, bounded: bool) -> None:
    assert look_at(source).bounded is bounded


@pytest.mark.parametrize("source", ["(", "a*", "x" * 3000, "[b-a]", ""])
def test_an_expression_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(BadPattern):
        look_at(source)


def test_an_escape_is_not_cut() -> None:
    text = json.dumps({"text": 'a\nbob@example.org "x"'})
    told = masked(text, findings_of((ENTITIES["EMAIL_ADDRESS"],), [text]), Masks())
    assert json.loads(told) == {"text": 'a\n[EMAIL_ADDRESS_1] "x"'}


# Streams. -------------------------------------------------------------------------------------------------------------


def chat_events(texts: list[str]) -> bytes:
    events: list[Any] = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts
    ]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in events) + b"data: [DONE]\n\n"


def anthropic_events(texts: list[str]) -> bytes:
    events: list[Any] = [{"type": "message_start", "message": {"id": "m", "content": []}}]
    events.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    events += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts
    ]
    events += [{"type": "content_block_stop", "index": 0}, {"type": "message_stop"}]
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def responses_events(texts: list[str]) -> bytes:
    events: list[Any] = [
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text} for text in texts
    ]
    events.append({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "".join(texts)})
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def gemini_events(texts: list[str]) -> bytes:
    events: list[Any] = [{"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}}]} for text in texts]
    events.append({"candidates": [{"index": 0, "finishReason": "STOP"}]})
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in events)


def ollama_events(texts: list[str]) -> bytes:
    events: list[Any] = [{"message": {"role": "assistant", "content": text}, "done": False} for text in texts]
    events.append({"message": {"role": "assistant", "content": ""}, "done": True})
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def completions_events(texts: list[str]) -> bytes:
    events = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in texts]
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in events) + b"data: [DONE]\n\n"


MADE = {
    "openai_chat": chat_events,
    "anthropic": anthropic_events,
    "openai_responses": responses_events,
    "gemini": gemini_events,
    "ollama": ollama_events,
    "completions": completions_events,
}
_READ = {
    "openai_chat": lambda e: e["choices"][0]["delta"].get("content") or "",
    "anthropic": lambda e: e.get("delta", {}).get("text", ""),
    "openai_responses": lambda e: e.get("delta", ""),
    "gemini": lambda e: "".join(p["text"] for p in e["candidates"][0].get("content", {}).get("parts", ())),
    "ollama": lambda e: e["message"]["content"],
    "completions": lambda e: e["choices"][0]["text"],
}


def told_by(dialect: str, data: bytes) -> str:
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n") if line[:1] in (b"{", b"d")]
    return "".join(_READ[dialect](json.loads(line)) for line in lines if line[:1] == b"{")


def stream_of(dialect: str, masks: Masks, rules: tuple[Rule, ...], most: int = 10_000_000) -> Stream:
    def tell(rule: Rule, value: str) -> str:
        return rule.put or masks.put(rule.kind, value, False)

    end = b"\n" if dialect == "ollama" else b"\n\n"
    return Stream(rules, DELTAS[dialect], masks, tell, end, most)


@pytest.mark.parametrize("dialect", MADE)
@given(texts=st.lists(TEXTS, max_size=8), cuts=st.lists(st.integers(1, 90), min_size=1, max_size=6))
def test_any_cut_of_a_stream_gives_the_same_text(dialect: str, texts: list[str], cuts: list[int]) -> None:
    texts = [text for text in texts if text]
    data = MADE[dialect](texts)
    whole, masks = "".join(texts), Masks()
    # What a judge of the whole text makes of it.
    wanted, at = [], 0
    for start, end, kind in sorted(spans(RULES, " " + whole)):  # " ": no text here is taken for JSON
        wanted += [whole[at : start - 1], masks.put(kind, whole[start - 1 : end - 1], False)]
        at = end - 1
    stream, out, turn = stream_of(dialect, Masks(), RULES), b"", 0
    at_byte = 0
    while at_byte < len(data):
        size = cuts[turn % len(cuts)]
        out += stream.feed(data[at_byte : at_byte + size])[0]
        at_byte, turn = at_byte + size, turn + 1
    out += stream.close()[0]
    if not any(kind for _, _, kind in spans(RULES, whole)):
        assert out == data
    assert told_by(dialect, out) == "".join(wanted) + whole[at:]


@pytest.mark.parametrize("dialect", MADE)
def test_held_bytes_are_bounded(dialect: str) -> None:
    stream = stream_of(dialect, Masks(), (DIGITS, WORDS), 4000)
    for part in MADE[dialect](["word "] * 200).split(b"\n\n" if dialect != "ollama" else b"\n"):
        stream.feed(part + (b"\n\n" if dialect != "ollama" else b"\n"))
        assert stream.held <= 4000
    slow = Rule("far", re.compile("a.{3000}b"), MASK, 3002)
    stream = stream_of(dialect, Masks(), (slow,), 2000)
    with pytest.raises(TooMuchHeld):
        stream.feed(MADE[dialect](["word "] * 200))


@pytest.mark.parametrize("dialect", MADE)
def test_placeholders_are_put_back_in_a_stream(dialect: str) -> None:
    masks = Masks()
    masks.put("EMAIL", 'b"o@x.org', True)
    rule = masks.rule()
    assert rule is not None
    stream = stream_of(dialect, masks, (rule,))
    out, noted = stream.feed(MADE[dialect](["write to [EM", "AIL", "_1] now"]))
    last, last_noted = stream.close()
    assert told_by(dialect, out + last) == 'write to b"o@x.org now'
    assert told_by(dialect, noted + last_noted) == "write to [EMAIL_1] now"


def test_arguments_of_a_call_stay_json() -> None:
    masks = Masks()
    masks.put("EMAIL", 'b"o@x.org', True)
    rule = masks.rule()
    assert rule is not None
    parts = ['{"to": "[EMA', 'IL_1]", "n": 1', "2345}"]
    calls = [{"index": 0, "function": {"arguments": part}} for part in parts]
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls]
    stream = stream_of("openai_chat", masks, (rule, DIGITS))
    out = stream.feed(b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in events))[0] + stream.close()[0]
    found = [json.loads(line[6:])["choices"][0]["delta"]["tool_calls"][0] for line in out.split(b"\n\n") if line]
    text = "".join(one["function"]["arguments"] for one in found)
    assert text == '{"to": "b\\"o@x.org", "n": [DIGITS_1]}'


def test_a_whole_answer_is_edited_and_forgets_its_tokens() -> None:
    body = json.dumps({"choices": [{"message": {"content": "a 123 b"}, "logprobs": {"content": [{"token": "123"}]}}]})
    answer = opened(body.encode())
    found = spans_in((DIGITS,), [(spot.text, spot.in_json) for spot in answer.spots])
    edits = {n: [Edit(start, end, "#", "#") for start, end, _ in some] for n, some in enumerate(found)}
    told, _ = put_together(answer, edits)
    assert json.loads(told) == {"choices": [{"message": {"content": "a # b"}, "logprobs": None}]}


def test_the_kind_of_what_is_put_back_is_no_rule_of_a_guard() -> None:
    assert RESTORED not in {rule.kind for rule in RULES}

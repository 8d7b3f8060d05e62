"""What the results of a provider's batch used is the same however they are cut, and adds up line by line."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.batches.used import MOST_MODELS, ResultsMeter
from penstock.core.seen import WHOLE

TEXTS = st.sampled_from(["", "x", '"usage": {"input_tokens": 9}', "\n\u2028", "{" * 50])
MODELS = st.sampled_from(["claude-haiku-4-5", "gpt-4o", "m"])
COUNTS = st.integers(0, 10**6)


def anthropic(model: str, text: str, read: int, written: int) -> dict[str, Any]:
    usage = {"input_tokens": read, "output_tokens": written}
    return {"custom_id": "a", "result": {"type": "succeeded", "message": {"model": model, "content": [{"type": "text", "text": text}], "usage": usage}}}


def openai(model: str, text: str, read: int, written: int) -> dict[str, Any]:
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {"custom_id": "a", "response": {"status_code": 200, "body": {"model": model, "choices": [{"message": {"content": text}}], "usage": usage}}}


ANSWERED = st.tuples(st.sampled_from([anthropic, openai]), MODELS, TEXTS, COUNTS, COUNTS)
FAILED = st.sampled_from(
    [
        b"",
        b"no json",
        b'{"custom_id": "b", "result": {"type": "errored", "error": {"usage": {"input_tokens": 5}}}}',
        b'{"custom_id": "c", "response": {"status_code": 400, "body": {"usage": {"prompt_tokens": 5, "completion_tokens": 1}}}}',
        b'{"custom_id": "d", "result": {"type": "canceled"}}',
    ]
)


@given(st.lists(st.one_of(ANSWERED, FAILED), max_size=12), st.lists(st.integers(1, 400), max_size=30), st.booleans())
def test_results_add_up_by_model_however_they_are_cut(rows, cuts, ends):
    due: dict[str, list[int]] = {}
    lines = []
    for row in rows:
        if isinstance(row, bytes):
            lines.append(row)
            continue
        make, model, text, read, written = row
        lines.append(json.dumps(make(model, text, read, written)).encode())
        have = due.setdefault(model, [0, 0])
        have[0] += read
        have[1] += written
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    meter = ResultsMeter()
    for cut in cuts:
        meter.feed(data[:cut])
        data = data[cut:]
    meter.feed(data)
    meter.close()
    assert {model: [used.input, used.output] for model, used in meter.used.items()} == due
    assert all(used.tier == "batch" for used in meter.used.values())


def test_a_line_that_is_not_kept_is_known_by_its_ends():
    meter = ResultsMeter()
    for model, size in (("m", 1), ("claude-haiku-4-5", 3 * WHOLE)):
        raw = json.dumps(anthropic(model, "x" * size, 7, 5)).encode() + b"\n"
        for at in range(0, len(raw), 100_000):
            meter.feed(raw[at : at + 100_000])
    meter.close()
    assert {model: (used.input, used.output) for model, used in meter.used.items()} == {"m": (7, 5), "claude-haiku-4-5": (7, 5)}


def test_models_without_end_are_no_memory_without_end():
    meter = ResultsMeter()
    for number in range(3 * MOST_MODELS):
        meter.feed(json.dumps(anthropic(f"m{number}", "", 1, 1)).encode() + b"\n")
    meter.close()
    assert len(meter.used) == MOST_MODELS and sum(used.input for used in meter.used.values()) == 3 * MOST_MODELS

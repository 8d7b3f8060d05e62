"""Recorded streams of every dialect told to clients of every other: texts, calls and stop reasons arrive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.core.dialects import anthropic, openai_chat
from penstock.core.dialects import openai_responses as responses
from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.core.ir import Refusal, Response, Text, ToolUse, collect
from tests.laws.strategies import run_decoder, run_encoder

CORPUS = Path(__file__).parents[2] / "corpus"
MODULES: dict[str, Any] = {"openai_chat": openai_chat, "anthropic": anthropic, "openai_responses": responses}
STREAMS = sorted((path.parent.name, path.name) for name in MODULES for path in (CORPUS / name).glob("*.sse"))
PAIRS = [(source, file, "openai_responses") for source, file in STREAMS if source != "openai_responses"]
PAIRS += [(source, file, to) for source, file in STREAMS for to in MODULES if source == "openai_responses" != to]
VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")


def said(response: Response) -> tuple[str, list[tuple[str, str, str]], str]:
    blocks = response.choices[0].blocks
    calls = [(block.id, block.name, block.args) for block in blocks if isinstance(block, ToolUse)]
    return (
        "".join(block.text for block in blocks if isinstance(block, (Text, Refusal))),
        calls,
        response.choices[0].finish,
    )


@pytest.mark.parametrize(("source", "file", "client"), PAIRS)
def test_a_recorded_answer_arrives(source: str, file: str, client: str) -> None:
    try:
        events = run_decoder(MODULES[source].decoder(), [(CORPUS / source / file).read_bytes()])
    except GatewayError:
        assert any(word in file for word in ("error", "failed", "overloaded", "broken", "cut"))
        return
    data = run_encoder(MODULES[client].encoder(VIEW), events)
    given, told = collect(events), collect(run_decoder(MODULES[client].decoder(), [data]))
    text, calls, finish = said(given)
    assert said(told)[0] == text
    if all(block.kind == "function" for c in given.choices for block in c.blocks if isinstance(block, ToolUse)):
        assert said(told)[1] == calls
    if finish in ("length", "tool_use"):
        assert said(told)[2] == finish
    if given.usage is not None:
        assert told.usage is not None and told.usage.total == given.usage.total

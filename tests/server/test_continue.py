"""Streams that break off in the middle of a text, and go on at another deployment: one answer for the client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penstock.core.continuing.asking import GO_ON
from penstock.core.dialects import DIALECTS
from penstock.core.errors import GatewayError
from penstock.core.ir import Close, Delta, End, Event, Open, Response, Start, Stop, Text, ToolUse, collect
from penstock.mock import Rule, Script, Step
from tests.door import Door, open_door

FIRST, REST = "The quick brown fox jumps ", "over the lazy dog and is never seen again."
TURN = [{"role": "user", "content": "Tell me of the fox."}]
CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", {"messages": TURN, "stream_options": {"include_usage": True}}),
    "anthropic": ("/v1/messages", {"messages": TURN, "max_tokens": 500}),
    "openai_responses": ("/v1/responses", {"input": "Tell me of the fox."}),
    "gemini": (
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "Tell me of the fox."}]}]},
    ),
    "ollama": ("/api/chat", {"messages": TURN}),
    "completions": ("/v1/completions", {"prompt": "Tell me of the fox.", "stream_options": {"include_usage": True}}),
}
# Upstreams by the dialect that they speak; the name's end says which one of the group it is.
UPSTREAMS = {
    "openai_chat": ("hosted_vllm/{}", "{mock}/v1"),
    "openai_responses": ("openai/{}", "{mock}/v1"),
    "anthropic": ("anthropic/claude-sonnet-4-5-{}", "{mock}"),
    "gemini": ("gemini/gemini-2.5-flash-{}", "{mock}"),
    "ollama": ("ollama_chat/{}", "{mock}"),
}
NAMES = ("first", "second", "third", "fourth")
ON = "continue_streams: true, "


def config(*spoken: str, settings: str = ON, retries: int = 2) -> str:
    """A group whose members are asked in their order. ``spoken``: the dialect of each, see ``UPSTREAMS``."""
    rows = []
    for number, (dialect, name) in enumerate(zip(spoken, NAMES, strict=False)):
        model, base = UPSTREAMS[dialect]
        entry = f'{{model: "{model.format(name)}", api_base: "{base}", api_key: k, order: {number}, stream_timeout: 0.5}}'
        rows.append(f"  - {{model_name: m, litellm_params: {entry}}}\n")
    return f"model_list:\n{''.join(rows)}router_settings: {{num_retries: {retries}, {settings}}}\n"


# Events before the first piece of text, by what the path is that is asked.
OPENING = {"*/chat/completions": 1, "*/v1/completions": 0, "*/responses": 4, "*/messages": 3, "*Content*": 0, "*/chat": 0}
AWAY = FIRST + "away and away and away and away"  # of which the first two pieces are ``FIRST``


def cut(name: str, pieces: int = 2, **more: Any) -> list[Rule]:
    """One whose stream is cut behind so many pieces of its text, in whatever dialect it is asked."""
    given = {"text": AWAY, "chunk_size": 13, "cut": "rst", **more}
    return [
        Rule(model=f"*{name}", path=path, step=Step(**{"cut_after_events": opening + pieces, **given}))
        for path, opening in OPENING.items()
    ]


def says(*rules: list[Rule], **steps: Step) -> Script:
    """A script by the end of the upstream's model."""
    made = [rule for some in rules for rule in some]
    return Script(rules=[*made, *(Rule(model=f"*{name}", step=step) for name, step in steps.items())])


async def ask(door: Door, client: str, **more: Any) -> tuple[int, bytes]:
    path, body = CLIENTS[client]
    given = {**body, **more}
    if client != "gemini":
        given = {"model": "m", "stream": True, **given}
    status, _, answer = await door.post(given, path)
    return status, answer


def read(client: str, answer: bytes) -> tuple[list[Event], GatewayError | None]:
    """What the client's own library would make of a stream: its events, and the error that it ends with."""
    dialect = DIALECTS[client]
    framer, decoder = dialect.framer(), dialect.decoder()
    events: list[Event] = []
    try:
        for event in framer.feed(answer) + framer.close():
            events += decoder.feed(event)
        events += decoder.close()
    except GatewayError as error:
        return events, error
    return events, None


def whole(client: str, answer: bytes) -> Response:
    """The one answer that a stream tells, which must be told as one."""
    events, error = read(client, answer)
    assert error is None, (error, answer)
    assert [sum(isinstance(event, kind) for event in events) for kind in (Start, Stop, End)] == [1, 1, 1]
    opened = [event.index for event in events if isinstance(event, Open)]
    assert opened == [event.index for event in events if isinstance(event, Close)] == [0]
    return collect(events)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def bodies(door: Door) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in door.mock.received]


PAIRS = [(client, first, second) for client in CLIENTS for first in UPSTREAMS for second in ("openai_chat", "anthropic")]
PAIRS += [(client, client, client) for client in CLIENTS if client in UPSTREAMS and client not in ("openai_chat", "anthropic")]


@pytest.mark.parametrize(("client", "first", "second"), PAIRS)
async def test_a_broken_stream_goes_on_as_one_answer(tmp_path, client, first, second):
    async with open_door(tmp_path, config(first, second)) as door:
        door.mock.script = says(cut("first"), second=Step(text=REST, chunk_size=7))
        status, answer = await ask(door, client)
        assert status == 200
        response = whole(client, answer)
        assert response.choices[0].blocks == (Text(FIRST + REST),)
        assert response.choices[0].finish == "stop"
        assert answer.count(b": penstock continued on another deployment\n\n") == (client not in ("gemini", "ollama"))
        assert response.model == "m" or client == "completions"
        await door.settle()
        await asyncio.sleep(0.02)
        [record] = door.records
        assert (record.status, record.continued, record.tries, record.error) == (200, 1, 2, "")
        assert record.target.endswith("second")
        assert record.usage is not None and record.usage.input > 0 and response.usage is not None
        assert record.usage.estimated or first == "gemini", "only Gemini tells its usage all along"
        assert (response.usage.input, response.usage.output) == (record.usage.input, record.usage.output)
        assert len(door.mock.received) == 2

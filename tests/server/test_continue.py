"""Streams that break off in the middle of a text, and go on at another deployment: one answer for the client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penstock.core.continuing.asking import GO_ON
from penstock.core.dialects import DIALECTS
from penstock.core.errors import GatewayError
from penstock.core.ir import Close, Delta, End, Event, Open, Response, Start, Stop, Text, collect
from penstock.mock import Rule, Script, Step
from penstock.runtime import lanes
from penstock.runtime.record_text import as_json, as_text
from tests.door import Door, open_door, until

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
        entry = (
            f'{{model: "{model.format(name)}", api_base: "{base}", api_key: k, order: {number}, stream_timeout: 0.5}}'
        )
        rows.append(f"  - {{model_name: m, litellm_params: {entry}}}\n")
    return f"model_list:\n{''.join(rows)}router_settings: {{num_retries: {retries}, {settings}}}\n"


# Events before the first piece of text, by what the path is that is asked.
OPENING = {
    "*/chat/completions": 1,
    "*/v1/completions": 0,
    "*/responses": 4,
    "*/messages": 3,
    "*Content*": 0,
    "*/chat": 0,
}
AWAY = FIRST + "away and away and away and away"  # of which the first two pieces are ``FIRST``


def cut(name: str, pieces: int = 2, **more: Any) -> list[Rule]:
    """One whose stream is cut behind so many pieces of its text, in whatever dialect it is asked."""
    given = {"text": AWAY, "chunk_size": 13, "cut": "rst", "reasoning": False, **more}
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


PAIRS = [
    (client, first, second) for client in CLIENTS for first in UPSTREAMS for second in ("openai_chat", "anthropic")
]
PAIRS += [
    (client, client, client) for client in CLIENTS if client in UPSTREAMS and client not in ("openai_chat", "anthropic")
]


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
        assert record.target.endswith("second") and " continued=1 " in as_text(record)
        assert json.loads(as_json(record))["continued"] == 1
        assert record.ttft_ms is not None and record.ttft_ms < record.ms
        assert record.usage is not None and record.usage.input > 0 and response.usage is not None
        assert record.usage.estimated or first == "gemini", "only Gemini tells its usage all along"
        assert (response.usage.input, response.usage.output) == (record.usage.input, record.usage.output)
        assert len(door.mock.received) == 2


async def broken(door: Door, client: str, **more: Any) -> tuple[list[Event], GatewayError]:
    """The events of a stream that must end in an error."""
    status, answer = await ask(door, client, **more)
    events, error = read(client, answer)
    assert status == 200 and error is not None and not any(isinstance(event, End) for event in events)
    assert b"penstock continued" not in answer
    return events, error


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("settings", ["", "continue_streams: false, "])
async def test_off_by_default(tmp_path, client, settings):
    async with open_door(tmp_path, config("openai_chat", "openai_chat", settings=settings)) as door:
        door.mock.script = says(cut("first"))
        events, _ = await broken(door, client)
        assert text_of(events) == FIRST and len(door.mock.received) == 1
        await door.settle()
        assert door.records[-1].continued == 0 and door.records[-1].error == "broken_stream"


async def test_litellms_key_means_the_same(tmp_path):
    settings = "enable_mid_stream_fallback_continuation: true, "
    async with open_door(tmp_path, config("openai_chat", "openai_chat", settings=settings)) as door:
        door.mock.script = says(cut("first"), second=Step(text=REST))
        _, answer = await ask(door, "openai_chat")
        assert whole("openai_chat", answer).choices[0].blocks == (Text(FIRST + REST),)


FAULTS = {
    "a reset": ("cut_after_events", "rst"),
    "a FIN": ("cut_after_events", "close"),
    "an end in good form": ("cut_after_events", "end"),
    "silence": ("stall_after_events", None),
    "an error event": ("error_event_after", None),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("client", ["openai_chat", "anthropic"])
async def test_every_way_to_break_off(tmp_path, client, fault):
    key, how = FAULTS[fault]
    rules = []
    for path, opening in OPENING.items():
        step = Step(**{"text": AWAY, "chunk_size": 13, "cut": how, "tokens_per_second": 10, key: opening + 2})
        rules.append(Rule(model="*first", path=path, step=step))
    async with open_door(tmp_path, config("openai_chat", "openai_chat")) as door:
        door.mock.script = says(rules, second=Step(text=REST))
        _, answer = await ask(door, client)
        assert whole(client, answer).choices[0].blocks == (Text(FIRST + REST),)


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_third_goes_on_where_the_second_broke_off(tmp_path, client):
    async with open_door(tmp_path, config("openai_chat", "anthropic", "openai_chat")) as door:
        middle = "over the lazy dog "
        second = cut("second", pieces=1, text=middle + "barks and barks", chunk_size=len(middle))
        door.mock.script = says(cut("first"), second, third=Step(text="and is gone."))
        _, answer = await ask(door, client)
        response = whole(client, answer)
        assert response.choices[0].blocks == (Text(FIRST + middle + "and is gone."),)
        await door.settle()
        await until(lambda: bool(door.records))
        assert (door.records[-1].continued, door.records[-1].tries) == (2, 3)
        assert response.usage is not None and response.usage.output == door.records[-1].usage.output


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("then", [Step(status=500), Step(status=400), Step(hangup="before_answer")])
async def test_who_cannot_go_on_leaves_it_to_the_next(tmp_path, client, then):
    async with open_door(tmp_path, config("openai_chat", "anthropic", "openai_chat")) as door:
        door.mock.script = says(cut("first"), second=then, third=Step(text=REST))
        _, answer = await ask(door, client)
        assert whole(client, answer).choices[0].blocks == (Text(FIRST + REST),)


@pytest.mark.parametrize("client", CLIENTS)
async def test_when_nobody_can_the_stream_ends_in_the_error_that_broke_it(tmp_path, client):
    async with open_door(tmp_path, config("openai_chat", "anthropic", "openai_chat")) as door:
        door.mock.script = says(cut("first"), second=Step(status=401), third=Step(status=503, error="no more"))
        status, answer = await ask(door, client)
        events, error = read(client, answer)
        assert status == 200 and error is not None and b"no more" not in answer
        assert text_of(events) == FIRST and sum(isinstance(event, Start) for event in events) == 1
        assert not any(isinstance(event, (Stop, End)) for event in events)
        await door.settle()
        await asyncio.sleep(0.02)
        [record] = door.records
        assert (record.error, record.continued, record.tries) == ("broken_stream", 0, 3)


async def test_a_stream_that_was_hedged_goes_on_too(tmp_path):
    settings = ON + "hedge_after: 80ms, "
    async with open_door(tmp_path, config("openai_chat", "openai_chat", "openai_chat", settings=settings)) as door:
        door.mock.script = says(cut("second"), first=Step(latency_ms=450), third=Step(text=REST, latency_ms=200))
        _, answer = await ask(door, "anthropic")
        assert whole("anthropic", answer).choices[0].blocks == (Text(FIRST + REST),)
        await door.settle()
        await asyncio.sleep(0.02)
        [record] = door.records
        assert (record.continued, record.tries) == (1, 3) and record.target.endswith("third")
        assert all(live.standing.in_flight == 0 for live in door.gateway.engine.means.lives.values())


async def test_a_group_of_one_goes_on_at_itself(tmp_path):
    async with open_door(tmp_path, config("openai_chat", retries=1)) as door:
        rules = [Rule(model="*first", nth=(1,), step=rule.step, path=rule.path) for rule in cut("first")]
        door.mock.script = says(rules, first=Step(text=REST))
        _, answer = await ask(door, "openai_chat")
        assert whole("openai_chat", answer).choices[0].blocks == (Text(FIRST + REST),)


async def test_the_fallback_goes_on(tmp_path):
    text = config("openai_chat", settings=ON + "fallbacks: [{m: [other]}]", retries=0)
    other = '  - {model_name: other, litellm_params: {model: hosted_vllm/other, api_base: "{mock}/v1"}}\n'
    async with open_door(tmp_path, text.replace("router_settings", other + "router_settings")) as door:
        door.mock.script = says(cut("first"), other=Step(text=REST))
        _, answer = await ask(door, "openai_chat")
        assert whole("openai_chat", answer).choices[0].blocks == (Text(FIRST + REST),)


# What is never continued ----------------------------------------------------------------------------------------------

FIND = {"name": "find", "arguments": {"what": "the fox " * 20}}


@pytest.mark.parametrize("client", ["openai_chat", "anthropic", "openai_responses"])
@pytest.mark.parametrize("first", ["openai_chat", "anthropic"])
async def test_a_call_half_out_ends_in_an_error(tmp_path, client, first):
    async with open_door(tmp_path, config(first, "openai_chat")) as door:
        step = Step(text="", tool_calls=(FIND,), chunk_size=4, cut_after_events=7, cut="rst")
        door.mock.script = says(first=step, second=Step(text=REST))
        status, answer = await ask(door, client)
        _, error = read(client, answer)
        assert status == 200 and error is not None and b"find" in answer and REST.encode() not in answer
        assert len(door.mock.received) == 1


@pytest.mark.parametrize("client", ["anthropic", "openai_chat"])
async def test_a_sealed_thought_is_not_continued(tmp_path, client):
    async with open_door(tmp_path, config("anthropic", "openai_chat")) as door:
        step = Step(reasoning="Let me think of it.", text=AWAY * 3, chunk_size=40, cut_after_events=9, cut="rst")
        door.mock.script = says(first=step, second=Step(text=REST))
        thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000}
        more = thinking if client == "anthropic" else {"reasoning_effort": "low"}
        status, answer = await ask(door, client, **more)
        _, error = read(client, answer)
        assert status == 200 and error is not None and b"signature" in answer and len(door.mock.received) == 1


SCHEMA = {"name": "x", "schema": {"type": "object"}}
NOT_ASKED: list[tuple[str, dict[str, Any]]] = [
    ("openai_chat", {"n": 2}),
    ("openai_chat", {"logprobs": True}),
    ("openai_chat", {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}),
    ("openai_responses", {"text": {"format": {"type": "json_schema", **SCHEMA}}}),
    ("gemini", {"generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}}}),
    ("ollama", {"format": {"type": "object"}}),
    ("completions", {"echo": True}),
]


@pytest.mark.parametrize(("client", "more"), NOT_ASKED)
async def test_requests_whose_answers_are_not_continued(tmp_path, client, more):
    async with open_door(tmp_path, config("openai_chat", "openai_chat")) as door:
        door.mock.script = says(cut("first"), second=Step(text=REST))
        await broken(door, client, **more)
        assert len(door.mock.received) == 1


async def test_who_leaves_is_not_continued(tmp_path):
    async with open_door(tmp_path, config("openai_chat", "openai_chat")) as door:
        door.mock.script = says(cut("first"), second=Step(text=REST, ttft_ms=400))
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        body = json.dumps({"model": "m", "stream": True, "messages": TURN}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"jumps")
        await door.mock.wait_for(2)
        writer.transport.abort()
        await door.settle()
        await asyncio.sleep(0.05)
        [record] = door.records
        assert record.error == "client_gone" and record.usage is not None and record.usage.output > 0


# How the rest is asked for --------------------------------------------------------------------------------------------


async def asked_for_rest(tmp_path, client: str, second: str, text: str = AWAY, **more: Any) -> dict[str, Any]:
    async with open_door(tmp_path, config("openai_chat", second)) as door:
        door.mock.script = says(cut("first", text=text), second=Step(text=REST))
        await ask(door, client, **more)
        assert len(door.mock.received) == 2
        found: dict[str, Any] = json.loads(door.mock.received[-1].body)
        return found


@pytest.mark.parametrize("client", ["openai_chat", "anthropic", "openai_responses", "gemini", "ollama"])
@pytest.mark.parametrize("second", ["anthropic", "openai_chat"])
async def test_who_takes_a_prefill_gets_one(tmp_path, client, second):
    """Without the white space at its end, which Claude refuses."""
    body = await asked_for_rest(tmp_path, client, second)
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"]
    said = body["messages"][1]["content"]
    assert (said if isinstance(said, str) else said[0]["text"]) == FIRST.rstrip()
    if second == "openai_chat":
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("client", ["openai_chat", "anthropic", "openai_responses", "gemini", "ollama"])
async def test_the_others_are_asked_to_go_on(tmp_path, client):
    body = await asked_for_rest(tmp_path, client, "gemini")
    assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][-2]["parts"][0]["text"] == FIRST and body["contents"][-1]["parts"][0]["text"] == GO_ON


async def test_a_model_that_thinks_is_asked_to_go_on(tmp_path):
    """Claude refuses a prefill with thinking."""
    more = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000}
    body = await asked_for_rest(tmp_path, "anthropic", "anthropic", **more)
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


LIMITED: dict[str, dict[str, Any]] = {
    "openai_chat": {"max_tokens": 100},
    "anthropic": {"max_tokens": 100},
    "openai_responses": {"max_output_tokens": 100},
    "gemini": {"generationConfig": {"maxOutputTokens": 100}},
    "ollama": {"options": {"num_predict": 100}},
    "completions": {"max_tokens": 100},
}


@pytest.mark.parametrize("client", LIMITED)
async def test_the_rest_may_be_as_long_as_what_is_left(tmp_path, client):
    body = await asked_for_rest(tmp_path, client, "openai_chat", **LIMITED[client])
    [limit] = [value for key, value in body.items() if key.startswith("max_")]
    assert 80 <= limit < 100


async def test_a_prompt_gets_the_text_behind_it(tmp_path):
    body = await asked_for_rest(tmp_path, "completions", "openai_chat")
    assert "Tell me of the fox." + FIRST in json.dumps(body)


async def test_a_text_of_nothing_yet_is_asked_for_anew(tmp_path):
    body = await asked_for_rest(tmp_path, "openai_chat", "openai_chat", text="\n" * 60)
    assert body["messages"] == TURN and "continue_final_message" not in body


@pytest.mark.parametrize("rest", ["fox jumps over the lazy dog.", "The quick brown fox jumps over the lazy dog."])
async def test_words_that_are_said_again_are_cut(tmp_path, rest):
    async with open_door(tmp_path, config("openai_chat", "gemini")) as door:
        door.mock.script = says(cut("first"), second=Step(text=rest, chunk_size=5))
        _, answer = await ask(door, "openai_chat")
        assert whole("openai_chat", answer).choices[0].blocks == (Text(FIRST + "over the lazy dog."),)


async def test_a_kept_answer_is_the_whole_one(tmp_path):
    """A Responses client may go on from it, wherever it was made."""
    async with open_door(tmp_path, config("openai_responses", "openai_responses")) as door:
        door.mock.script = says(cut("first"), second=Step(text=REST))
        _, answer = await ask(door, "openai_responses")
        made = whole("openai_responses", answer)
        door.mock.received.clear()
        door.mock.script = Script()
        status, answer = await ask(door, "openai_responses", previous_response_id=made.id, input="And then?")
        assert status == 200 and FIRST + REST in door.mock.received[-1].body.decode()


async def test_thoughts_of_the_rest_are_left_out_and_told(tmp_path):
    async with open_door(tmp_path, config("openai_chat", "openai_chat")) as door:
        door.mock.script = says(cut("first"), second=Step(text=REST, reasoning="How do I go on?"))
        _, answer = await ask(door, "anthropic")
        assert whole("anthropic", answer).choices[0].blocks == (Text(FIRST + REST),)
        await door.settle()
        await until(lambda: bool(door.records))
        assert door.records[-1].dropped == ("blocks.0",)


async def test_a_rest_that_comes_whole_is_told_as_a_stream(tmp_path):
    """Servers exist that do not stream."""
    async with open_door(tmp_path, config("openai_chat", "openai_chat")) as door:
        message = {"index": 0, "message": {"role": "assistant", "content": REST}, "finish_reason": "stop"}
        body = {"id": "x", "object": "chat.completion", "model": "m", "choices": [message]}
        door.mock.script = says(cut("first"), second=Step(body=body, headers={"content-type": "application/json"}))
        for client in ("openai_chat", "anthropic"):
            _, answer = await ask(door, client)
            assert whole(client, answer).choices[0].blocks == (Text(FIRST + REST),)


# Where it is off ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "reads"), [("", False), (ON, True)])
async def test_nothing_is_read_along_where_it_is_off(tmp_path, monkeypatch, settings, reads):
    """With the key off a chunk takes the way that it always took: one translator and one function that sends."""
    seen: list[Any] = []

    class Seen(lanes.Aside):
        def __init__(self, answer: Any, feed: Any, emit: Any, heavy: bool) -> None:
            super().__init__(answer, feed, emit, heavy)
            seen.append(emit)

    monkeypatch.setattr(lanes, "Aside", Seen)
    async with open_door(tmp_path, config("openai_chat", "openai_chat", settings=settings)) as door:
        await ask(door, "openai_chat")
        await ask(door, "anthropic")
    assert [emit.func is not lanes._emit for emit in seen] == [reads, reads]

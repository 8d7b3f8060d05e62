"""The lanes from outside: a client of one dialect, an upstream of another, answers in the shape nobody asked for."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from penstock.core import sse
from penstock.core.errors import GatewayError
from penstock.mock import Script, Step
from penstock.runtime import lanes
from penstock.runtime.aside import together
from tests.door import open_door
from tests.runtime.made import attempt_of, call_of

MESSAGES = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hello there"}]}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello there"}]}
VERSION = {"anthropic-version": "2023-06-01"}


def yaml(model: str = "openai/real-model", base: str = "{mock}/v1", **params: object) -> str:
    more = "".join(f", {key}: {json.dumps(value)}" for key, value in params.items())
    return (
        f"model_list: [{{model_name: m, litellm_params: {{model: {model}, api_base: '{base}', api_key: k{more}}}}}]\n"
        "router_settings: {num_retries: 0}"
    )


TO_ANTHROPIC = {"model": "anthropic/claude-3", "base": "{mock}"}


def events_of(body: bytes) -> list[dict]:
    decoder = sse.Decoder()
    return [json.loads(e.data) for e in decoder.feed(body) + decoder.close() if e.data != b"[DONE]"]


async def messages(door, **fields):
    return await door.post({**MESSAGES, **fields}, "/v1/messages", **VERSION)


LOSSY = {"top_k": 5, "container": "c_1"}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_left_out_is_told_in_a_header(tmp_path, stream):
    async with open_door(tmp_path, yaml()) as door:
        status, headers, _ = await messages(door, stream=stream, **LOSSY)
        assert status == 200 and headers["x-penstock-lane"] == "cross"
        assert headers["x-penstock-dropped"]
        assert "container" not in door.mock.received[0].json
        [record] = door.records
        assert ",".join(record.dropped) == headers["x-penstock-dropped"]


async def test_on_unsupported_drop_says_nothing_and_reject_asks_nobody(tmp_path):
    async with open_door(tmp_path, yaml(on_unsupported="drop")) as door:
        status, headers, _ = await messages(door, **LOSSY)
        assert status == 200 and "container" not in headers.get("x-penstock-dropped", "")
    async with open_door(tmp_path, yaml(on_unsupported="reject")) as door:
        status, headers, body = await messages(door, **LOSSY)
        assert status == 400 and "cannot carry" in json.loads(body)["error"]["message"]
        assert door.mock.received == [] and door.records[0].error == "unsupported"
        status, _, _ = await messages(door)
        assert status == 200, "what can be carried is"


async def test_reject_leaves_the_request_to_a_deployment_that_speaks_the_client_s_dialect(tmp_path):
    one = (
        "{{model_name: m, litellm_params: "
        "{{model: {model}, api_base: '{base}', api_key: k, weight: {w}, on_unsupported: reject}}}}"
    )
    both = ", ".join(
        [
            one.format(model="openai/x", base="{mock}/v1", w=1000),
            one.format(model="anthropic/claude-3", base="{mock}", w=0),
        ]
    )
    async with open_door(tmp_path, f"model_list: [{both}]\nrouter_settings: {{num_retries: 1}}") as door:
        status, headers, _ = await messages(door, container="c_1")
        assert status == 200 and headers["x-penstock-lane"] == "same"
        assert [r.path for r in door.mock.received] == ["/v1/messages"]


LOGPROBS = {"content": [{"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}], "refusal": None}
WHOLE_CHAT = {
    "id": "c-1", "object": "chat.completion", "created": 1, "model": "real-model",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "logprobs": LOGPROBS, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}  # fmt: skip
WHOLE_MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3", "stop_reason": "end_turn",
    "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1},
    "content": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "text", "text": "hi"},
    ],
}  # fmt: skip
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("indent", [None, 2])
async def test_a_whole_answer_becomes_the_stream_that_was_asked_for(tmp_path, indent):
    """Also a pretty-printed one: line breaks between its tokens must not cut the events."""
    async with open_door(tmp_path, yaml()) as door:
        door.mock.script = Script(default=Step(body=json.dumps(WHOLE_CHAT, indent=indent), headers=JSON))
        status, headers, body = await door.post({**CHAT, "stream": True, "stream_options": {"include_usage": True}})
        assert status == 200 and headers["content-type"].startswith("text/event-stream") and b"data: [DONE]" in body
        told = events_of(body)
        assert {chunk["model"] for chunk in told} == {"m"}
        text = "".join(c["delta"].get("content") or "" for chunk in told for c in chunk["choices"])
        assert text == "hi" and told[-1]["usage"]["prompt_tokens"] == 5
        assert LOGPROBS["content"] in [
            c["logprobs"]["content"] for k in told for c in k["choices"] if c.get("logprobs")
        ]
        status, _, body = await messages(door, stream=True)
        assert status == 200 and events_of(body)[-1] == {"type": "message_stop"}
        assert door.records[-1].usage.output == 1


@pytest.mark.parametrize("indent", [None, 2])
async def test_a_whole_message_becomes_a_stream(tmp_path, indent):
    async with open_door(tmp_path, yaml(**TO_ANTHROPIC)) as door:
        door.mock.script = Script(default=Step(body=json.dumps(WHOLE_MESSAGE, indent=indent), headers=JSON))
        status, _, body = await messages(door, stream=True)
        told = events_of(body)
        assert status == 200 and told[0]["message"]["model"] == "m" and told[-1]["type"] == "message_stop"
        blocks = [event["content_block"]["type"] for event in told if event["type"] == "content_block_start"]
        assert blocks == ["server_tool_use", "text"]


STREAM_CHAT = "".join(
    f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'model': 'real', 'choices': [c]})}\n\n"
    for c in (
        {"index": 0, "delta": {"role": "assistant", "content": "he"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "llo"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    )
)
EVENTS = {"content-type": "text/event-stream"}


async def test_a_stream_becomes_the_whole_answer_that_was_asked_for(tmp_path):
    async with open_door(tmp_path, yaml()) as door:
        door.mock.script = Script(default=Step(body=STREAM_CHAT + "data: [DONE]\n\n", headers=EVENTS))
        status, headers, body = await door.post(CHAT)
        told = json.loads(body)
        assert status == 200 and headers["content-type"] == "application/json"
        assert told["model"] == "m" and told["choices"][0]["message"]["content"] == "hello"
        usage = door.records[-1].usage
        assert usage.estimated and usage.output == 2 and usage.fresh > 5
        status, _, body = await messages(door)
        assert json.loads(body)["content"] == [{"type": "text", "text": "hello"}]
        for cut in (STREAM_CHAT[:-40], STREAM_CHAT[:60], "data: {}\n\n", "data: " + "x" * (17 << 20)):
            door.mock.script = Script(default=Step(body=cut, headers=EVENTS))
            status, _, body = await door.post(CHAT)
            assert status == 502 and json.loads(body)["error"]["message"]
        await door.settle()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_usage_that_nobody_tells_is_estimated_and_marked(tmp_path, path, stream):
    async with open_door(tmp_path, yaml(), script=Script.always(usage="absent", text="one two three four")) as door:
        body = MESSAGES if path == "/v1/messages" else CHAT
        status, _, answer = await door.post({**body, "stream": stream}, path, **VERSION)
        assert status == 200
        [record] = door.records
        if path == "/v1/messages" or stream:
            assert record.usage.estimated and record.usage.output >= 3 and record.usage.fresh > 5
        if path == "/v1/messages":
            told = events_of(answer)[-2]["usage"] if stream else json.loads(answer)["usage"]
            assert told["output_tokens"] == record.usage.output


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_a_cut_off_stream_counts_what_passed(tmp_path, path):
    """Anthropic tells the input and an output of 1 with the first event: that 1 is not what was generated."""
    script = Script.always(text="word " * 40, cut_after_events=30, cut="end")
    async with open_door(tmp_path, yaml(**TO_ANTHROPIC), script=script) as door:
        body = MESSAGES if path == "/v1/messages" else CHAT
        _, _, answer = await door.post({**body, "stream": True}, path, **VERSION)
        assert b"error" in answer and b"message_stop" not in answer and b"[DONE]" not in answer
        [record] = door.records
        assert record.error == "broken_stream" and record.usage.estimated and record.usage.output >= 20


def test_what_came_before_a_bad_event_is_the_client_s_once_its_answer_began():
    def feed(event: sse.Event) -> bytes:
        if event.data == b"bad":
            raise GatewayError("broken_stream", "bad")
        return event.data

    events = [sse.Event(b"", b"one"), sse.Event(b"", b"bad"), sse.Event(b"", b"two")]
    call = call_of({"model": "m", "messages": [{}], "stream": True})
    attempt = attempt_of(call)
    attempt.translator = SimpleNamespace(started=True)
    with pytest.raises(GatewayError):
        lanes._emit(attempt, *together(feed, events))
    assert call.exchange.out == b"", "another target can still answer"
    attempt.first_at = 1.0
    with pytest.raises(GatewayError):
        lanes._emit(attempt, *together(feed, events))
    assert call.exchange.out == b"one"
    assert together(feed, events[::2]) == (b"onetwo", None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("target", ["openai/real-model", "anthropic/claude-3"])
async def test_a_try_that_said_nothing_costs_nothing(tmp_path, target, path, stream):
    """Across dialects an empty stream was charged with an estimate of its prompt, and in the same dialect with
    nothing."""
    body = {"model": "m", "max_tokens": 50, "stream": stream}
    body |= {"input": "hello"} if "responses" in path else {"messages": MESSAGES["messages"]}
    silent = Step(cut_after_bytes=0, cut="end", framing="chunked")
    base = "{mock}" if target.startswith("anthropic") else "{mock}/v1"
    entry = {"model_name": "m", "litellm_params": {"model": target, "api_base": base, "api_key": "k"}}
    config = f"model_list: {json.dumps([entry, entry])}\nrouter_settings: {{num_retries: 1}}"
    async with open_door(tmp_path, config) as door:
        usages = []
        for steps in ([], [silent], [Step(hangup="after_headers")]):
            door.mock.queue(steps)
            status, _, _ = await door.post(body, path, **VERSION)
            record = door.records[-1]
            assert (status, record.tries) == (200, 1 + len(steps))
            usages.append((record.usage.input, record.usage.output))
        assert usages == usages[:1] * 3


@pytest.mark.parametrize("name", ["api_key", "api_base", "base_url"])
async def test_extra_body_carries_no_keys_and_addresses(tmp_path, name):
    async with open_door(tmp_path, yaml()) as door:
        status, _, body = await door.post({**CHAT, "extra_body": {name: "http://169.254.169.254"}})
        assert status == 400 and name in json.loads(body)["error"]["message"] and door.mock.received == []
        status, _, _ = await door.post({**CHAT, "extra_body": {"top_k": 3, "model": "other", "tags": ["x"]}})
        assert status == 200
        sent = door.mock.received[0].json
        assert sent["top_k"] == 3 and sent["model"] == "real-model" and "tags" not in sent and "extra_body" not in sent


# Counting -------------------------------------------------------------------------------------------------------------


async def count(door, **fields):
    asked = {key: value for key, value in MESSAGES.items() if key != "max_tokens"} | fields
    status, headers, body = await door.post(asked, "/v1/messages/count_tokens", **VERSION)
    return status, headers, json.loads(body)


async def test_tokens_are_counted_by_who_can(tmp_path):
    async with open_door(tmp_path, yaml(**TO_ANTHROPIC)) as door:
        status, headers, told = await count(door)
        assert status == 200 and told["input_tokens"] > 0 and headers["x-litellm-model-id"]
        [got] = door.mock.received
        assert got.path == "/v1/messages/count_tokens" and got.json["model"] == "claude-3"
        assert door.records[0].status == 200 and door.records[0].path == "/v1/messages/count_tokens"


async def test_tokens_are_estimated_where_nobody_can(tmp_path):
    async with open_door(tmp_path, yaml()) as door:
        status, _, told = await count(door)
        assert status == 200 and told["input_tokens"] > 3 and door.mock.received == []
        status, _, told = await count(door, messages="x")
        assert status == 400 and told["type"] == "error"


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_engine_that_does_not_count_is_no_failure(tmp_path, status):
    async with open_door(tmp_path, yaml(**TO_ANTHROPIC), script=Script.always(status=status)) as door:
        got, headers, told = await count(door)
        assert got == 200 and told["input_tokens"] > 3 and "x-penstock-lane" not in headers


@pytest.mark.parametrize(("step", "status"), [({"status": 429}, 429), ({"status": 500}, 500), ({"body": "no"}, 502)])
async def test_a_count_that_fails_is_told(tmp_path, step, status):
    async with open_door(tmp_path, yaml(**TO_ANTHROPIC), script=Script.always(**step)) as door:
        got, _, told = await count(door)
        assert got == status and told["type"] == "error"


async def test_a_count_is_never_a_stream(tmp_path):
    async with open_door(
        tmp_path, yaml(**TO_ANTHROPIC), script=Script.always(latency_ms=80, body={"input_tokens": 7})
    ) as door:
        door.gateway.state.keep_alive = 0.01
        asking = asyncio.ensure_future(count(door, stream=True))
        for _ in range(6):
            await asyncio.sleep(0.01)
            door.gateway.tick()
        status, headers, told = await asking
        assert status == 200 and headers["content-type"] == "application/json" and told["input_tokens"] == 7

"""An attempt of its own: nothing of one try reaches the next, and two may run at the same time."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.core import sse
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.mock import Script, Step
from penstock.runtime.lanes import run
from penstock.runtime.outlet import AlreadyAnswered
from tests.door import HELLO, open_door
from tests.runtime.made import attempt_of, call_of, target_of

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
CHECKED_THEN_NOT = """
model_list:
  - model_name: m
    litellm_params: {model: openai/strict, api_base: "{mock}/v1", api_key: k, validate: true}
  - model_name: other
    litellm_params: {model: openai/easy, api_base: "{mock}/v1", api_key: k}
    model_info: {input_cost_per_token: 1, output_cost_per_token: 1}
router_settings: {num_retries: 0, fallbacks: [{m: [other]}]}
"""


def said(body: bytes, stream: bool) -> str:
    if not stream:
        return json.loads(body)["choices"][0]["message"]["content"]
    decoder = sse.Decoder()
    events = [json.loads(event.data) for event in decoder.feed(body) + decoder.close() if event.data != b"[DONE]"]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize("stream", [False, True])
async def test_what_one_group_checks_is_not_checked_of_another(tmp_path, stream):
    """``form`` stood on the call: the fallback's answer was checked, asked for again, billed twice, and refused."""
    free = {"content-type": "application/json"}
    script = Script(queue=(Step(status=503, body={"error": {"message": "busy"}}, headers=free), Step(text="no JSON")))
    async with open_door(tmp_path, CHECKED_THEN_NOT, script=script) as door:
        status, headers, body = await door.post({**HELLO, "response_format": FORMAT, "stream": stream})
        assert status == 200 and said(body, stream) == "no JSON"
        assert "x-penstock-validated" not in headers, "nobody asked for that"
        assert [request.json["model"] for request in door.mock.received] == ["strict", "easy"]
        await door.settle()
        [record] = door.records
        assert record.tries == 2 and record.target == "openai/easy" and record.status == 200


YAML = """
model_list:
  - model_name: m
    litellm_params: {model: KIND/one, api_base: "{mock}PATH", api_key: k}
"""
KINDS = {"openai": "/v1", "anthropic": ""}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("one", "other"), [("openai", "anthropic"), ("anthropic", "openai"), ("openai", "openai")])
async def test_two_attempts_of_one_call_at_the_same_time(tmp_path, one, other, stream):
    """The first that answers has the client; the other ends, and neither has seen anything of the other."""
    async with open_door(tmp_path, YAML.replace("KIND", "openai").replace("PATH", "/v1")) as door:
        targets = [
            target_of(tmp_path, model=f"{kind}/{kind}-model", api_base=door.mock.url + KINDS[kind], api_key="k")
            for kind in (one, other)
        ]
        call = call_of({**HELLO, "stream": stream, "max_tokens": 50})
        call.means = door.gateway.engine.means
        before = (call.fields, dict(call.fields), call.model, call.stream, call.tries, call.upstream)
        attempts = [attempt_of(call, target) for target in targets]
        call.tries = 0
        ended = await asyncio.gather(*(run(attempt) for attempt in attempts), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ended) == ["AlreadyAnswered", "NoneType"]
        winner, loser = sorted(attempts, key=lambda attempt: attempt.number != call.outlet.owner)
        assert isinstance(ended[attempts.index(loser)], AlreadyAnswered)
        assert winner.first_at is not None and loser.first_at is None and loser.tail == b""
        lanes = {"openai": "same", "anthropic": "cross"}
        assert [attempt.lane for attempt in attempts] == [lanes[one], lanes[other]]
        assert isinstance(winner.usage, Usage) and winner.usage.output > 0
        assert winner.translator is not loser.translator or not stream
        assert (call.fields, dict(call.fields), call.model, call.stream) == before[:4], "no attempt writes to its call"
        told = call.exchange.out
        assert call.exchange.finished and call.exchange.status == 200
        assert told.count(b"[DONE]") == (1 if stream else 0) and b'"model":"m"' in told
        if not stream:
            assert json.loads(told)["choices"][0]["finish_reason"] == "stop"


def test_the_watch_counts_what_was_waited_and_no_more():
    now = [0.0]
    attempt = attempt_of(call_of(clock=lambda: now[0]))
    now[0] = 1.0
    attempt.stop()
    assert attempt.upstream == 0, "it never ran"
    attempt.start()
    now[0] = 2.0
    attempt.start()  # a second request at the same time is the same wait
    now[0] = 4.0
    attempt.stop()
    now[0] = 9.0
    attempt.stop()
    assert attempt.upstream == 3.0
    attempt.start()
    now[0] = 10.0
    attempt.begun(now[0])
    now[0] = 20.0
    attempt.stop()
    assert attempt.upstream == 4.0 and attempt.first_at == 10.0


async def test_other_fields_are_for_one_attempt_alone():
    call = call_of({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    one, two = attempt_of(call), attempt_of(call)
    assert one.parsed() is call.parsed() is two.parsed()
    one.send_fields({**one.fields, "messages": two.fields["messages"]})
    assert one.parsed() is not call.parsed() and two.parsed() is call.parsed()
    with pytest.raises(GatewayError):
        two.send_fields({key: raw for key, raw in two.fields.items() if key != "messages"})
        two.parsed()
    assert call.parsed().messages and one.parsed().messages


async def test_a_ping_before_a_failed_answer_leaves_it_to_the_next(tmp_path):
    """Anthropic pings before the first block: a try that ends then has answered nothing."""
    entry = '{model_name: m, litellm_params: {model: anthropic/claude-3, api_base: "{mock}", api_key: k}}'
    yaml = f"model_list: [{entry}, {entry.replace('api_key: k', 'api_key: k2')}]\nrouter_settings: {{num_retries: 1}}"
    ping = Step(body="event: ping\ndata: {\"type\": \"ping\"}\n\n", headers={"content-type": "text/event-stream"})
    body = {**HELLO, "max_tokens": 50, "stream": True}
    async with open_door(tmp_path, yaml, script=Script(queue=(ping,))) as door:
        status, _, answer = await door.post(body, "/v1/messages", **{"anthropic-version": "2023-06-01"})
        assert status == 200 and answer.startswith(b"event: ping") and b"message_stop" in answer
        assert answer.count(b"message_start") and b"event: error" not in answer
        await door.settle()
        [record] = door.records
        assert record.error == "" and record.tries == 2 and len(door.mock.received) == 2

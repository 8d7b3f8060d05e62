"""Requests that ask the same at the same time: one goes upstream, the others have its answer, and none of its faults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.mock import Rule, Script, Step
from tests.door import HELLO, Door, open_door
from tests.server.asked import CLIENTS, ask, said
from tests.server.test_cache import settled, yaml

SLOW = Step(latency_ms=250)


async def asked(door: Door, number: int) -> None:
    """Wait until the mock has seen so many requests."""
    await asyncio.wait_for(door.mock.wait_for(number), 5)


async def left(door: Door, body: bytes) -> None:
    """Send a request and go before its answer is there."""
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    await asyncio.sleep(0.08)
    writer.transport.abort()


async def test_one_goes_and_all_have_its_answer_whatever_they_speak(tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=SLOW)) as door:
        questions = [(ask(client, "q", stream), stream) for client in CLIENTS for stream in (False, True)] * 2
        answers = await asyncio.gather(*(door.post(one.body, one.path) for one, _ in questions))
        told = [said(one.read(body, stream)) for (one, stream), (_, _, body) in zip(questions, answers, strict=True)]
        assert set(told) == {"mock/echo: q"} and {status for status, _, _ in answers} == {200}
        assert door.mock.requests == 1
        how = [headers["x-penstock-cache"] for _, headers, _ in answers]
        assert sorted(how) == ["miss"] + ["shared"] * (len(questions) - 1)
        assert sum(record.cache_hit for record in door.records) == len(questions) - 1
        assert not door.gateway.engine.answers.flights


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "step", [Step(status=500), Step(finish_reason="length"), Step(hangup="before_answer")], ids=["error", "cut", "gone"]
)
async def test_when_it_fails_the_others_go_themselves(step: Step, stream: bool, tmp_path) -> None:
    rules = (Rule(step=step.over(SLOW), nth=(1,)),)
    async with open_door(tmp_path, yaml(), script=Script(rules=rules)) as door:
        body = {**HELLO, "stream": stream}
        answers = await asyncio.gather(*(door.post(body) for _ in range(5)))
        assert door.mock.requests == 5
        assert sorted(status for status, _, _ in answers)[:4] == [200] * 4
        assert all(headers["x-penstock-cache"] == "miss" for _, headers, _ in answers)
        await settled(door)
        assert (await door.post(body))[1]["x-penstock-cache"] == "hit"
        assert not door.gateway.engine.answers.flights


async def test_who_leaves_harms_nobody(tmp_path) -> None:
    import json

    data = json.dumps(HELLO).encode()
    async with open_door(tmp_path, yaml(), script=Script(default=SLOW)) as door:
        first = asyncio.create_task(door.post(HELLO))
        await asked(door, 1)
        waits = [asyncio.create_task(door.post(HELLO)) for _ in range(2)]
        await left(door, data)
        assert (await first)[0] == 200
        assert [(await one)[1]["x-penstock-cache"] for one in waits] == ["shared"] * 2 and door.mock.requests == 1
    async with open_door(tmp_path, yaml(), script=Script(default=SLOW)) as door:
        goes = asyncio.create_task(left(door, data))  # the one that is waited for
        await asked(door, 1)
        waits = [asyncio.create_task(door.post(HELLO)) for _ in range(2)]
        await goes
        assert [(await one)[0] for one in waits] == [200, 200]
        assert not door.gateway.engine.answers.flights


async def test_a_bug_of_ours_lets_nobody_wait_for_ever(tmp_path, monkeypatch) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=SLOW)) as door:
        first = asyncio.create_task(door.post(HELLO))
        await asked(door, 1)
        waits = asyncio.create_task(door.post(HELLO))
        await asyncio.sleep(0.05)

        def breaks(*_: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("penstock.core.dialects.openai_chat.usage.usage_of", breaks)
        assert (await first)[0] == 500
        monkeypatch.undo()
        assert (await asyncio.wait_for(waits, 5))[0] == 200


async def test_other_questions_do_not_wait(tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=SLOW)) as door:
        bodies = [{**HELLO, "seed": 1}, {**HELLO, "seed": 2}, {**HELLO, "seed": 1, "cache": {"no-cache": True}}]
        bodies.append({**HELLO, "seed": 1, "cache": {"no-store": True}})
        answers = await asyncio.gather(*(door.post(body) for body in bodies))
        assert door.mock.requests == 4 and {headers["x-penstock-cache"] for _, headers, _ in answers} == {"miss"}

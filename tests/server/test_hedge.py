"""A second deployment asked beside one that is late: one answer, the other is let go, and both are accounted for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from penstock.mock import Rule, Script, Step
from tests.door import open_door, until
from tests.server.test_routing import ask, asked, config, says

SETTINGS = "hedge_after: 80ms, routing_strategy: simple-shuffle"


def weighted(settings: str = SETTINGS) -> str:
    """``a`` is always asked first."""
    first, second = config("a", more="weight: 1, order: 1"), config("b", more="order: 2")
    row = second.splitlines()[1] + "\n"
    return first.replace("router_settings", row + "router_settings").replace("num_retries: 2, ", f"num_retries: 2, {settings}")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_one_that_answers_first_is_taken(tmp_path, stream):
    async with open_door(tmp_path, weighted()) as door:
        door.mock.script = says(a=Step(latency_ms=1500, text="from a"), b=Step(text="from b"))
        began = asyncio.get_running_loop().time()
        status, headers, body = await ask(door, stream=stream)
        took = asyncio.get_running_loop().time() - began
        assert status == 200 and b"from b" in body.replace(b'"}}]', b"") or stream
        assert 0.07 < took < 0.8
        assert asked(door) == {"a": 1, "b": 1}
        await door.settle()
        await asyncio.sleep(0.05)
        [record] = door.records
        assert record.target == "openai/b" and record.tries == 2 and record.status == 200
        if stream:
            assert body.count(b"data: [DONE]") == 1
            texts = [json.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]
            said = "".join(c["delta"].get("content") or "" for chunk in texts for c in chunk["choices"])
            assert said == "from b"
        lives = door.gateway.engine.means.lives
        assert all(live.standing.in_flight == 0 for live in lives.values())


@pytest.mark.parametrize("stream", [False, True])
async def test_who_is_in_time_is_alone(tmp_path, stream):
    async with open_door(tmp_path, weighted()) as door:
        for _ in range(10):
            assert (await ask(door, stream=stream))[0] == 200
        assert asked(door) == {"a": 10}


async def test_a_stream_that_has_begun_is_not_hedged(tmp_path):
    async with open_door(tmp_path, weighted()) as door:
        door.mock.script = says(a=Step(tokens_per_second=100, length=30))
        status, _, body = await ask(door, stream=True)
        assert status == 200 and body.endswith(b"data: [DONE]\n\n")
        assert asked(door) == {"a": 1}


async def test_the_first_wins_when_it_is_only_a_little_late(tmp_path):
    async with open_door(tmp_path, weighted()) as door:
        door.mock.script = says(a=Step(latency_ms=150), b=Step(latency_ms=1500))
        began = asyncio.get_running_loop().time()
        assert (await ask(door))[0] == 200
        assert asyncio.get_running_loop().time() - began < 1.0
        assert asked(door) == {"a": 1, "b": 1}
        await door.settle()
        assert door.records[-1].target == "openai/a"


async def test_one_that_fails_leaves_the_answer_to_the_other(tmp_path, no_pauses):
    async with open_door(tmp_path, weighted()) as door:
        for late, early in (("a", "b"), ("b", "a")):
            steps = {late: Step(latency_ms=250), early: Step(latency_ms=100 if early == "a" else 1, status=500)}
            door.mock.script = says(**steps)
            assert (await ask(door))[0] == 200
        door.mock.script = Script(default=Step(latency_ms=120, status=500))
        assert (await ask(door))[0] == 500
        calls = asked(door)
        assert calls["a"] + calls["b"] == 7, "three tries are what two retries allow"


async def test_who_leaves_takes_both_along(tmp_path):
    async with open_door(tmp_path, weighted()) as door:
        door.mock.script = Script(default=Step(latency_ms=3000))
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        await door.mock.wait_for(2)
        writer.transport.abort()
        await door.settle()
        await until(lambda: [record.status for record in door.records] == [499])
        assert all(live.standing.in_flight == 0 for live in door.gateway.engine.means.lives.values())


async def test_the_tail_is_cut(tmp_path):
    """Two of a hundred are slow: without a second deployment the slowest are as slow as the upstream."""
    slow = Script(rules=[Rule(every=50, step=Step(latency_ms=600))])

    async def slowest(settings: str) -> float:
        async with open_door(tmp_path, config("a", "b", settings=settings)) as door:
            door.mock.script = slow
            times = []
            for _ in range(100):
                began = asyncio.get_running_loop().time()
                assert (await ask(door))[0] == 200
                times.append(asyncio.get_running_loop().time() - began)
            return sorted(times)[98]

    assert await slowest("hedge_after: 50ms") < 0.5 * await slowest("")


async def test_p95_is_learned(tmp_path):
    async with open_door(tmp_path, weighted("hedge_after: p95, ")) as door:
        door.mock.script = Script(default=Step(latency_ms=20))
        for _ in range(25):
            assert (await ask(door))[0] == 200
        assert set(asked(door)) == {"a"}
        door.mock.script = says(a=Step(latency_ms=2000))
        began = asyncio.get_running_loop().time()
        assert (await ask(door))[0] == 200
        assert asyncio.get_running_loop().time() - began < 1.0
        assert asked(door) == Counter(a=1, b=1)

"""Chats that are known by a mark until somebody asks the same again: nobody can tell them from those with a name."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from penstock.mock import Script, Step
from penstock.runtime import cache_marks
from tests.door import HELLO, Door, open_door
from tests.server.asked import CLIENTS, ask
from tests.server.test_cache import CHAT, Names, settled, tell, yaml

SLOW = Step(latency_ms=250)
# Of what one turn has in common, everything by which requests may differ.
PARAMETERS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.5},
    {"temperature": 1.0},
    {"max_tokens": 7},
    {"seed": 1},
    {"seed": 2},
    {"stop": ["x"]},
    {"response_format": {"type": "text"}},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    {"logit_bias": {"1": 2}},
    {"my_own": {"a": [1, {"b": 2}]}},
)


def marked(door: Door) -> int:
    """How many answers have no name."""
    return sum(type(key) is int for key in door.gateway.engine.answers.place.memory.values)


def respelled(body: dict[str, Any], dice: random.Random) -> bytes:
    """The same request, written otherwise."""

    def write(value: Any) -> str:
        space = dice.choice(["", " ", "\n"])
        if isinstance(value, dict):
            keys = dice.sample(list(value), len(value))
            return "{" + ",".join(f"{json.dumps(key)}{space}:{space}{write(value[key])}" for key in keys) + "}"
        if isinstance(value, list):
            return "[" + ",".join(space + write(one) for one in value) + space + "]"
        if isinstance(value, float):  # the mock insists on integers where OpenAI does
            return dice.choice([repr(value), f"{value:.17e}", f"{value:g}"])
        return json.dumps(value, ensure_ascii=dice.random() < 0.5)

    return write(body).encode()


async def test_the_first_has_no_name_and_the_second_gives_it_one(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        await tell(door, {**HELLO, "messages": [{"role": "user", "content": "so that the dialect is known"}]})
        assert (await tell(door, HELLO))[0] == "miss" and marked(door) == 1
        assert (await tell(door, respelled(HELLO, random.Random(1))))[0] == "hit" and marked(door) == 0
        status, lines, _ = await door.post(HELLO)
        assert status == 200 and lines["x-penstock-cache"] == "hit" and lines["x-litellm-cache-key"]
        assert not door.gateway.engine.answers.marks.asked
        told = await door.gateway.engine.answers.place.answers.info()
        assert told["entries"] == 2
        await door.gateway.engine.answers.place.answers.flush()
        assert (await tell(door, HELLO))[0] == "miss"


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_after_what_is_a_hit_where_it_was_kept_and_nowhere_else(seed: int, tmp_path) -> None:
    """Against a table of what was kept by its meaning."""
    dice = random.Random(seed)
    kept: set[str] = set()
    seen = {"hit": 0, "miss": 0}
    parameters = dice.sample(PARAMETERS, 4)
    unnamed = 0
    async with open_door(tmp_path, yaml(), script=Script(default=Step(text="an answer"))) as door:
        door.gateway.identity = Names()  # type: ignore[assignment]
        for _ in range(200):
            who = dice.choice(["ann", "ann", "ann", "bob"])
            text = dice.choice(["hello", "h\u00e9llo \"{["])
            content: Any = dice.choice([text, text, [{"type": "text", "text": text}]])
            body = {
                "model": dice.choice(["m", "m", "m", "other", "alias"]),
                "messages": [{"role": dice.choice(["user", "user", "system"]), "content": content}],
                **dice.choice(parameters),
            }
            space = dice.choice(["", "", "n"])
            wish = dice.choice([{}, {}, {}, {"no-cache": True}, {"no-store": True}, {"s-maxage": 600}])
            meaning = json.dumps([body | {"model": body["model"].replace("alias", "m")}, space, who], sort_keys=True)
            cache = wish | ({"namespace": space} if space else {})
            sent = body | ({"cache": cache} if cache else {})
            sent |= dice.choice([{}, {"user": str(dice.random())}, {"metadata": {"a": "b"}}])
            how, _ = await tell(door, respelled(sent, dice), CHAT, authorization=who)
            expected = "hit" if meaning in kept and "no-cache" not in wish else "miss"
            assert how == expected, (sent, meaning)
            seen[how] += 1
            unnamed = max(unnamed, marked(door))
            if "no-store" not in wish:
                kept.add(meaning)
        assert min(seen.values()) > 20 and unnamed
        assert not door.gateway.engine.answers.flights and not door.gateway.engine.answers.marks.asked


async def test_what_is_alike_at_a_glance_is_asked_for_itself_and_who_asks_the_same_waits(tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=SLOW)) as door:
        await tell(door, {**HELLO, "messages": [{"role": "user", "content": "first"}]})
        bodies = [{**HELLO, **more} for more in PARAMETERS] * 3
        answers = await asyncio.gather(*(door.post(body) for body in bodies))
        assert {status for status, _, _ in answers} == {200}
        assert door.mock.requests == 1 + len(PARAMETERS)
        how = [headers["x-penstock-cache"] for _, headers, _ in answers]
        assert sorted(how) == ["miss"] * len(PARAMETERS) + ["shared"] * 2 * len(PARAMETERS)
        await settled(door)
        assert not door.gateway.engine.answers.flights and not door.gateway.engine.answers.marks.asked
        assert {(await tell(door, body))[0] for body in bodies} == {"hit"}


@pytest.mark.parametrize("step", [Step(status=500), Step(hangup="before_answer"), Step(finish_reason="length")])
async def test_a_failure_leaves_nothing_behind(step: Step, tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=step)) as door:
        for number in range(4):
            await door.post({**HELLO, "messages": [{"role": "user", "content": str(number)}]})
        assert not door.gateway.engine.answers.marks.asked and not door.gateway.engine.answers.flights
        for number in range(4):
            _, lines, _ = await door.post({**HELLO, "messages": [{"role": "user", "content": str(number)}]})
            assert lines["x-penstock-cache"] == "miss"


async def test_those_without_a_name_are_in_the_same_room(tmp_path) -> None:
    big = Step(text="x" * 20_000)
    async with open_door(tmp_path, yaml("type: local, max_size_mb: 1"), script=Script(default=big)) as door:
        for number in range(100):
            assert (await tell(door, {**HELLO, "messages": [{"role": "user", "content": str(number)}]}))[0] == "miss"
            told = await door.gateway.engine.answers.place.answers.info()
            assert told["bytes"] <= 1024 * 1024
        assert 30 < told["entries"] < 60 and marked(door) > 30
        last = {**HELLO, "messages": [{"role": "user", "content": "99"}]}
        assert (await tell(door, last))[0] == "hit"
        assert (await tell(door, {**HELLO, "messages": [{"role": "user", "content": "3"}]}))[0] == "miss"


async def test_marks_of_names_are_bounded_and_a_forgotten_one_costs_one_miss(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cache_marks, "MOST_NAMED", 3)
    async with open_door(tmp_path, yaml()) as door:
        bodies = [{**HELLO, "messages": [{"role": "user", "content": str(number)}]} for number in range(8)]
        for body in bodies:
            await tell(door, body)
            assert (await tell(door, body))[0] == "hit"
        assert len(door.gateway.engine.answers.marks._named) == 3
        assert (await tell(door, bodies[7]))[0] == "hit"
        assert [(await tell(door, bodies[0]))[0] for _ in range(3)] == ["miss", "hit", "hit"]


async def test_a_second_dialect_finds_what_has_no_name_and_who_is_under_way(tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=SLOW)) as door:
        await tell(door, ask("openai_chat", "first"))
        await tell(door, ask("openai_chat", "kept"))
        assert marked(door) == 1
        under_way = asyncio.create_task(door.post(ask("openai_chat", "q").body))
        await asyncio.sleep(0.05)
        other = ask("anthropic", "q")
        status, lines, _ = await door.post(other.body, other.path)
        assert status == 200 and lines["x-penstock-cache"] == "shared"
        assert (await under_way)[1]["x-penstock-cache"] == "miss"
        assert marked(door) == 0
        for text in ("first", "kept", "q"):
            assert (await tell(door, ask("anthropic", text)))[0] == "hit"
            assert (await tell(door, ask("openai_chat", text)))[0] == "hit"


@pytest.mark.parametrize("seed", range(2))
async def test_clients_of_all_dialects_find_what_any_of_them_was_told(seed: int, tmp_path) -> None:
    dice = random.Random(seed)
    kept: set[str] = set()
    unnamed = 0
    async with open_door(tmp_path, yaml(), script=Script(default=Step(text="an answer"))) as door:
        for number in range(120):
            client = dice.choice(CLIENTS) if number > 10 else "openai_chat"
            text = f"q{dice.randrange(40)}"
            how, _ = await tell(door, ask(client, text, dice.random() < 0.3))
            assert how == ("hit" if text in kept else "miss"), (number, client, text)
            kept.add(text)
            unnamed = max(unnamed, marked(door) if number > 60 else 0)
        assert unnamed, "also now most have no name"
        assert not door.gateway.engine.answers.flights and not door.gateway.engine.answers.marks.asked

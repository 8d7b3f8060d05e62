"""Guards in a gateway: what is blocked, masked and told, on the way in and on the way out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.guards.base import Shown
from tests.guards.serving import MASTER, chat, entry, guarded

KEY = "sk-proj-a8Gh2Kq9ZpLw3RtY7uVbN4mXc6Df1SjE0QoT5iWz"
IDS = {"pattern": r"ID-\d{4}", "name": "id", "action": "mask"}
JSON = {"content-type": "application/json", "authorization": f"Bearer {MASTER}"}
STREAMS = pytest.mark.parametrize("stream", [False, True])


def said(answer: str) -> str:
    """The text of a chat's answer, whole or streamed."""
    if not answer.startswith("data:"):
        return json.loads(answer)["choices"][0]["message"]["content"]
    events = [json.loads(line[6:]) for line in answer.split("\n\n") if line.startswith("data: {")]
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e.get("choices"))


@STREAMS
async def test_a_secret_does_not_leave(tmp_path: Path, stream: bool) -> None:
    async with guarded(tmp_path, entry("secrets", "hide-secrets")) as door:
        status, head, answer = await chat(door, f"key {KEY} x", stream)
        assert status == 200 and said(answer) == "mock/echo: key [OPENAI_API_KEY_1] x"
        assert KEY not in json.dumps(door.mock.received, default=str)
        assert head["x-litellm-applied-guardrails"] == "secrets"
        assert head["x-penstock-guards"] == "secrets;mode=pre_call;verdict=masked"
        (ran,) = door.records[-1].guards
        assert (ran.verdict, ran.kinds) == ("masked", {"OPENAI_API_KEY": 1})


@STREAMS
async def test_what_is_blocked_costs_nothing_and_is_recorded(tmp_path: Path, stream: bool) -> None:
    async with guarded(tmp_path, entry("words", "banned_words", banned_words=["tulip"])) as door:
        status, head, answer = await chat(door, "a TULIP", stream)
        assert status == 400 and "BANNED_WORD" in answer and "'words'" in answer and "TULIP" not in answer
        record = door.records[-1]
        assert (record.error, record.cost, record.tries) == ("guardrail", None, 0)
        assert record.guards[0].verdict == "blocked" and door.mock.requests == 0
        assert "verdict=blocked" in head["x-penstock-guards"]


@STREAMS
async def test_an_answer_is_masked(tmp_path: Path, stream: bool) -> None:
    async with guarded(tmp_path, entry("ids", "regex", "post_call", regex=[IDS])) as door:
        status, _, answer = await chat(door, "take ID-1234 and ID-1234, ID-99", stream)
        assert (status, said(answer)) == (200, "mock/echo: take [ID_1] and [ID_1], ID-99")
        assert door.records[-1].guards[0].kinds == {"id": 2}


@STREAMS
async def test_an_answer_is_blocked_and_paid_for(tmp_path: Path, stream: bool) -> None:
    async with guarded(tmp_path, entry("words", "banned_words", "post_call", banned_words=["tulip"])) as door:
        text = "word " * 200 + "tulip"
        status, _, answer = await chat(door, text, stream)
        record = door.records[-1]
        if stream:  # the head is out by then
            assert status == 200 and "tulip" not in answer and "[DONE]" not in answer
            last = json.loads(answer.strip().split("\n\n")[-1].removeprefix("data: "))
            assert "BANNED_WORD" in last["error"]["message"]
        else:
            assert status == 400 and "tulip" not in answer
        assert record.error == "guardrail" and record.status == 400 and record.cost and record.usage is not None


async def test_a_stream_that_is_blocked_at_once_is_a_status(tmp_path: Path) -> None:
    async with guarded(tmp_path, entry("words", "banned_words", "post_call", banned_words=["mock"])) as door:
        status, _, answer = await chat(door, "hello", True)
        assert status == 400 and "BANNED_WORD" in json.loads(answer)["error"]["message"]


# Guards that ask somebody else. ---------------------------------------------------------------------------------------


@STREAMS
@pytest.mark.parametrize("mode", ["pre_call", "during_call", "post_call"])
async def test_a_guard_that_is_waited_for_blocks(tmp_path: Path, fakes: list[Shown], mode: str, stream: bool) -> None:
    async with guarded(tmp_path, entry("ask", "asking", mode)) as door:
        status, _, answer = await chat(door, "a tulip", stream)
        assert status == 400 and "FLOWER" in answer and "tulip" not in answer
        assert door.mock.requests == (0 if mode == "pre_call" else 1)
        assert (door.records[-1].cost is None) is (mode == "pre_call")
        status, head, answer = await chat(door, "a rose", stream)
        assert (status, said(answer)) == (200, "mock/echo: a rose")
        assert head["x-penstock-guards"] == f"ask;mode={mode};verdict=passed"
        assert [one.side for one in fakes] == ["answer" if mode == "post_call" else "request"] * 2


@STREAMS
@pytest.mark.parametrize("mode", ["pre_call", "post_call"])
async def test_a_guard_that_is_waited_for_masks(tmp_path: Path, fakes: list[Shown], mode: str, stream: bool) -> None:
    async with guarded(tmp_path, entry("ask", "asking", mode, action="mask")) as door:
        status, _, answer = await chat(door, "a tulip for you", stream)
        assert (status, said(answer)) == (200, "mock/echo: a [FLOWER_1] for you")


@STREAMS
async def test_a_verdict_holds_the_answer_back(tmp_path: Path, fakes: list[Shown], stream: bool) -> None:
    async with guarded(tmp_path, entry("ask", "asking", "during_call", seconds=0.3)) as door:
        began = asyncio.get_running_loop().time()
        status, _, answer = await chat(door, "a rose", stream)
        assert status == 200 and said(answer) == "mock/echo: a rose"
        assert asyncio.get_running_loop().time() - began >= 0.3


# What goes wrong. -----------------------------------------------------------------------------------------------------

FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("raising", {}),
    ("hanging", {"timeout": 0.05}),
    ("nonsense", {"returns": 7}),
    ("nonsense", {"returns": "block"}),
    ("nonsense", {"returns": ["block"]}),
]


@STREAMS
@pytest.mark.parametrize("mode", ["pre_call", "during_call", "post_call"])
@pytest.mark.parametrize(("kind", "params"), FAULTS)
@pytest.mark.parametrize("on_error", ["allow", "block"])
async def test_a_guard_that_cannot_judge_has_failed(
    tmp_path: Path, fakes: list[Shown], kind: str, params: dict[str, Any], mode: str, on_error: str, stream: bool
) -> None:
    async with guarded(tmp_path, entry("odd", kind, mode, on_error=on_error, **params)) as door:
        status, head, answer = await chat(door, "hello", stream)
        assert status == (200 if on_error == "allow" else 500)
        assert "tulip" not in answer and (on_error == "block" or said(answer) == "mock/echo: hello")
        (ran,) = door.records[-1].guards
        assert ran.verdict == "failed" and ran.why and "tulip" not in ran.why
        assert "x-litellm-applied-guardrails" not in head
        assert "verdict=failed" in head["x-penstock-guards"]


async def test_settings_that_cannot_be_used_let_nothing_through(tmp_path: Path) -> None:
    async with guarded(tmp_path, entry("odd", "regex", regex=["("])) as door:
        status, _, answer = await chat(door, "hello")
        assert status == 500 and "'odd'" in answer
        (problem,) = door.gateway.state.problems
        assert "guardrails[0].litellm_params.regex[0].pattern: the expression is not valid" in problem


# Who is guarded. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named", [["words"], "words", [{"words": {"extra_body": {"a": 1}}}], {"in": "metadata"}], ids=str
)
async def test_a_request_names_its_guards(tmp_path: Path, named: Any) -> None:
    async with guarded(
        tmp_path,
        entry("words", "banned_words", banned_words=["tulip"], default_on=False),
        entry("see", "regex", regex=["zz"]),
    ) as door:
        fields = {"metadata": {"guardrails": ["words"]}} if isinstance(named, dict) else {"guardrails": named}
        assert (await chat(door, "a tulip"))[0] == 200
        assert (await chat(door, "a tulip", **fields))[0] == 400
        assert "guardrails" not in str(door.mock.received)


async def test_what_a_request_says_to_a_guard_reaches_it(tmp_path: Path, fakes: list[Shown]) -> None:
    async with guarded(tmp_path, entry("see", "seeing")) as door:
        await chat(door, "hi", guardrails=[{"see": {"extra_body": {"level": 3}}}])
        assert fakes[0].extra == {"level": 3} and list(fakes[0].texts) == ["hi"] and fakes[0].model == "m"


async def test_a_guard_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    async with guarded(tmp_path, entry("words", "banned_words", banned_words=["tulip"])) as door:
        status, _, answer = await chat(door, "hi", guardrails=["nobody"])
        assert status == 400 and "'nobody'" in answer and "words" in answer
        assert (await chat(door, "hi", guardrails=[7]))[0] == 400


async def test_tags_say_when_a_guard_runs(tmp_path: Path) -> None:
    mode = {"tags": {"inside": "post_call"}, "default": "pre_call"}
    async with guarded(tmp_path, entry("words", "banned_words", mode, banned_words=["tulip"])) as door:
        _, head, _ = await chat(door, "rose", metadata={"tags": ["inside"]})
        assert "mode=post_call" in head["x-penstock-guards"]
        _, head, _ = await chat(door, "rose")
        assert "mode=pre_call" in head["x-penstock-guards"]


async def test_a_model_has_its_guards(tmp_path: Path) -> None:
    more = """
  - model_name: guarded
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-upstream, guardrails: [words]}
"""
    from tests.guards import serving

    yaml = serving.MODELS.replace("general_settings", more.strip("\n") + "\ngeneral_settings")
    words = entry("words", "banned_words", banned_words=["tulip"], default_on=False)
    async with serving.open_service(tmp_path, yaml + "guardrails: " + json.dumps([words])) as door:
        assert (await chat(door, "a tulip"))[0] == 200
        assert (await chat(door, "a tulip", model="guarded"))[0] == 400


async def test_keys_and_teams_have_guards(tmp_path: Path) -> None:
    words = entry("words", "banned_words", banned_words=["tulip"], default_on=False)
    always = entry("always", "banned_words", banned_words=["oak"])
    async with guarded(tmp_path, words, always, state_dir=tmp_path) as door:
        _, key = await door.call("/key/generate", {"guardrails": ["words"]})
        _, team = await door.call("/team/new", {"guardrails": ["words"]})
        _, of_team = await door.call("/key/generate", {"team_id": team["team_id"]})
        _, free = await door.call("/key/generate", {"disable_global_guardrails": True})
        _, plain = await door.call("/key/generate", {})
        body = {"model": "m", "messages": [{"role": "user", "content": "a tulip"}]}
        oak = {"model": "m", "messages": [{"role": "user", "content": "an oak"}]}
        for made, tulips, oaks in ((key, 400, 400), (of_team, 400, 400), (free, 200, 200), (plain, 200, 400)):
            assert (await door.call("/v1/chat/completions", body, key=made["key"]))[0] == tulips
            assert (await door.call("/v1/chat/completions", oak, key=made["key"]))[0] == oaks


# Caches. --------------------------------------------------------------------------------------------------------------


@STREAMS
async def test_an_answer_that_was_kept_is_judged_anew(tmp_path: Path, stream: bool) -> None:
    words = entry("words", "banned_words", "post_call", banned_words=["tulip"], default_on=False)
    more = "litellm_settings: {cache: true, cache_params: {type: local}}\n"
    async with guarded(tmp_path, words, more=more) as door:
        for _ in range(2):
            status, head, answer = await chat(door, "a tulip", stream)
            assert (status, said(answer)) == (200, "mock/echo: a tulip")
        assert head["x-penstock-cache"] == "hit" and door.mock.requests == 1
        status, head, answer = await chat(door, "a tulip", stream, guardrails=["words"])
        assert status == 400 and "tulip" not in answer
        assert (await chat(door, "a tulip", stream))[0] == 200


async def test_a_masked_request_is_known_by_what_is_asked(tmp_path: Path) -> None:
    more = "litellm_settings: {cache: true, cache_params: {type: local}}\n"
    async with guarded(tmp_path, entry("secrets", "hide-secrets"), more=more) as door:
        await chat(door, f"key {KEY} x")
        _, head, answer = await chat(door, f"key {KEY[:-3]}aB7 x")
        assert head["x-penstock-cache"] == "hit" and said(answer) == "mock/echo: key [OPENAI_API_KEY_1] x"


# Large. ---------------------------------------------------------------------------------------------------------------


async def test_a_large_request_is_judged(tmp_path: Path) -> None:
    async with guarded(tmp_path, entry("secrets", "hide-secrets", ["pre_call", "post_call"])) as door:
        status, _, answer = await chat(door, "word " * 80_000 + KEY)
        assert status == 200 and KEY not in answer and "[OPENAI_API_KEY_1]" in said(answer)

"""The answer cache through the quick door: who is given again what was told to whom, and what is not."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from penstock.core.admit.caller import Caller
from penstock.core.ir import ToolUse
from penstock.mock import Script, Step
from penstock.runtime import lanes, ollama, ops, stored_responses
from penstock.runtime.chats import _messages
from penstock.runtime.record_text import as_json, as_text
from penstock.server.responses_socket import _SURFACE
from penstock.server.surfaces import PATTERNS, SURFACES
from tests.door import HELLO, Door, open_door
from tests.server.asked import CLIENTS, Asked, ask, said

CHAT = "/v1/chat/completions"


def yaml(params: str = "type: local", target: str = "openai/real-model", more: str = "") -> str:
    return f"""
model_list:
  - model_name: m
    litellm_params: {{model: {target}, api_base: "{{mock}}/v1", api_key: sk-upstream, input_cost_per_token: 0.01,
      output_cost_per_token: 0.01}}
  - model_name: other
    litellm_params: {{model: {target}, api_base: "{{mock}}/v1", api_key: sk-upstream}}
litellm_settings: {{cache: true, cache_params: {{{params}}}}}
router_settings: {{num_retries: 0, model_group_alias: {{alias: m}}{more}}}
"""


async def tell(door: Door, body: dict[str, Any] | Asked, path: str = CHAT, **headers: str) -> tuple[str, bytes]:
    """What the header says of the cache, and the answer."""
    if isinstance(body, Asked):
        body, path = body.body, body.path
    status, lines, answer = await door.post(body, path, **headers)
    assert status == 200, answer
    await settled(door)
    return lines.get("x-penstock-cache", "-"), answer


async def settled(door: Door) -> None:
    """Wait for what is kept when the answer is out."""
    for _ in range(200):
        if not door.gateway.engine.means.beside:
            return
        await asyncio.sleep(0.005)


# Which surfaces -------------------------------------------------------------------------------------------------------


def test_each_surface_says_what_its_answers_are_and_none_says_it_of_another_operation() -> None:
    chats = {lanes.run: "completion", _messages: "completion", ollama.run: "completion"}
    known = {**chats, stored_responses.run: "responses", ops.completions: "text_completion", ops.rerank: "rerank"}
    known |= {ops.transcriptions: "transcription", ops.embeddings: "embedding", ollama.embed: "embedding"}
    known |= {ollama.embeddings: "embedding", ops.embed_content: "embedding", ops.batch_embed_contents: "embedding"}
    rows = [*SURFACES.items(), *((row.templates[0], row.surface) for row in PATTERNS), ("socket", _SURFACE)]
    assert {path: row.cached for path, row in rows} == {path: known.get(row.attempt, "") for path, row in rows}


# From every dialect to every dialect ----------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("filler", CLIENTS)
async def test_whatever_dialect_filled_it_every_client_has_the_answer(filler: str, streamed: bool, tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        first = ask(filler, "question", streamed)
        how, answer = await tell(door, first)
        told = said(first.read(answer, streamed))
        assert how == "miss" and told == "mock/echo: question"
        for client in CLIENTS:
            for stream in (False, True):
                again = ask(client, "question", stream)
                how, answer = await tell(door, again)
                response = again.read(answer, stream)
                assert (how, said(response), response.model) == ("hit", told, "m"), (client, stream)
                assert [choice.finish for choice in response.choices] == ["stop"]
                if not stream or client not in ("openai_chat",):
                    assert response.usage is not None and response.usage.output == 4, (client, stream)
        assert door.mock.requests == 1
        hits = [record for record in door.records if record.cache_hit]
        assert len(hits) == len(door.records) - 1 == 2 * len(CLIENTS)
        assert {record.cost for record in hits} == {Decimal(0)} and {record.usage.output for record in hits} == {4}


async def test_a_hit_in_the_same_dialect_is_the_very_same_answer(tmp_path) -> None:
    for client in CLIENTS[:3]:
        async with open_door(tmp_path, yaml()) as door:
            _, first = await tell(door, ask(client, "q"))
            how, again = await tell(door, ask(client, "q"))
            assert how == "hit" and again == first


async def test_spelling_and_order_do_not_matter_and_who_is_called_is_told(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        _, first = await tell(door, {**HELLO, "temperature": 1, "top_p": 0.5})
        body = b'{ "top_p": 5e-1, "temperature":1.0, "user": "u", "metadata": {"a": 1}, "model": "alias", "messages":'
        status, lines, again = await door.post(body + b'[{"content": "hello", "role": "user"}]}')
        assert status == 200 and lines["x-penstock-cache"] == "hit"
        assert json.loads(again) == {**json.loads(first), "model": "alias"}, "an alias means its group"
        assert lines["age"] == "0" and lines["x-litellm-response-cost"] == "0"
        assert len(lines["x-litellm-cache-key"]) == 64
        assert (await tell(door, {**HELLO, "temperature": 1, "top_p": 0.6}))[0] == "miss"
        assert (await tell(door, {**HELLO, "temperature": 1, "top_p": 0.5, "model": "other"}))[0] == "miss"


async def test_calls_of_tools_are_given_again(tmp_path) -> None:
    step = Step(tool_calls=({"name": "look", "arguments": {"q": 1}},))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    async with open_door(tmp_path, yaml(), script=Script(default=step)) as door:
        body = {**HELLO, "tools": [tool], "max_tokens": 50}
        assert (await tell(door, body))[0] == "miss"
        how, _ = await tell(door, {**body, "stream": True})
        assert how == "hit"
        mine = {"name": "look", "input_schema": {"type": "object"}}
        messages = Asked("anthropic", "/v1/messages", {**body, "tools": [mine]})
        how, answer = await tell(door, messages)
        [choice] = messages.read(answer, False).choices
        assert how == "hit" and choice.finish == "tool_use"
        [call] = [block for block in choice.blocks if isinstance(block, ToolUse)]
        assert (call.name, json.loads(call.args)) == ("look", {"q": 1})


async def test_nobody_is_told_anothers_metadata(tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: local, cache_scope: global", target="openai/gpt-4o")) as door:
        question = ask("openai_responses", "q")
        mine = {**question.body, "metadata": {"of": "Zoe"}, "user": "Zoe"}
        _, first = await tell(door, mine, question.path)
        assert json.loads(first)["metadata"] == {"of": "Zoe"}
        how, again = await tell(door, question)
        assert how == "hit" and b"Zoe" not in again and json.loads(again)["id"] == json.loads(first)["id"]
        how, other = await tell(door, {**question.body, "metadata": {"of": "bob"}}, question.path)
        assert how == "hit" and json.loads(other)["metadata"] == {"of": "bob"} and b"Zoe" not in other
        how, stream = await tell(door, ask("openai_responses", "q", True))
        assert how == "hit" and b"Zoe" not in stream


async def test_a_stream_that_is_an_array_is_one_again(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        question = ask("gemini", "q", True)
        path = question.path.removesuffix("?alt=sse")
        for expected in ("miss", "hit"):
            how, answer = await tell(door, question.body, path)
            parts = [part["text"] for event in json.loads(answer) for part in event["candidates"][0]["content"]["parts"]]
            assert (how, "".join(parts)) == (expected, "mock/echo: q")


async def test_the_record_and_its_line_tell_of_a_hit(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        await tell(door, HELLO)
        await tell(door, HELLO)
        miss, hit = door.records
        assert miss.cost and not miss.cache_hit and "cache" not in as_text(miss) + as_json(miss)
        assert " cost=0 cache=hit " in as_text(hit) and json.loads(as_json(hit))["cache_hit"] is True


async def test_an_answer_that_was_given_again_can_be_gone_on_from(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        await tell(door, ask("openai_chat", "q"))
        for stream in (False, True):
            again = ask("openai_responses", "q", stream)
            how, answer = await tell(door, again)
            assert how == "hit"
            kept = again.read(answer, stream).id
            status, _, body = await door.ask("GET", f"/v1/responses/{kept}")
            assert status == 200 and json.loads(body)["id"] == kept
            more = {"model": "m", "input": "and then?", "previous_response_id": kept}
            assert (await door.post(more, "/v1/responses"))[0] == 200
            sent = door.mock.received[-1].json
            assert "mock/echo: q" in json.dumps(sent), "the turn before went along"


async def test_what_was_kept_for_the_first_dialect_is_found_by_the_second(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        cache = door.gateway.engine.answers
        for number in range(5):
            await tell(door, ask("openai_chat", f"q{number}", stream=number % 2 == 1))
        _, lines, _ = await door.post(ask("openai_chat", "q3").body)
        assert lines["x-penstock-cache"] == "hit" and not cache._questions.sharing
        before = (await cache.place.answers.info())["entries"]
        assert [(await tell(door, ask("anthropic", f"q{number}")))[0] for number in range(6)] == ["hit"] * 5 + ["miss"]
        assert cache._questions.sharing
        assert (await cache.place.answers.info())["entries"] == before + 1, "moved, not doubled"
        assert (await tell(door, ask("openai_chat", "q3")))[0] == "hit"
        status, _, told = await door.post({"keys": [lines["x-litellm-cache-key"]]}, "/cache/delete")
        assert status == 200 and json.loads(told)["deleted"] == 1, "by the key that the client was told"
        assert (await tell(door, ask("anthropic", "q3")))[0] == "miss"


async def test_of_early_questions_only_the_last_are_remembered(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("penstock.runtime.cache_question.MOST_EARLY", 3000)
    monkeypatch.setattr("penstock.runtime.cache_question.MOST_BYTES", 3000)
    async with open_door(tmp_path, yaml(), script=Script(default=Step(text="short"))) as door:
        for number in range(20):
            await tell(door, ask("openai_chat", f"q{number}"))
        assert [(await tell(door, ask("openai_chat", f"q{number}")))[0] for number in range(20)] == ["hit"] * 20
        assert door.gateway.engine.answers._questions._size <= 3000
        assert (await tell(door, ask("anthropic", "q19")))[0] == "hit"
        assert (await tell(door, ask("anthropic", "q0")))[0] == "miss"
        long = ask("openai_chat", "long " * 500)
        assert [(await tell(door, long))[0] for _ in range(3)] == ["miss", "hit", "hit"]


# What is never kept ---------------------------------------------------------------------------------------------------

NEVER = {
    "an error": Step(status=500),
    "a refusal to serve": Step(status=400, error="bad"),
    "cut off at its limit": Step(finish_reason="length"),
    "filtered": Step(finish_reason="content_filter"),
    "refused": Step(refusal="I would rather not"),
    "empty": Step(text=""),
    "of an unknown end": Step(finish_reason="tired"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("why", NEVER)
async def test_what_may_be_another_answer_the_next_time_is_not_kept(why: str, stream: bool, tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=NEVER[why])) as door:
        for number in (1, 2):
            _, lines, _ = await door.post({**HELLO, "stream": stream})
            await settled(door)
            assert lines["x-penstock-cache"] == "miss" and door.mock.requests == number


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"], ids=["same", "cross"])
@pytest.mark.parametrize("step", [Step(cut_after_events=3, cut="close"), Step(error_event_after=3), Step(malform=("no_finish_reason",))])
async def test_half_a_stream_is_not_kept(step: Step, path: str, tmp_path) -> None:
    body = {**HELLO, "max_tokens": 50, "stream": True}
    async with open_door(tmp_path, yaml(), script=Script(default=step.over(Step(text="one two three four")))) as door:
        for number in (1, 2):
            await door.post(body, path)
            await settled(door)
            assert door.mock.requests == number


FORM = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object", "required": ["a"]}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("text", "kept"), [('{"a": 1}', True), ('{"b": 1}', False), ("no JSON", False)])
async def test_an_answer_without_the_form_that_was_asked_for_is_not_kept(text, kept, stream, tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=Step(text=text))) as door:
        body = {**HELLO, "response_format": FORM, "stream": stream}
        assert (await tell(door, body))[0] == "miss"
        assert (await tell(door, body))[0] == ("hit" if kept else "miss")


async def test_a_checked_answer_is_not_an_unchecked_one(tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=Step(text='{"a": 1}'))) as door:
        body = {**HELLO, "response_format": FORM}
        await tell(door, body)
        assert (await tell(door, {**body, "validate": True}))[0] == "miss"
        assert (await tell(door, {**body, "validate": True}))[0] == "hit"


async def test_what_depends_on_more_than_the_request_has_no_part_in_it(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        for body in ({**HELLO, "container": "c1"}, {**HELLO, "model": "m", "messages": HELLO["messages"], "thread": None}):
            assert (await tell(door, body))[0] == "-"


async def test_a_large_answer_is_not_kept_and_a_large_request_is_not_looked_up(tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: local, max_size_per_item: 1")) as door:
        body = {**HELLO, "messages": [{"role": "user", "content": "long " * 400}]}
        for stream in (False, True):
            assert [(await tell(door, {**body, "stream": stream}))[0] for _ in range(2)] == ["miss", "miss"]
        many = [{"role": "user", "content": "x"} for _ in range(9000)]
        assert (await tell(door, {**HELLO, "messages": many}))[0] == "-"


# What a request wants -------------------------------------------------------------------------------------------------


async def test_a_request_says_whether_it_reads_and_whether_it_is_kept(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        _, first = await tell(door, {**HELLO, "cache": {"no-store": True}})
        how, second = await tell(door, HELLO)
        assert how == "miss" and second != first
        how, third = await tell(door, {**HELLO, "cache": {"no-cache": True}})
        assert how == "miss" and third != second
        assert await tell(door, HELLO) == ("hit", third), "what it got is the newest"
        assert (await tell(door, {**HELLO, "cache": {"no-store": True}}))[0] == "hit"
        assert (await tell(door, {**HELLO, "cache": {"no-store": True, "no-cache": True}}))[0] == "-"
        assert all("cache" not in sent.json for sent in door.mock.received)


async def test_age_and_life_are_a_requests_to_say(tmp_path, monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("penstock.runtime.keeping.time.time", lambda: now[0])
    async with open_door(tmp_path, yaml()) as door:
        await tell(door, HELLO)
        now[0] += 30
        _, lines, _ = await door.post(HELLO)
        assert lines["age"] == "30"
        assert (await tell(door, {**HELLO, "cache": {"s-maxage": 31}}))[0] == "hit"
        assert (await tell(door, {**HELLO, "cache": {"s-maxage": 29}}))[0] == "miss"
        assert (await tell(door, {**HELLO, "cache": {"s-max-age": 29}}))[0] == "hit", "the fresh one took its place"
        assert (await tell(door, {**HELLO, "seed": 1, "cache": {"ttl": 0}}))[0] == "miss"
        assert (await tell(door, {**HELLO, "seed": 1, "cache": {"ttl": 0.2}}))[0] == "miss"
        assert (await tell(door, {**HELLO, "seed": 1}))[0] == "hit"
        await asyncio.sleep(0.25)
        assert (await tell(door, {**HELLO, "seed": 1}))[0] == "miss"


async def test_namespaces_are_apart(tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: local, namespace: prod")) as door:
        await tell(door, HELLO)
        _, lines, _ = await door.post(HELLO)
        assert lines["x-litellm-cache-key"].startswith("prod:")
        assert (await tell(door, {**HELLO, "cache": {"namespace": "mine"}}))[0] == "miss"
        _, lines, _ = await door.post({**HELLO, "cache": {"namespace": "mine"}})
        assert lines["x-penstock-cache"] == "hit" and lines["x-litellm-cache-key"].startswith("mine:")


async def test_off_by_default_means_that_who_wants_it_says_so(tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: local, mode: default_off")) as door:
        assert [(await tell(door, HELLO))[0] for _ in range(2)] == ["-", "-"]
        wants = {**HELLO, "cache": {"use-cache": True}}
        assert [(await tell(door, wants))[0] for _ in range(2)] == ["miss", "hit"]
        assert (await tell(door, HELLO))[0] == "-"


@pytest.mark.parametrize(
    ("cache", "param"),
    [
        ("no", "cache"),
        (True, "cache"),
        ({"nocache": True}, "cache.nocache"),
        ({"no-cache": "yes"}, "cache.no-cache"),
        ({"ttl": "60"}, "cache.ttl"),
        ({"ttl": -1}, "cache.ttl"),
        ({"s-maxage": True}, "cache.s-maxage"),
        ({"namespace": 5}, "cache.namespace"),
        ({"namespace": "a\r\nb: c"}, "cache.namespace"),
    ],
)
async def test_a_wish_that_is_not_understood_is_refused_by_name(cache: Any, param: str, tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        status, _, body = await door.post({**HELLO, "cache": cache})
        error = json.loads(body)["error"]
        assert status == 400 and error["param"] == param and param.partition(".")[2] in error["message"]
        assert (await tell(door, {**HELLO, "cache": None}))[0] == "miss", "null says nothing"


async def test_what_is_kept_can_be_chosen(tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: local, supported_call_types: [aresponses, embedding]")) as door:
        assert (await tell(door, HELLO))[0] == "-"
        assert (await tell(door, ask("openai_responses", "q")))[0] == "miss"


ENTRY = "    litellm_params: {model: openai/real-model, api_base: \"{mock}/v1\", api_key: sk-upstream, input_cost_per_token: 0.01,"


@pytest.mark.parametrize(
    ("says", "mode", "told"),
    [
        ("caching: false", "default_on", ["-", "-"]),
        ("caching: true", "default_off", ["miss", "hit"]),
        ("cache: {no-store: true}", "default_on", ["miss", "miss"]),
        ("cache: {use-cache: true}", "default_off", ["miss", "hit"]),
        ("ttl: 0.00001", "default_on", ["miss", "miss"]),
        ("ttl: 60", "default_on", ["miss", "hit"]),
        ("cache: {nonsense: true}", "default_on", ["miss", "hit"]),
    ],
)
async def test_an_entry_says_it_for_its_group(says: str, mode: str, told: list[str], tmp_path) -> None:
    config = yaml(f"type: local, mode: {mode}").replace(ENTRY, ENTRY + f" {says},", 1)
    async with open_door(tmp_path, config) as door:
        assert [(await tell(door, HELLO))[0] for _ in range(2)] == told
        assert (await tell(door, {**HELLO, "model": "other"}))[0] == ("miss" if mode == "default_on" else "-")
        assert any("cache.nonsense" in problem for problem in door.gateway.state.problems) == ("nonsense" in says)
        assert all(not {"cache", "caching", "ttl"} & sent.json.keys() for sent in door.mock.received)


# Whose it is ----------------------------------------------------------------------------------------------------------


class Names:
    """An identity that takes every name for a caller's."""

    needs_key = True

    def check(self, headers: dict[bytes, bytes], query: bytes = b"", client: str = "") -> Caller:
        name = headers[b"authorization"].decode()
        return Caller(name, False, tenant=name)


@pytest.mark.parametrize(("scope", "shares"), [("", False), (", cache_scope: key", False), (", cache_scope: global", True)])
async def test_callers_share_only_where_the_operator_says_so(scope: str, shares: bool, tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: local" + scope)) as door:
        door.gateway.identity = Names()  # type: ignore[assignment]
        assert (await tell(door, HELLO, authorization="ann"))[0] == "miss"
        assert (await tell(door, HELLO, authorization="ann"))[0] == "hit"
        assert (await tell(door, HELLO, authorization="bob"))[0] == ("hit" if shares else "miss")


async def test_groups_share_where_the_operator_says_so(tmp_path) -> None:
    async with open_door(tmp_path, yaml(more=", caching_groups: [[m, other]]")) as door:
        await tell(door, HELLO)
        how, answer = await tell(door, {**HELLO, "model": "other"})
        assert how == "hit" and json.loads(answer)["model"] == "other"
    by_name = yaml().replace("cache: true", "cache: true, caching_with_models: true")
    async with open_door(tmp_path, by_name) as door:
        await tell(door, HELLO)
        assert (await tell(door, {**HELLO, "model": "alias"}))[0] == "miss"


async def test_a_header_that_changes_the_api_counts(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        question = ask("anthropic", "q")
        assert (await tell(door, question, anthropic_version="2023-06-01"))[0] == "miss"
        assert (await tell(door, question))[0] == "hit"
        assert (await tell(door, question, anthropic_beta="context-1m"))[0] == "miss"


# Nothing configured ---------------------------------------------------------------------------------------------------


async def test_without_a_cache_nothing_is_kept_and_nothing_told(tmp_path) -> None:
    off = yaml().replace("cache: true", "cache: false")
    async with open_door(tmp_path, off) as door:
        for number in (1, 2):
            _, lines, _ = await door.post({**HELLO, "cache": {"anything": 1}})
            assert "x-penstock-cache" not in lines and door.mock.requests == number
        assert door.gateway.engine.answers.place is None

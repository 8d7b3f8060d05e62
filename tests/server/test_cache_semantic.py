"""The semantic cache through the quick door: who is given the answer to a question like theirs, and who is not."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Script, Step
from penstock.runtime import cache_place
from penstock.runtime.cache_semantic import LikeKeeping
from penstock.runtime.call import Call
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.review import review
from tests.contract.test_near_answers import KINDS
from tests.door import Door, open_door
from tests.embedding_server import SIZE, EmbeddingServer, open_embedding_server
from tests.qdrant import open_qdrant_server
from tests.search_redis import open_search_redis
from tests.server.asked import CLIENTS, ask, said
from tests.server.test_cache import NEVER, Names, settled, tell
from tests.server.test_cache_places import reload

QUESTION = "What is the capital of France"
ALIKE = "what is the capital of France please"  # 6 of 7 words: a cosine of 0.93
OTHER = "How do I bake bread"
KEY = "sk-gateway-key-1234567"
LIKE = "x-litellm-semantic-similarity"


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def yaml(params: str, embedder: EmbeddingServer, more: str = "") -> str:
    return f"""
model_list:
  - {{model_name: m, litellm_params: {{model: openai/real-model, api_base: "{{mock}}/v1", api_key: sk-upstream}}}}
  - {{model_name: other, litellm_params: {{model: openai/real-model, api_base: "{{mock}}/v1", api_key: sk-upstream}}}}
  - model_name: vectors
    litellm_params: {{model: openai/embed-1, api_base: "{embedder.base}", api_key: sk-embed, input_cost_per_token: 0.001}}
litellm_settings: {{cache: true, cache_params: {{{params}}}}}
router_settings: {{num_retries: 0{more}}}
"""


@asynccontextmanager
async def open_like(
    tmp_path: Path, more: str = "", kind: str = "local", routing: str = "", **door: Any
) -> AsyncIterator[tuple[Door, EmbeddingServer]]:
    """A gateway with a semantic cache, and the model whose vectors it compares."""
    params = f"type: {kind}-semantic, similarity_threshold: 0.9, {kind}_semantic_cache_embedding_model: vectors"
    async with open_embedding_server() as embedder, open_door(
        tmp_path, yaml(params + more, embedder, routing), **door
    ) as opened:
        try:
            yield opened, embedder
        finally:
            await opened.gateway.engine.answers.close()


@asynccontextmanager
async def open_kind(tmp_path: Path, kind: str) -> AsyncIterator[tuple[Door, EmbeddingServer, Any]]:
    if kind == "memory":
        async with open_like(tmp_path) as (door, embedder):
            yield door, embedder, None
    elif kind == "redis":
        async with open_search_redis() as redis, open_like(tmp_path, f", url: '{redis.url}'", "redis") as (door, embedder):
            yield door, embedder, redis
    else:
        async with open_qdrant_server() as qdrant:
            more = f", qdrant_api_base: '{qdrant.url}', qdrant_collection_name: c, qdrant_semantic_cache_vector_size: {SIZE}"
            async with open_like(tmp_path, more, "qdrant") as (door, embedder):
                yield door, embedder, qdrant


async def like(door: Door, body: dict[str, Any], **headers: str) -> tuple[str, str]:
    """What the headers say of the cache, and of the likeness."""
    status, lines, answer = await door.post(body, **headers)
    assert status == 200, answer
    await settled(door)
    return lines["x-penstock-cache"], lines.get(LIKE, "-")


# Hits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_question_like_another_has_its_answer(kind: str, tmp_path) -> None:
    async with open_kind(tmp_path, kind) as (door, embedder, server):
        status, lines, first = await door.post(chat(QUESTION))
        assert (status, lines["x-penstock-cache"], lines[LIKE]) == (200, "miss", "0.0")
        await settled(door)
        status, lines, again = await door.post(chat(ALIKE))
        assert lines["x-penstock-cache"] == "hit" and json.loads(again) == json.loads(first)
        assert float(lines[LIKE]) == pytest.approx((6 / 7) ** 0.5, abs=1e-3) and lines["x-litellm-response-cost"] == "0"
        assert await like(door, chat(OTHER)) == ("miss", "0.0"), "its nearest has no word in common"
        assert door.mock.requests == 2 and len(embedder.asked) == 3
        assert await like(door, chat(QUESTION)) == ("hit", "-") and len(embedder.asked) == 3, "the same needs no vector"
        if server is not None:
            assert server.compared, "the server compared"
        key = lines["x-litellm-cache-key"]
        _, _, body = await door.ask("POST", "/cache/delete", json.dumps({"keys": [key]}).encode())
        assert json.loads(body)["deleted"] == 1 and await like(door, chat(ALIKE)) == ("miss", "0.0")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("filler", CLIENTS)
async def test_whatever_dialect_filled_it_every_client_has_the_answer(filler: str, streamed: bool, tmp_path) -> None:
    async with open_like(tmp_path) as (door, embedder):
        how, answer = await tell(door, first := ask(filler, QUESTION, streamed))
        told = said(first.read(answer, streamed))
        for client in CLIENTS:
            for stream in (False, True):
                again = ask(client, ALIKE, stream)
                how, answer = await tell(door, again)
                response = again.read(answer, stream)
                assert (how, said(response), response.model) == ("hit", told, "m"), (client, stream)
        assert door.mock.requests == 1
        hits = [record for record in door.records if record.cache_hit]
        assert len(hits) == 2 * len(CLIENTS) and {record.cost for record in hits} == {Decimal(0)}


async def test_the_vector_has_a_record_of_its_own(tmp_path) -> None:
    async with open_like(tmp_path) as (door, embedder):
        door.gateway.identity = Names()  # type: ignore[assignment]
        await like(door, chat(QUESTION), authorization="ann", x_request_id="r-5")
        door.gateway.engine.flush()
        [vector] = [record for record in door.records if record.path == "/v1/embeddings"]
        assert (vector.key, vector.request_id, vector.model, vector.status) == ("ann", "r-5", "vectors", 200)
        assert vector.cost == Decimal("0.005") and vector.tries == 1
        assert embedder.asked == [{"model": "embed-1", "input": QUESTION}]
        assert door.gateway.held.size == 0


# No hits --------------------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
BESIDE: dict[str, dict[str, Any]] = {
    **{name: {name: value} for name, value in {
        "temperature": 0.5, "top_p": 0.5, "n": 2, "max_tokens": 40, "stop": ["x"], "seed": 3, "tools": [TOOL],
        "logprobs": True, "response_format": SCHEMA, "presence_penalty": 1, "model": "other", "min_p": 0.1,
        "cache": {"namespace": "mine"}, "reasoning_effort": "low",
    }.items()},
    "a picture": {"messages": [{"role": "user", "content": [{"type": "text", "text": ALIKE}, PICTURE]}]},
    "instructions": {"messages": [{"role": "system", "content": "In German."}, {"role": "user", "content": ALIKE}]},
    "a turn before": {"messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": ALIKE}
    ]},
}  # fmt: skip


@pytest.mark.parametrize("what", BESIDE)
async def test_what_differs_beside_the_words_is_never_a_hit(what: str, tmp_path) -> None:
    async with open_like(tmp_path) as (door, _):
        await like(door, chat(QUESTION))
        body = {**chat(ALIKE), **BESIDE[what]}
        assert await like(door, body) == ("miss", "0.0"), "not even compared"
        assert (await like(door, chat(ALIKE)))[0] == "hit"
        assert (await like(door, body))[0] in ("hit", "miss")  # its own answer, where the mock gave one of that form


@pytest.mark.parametrize("kind", KINDS)
async def test_callers_never_share_until_the_operator_says_so(kind: str, tmp_path) -> None:
    async with open_kind(tmp_path, kind) as (door, _, server):
        door.gateway.identity = Names()  # type: ignore[assignment]
        await like(door, chat(QUESTION), authorization="ann")
        assert await like(door, chat(ALIKE), authorization="bob") == ("miss", "0.0")
        assert server is None or server.compared == []
        assert (await like(door, chat(ALIKE + " now"), authorization="bob"))[0] == "hit", "his own"
        assert (await like(door, chat(ALIKE), authorization="ann"))[0] == "hit"
    async with open_like(tmp_path, ", cache_scope: global") as (door, _):
        door.gateway.identity = Names()  # type: ignore[assignment]
        await like(door, chat(QUESTION), authorization="ann")
        assert (await like(door, chat(ALIKE), authorization="bob"))[0] == "hit"


@pytest.mark.parametrize(("scope", "shares"), [("", True), (", semantic_cache_scope: end_user", False)])
async def test_users_behind_a_key_share_until_the_operator_says_otherwise(scope: str, shares: bool, tmp_path) -> None:
    async with open_like(tmp_path, scope) as (door, _):
        await like(door, chat(QUESTION, user="u1"))
        assert (await like(door, chat(ALIKE, user="u2")))[0] == ("hit" if shares else "miss")
        assert (await like(door, chat(ALIKE, user="u1")))[0] == "hit"


async def test_groups_that_share_do_so_here_too(tmp_path) -> None:
    async with open_like(tmp_path, routing=", caching_groups: [[m, other]]") as (door, _):
        await like(door, chat(QUESTION))
        assert (await like(door, {**chat(ALIKE), "model": "other"}))[0] == "hit"


async def test_below_the_threshold_there_is_no_hit_and_the_nearest_is_told(tmp_path) -> None:
    async with open_like(tmp_path, ", mode: default_on") as (door, embedder):
        embedder.vectors = {"a": [1.0, 0.0], "b": [0.91, 0.4146], "c": [0.89, 0.456]}
        await like(door, chat("a"))
        assert await like(door, chat("c", cache={"no-store": True})) == ("miss", "0.89")
        assert await like(door, chat("b")) == ("hit", "0.91")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("why", NEVER)
async def test_what_is_not_kept_is_not_found(why: str, streamed: bool, tmp_path) -> None:
    flag = {"stream": True} if streamed else {}
    async with open_like(tmp_path, script=Script(default=NEVER[why])) as (door, _):
        for text in (QUESTION, ALIKE):
            _, lines, _ = await door.post(chat(text, max_tokens=500, **flag))
            await settled(door)
            assert lines["x-penstock-cache"] == "miss" and lines[LIKE] == "0.0"
        assert door.mock.requests == 2


async def test_what_a_request_says_of_the_cache_holds(tmp_path) -> None:
    async with open_like(tmp_path) as (door, embedder):
        assert await like(door, chat(QUESTION, cache={"no-store": True})) == ("miss", "0.0")
        assert await like(door, chat(ALIKE, cache={"no-cache": True})) == ("miss", "-"), "kept, and not looked for"
        assert (await like(door, chat(QUESTION)))[0] == "hit", "what was kept without a look has a vector, too"
        assert (await like(door, chat(QUESTION, cache={"no-cache": True})))[0] == "miss"
        await asyncio.sleep(0.05)
        assert (await like(door, chat(OTHER, cache={"ttl": 0.1})))[0] == "miss"
        assert (await like(door, chat(OTHER + " now", cache={"s-maxage": 0})))[0] == "miss"
        await asyncio.sleep(0.15)
        assert (await like(door, chat(OTHER + " now then")))[0] == "hit", "the younger one, which was kept for longer"


async def test_what_is_too_long_to_be_compared_is_compared_with_nothing(tmp_path) -> None:
    async with open_like(tmp_path, ", semantic_cache_embedding_max_input_tokens: 10") as (door, embedder):
        for text in ("word " * 20, "word " * 21):
            assert await like(door, chat(text)) == ("miss", "-")
        assert await like(door, chat("word " * 20)) == ("hit", "-") and embedder.asked == []


async def test_only_chats_are_compared(tmp_path) -> None:
    async with open_like(tmp_path) as (door, embedder):
        for text in (QUESTION, ALIKE):
            status, lines, _ = await door.post({"model": "vectors", "input": text}, "/v1/embeddings")
            assert (status, lines["x-penstock-cache"]) == (200, "miss") and LIKE not in lines
            status, lines, _ = await door.post({"model": "m", "prompt": text}, "/v1/completions")
            assert (status, lines["x-penstock-cache"]) == (200, "miss") and LIKE not in lines
        assert len(embedder.asked) == 2


# Nobody waits long, and nobody fails ----------------------------------------------------------------------------------

BAD: dict[str, dict[str, Any]] = {
    "down": {"status": 500},
    "slow": {"delay": 5.0},
    "no vector": {"answer": {"object": "list", "data": []}},
    "two vectors": {"answer": {"object": "list", "data": [{"embedding": [1.0]}, {"embedding": [1.0]}]}},
    "no numbers": {"answer": {"object": "list", "data": [{"embedding": ["x"]}]}},
    "no direction": {"answer": {"object": "list", "data": [{"embedding": [0.0, 0.0]}]}},
    "no JSON of that form": {"answer": "hello"},
}


@pytest.mark.parametrize("how", BAD)
async def test_without_vectors_requests_go_on_and_it_is_said_once(how: str, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(cache_place, "_REST", 0.05)
    async with open_like(tmp_path, ", semantic_cache_embedding_timeout: 0.2") as (door, embedder):
        for name, value in BAD[how].items():
            setattr(embedder, name, value)
        with caplog.at_level(logging.WARNING, "penstock"):
            began = time.perf_counter()
            for number in range(8):
                assert await like(door, chat(QUESTION, seed=number)) == ("miss", "-")
            assert time.perf_counter() - began < 1.5 and len(embedder.asked) < 8
            assert caplog.text.count("The embedding model 'vectors' of the semantic cache is not usable") == 1
            assert await like(door, chat(QUESTION, seed=1)) == ("hit", "-"), "the same question has the same answer"
            _, _, body = await door.ask("GET", "/cache/ping")
            told = json.loads(body)
            assert told["status"] == "healthy" and told["semantic"]["status"] == "unhealthy" and told["semantic"]["error"]
            embedder.delay, embedder.status, embedder.answer = 0.0, 200, None
            await asyncio.sleep(1.0)
            assert (await like(door, chat(QUESTION)))[1] == "0.0" and caplog.text.count("is usable again") == 1
        door.gateway.engine.flush()
        vectors = [record for record in door.records if record.path == "/v1/embeddings"]
        assert len(vectors) == len(embedder.asked)
        if how == "slow":
            assert vectors[0].error == "timeout" and "No vector within 0.2 s" in vectors[0].message


async def test_a_model_that_is_none_of_ours_is_said(tmp_path, caplog) -> None:
    async with open_embedding_server() as embedder, open_door(
        tmp_path, yaml("type: local-semantic, similarity_threshold: 0.9", embedder)
    ) as door:
        assert any("text-embedding-ada-002" in problem for problem in door.gateway.state.problems)
        config = door.gateway.state.config
        [told] = [one for one in review(config, config.environment) if "cache_params" in one.path]
        assert "no model here is called 'text-embedding-ada-002'" in told.message and told.level == "warning"
        assert await like(door, chat(QUESTION)) == ("miss", "-")
        assert "The embedding model 'text-embedding-ada-002'" in caplog.text and "Invalid model name" in caplog.text
        assert await like(door, chat(QUESTION)) == ("hit", "-")


async def test_many_who_ask_the_same_at_once_want_one_vector(tmp_path) -> None:
    async with open_like(tmp_path, script=Script(default=Step(latency_ms=200))) as (door, embedder):
        embedder.delay = 0.05
        runs = [asyncio.create_task(door.post(chat(QUESTION))) for _ in range(10)]
        await asyncio.sleep(0.1)  # the vector is there, and the answer is not
        told = [*await asyncio.gather(*(door.post(chat(QUESTION)) for _ in range(10))), *await asyncio.gather(*runs)]
        assert sorted(lines["x-penstock-cache"] for _, lines, _ in told) == ["miss", *["shared"] * 19]
        assert {status for status, _, _ in told} == {200} and len(embedder.asked) == 1 and door.mock.requests == 1


async def test_who_leaves_while_a_vector_is_asked_for_leaves_nothing_behind(tmp_path) -> None:
    async with open_like(tmp_path) as (door, embedder):
        embedder.delay = 0.2
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        body = json.dumps(chat(QUESTION)).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.3)
        await door.settle()
        assert door.mock.requests == 0 and door.gateway.held.size == 0 and not door.gateway.engine.answers.flights
        assert await like(door, chat(QUESTION)) == ("miss", "0.0")


async def test_a_redis_without_a_search_is_a_cache_of_the_same_questions_and_says_so(tmp_path, caplog) -> None:
    async with open_search_redis(module=False) as redis, open_like(tmp_path, f", url: '{redis.url}'", "redis") as (door, embedder):
        assert await like(door, chat(QUESTION)) in (("miss", "-"), ("miss", "0.0"))
        assert await like(door, chat(QUESTION)) == ("hit", "-")
        assert await like(door, chat(ALIKE)) == ("miss", "-") and len(embedder.asked) <= 1, "there is nothing to compare with"
        assert caplog.text.count("this server has no search") == 1
        _, _, body = await door.ask("GET", "/cache/ping")
        told = json.loads(body)
        assert told["status"] == "healthy" and "no search (FT.SEARCH)" in told["semantic"]["error"]
        _, _, body = await door.ask("GET", "/health", headers={"authorization": f"Bearer {KEY}"})
        assert json.loads(body)["cache"]["status"] == "healthy" and "no search" in json.loads(body)["cache"]["semantic"]
        _, _, body = await door.ask("GET", "/cache/redis/info")
        assert json.loads(body)["info"]["redis_version"] == "8.0.0"


async def test_valkey_is_found_by_its_own_variables(tmp_path) -> None:
    async with open_search_redis(password="pw-1") as valkey:
        env = {"VALKEY_HOST": "127.0.0.1", "VALKEY_PORT": str(valkey.port), "VALKEY_PASSWORD": "pw-1", "REDIS_HOST": "elsewhere"}
        async with open_like(tmp_path, ", valkey_semantic_cache_index_name: mine", "valkey", env=env) as (door, _):
            await like(door, chat(QUESTION))
            assert (await like(door, chat(ALIKE)))[0] == "hit" and list(valkey.indexes) == [b"mine-%d" % SIZE]


async def test_another_embedding_model_behind_the_name_compares_with_nothing_of_the_one_before(tmp_path) -> None:
    async with open_search_redis() as redis:
        for model, how in (("embed-1", "miss"), ("embed-2", "miss"), ("embed-1", "hit")):
            async with open_embedding_server() as embedder:
                params = f"type: redis-semantic, similarity_threshold: 0.9, redis_semantic_cache_embedding_model: vectors, url: '{redis.url}'"
                text = yaml(params, embedder).replace("embed-1", model)
                async with open_door(tmp_path, text) as door:
                    embedder.words = {word: n for n, word in enumerate("what is the capital of france please".split())}
                    assert (await like(door, chat(QUESTION if how == "miss" and model == "embed-1" else ALIKE)))[0] == how
                    await door.gateway.engine.answers.close()


def test_who_has_none_imports_nothing_of_it() -> None:
    code = (
        "import sys, penstock.server.service, penstock.runtime.cache_places\n"
        "print([name for name in sys.modules if 'semantic' in name or 'vectors_' in name or name.endswith('embedder')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


async def test_nothing_of_a_request_waits_for_the_collector(tmp_path) -> None:
    async with open_like(tmp_path, ", semantic_cache_embedding_timeout: 0.1") as (door, embedder):
        await like(door, chat(QUESTION))
        gc.collect()
        gc.disable()
        try:
            for text in (ALIKE, OTHER, QUESTION):
                await like(door, chat(text))
            embedder.delay = 0.3
            await like(door, chat("And now for something else"))
            await asyncio.sleep(0.1)
            await door.settle()
            door.gateway.engine.flush()
            left = [type(one).__name__ for one in gc.get_objects() if isinstance(one, Call | CollectedExchange | LikeKeeping)]
            assert left == []
        finally:
            gc.enable()


async def test_a_reload_takes_another_threshold_over_and_what_was_kept_stays(tmp_path) -> None:
    async with open_like(tmp_path) as (door, embedder):
        await like(door, chat(QUESTION))
        for threshold, how in (("0.99", "miss"), ("0.9", "hit")):
            text = f"type: local-semantic, similarity_threshold: {threshold}, local_semantic_cache_embedding_model: vectors"
            reload(door, tmp_path, yaml(text, embedder))
            assert (await like(door, chat(ALIKE, cache={"no-store": True})))[0] == how
        reload(door, tmp_path, yaml("type: local", embedder))
        assert await like(door, chat(ALIKE)) == ("miss", "-") and door.gateway.engine.answers.likeness is None

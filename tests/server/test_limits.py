"""Limits of keys and of whoever stands behind them, at every way upstream that there is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penstock.core.admit.holders import Pace
from penstock.core.admit.rates import Limit
from penstock.mock import Script, Step
from penstock.server.surfaces import PATTERNS, SURFACES, find
from tests.door import HELLO, Door
from tests.server.keyed import MASTER, FixedBudgets, id_of, key, open_keyed

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret}
  - model_name: n
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream-secret}
router_settings: {num_retries: 0}
"""
CHAT = "/v1/chat/completions"
STREAM = {**HELLO, "stream": True}


def auth(alias: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key(alias)}"}


async def chat(door: Door, alias: str, body: dict[str, Any] = HELLO, **headers: str) -> tuple[int, dict[str, str], Any]:
    status, head, answer = await door.post(body, CHAT, **auth(alias), **headers)
    return status, head, json.loads(answer) if answer[:1] == b"{" else answer


# A limit of each kind of holder ---------------------------------------------------------------------------------------

HOLDERS: dict[str, dict[str, dict[str, Any]]] = {
    "api_key": {"key": {"a": {"rpm_limit": 2}}},
    "team": {"key": {"a": {"team_id": "t"}}, "team": {"t": {"rpm_limit": 2}}},
    "team_member": {
        "key": {"a": {"team_id": "t", "user_id": "u"}},
        "team": {"t": {}},
        "member": {"t/u": {"rpm_limit": 2}},
    },
    "user": {"key": {"a": {"user_id": "u"}}, "user": {"u": {"rpm_limit": 2}}},
    "organization": {"key": {"a": {"organization_id": "o"}}, "organization": {"o": {"rpm_limit": 2}}},
    "model_per_key": {"key": {"a": {"model_rpm_limit": {"m": 2}}}},
    "model_per_team": {"key": {"a": {"team_id": "t"}}, "team": {"t": {"metadata": {"model_rpm_limit": {"m": 2}}}}},
    "end_user": {"key": {"a": {}}, "customer": {"c": {"rpm_limit": 2}}},
    "tag": {"key": {"a": {"tags": ["x"]}}, "tag": {"x": {"rpm_limit": 2}}},
}


@pytest.mark.parametrize("kind", HOLDERS)
async def test_whoever_has_a_limit_keeps_it(kind: str, tmp_path) -> None:
    async with open_keyed(tmp_path, HOLDERS[kind], CONFIG) as door:
        for left in ("1", "0"):
            status, head, _ = await chat(door, "a", {**HELLO, "user": "c"})
            assert status == 200 and head[f"x-ratelimit-{kind}-remaining-requests"] == left
            assert head[f"x-ratelimit-{kind}-limit-requests"] == head["x-ratelimit-limit-requests"] == "2"
            assert head["x-ratelimit-remaining-requests"] == left
        status, head, told = await chat(door, "a", {**HELLO, "user": "c"})
        assert status == 429 and door.mock.requests == 2
        assert told["error"]["message"].startswith(f"Rate limit exceeded for {kind}: ")
        assert "Limit type: requests. Current limit: 2, Remaining: 0. Limit resets at: 2" in told["error"]["message"]
        assert told["error"]["type"] == "rate_limit_error" and told["error"]["code"] == "429"
        assert head["rate_limit_type"] == "requests" and head["reset_at"].endswith(" UTC")
        assert 1 <= int(head["retry-after"]) <= 61 and head[f"x-ratelimit-{kind}-remaining-requests"] == "0"
        # Another model, and the master key, are others' affair.
        status, _, _ = await chat(door, "a", {**HELLO, "model": "n", "user": "c"})
        assert status == (200 if kind.startswith("model_per_") else 429)
        assert (await door.post(HELLO, CHAT, authorization=f"Bearer {MASTER}"))[0] == 200


async def test_all_holders_are_checked_before_any_is_charged(tmp_path) -> None:
    rows = {"key": {"a": {"rpm_limit": 9, "team_id": "t"}}, "team": {"t": {"rpm_limit": 1}}}
    async with open_keyed(tmp_path, rows, CONFIG) as door:
        assert (await chat(door, "a"))[0] == 200
        for _ in range(3):
            assert (await chat(door, "a"))[0] == 429
        rates = door.gateway.engine.admission.rates
        limit = Limit(f"key:{id_of('a')}", "api_key", id_of("a"), Pace(requests=9))
        assert rates.left(limit, door.gateway.clock()) == (8, -1, -1)


# Tokens ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [HELLO, STREAM, {**STREAM, "stream_options": {"include_usage": True}}])
async def test_tokens_are_reserved_by_an_estimate_and_settled_by_usage(body, tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"tpm_limit": 1000}}}, CONFIG) as door:
        body = {**body, "max_tokens": 600}
        status, head, _ = await chat(door, "a", body)
        assert status == 200 and int(head["x-ratelimit-api_key-remaining-tokens"]) < 400
        await door.settle()
        [record] = door.records
        assert record.usage is not None
        status, head, _ = await chat(door, "a", {**HELLO, "max_tokens": 600})
        estimate = 1000 - int(head["x-ratelimit-api_key-remaining-tokens"]) - record.usage.total
        assert status == 200 and 600 < estimate < 620, "of the first only what it used is left"


async def test_what_would_go_over_the_tokens_is_refused_and_takes_none(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"tpm_limit": 500}}}, CONFIG) as door:
        status, head, told = await chat(door, "a", {**HELLO, "max_tokens": 5000})
        assert status == 429 and head["rate_limit_type"] == "tokens"
        assert "Limit type: tokens. Current limit: 500, Remaining: 500." in told["error"]["message"]
        assert "This request alone may use 50" in told["error"]["message"]
        assert (await chat(door, "a", {**HELLO, "max_tokens": 400}))[0] == 200


@pytest.mark.parametrize(("step", "status"), [(Step(status=500), 500), (Step(status=400), 400)])
async def test_what_failed_has_used_no_tokens(step, status, tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"tpm_limit": 700}}}, CONFIG) as door:
        door.mock.script = Script(default=step)
        for _ in range(3):
            assert (await chat(door, "a", {**HELLO, "max_tokens": 600}))[0] == status


@pytest.mark.parametrize("counted", ["input", "output"])
async def test_which_tokens_count_is_the_configs(counted, tmp_path) -> None:
    yaml = CONFIG + f"general_settings: {{token_rate_limit_type: {counted}}}\n"
    async with open_keyed(tmp_path, {"key": {"a": {"tpm_limit": 500}}}, yaml) as door:
        assert (await chat(door, "a", {**HELLO, "max_tokens": 5000}))[0] == (429 if counted == "output" else 200)
        long = {**HELLO, "messages": [{"role": "user", "content": "word " * 1000}]}
        assert (await chat(door, "a", long))[0] == (429 if counted == "input" else 200)


async def test_a_day_has_its_own_limit(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"tpd_limit": 500}}}, CONFIG) as door:
        assert (await chat(door, "a", {**HELLO, "max_tokens": 400}))[0] == 200
        status, head, _ = await chat(door, "a", {**HELLO, "max_tokens": 600})
        assert status == 429 and head["rate_limit_type"] == "tokens"


# What is under way ----------------------------------------------------------------------------------------------------


async def test_as_many_as_may_be_are_under_way_and_places_come_back(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"max_parallel_requests": 2}}}, CONFIG) as door:
        door.mock.script = Script(default=Step(latency_ms=300))
        found = await asyncio.gather(*(chat(door, "a") for _ in range(5)))
        assert sorted(status for status, _, _ in found) == [200, 200, 429, 429, 429]
        [told] = {told["error"]["message"].partition(". Limit resets")[0] for status, _, told in found if status == 429}
        assert told.endswith("Limit type: max_parallel_requests. Current limit: 2, Remaining: 0")
        door.mock.script = Script()
        for _ in range(3):
            assert (await chat(door, "a"))[0] == 200


async def test_none_at_once_is_none_at_all(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"max_parallel_requests": 0}}}, CONFIG) as door:
        assert (await chat(door, "a"))[0] == 429 and door.mock.requests == 0


async def left_after(door: Door, step: Step, first_byte: bool) -> None:
    """A client that goes, before or after the first byte."""
    door.mock.script = Script(default=step)
    seen = door.mock.requests
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    body = json.dumps(STREAM).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key('a')}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    if first_byte:
        assert await reader.read(1)
    else:
        await door.mock.wait_for(seen + 1)
    writer.transport.abort()


@pytest.mark.parametrize("way", ["gone before", "gone after", "refused", "broken", "bug", "cut off"])
async def test_a_place_comes_back_whichever_way_a_request_ends(way, tmp_path, monkeypatch) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"max_parallel_requests": 1, "tpm_limit": 10_000}}}, CONFIG) as door:
        if way.startswith("gone"):
            step = Step(latency_ms=60_000) if way == "gone before" else Step(stall_after_events=2)
            await left_after(door, step, way == "gone after")
        elif way == "refused":
            door.mock.script = Script(default=Step(status=401))
            assert (await chat(door, "a"))[0] == 401
        elif way == "broken":
            door.mock.script = Script(default=Step(cut_after_events=2, cut="close"))
            await chat(door, "a", STREAM)
        elif way == "cut off":
            door.mock.script = Script(default=Step(latency_ms=60_000))
            asked = asyncio.create_task(chat(door, "a"))
            await door.mock.wait_for(1)
            [exchange] = door.gateway.active
            from penstock.core.errors import GatewayError

            door.gateway.cut_off(exchange, GatewayError("draining", "The test ends this request."))
            assert (await asked)[0] == 503
        else:
            monkeypatch.setattr(door.gateway.engine, "_try", lambda *args: 1 / 0)
            assert (await chat(door, "a"))[0] == 500
            monkeypatch.undo()
        await door.settle()
        door.mock.script = Script()
        status, head, _ = await chat(door, "a")
        assert status == 200 and head["x-ratelimit-api_key-remaining-max_parallel_requests"] == "0"


async def test_a_hundred_streams_under_way_give_all_places_back(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"max_parallel_requests": 100}}}, CONFIG) as door:
        found = await asyncio.gather(*(chat(door, "a", STREAM) for _ in range(100)))
        assert {status for status, _, _ in found} == {200}
        await door.settle()
        meter = door.gateway.engine.admission.rates._meters[f"key:{id_of('a')}"]
        assert meter.parallel == 0


# Every way upstream ---------------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "input": "hi", "prompt": "hi",
    "contents": [{"parts": [{"text": "hi"}]}], "query": "q", "documents": ["a"], "voice": "alloy",
}  # fmt: skip
FORM = (
    b'--xyz\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--xyz\r\ncontent-disposition: form-data; name="prompt"\r\n\r\np\r\n'
    b'--xyz\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nxxxx\r\n'
    b'--xyz\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nxxxx\r\n--xyz--\r\n'
)
PATHS = [
    *SURFACES,
    *(template.replace("{model:path}", "m").replace("{model}", "m") for row in PATTERNS for template in row.templates),
    *(f"/olla/litellm{path}" for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses")),
    *("/api/v1/vlm/openai", "/api/v1/chat/completions"),
    *("/openai/v1/chat/completions", "/anthropic/v1/messages", "/openai/v1/files", "/given/path"),
    *("/api/v1/batch/chat/completions", "/health?live=true"),
]
GIVEN = (
    CONFIG
    + """
general_settings:
  pass_through_endpoints: [{path: /given, target: "{mock}/v1/chat/completions", include_subpath: true}]
environment_variables: {OPENAI_API_KEY: sk-o, OPENAI_API_BASE: "{mock}/v1", ANTHROPIC_API_KEY: sk-a}
"""
)


async def ask_at(door: Door, path: str, alias: str) -> tuple[int, bytes]:
    surface = find(path)
    if path.startswith("/health"):
        status, _, answer = await door.ask("GET", path, b"", auth(alias))
    elif surface is not None and surface.upload:
        head = {**auth(alias), "content-type": "multipart/form-data; boundary=xyz"}
        status, _, answer = await door.ask("POST", path, FORM, head)
    else:
        body: Any = [BODIES] if "/batch/" in path else BODIES
        if path.endswith("embeddings"):
            body = {"model": "m", "input": "hi", "prompt": "hi"}
        elif path.endswith("embedContent"):
            body = {"content": {"parts": [{"text": "hi"}]}}
        elif path.endswith("batchEmbedContents"):
            body = {"requests": [{"model": "models/m", "content": {"parts": [{"text": "hi"}]}}]}
        status, _, answer = await door.post(body, path, **auth(alias))
    return status, answer


@pytest.mark.parametrize("path", PATHS)
async def test_no_way_upstream_goes_past_the_limits(path: str, tmp_path) -> None:
    """A key that may do nothing at once asks nobody anything, wherever it knocks."""
    rows = {"key": {"a": {"max_parallel_requests": 0, "user_id": "u"}}, "user": {"u": {"user_role": "proxy_admin"}}}
    async with open_keyed(tmp_path, rows, GIVEN) as door:
        status, answer = await ask_at(door, path, "a")
        told = b"Rate limit exceeded for api_key" in answer
        assert told and status == (200 if "/batch/" in path or "/health" in path else 429), (status, answer[:300])
        assert door.mock.requests == 0


@pytest.mark.parametrize("path", [path for path in PATHS if path not in ("/openai/v1/files", "/given/path")])
async def test_no_way_upstream_goes_past_the_list_of_models(path: str, tmp_path) -> None:
    rows = {"key": {"a": {"models": ["other"], "user_id": "u"}}, "user": {"u": {"user_role": "proxy_admin"}}}
    async with open_keyed(tmp_path, rows, GIVEN) as door:
        status, answer = await ask_at(door, path, "a")
        assert b"is not available for this API key" in answer, (status, answer[:300])
        assert status == (200 if "/batch/" in path or "/health" in path else 403)
        assert door.mock.requests == 0


async def test_what_names_no_model_is_not_passed_through_for_a_list_of_models(tmp_path) -> None:
    rows = {"key": {"a": {"models": ["m"]}, "b": {"models": ["m"], "allowed_routes": ["/openai/*"]}, "c": {}}}
    async with open_keyed(tmp_path, rows, GIVEN) as door:
        body = {"input_file_id": "f", "endpoint": CHAT}
        status, _, answer = await door.post(body, "/openai/v1/batches", **auth("a"))
        assert status == 403 and b"may call certain models only" in answer and door.mock.requests == 0
        for alias in "bc":
            await door.post(body, "/openai/v1/batches", **auth(alias))
        assert door.mock.requests == 2


# Told on good answers -------------------------------------------------------------------------------------------------


async def test_a_key_is_told_what_it_may_and_what_it_has_spent(tmp_path) -> None:
    body = {"rpm_limit": 5, "tpm_limit": 9000, "max_budget": 2.5}
    async with open_keyed(tmp_path, {"key": {"a": body, "b": {}}}, CONFIG) as door:
        door.gateway.engine.admission.budgets = FixedBudgets(1_250_000_000)
        for asked in (HELLO, STREAM, {**HELLO, "model": "claude"}):
            status, head, _ = await chat(door, "a", asked)
            assert status == 200
            assert head["x-litellm-key-rpm-limit"] == "5" and head["x-litellm-key-tpm-limit"] == "9000"
            assert head["x-litellm-key-max-budget"] == "2.5" and head["x-litellm-key-spend"] == "0.00125"
        status, head, _ = await chat(door, "b")
        assert status == 200 and head["x-litellm-key-spend"] == "0.00125"
        assert not [name for name in head if name.startswith("x-ratelimit")]


async def test_what_a_budget_refuses_has_taken_no_limit(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"rpm_limit": 1, "max_parallel_requests": 1}}}, CONFIG) as door:
        budgets = door.gateway.engine.admission.budgets = FixedBudgets(refuses=True)
        for _ in range(3):
            status, _, told = await chat(door, "a")
            assert status == 422 and told["error"]["type"] == "budget_exceeded"
        budgets.refuses = False
        assert (await chat(door, "a"))[0] == 200
        assert [admitted.holders[0].alias for admitted in budgets.reserved] == ["a"]


async def test_without_limits_nothing_is_told_and_nothing_counted(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        status, head, _ = await chat(door, "a")
        assert status == 200 and not [name for name in head if "ratelimit" in name or "-key-" in name]
        assert not door.gateway.engine.admission.rates._meters


# Several processes -----------------------------------------------------------------------------------------------------


class Others:
    """What other processes have counted."""

    connected = True

    def __init__(self, requests: int = 0) -> None:
        self.requests = requests

    def count(self, name: str, requests: int, tokens: int) -> None:
        return None

    def others(self, name: str) -> tuple[int, int]:
        return self.requests, 0


async def test_what_other_processes_have_let_in_counts(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"rpm_limit": 5}}}, CONFIG) as door:
        door.gateway.engine.admission.rates.common = Others(4)
        status, head, _ = await chat(door, "a")
        assert status == 200 and head["x-ratelimit-api_key-remaining-requests"] == "0"
        assert (await chat(door, "a"))[0] == 429


@pytest.mark.parametrize(("closed", "status"), [(True, 503), (False, 200)])
async def test_limits_that_cannot_be_shared_let_in_or_keep_out(closed, status, tmp_path) -> None:
    yaml = CONFIG + f"general_settings: {{fail_closed_rate_limit_enforcement: {str(closed).lower()}}}\n"
    async with open_keyed(tmp_path, {"key": {"a": {"rpm_limit": 5}, "b": {}}}, yaml) as door:
        others = door.gateway.engine.admission.rates.common = Others()
        others.connected = False
        assert (await chat(door, "a"))[0] == status
        assert (await chat(door, "b"))[0] == 200, "who has no limits needs nobody to count them"

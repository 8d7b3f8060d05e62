"""The mounts: the gateway under other products' prefixes, told their way (seeds S0, S1, S2; C-06 to C-12)."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest

from penstock.mock import Rule, Script, Step
from penstock.runtime.gate import PUBLIC
from penstock.server.mounts import MOUNTS
from tests.door import HELLO, open_door

KEY = "sk-mounts-key-1234567"
YAML = """
model_list:
  - model_name: m
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-u}
  - model_name: llama
    litellm_params: {model: ollama/llama3.2, api_base: "{mock}"}
  - model_name: hosted
    litellm_params: {model: hosted_vllm/x, api_base: "{mock}/v1"}
  - model_name: gem
    litellm_params: {model: gemini/gemini-2.5-flash, api_base: "{mock}", api_key: k}
  - model_name: tog
    litellm_params: {model: together_ai/a/b, api_base: "{mock}/v1", api_key: k}
router_settings: {num_retries: 0}
"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TEXT = {"messages": [{"role": "user", "content": "hello"}]}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("prefix", ["/api/v1", "/api/v1/litellm", "/api/v1/litellm/v1", "/olla/litellm", "/olla/litellm/v1"])
async def test_chat_streams_embeddings_and_models_everywhere(prefix, tmp_path):
    async with open_door(tmp_path, YAML) as door:
        status, headers, body = await door.post(HELLO, prefix + "/chat/completions")
        told = json.loads(body)
        assert status == 200 and told["object"] == "chat.completion" and told["model"] == "m" and told["usage"]["total_tokens"]
        status, headers, body = await door.post({**HELLO, "stream": True}, prefix + "/chat/completions")
        assert headers["content-type"].startswith("text/event-stream") and body.endswith(b"data: [DONE]\n\n")
        assert b'"finish_reason":null' in body.replace(b" ", b"")
        status, _, body = await door.post({"model": "m", "input": "hello"}, prefix + "/embeddings")
        assert status == 200 and json.loads(body)["data"][0]["embedding"]
        status, _, body = await door.ask("GET", prefix + "/models")
        owners = {row["id"].rpartition("/")[2]: row["owned_by"] for row in json.loads(body)["data"]}
        assert status == 200 and len(owners) == 5
        assert {"google", "together_ai", "openai", "ollama", "vllm"} == set(owners.values())
        assert [record.path for record in door.records][:1] == [prefix + "/chat/completions"]
        await door.settle()


async def test_keys_guard_every_mount(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        for mount in MOUNTS:
            closed = [route.path for route in mount.routes.rows if route.role != PUBLIC]
            own = [*mount.surfaces, *mount.visits, *closed]
            for rest in (*own, "/chat/completions", "/models", "/responses/x", "/openai/v1/models", "/nothing", ""):
                for method in ("GET", "POST"):
                    path = mount.prefix + rest + "?" + mount.parameter.decode() * bool(mount.parameter)
                    if rest == "" and mount.base == "" and method == "GET":
                        continue  # the landing page
                    status, headers, body = await door.ask(
                        method, path, b"{}" if method == "POST" else b"", {"content-type": "application/json"}
                    )
                    assert status in (401, 405), (path, status)
                    assert "www-authenticate" in headers or status == 405
        assert door.mock.received == [] and door.records
        status, _, _ = await door.post(HELLO, "/olla/litellm/v1/chat/completions", authorization=f"Bearer {KEY}")
        assert status == 200


async def test_three_mounts_three_codes(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        door.mock.script = Script.always(status=429, error={"message": "Slow down."})
        told = {}
        for prefix in ("", "/api/v1", "/api/v1/litellm", "/olla/litellm"):
            status, _, body = await door.post(HELLO, (prefix or "/v1") + "/chat/completions")
            error = told[prefix] = json.loads(body)["error"]
            assert status == 429 and error["type"] == "rate_limit_error" and "Slow down." in error["message"]
            assert "param" in error
        assert [error["code"] for error in told.values()] == ["429", "429", "429", 429]
        assert told["/olla/litellm"]["provider"] == "openai"
        for prefix, code in (("/v1", "400"), ("/api/v1", "validation_error"), ("/olla/litellm", 400)):
            status, _, body = await door.post({"messages": "x", "model": "m"}, prefix + "/chat/completions")
            assert status == 400 and json.loads(body)["error"]["code"] == code
            assert json.loads(body)["error"]["type"] == "invalid_request_error"


# /olla/litellm --------------------------------------------------------------------------------------------------------


async def test_olla_headers_on_every_answer(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        ids = set()
        for path, body in (
            ("/v1/chat/completions", HELLO),
            ("/v1/chat/completions", {**HELLO, "stream": True}),
            ("/v1/chat/completions", {**HELLO, "model": "nobody"}),
            ("/v1/completions", {"model": "m", "prompt": "hi"}),
        ):
            _, headers, _ = await door.post(body, "/olla/litellm" + path)
            assert headers["x-olla-endpoint"] == "litellm-gateway" and headers["x-olla-backend-type"] == "litellm"
            assert headers["x-olla-model"] == body["model"]
            assert re.fullmatch(r"\d+\.\d{3}s", headers["x-olla-response-time"])
            assert re.match("req_", headers["x-olla-request-id"])
            ids.add(headers["x-olla-request-id"])
        assert len(ids) == 4
        _, headers, _ = await door.post(HELLO, "/olla/litellm/v1/chat/completions", **{"x-request-id": "mine"})
        assert headers["x-olla-request-id"] == "mine"
        _, headers, _ = await door.post(HELLO)
        assert not [name for name in headers if name.startswith("x-olla")]


async def test_olla_serves_all_that_is_served(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        for path in ("/health", "/health/readiness", "/health/liveness", "/v1/models/m", "/model/info", "/api/tags", "/", "/no"):
            plain, below = await door.ask("GET", path), await door.ask("GET", "/olla/litellm" + path)
            assert plain[0] == below[0], path
        status, _, body = await door.ask("GET", "/olla/litellm/health")
        told = json.loads(body)
        assert told["status"] == "healthy" and told["models"] == 5 and "gemini" in told["providers"]
        status, _, body = await door.ask(
            "GET", "/olla/litellm/spend/calculate?model=gpt-4o&prompt_tokens=1000&completion_tokens=500"
        )
        assert json.loads(body) == {"cost": 0.0075}
        status, _, body = await door.post(HELLO | {"model": "gpt-4o"}, "/olla/litellm/openai/v1/chat/completions")
        assert status == 200 and json.loads(body)["model"] == "gpt-4o"
        # A prefix below a prefix is nothing.
        assert (await door.post(HELLO, "/olla/litellm/olla/litellm/v1/chat/completions"))[0] == 404


# /api/v1 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["m", "hosted"])
async def test_guided_json_is_always_converted(model, tmp_path):
    async with open_door(tmp_path, YAML) as door:
        for body in ({"guided_json": SCHEMA}, {"guided_json": SCHEMA, "stream": True}):
            assert (await door.post({**HELLO, **body, "model": model}, "/api/v1/chat/completions"))[0] == 200
            sent = door.mock.received[-1].json
            assert "guided_json" not in sent and sent["response_format"]["json_schema"]["schema"] == SCHEMA
        mine = {"type": "json_object"}
        await door.post({**HELLO, "guided_json": SCHEMA, "response_format": mine}, "/api/v1/chat/completions")
        assert door.mock.received[-1].json["response_format"] == mine


async def test_guided_json_reaches_ollamas_format(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        assert (await door.post({**HELLO, "guided_json": SCHEMA, "model": "llama"}, "/api/v1/chat/completions"))[0] == 200
        assert door.mock.received[-1].path == "/api/chat" and door.mock.received[-1].json["format"] == SCHEMA


async def test_what_is_logged_and_not_processed(tmp_path, caplog):
    extra = {"extra_body": {"custom_option": 1}, "metadata": {"user_id": "u7"}, "custom": "option"}
    async with open_door(tmp_path, YAML) as door:
        with caplog.at_level("INFO", logger="penstock"):
            status, _, _ = await door.post({**HELLO, **extra}, "/api/v1/chat/completions", **{"x-project-name": "p1"})
        sent = door.mock.received[-1].json
        assert status == 200 and not {"extra_body", "custom_option", "metadata", "custom"} & set(sent)
        assert "custom_option" in caplog.text and "u7" in caplog.text and "p1" in caplog.text
        await door.post({**HELLO, **extra})  # natively it is merged
        assert door.mock.received[-1].json["custom_option"] == 1


async def test_the_model_may_be_left_out(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        status, _, body = await door.post(TEXT, "/api/v1/chat/completions")
        assert status == 200 and json.loads(body)["model"] == "m"
        assert (await door.post(TEXT))[0] == 400
    named = "general_settings: {default_model: hosted, default_vision_model: llama}\n"
    async with open_door(tmp_path, YAML + named) as door:
        assert json.loads((await door.post(TEXT, "/api/v1/chat/completions"))[2])["model"] == "hosted"
        parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PIXEL}}]
        status, _, body = await door.post({"messages": [{"role": "user", "content": parts}]}, "/api/v1/vlm/openai")
        assert status == 200 and json.loads(body)["model"] == "llama", body
        assert PIXEL in json.dumps(door.mock.received[-1].json)


async def test_health_there(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        status, _, body = await door.ask("GET", "/api/v1/health")
        assert status == 200 and json.loads(body)["status"] == "healthy" and json.loads(body)["version"]


async def test_a_batch_answers_in_order_and_tells_its_failures(tmp_path):
    items = [{**HELLO, "stream": True}, {**HELLO, "model": "nobody"}, TEXT]
    async with open_door(tmp_path, YAML) as door:
        for body in ({"requests": items}, items):
            status, _, answer = await door.post(body, "/api/v1/batch/chat/completions")
            told = json.loads(answer)
            assert status == 200
            assert (told["total_requests"], told["successful"], told["failed"]) == (3, 2, 1)
            assert [row["index"] for row in told["results"]] == [0, 1, 2] and told["batch_id"] and told["total_time_ms"] > 0
            first, second, third = told["results"]
            assert first["result"]["object"] == "chat.completion" and first["result"]["message"]["content"]
            assert second["success"] is False and "nobody" in second["error"] and second["error_type"] == "invalid_request_error"
            assert third["result"]["model"] == "m"
        assert len([record for record in door.records if record.model]) == 6  # each item is a call of its own
        assert not any(sent.json.get("stream") for sent in door.mock.received)
        await door.settle()


@pytest.mark.parametrize(("path", "most"), [("/batch/chat/completions", 50), ("/batch/vlm/completions", 20)])
async def test_how_many_a_batch_may_have(path, most, tmp_path):
    async with open_door(tmp_path, YAML) as door:
        for count, expected in ((0, 400), (most, 200), (most + 1, 400)):
            status, _, body = await door.post({"requests": [HELLO] * count}, "/api/v1" + path)
            assert status == expected, body
            if status == 400:
                assert json.loads(body)["error"]["code"] == "validation_error"
        for bad in (b"{", b'"x"', b'{"requests": 1}', b"{}"):
            assert (await door.post(bad, "/api/v1" + path))[0] == 400
        status, _, body = await door.post({"requests": [1, "x", HELLO]}, "/api/v1" + path)
        assert status == 200 and json.loads(body)["failed"] == 2


async def test_a_batch_runs_together_and_ends_with_its_client(tmp_path):
    script = Script(rules=[Rule(step=Step(latency_ms=500))])
    async with open_door(tmp_path, YAML, script=script) as door:
        began = time.monotonic()
        status, _, _ = await door.post([HELLO] * 4, "/api/v1/batch/chat/completions")
        assert status == 200 and time.monotonic() - began < 1.2
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        body = json.dumps([HELLO] * 4).encode()
        writer.write(
            b"POST /api/v1/batch/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(body) + body
        )
        await door.mock.wait_for(8)
        writer.transport.abort()
        await door.settle()
        assert [record.error for record in door.records].count("client_gone") == 5, "its items, and the batch itself"


# /api/v1/litellm ------------------------------------------------------------------------------------------------------


async def test_provider_beside_model(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        sent = []
        for body in ({"model": "ollama/llama3.2"}, {"model": "llama3.2", "provider": "ollama"}, {"model": "llama"}):
            status, _, answer = await door.post({**HELLO, **body}, "/api/v1/litellm/chat/completions")
            assert status == 200, answer
            sent.append(door.mock.received[-1].json)
        assert sent[0] == sent[1] == sent[2] and "provider" not in sent[1]
        status, _, answer = await door.post(
            {"model": "gpt-4o", "provider": "openai", "input": ["a", "b"]}, "/api/v1/litellm/embeddings"
        )
        assert status == 200 and len(json.loads(answer)["data"]) == 2
        routing = {"order": ["x"]}  # OpenRouter's
        await door.post({**HELLO, "provider": routing}, "/api/v1/litellm/chat/completions")
        assert door.mock.received[-1].json["provider"] == routing


async def test_models_of_one_provider(tmp_path):
    async with open_door(tmp_path, YAML) as door:

        async def ids(query: str) -> list[str]:
            status, _, body = await door.ask("GET", "/api/v1/litellm/models" + query)
            assert status == 200 and json.loads(body)["object"] == "list"
            return [row["id"] for row in json.loads(body)["data"]]

        assert await ids("?provider=ollama") == ["ollama/llama3.2"]
        assert await ids("?provider=nobody") == []
        assert set(await ids("")) == {"openai/gpt-4o", "ollama/llama3.2", "vllm/x", "gemini/gemini-2.5-flash", "together_ai/a/b"}
        for name in await ids(""):
            assert (await door.post({**HELLO, "model": name}, "/api/v1/litellm/chat/completions"))[0] == 200, name


async def test_providers(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        status, _, body = await door.ask("GET", "/api/v1/litellm/providers")
        rows = {row["id"]: row for row in json.loads(body)["providers"]}
        assert status == 200 and len(rows) == 12
        assert set(rows["openai"]) == {"id", "name", "model_format", "features", "api_key_required", "configured"}
        assert rows["openai"]["configured"] and rows["openai"]["api_key_required"] and "vision" in rows["openai"]["features"]
        assert not rows["groq"]["configured"] and not rows["ollama"]["api_key_required"]


async def test_vision_in_one_prompt(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        for url in ("data:image/png;base64," + PIXEL, PIXEL, "https://example.com/a.png"):
            status, _, body = await door.post({"prompt": "what?", "image_url": url, "model": "openai/gpt-4o"}, "/api/v1/litellm/vision")
            told = json.loads(body)
            assert status == 200, body
            assert told["response"] == told["content"] == told["choices"][0]["message"]["content"] != ""
            text, image = door.mock.received[-1].json["messages"][0]["content"]
            assert text == {"type": "text", "text": "what?"}
            assert image["image_url"]["url"] == (url if "://" in url or url.startswith("data:") else "data:image/png;base64," + url)
        assert (await door.post({"prompt": "x", "model": "m"}, "/api/v1/litellm/vision"))[0] == 400
        status, _, _ = await door.ask("POST", "/api/v1/litellm/vision", b"{}", {"content-type": "text/plain"})
        assert status == 415


async def test_cost_estimate_is_still_there(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        status, _, body = await door.post(
            {"model": "openai/gpt-4o", "input_tokens": 1000, "output_tokens": 500}, "/api/v1/litellm/cost/estimate"
        )
        assert status == 200 and json.loads(body)["total_cost"] == 0.0075


# The model in the path ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/openai/deployments/m", "/engines/m", "/openai/deployments/a%2Fb"])
async def test_the_model_stands_in_the_path(prefix, tmp_path):
    yaml = YAML + "  model_group_alias: {a/b: m}\n" if "%" in prefix else YAML
    yaml = yaml.replace("router_settings: {num_retries: 0}\n  model", "router_settings:\n  num_retries: 0\n  model")
    async with open_door(tmp_path, yaml, master_key=KEY) as door:
        for rest, body in (
            ("/chat/completions?api-version=2024-10-21", {**TEXT, "model": "ignored"}),
            ("/completions", {"prompt": "hi"}),
            ("/embeddings", {"input": "hi"}),
        ):
            status, _, answer = await door.post(body, prefix + rest, **{"api-key": KEY})
            assert status == 200, answer
            assert json.loads(answer)["model"] == ("a/b" if "%" in prefix else "m")
            assert door.mock.received[-1].json["model"] == "gpt-4o"
        assert (await door.post(TEXT, prefix + "/chat/completions"))[0] == 401
        assert (await door.ask("GET", prefix + "/chat/completions", b"", {"api-key": KEY}))[0] == 405


async def test_responses_of_azures_clients(tmp_path):
    """They name a version in the query; without one the path is OpenAI's own, passed through."""
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        path, sent = "/openai/responses", {"model": "m", "input": "hello"}
        status, _, body = await door.post(sent, path + "?api-version=preview", **{"api-key": KEY})
        told = json.loads(body)
        assert status == 200 and told["object"] == "response" and told["model"] == "m", body
        status, _, body = await door.ask("GET", f"{path}/{told['id']}?api-version=preview", b"", {"api-key": KEY})
        assert status == 200 and json.loads(body)["id"] == told["id"]
        assert (await door.post(sent, path + "?api-version=preview"))[0] == 401
        assert door.mock.received[-1].json["model"] == "gpt-4o"
        await door.post(sent, path, **{"api-key": KEY})
        assert door.mock.received[-1].json == sent

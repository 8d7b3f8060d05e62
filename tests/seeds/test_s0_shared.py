"""Seed 0: a shared Ollama service, whose clients speak to ``/api/v1``."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from penstock.mock import Rule, Script, Step
from tests.door import open_door

CONFIG = """
model_list:
  - model_name: qwen
    litellm_params: {model: openai/qwen3, api_base: "{mock}/v1", api_key: sk-u}
  - model_name: local
    litellm_params: {model: ollama_chat/llama3.2, api_base: "{mock}"}
  - model_name: sees
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-u}
  - model_name: claude
    litellm_params: {model: anthropic/claude-3-5-haiku-20241022, api_base: "{mock}", api_key: sk-a}
  - model_name: gemini
    litellm_params: {model: gemini/gemini-2.0-flash, api_base: "{mock}", api_key: g}
  - model_name: hugging
    litellm_params: {model: huggingface/meta-llama/Llama-3.2-3B-Instruct, api_base: "{mock}/v1", api_key: hf}
router_settings: {num_retries: 0}
"""
SAYS = {"messages": [{"role": "user", "content": "hello"}]}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SEES = {"messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT, VLM = "/api/v1/chat/completions", "/api/v1/vlm/openai"
BATCH, VLM_BATCH = "/api/v1/batch/chat/completions", "/api/v1/batch/vlm/completions"


async def told(door, body, path=CHAT, **headers):
    """The answer to a body, which must be a good one."""
    status, _, answer = await door.post(body, path, **headers)
    assert status == 200, answer
    return json.loads(answer)


def sent(door):
    return door.mock.received[-1].json


def lines(door):
    """The header lines of the last request that came to the upstream."""
    return {name.lower(): value for name, value in door.mock.received[-1].headers}


async def test_s0_01_and_s0_06_chat_needs_no_key_and_answers_in_openais_form(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        answer = await told(door, {"model": "qwen", **SAYS})
        assert answer["object"] == "chat.completion" and answer["choices"][0]["message"]["content"]


async def test_s0_02_pictures_are_looked_at(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        answer = await told(door, {"model": "sees", "temperature": 0.2, **SEES}, VLM)
        assert answer["object"] == "chat.completion"
        assert sent(door)["messages"][0]["content"][1]["image_url"]["url"] == PIXEL and sent(door)["temperature"] == 0.2


async def test_s0_03_and_s0_04_batches_of_chats_and_of_pictures(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        answer = await told(door, {"requests": [{"model": "qwen", "max_tokens": 7, **SAYS}, {"model": "local", **SAYS}]}, BATCH)
        assert [row["index"] for row in answer["results"]] == [0, 1] and answer["successful"] == 2
        assert any(asked.json.get("max_tokens") == 7 for asked in door.mock.received)
        answer = await told(door, {"requests": [SEES]}, VLM_BATCH)
        assert answer["total_requests"] == 1 and PIXEL in json.dumps(sent(door))


@pytest.mark.parametrize(("path", "body", "model"), [(CHAT, SAYS, "local"), (VLM, SEES, "sees"), (BATCH, [SAYS], "local"), (VLM_BATCH, [SEES], "sees")])
async def test_s0_05_the_model_may_be_left_out(path, body, model, tmp_path):
    named = "general_settings: {default_model: local, default_vision_model: sees}\n"
    async with open_door(tmp_path, CONFIG + named) as door:
        answer = await told(door, body, path)
        assert (answer["results"][0]["result"] if "results" in answer else answer)["model"] == model


@pytest.mark.parametrize(("path", "most", "item"), [(BATCH, 50, SAYS), (VLM_BATCH, 20, SEES)])
async def test_s0_07_a_batch_has_a_size(path, most, item, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        for body in ({"requests": [item] * most}, [item] * most):
            assert (await told(door, body, path))["successful"] == most
        for count in (0, most + 1):
            status, _, answer = await door.post({"requests": [item] * count}, path)
            assert 400 <= status < 500 and json.loads(answer)["error"]["code"] == "validation_error"


async def test_s0_08_a_batch_tells_what_became_of_each(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        answer = await told(door, {"requests": [{"model": "qwen", **SAYS}, {"model": "nobody", **SAYS}]}, BATCH)
        assert set(answer) >= {"batch_id", "total_requests", "successful", "failed", "total_time_ms", "results"}
        assert (answer["total_requests"], answer["successful"], answer["failed"]) == (2, 1, 1)
        good, bad = answer["results"]
        assert good["success"] is True and good["result"]["object"] == "chat.completion"
        assert bad["success"] is False and bad["error"] and bad["error_type"]


async def test_s0_09_items_run_together_and_never_stream(tmp_path):
    async with open_door(tmp_path, CONFIG, script=Script(rules=[Rule(step=Step(latency_ms=400))])) as door:
        began = time.monotonic()
        answer = await told(door, {"requests": [{"model": "qwen", "stream": True, **SAYS}] * 4}, BATCH)
        assert time.monotonic() - began < 1.2 and answer["successful"] == 4
        assert answer["results"][0]["result"]["object"] == "chat.completion"


@pytest.mark.parametrize("model", ["qwen", "local", "claude", "gemini"])
async def test_s0_10_and_s0_11_guided_json_becomes_what_the_backend_has(model, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        await told(door, {"model": model, "guided_json": SCHEMA, **SAYS})
        raw = json.dumps(sent(door))
        assert "guided_json" not in sent(door) and '"city"' in raw
        if model == "qwen":
            wanted = sent(door)["response_format"]
            assert wanted["type"] == "json_schema" and wanted["json_schema"]["schema"] == SCHEMA and wanted["json_schema"]["name"]
        if model == "local":
            assert door.mock.received[-1].path == "/api/chat" and sent(door)["format"] == SCHEMA


async def test_s0_12_guided_json_in_streams_batches_and_with_pictures(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        status, _, stream = await door.post({"model": "qwen", "guided_json": SCHEMA, "stream": True, **SAYS}, CHAT)
        assert status == 200 and stream.endswith(b"data: [DONE]\n\n")
        assert sent(door)["response_format"]["json_schema"]["schema"] == SCHEMA
        await told(door, {"requests": [{"model": "qwen", "guided_json": SCHEMA, **SAYS}]}, BATCH)
        assert sent(door)["response_format"]["json_schema"]["schema"] == SCHEMA
        await told(door, {"model": "sees", "guided_json": SCHEMA, **SEES}, VLM)
        assert sent(door)["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    "wanted",
    [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "n", "schema": {**SCHEMA, "title": "T"}}}],
)
async def test_s0_13_s0_14_and_s0_15_response_format_is_the_callers(wanted, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        await told(door, {"model": "qwen", "response_format": wanted, **SAYS})
        assert sent(door)["response_format"] == wanted
        await told(door, {"model": "qwen", "response_format": wanted, "guided_json": SCHEMA, **SAYS})
        assert sent(door)["response_format"] == wanted
        await told(door, {"model": "local", "response_format": wanted, **SAYS})
        assert sent(door)["format"] == ("json" if wanted["type"] == "json_object" else wanted["json_schema"]["schema"])


async def test_s0_16_s0_17_and_s0_18_what_is_logged_and_not_processed(tmp_path, caplog):
    extra = {
        "extra_body": {"custom_option": "one"},
        "metadata": {"user_id": "u7", "project": "p8", "session_id": "s9"},
        "custom": "option",
    }
    async with open_door(tmp_path, CONFIG) as door:
        with caplog.at_level("INFO", logger="penstock"):
            await told(door, {"model": "qwen", **SAYS, **extra})
        assert not {"extra_body", "custom_option", "metadata"} & set(sent(door))
        for word in ("custom_option", "u7", "p8", "s9"):
            assert word in caplog.text
        for path, body in (("/messages", {"max_tokens": 5, **SAYS}), ("/responses", {"input": "hi"}), ("/completions", {"prompt": "hi"})):
            caplog.clear()
            with caplog.at_level("INFO", logger="penstock"):
                await told(door, {"model": "qwen", **body, "metadata": {"user_id": "u7"}}, "/api/v1" + path)
            assert "metadata" not in sent(door) and "u7" in caplog.text, path


async def test_s0_18_unknown_fields_are_accepted_and_logged(tmp_path, caplog):
    async with open_door(tmp_path, CONFIG) as door:
        with caplog.at_level("INFO", logger="penstock"):
            await told(door, {"model": "qwen", "custom": "an-option-of-its-own", **SAYS})
        assert "an-option-of-its-own" in caplog.text and "custom" not in sent(door)
        await told(door, {"model": "qwen", "min_p": 0.1, "chat_template_kwargs": {"a": 1}, **SAYS})
        assert sent(door)["min_p"] == 0.1 and sent(door)["chat_template_kwargs"] == {"a": 1}  # an engine's own words


async def test_s0_19_streams_are_those_of_openai(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        for model in ("qwen", "local", "claude"):
            status, headers, body = await door.post({"model": model, "stream": True, **SAYS}, CHAT)
            events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
            assert status == 200 and headers["content-type"].startswith("text/event-stream") and events[-1] == b"[DONE]"
            assert {json.loads(event)["object"] for event in events[:-1]} == {"chat.completion.chunk"}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer not-needed"}, {"x-api-key": "x"}])
async def test_s0_21_any_key_will_do(headers, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        await told(door, {"model": "qwen", **SAYS}, CHAT, **headers)


@pytest.mark.parametrize("body", [{}, {"messages": "x"}, b"{", {"model": "qwen", "messages": []}])
async def test_s0_22_bad_input_has_one_shape(body, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        status, _, answer = await door.post(body, CHAT)
        error = json.loads(answer)["error"]
        assert status == 400 and error["message"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "validation_error")


@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limit_error"), (401, "authentication_error"), (500, None), (503, None)])
async def test_s0_23_errors_keep_their_class(status, kind, tmp_path):
    async with open_door(tmp_path, CONFIG, script=Script.always(status=status, error={"message": "No."})) as door:
        got, _, answer = await door.post({"model": "qwen", **SAYS}, CHAT)
        assert got == status and "No." in json.loads(answer)["error"]["message"]
        assert kind is None or json.loads(answer)["error"]["type"] == kind


async def test_s0_24_and_s3_43_one_body_and_one_shape_for_all_providers(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        shapes = set()
        for model in ("qwen", "claude", "gemini", "hugging", "local"):
            answer = await told(door, {"model": model, "max_tokens": 20, **SAYS})
            message, usage = answer["choices"][0]["message"], answer["usage"]
            assert answer["model"] == model and message["content"] and answer["id"].startswith("chatcmpl-"), answer
            assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
            shapes.add((answer["object"], message["role"], answer["choices"][0]["finish_reason"]))
        assert shapes == {("chat.completion", "assistant", "stop")}


async def test_s0_29_extras_of_the_service(tmp_path, caplog):
    async with open_door(tmp_path, CONFIG) as door:
        status, _, body = await door.ask("GET", "/api/v1/health")
        assert status == 200 and set(json.loads(body)) >= {"status", "ollama_service", "version"}
        status, _, body = await door.ask("GET", "/api/v1/models")
        assert status == 200 and {"qwen", "local"} <= {row["id"] for row in json.loads(body)["data"]}
        with caplog.at_level("INFO", logger="penstock"):
            await told(door, {"model": "qwen", **SAYS}, CHAT, **{"x-project-name": "a-project"})
        assert "a-project" in caplog.text


async def test_s0_30_the_parameters_work_on_every_surface(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        for path, body in (("/responses", {"input": "hi"}), ("/messages", {"max_tokens": 9, **SAYS})):
            await told(door, {"model": "qwen", "guided_json": SCHEMA, **body}, "/api/v1" + path)
            assert sent(door)["response_format"]["json_schema"]["schema"] == SCHEMA, path
        await told(door, {"model": "qwen", "prompt": "hi", "extra_body": {"custom_option": 1}}, "/api/v1/completions")
        assert "custom_option" not in sent(door) and "extra_body" not in sent(door)
        await told(door, {"model": "qwen", "input": "hi", "metadata": {"a": "b"}}, "/api/v1/embeddings")
        assert "metadata" not in sent(door)


async def test_s0_26_the_second_deployment_answers_where_the_first_fails(tmp_path):
    text = CONFIG.replace("num_retries: 0", "num_retries: 1") + "  allowed_fails: 5\n"
    text = text.replace("router_settings: {num_retries: 1}\n  allowed_fails: 5\n", "router_settings: {num_retries: 1, allowed_fails: 5}\n")
    two = text.replace("  - model_name: local", "  - model_name: qwen\n    litellm_params: {model: openai/qwen3-b, api_base: \"{mock}/v1\", api_key: sk-b}\n  - model_name: local")
    async with open_door(tmp_path, two, script=Script(rules=[Rule(model="qwen3", step=Step(status=500))])) as door:
        answers = await asyncio.gather(*(told(door, {"model": "qwen", **SAYS}) for _ in range(8)))
        assert len(answers) == 8
        assert {asked.json["model"] for asked in door.mock.received} == {"qwen3", "qwen3-b"}


async def test_s0_03_a_long_batch_shows_its_progress(tmp_path):
    items = [{"model": "qwen", **SAYS}] * 12 + [{"model": "nobody", **SAYS}]
    async with open_door(tmp_path, CONFIG, script=Script(rules=[Rule(step=Step(latency_ms=200))])) as door:
        working = asyncio.create_task(told(door, {"requests": items, "batch_id": "night-1"}, BATCH))
        seen = []
        while not working.done():
            status, _, answer = await door.ask("GET", "/api/v1/batch/night-1")
            seen += [json.loads(answer)] if status == 200 else []
            await asyncio.sleep(0.05)
        assert {"in_progress"} == {one["status"] for one in seen if one["completed"] < 13}
        counts = [one["completed"] for one in seen]
        assert counts == sorted(counts) and any(0 < count < 13 for count in counts) and seen[0]["total_requests"] == 13
        assert (await working)["batch_id"] == "night-1"
        status, _, answer = await door.ask("GET", "/api/v1/batch/night-1")
        end = json.loads(answer)
        assert status == 200 and (end["status"], end["successful"], end["failed"], end["progress"]) == (
            "completed",
            12,
            1,
            1.0,
        )
        status, _, answer = await door.ask("GET", "/api/v1/batch/nobodys")
        assert status == 404


async def test_s0_03_and_s0_08_who_does_not_want_to_wait_asks_later(tmp_path):
    items = [{"model": "qwen", "stream": True, **SAYS}, {"model": "nobody", **SAYS}, {**SAYS, "guided_json": SCHEMA}]
    async with open_door(tmp_path, CONFIG) as door:
        status, _, answer = await door.post({"requests": items}, BATCH, prefer="respond-async")
        begun = json.loads(answer)
        assert status == 202 and begun["status"] == "in_progress" and begun["total_requests"] == 3
        end = time.monotonic() + 10
        while (now := json.loads((await door.ask("GET", f"/api/v1/batch/{begun['batch_id']}"))[2]))[
            "status"
        ] == "in_progress":
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert (now["status"], now["successful"], now["failed"]) == ("completed", 2, 1)
        assert [row["index"] for row in now["results"]] == [0, 1, 2] and [row["success"] for row in now["results"]] == [
            True,
            False,
            True,
        ]
        assert now["results"][0]["result"]["message"]["content"] and now["results"][1]["error_type"]
        assert now["results"][2]["result"]["model"] == "qwen", "the first of the list answers who names nobody"

"""Seed 3: a proxy that one YAML file describes, in front of a local Ollama and of cloud providers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.mock import Mock, Script
from tests.door import open_door
from tests.seeds.test_s0_shared import SAYS, lines, sent, told

CONFIG = """
model_list:
  - model_name: extraction-model
    litellm_params: {model: ollama/llama3.2, api_base: "{mock}"}
  - model_name: explanation-model
    litellm_params: {model: openai/gpt-4o-mini, api_base: "{mock}/v1", api_key: os.environ/OPENAI_API_KEY}
  - model_name: gemini-model
    litellm_params: {model: gemini/gemini-1.5-flash, api_base: "{mock}", api_key: os.environ/GEMINI_API_KEY}
  - model_name: claude-model
    litellm_params: {model: anthropic/claude-3-5-haiku-20241022, api_base: "{mock}", api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: hugging-model
    litellm_params: {model: huggingface/mistralai/Mistral-7B-Instruct-v0.3, api_base: "{mock}/v1", api_key: os.environ/HUGGINGFACE_API_KEY}
  - model_name: lm-studio
    litellm_params: {model: openai/local-model, api_base: "{mock}/v1"}
  - model_name: big
    litellm_params: {model: "ollama/llama3.2:70b", api_base: "{mock}"}
router_settings: {num_retries: 0}
litellm_settings: {drop_params: true, set_verbose: false}
general_settings:
  database_url: null
  # master_key: os.environ/LITELLM_MASTER_KEY
"""
ENV = {"OPENAI_API_KEY": "sk-openai", "GEMINI_API_KEY": "sk-gem", "ANTHROPIC_API_KEY": "sk-ant", "HUGGINGFACE_API_KEY": "hf-1"}


@pytest.mark.parametrize(
    ("model", "upstream", "header", "value"),
    [
        ("explanation-model", "gpt-4o-mini", "authorization", "Bearer sk-openai"),
        ("gemini-model", None, "x-goog-api-key", "sk-gem"),
        ("claude-model", "claude-3-5-haiku-20241022", "x-api-key", "sk-ant"),
        ("hugging-model", "mistralai/Mistral-7B-Instruct-v0.3", "authorization", "Bearer hf-1"),
    ],
)
async def test_s3_01_s3_10_s3_12_s3_13_s3_14_and_s3_15_each_model_with_its_key(model, upstream, header, value, tmp_path):
    async with open_door(tmp_path, CONFIG, env=ENV) as door:
        answer = await told(door, {"model": model, "max_tokens": 9, **SAYS}, "/v1/chat/completions")
        assert answer["model"] == model and lines(door)[header] == value
        assert upstream is None or sent(door)["model"] == upstream


async def test_s3_11_and_s3_17_ollama_without_a_key_and_with_a_tag(tmp_path):
    async with open_door(tmp_path, CONFIG, env=ENV) as door:
        await told(door, {"model": "extraction-model", **SAYS}, "/v1/chat/completions")
        assert sent(door)["model"] == "llama3.2" and "authorization" not in lines(door)
        await told(door, {"model": "big", **SAYS}, "/v1/chat/completions")
        assert sent(door)["model"] == "llama3.2:70b"


async def test_s3_16_a_local_server_never_gets_the_real_key(tmp_path):
    async with open_door(tmp_path, CONFIG, env=ENV) as door:
        await told(door, {"model": "lm-studio", **SAYS}, "/v1/chat/completions")
        assert sent(door)["model"] == "local-model" and "sk-openai" not in json.dumps(lines(door))


async def test_s3_04_s3_29_s3_30_s3_31_s3_32_and_s3_33_without_a_key_or_a_database(tmp_path):
    async with open_door(tmp_path, CONFIG, env=ENV) as door:
        status, _, body = await door.ask("GET", "/health")
        assert status == 200 and json.loads(body)["status"] == "healthy"
        for path in ("/models", "/v1/models"):
            status, _, body = await door.ask("GET", path)
            names = {row["id"] for row in json.loads(body)["data"]}
            assert status == 200 and {"extraction-model", "explanation-model", "lm-studio", "big"} <= names
        for path in ("/v1/chat/completions", "/chat/completions"):
            answer = await told(door, {"model": "extraction-model", "temperature": 0.3, "max_tokens": 2000, **SAYS}, path)
            assert answer["choices"][0]["message"]["content"]


async def test_s3_24_a_master_key_closes_the_door(tmp_path):
    key = "sk-1234567890abcdef"
    async with open_door(tmp_path, CONFIG, env=ENV, master_key=key) as door:
        assert (await door.post({"model": "extraction-model", **SAYS}))[0] == 401
        await told(door, {"model": "extraction-model", **SAYS}, "/v1/chat/completions", authorization=f"Bearer {key}")


async def test_s3_34_json_objects_of_ollama(tmp_path):
    async with open_door(tmp_path, CONFIG, env=ENV) as door:
        body = {"model": "extraction-model", "response_format": {"type": "json_object"}, "temperature": 0.3, "max_tokens": 2000, **SAYS}
        await told(door, body, "/v1/chat/completions")
        assert sent(door)["format"] == "json" and sent(door)["options"]["temperature"] == 0.3


async def test_s3_38_a_model_that_ollama_does_not_have(tmp_path):
    script = Script.always(status=404, error="model 'llama3.2' not found")
    async with open_door(tmp_path, CONFIG, env=ENV, script=script) as door:
        status, _, body = await door.post({"model": "extraction-model", **SAYS})
        assert status == 404 and "llama3.2" in json.loads(body)["error"]["message"]


async def test_s3_39_a_key_that_is_missing_is_named(tmp_path):
    text = CONFIG.replace('openai/gpt-4o-mini, api_base: "{mock}/v1", ', "openai/gpt-4o-mini, ")
    async with open_door(tmp_path, text, env={"GEMINI_API_KEY": "g"}) as door:
        status, _, body = await door.post({"model": "explanation-model", **SAYS})
        assert status == 401 and "OPENAI_API_KEY" in json.loads(body)["error"]["message"]
        await told(door, {"model": "extraction-model", **SAYS}, "/v1/chat/completions")


async def test_s3_41_what_a_million_tokens_cost(tmp_path):
    asked = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    async with open_door(tmp_path, CONFIG, env=ENV) as door:
        for model, of_input, of_output in (
            ("ollama/llama3.2", 0.0, 0.0),
            ("openai/gpt-4o-mini", 0.15, 0.60),
            ("gemini/gemini-1.5-flash", 0.075, None),
            ("anthropic/claude-3-5-haiku-20241022", 0.80, 4.00),
        ):
            answer = await told(door, {"model": model, **asked}, "/api/v1/litellm/cost/estimate")
            if model.startswith("gemini"):  # over 128k tokens it is dearer
                answer = await told(door, {"model": model, "input_tokens": 100_000, "output_tokens": 0}, "/api/v1/litellm/cost/estimate")
                answer["input_cost"] *= 10
            assert answer["input_cost"] == pytest.approx(of_input), model
            assert of_output is None or answer["output_cost"] == pytest.approx(of_output), model


# With a process of its own ---------------------------------------------------------------------------------------------


def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def serve(config: Path, at: int, **env: str) -> subprocess.Popen[str]:
    """A gateway with a clean environment: PATH, HOME and what is named."""
    command = [sys.executable, "-m", "penstock", "serve", "--config", str(config), "--host", "127.0.0.1", "--port", str(at)]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "PENSTOCK_STATE_DIR") if name in os.environ}
    env = {**kept, "HOME": str(config.parent), "PYTHONUNBUFFERED": "1", **env}
    return subprocess.Popen(command, env=env, cwd=config.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


async def ready(at: int, process: subprocess.Popen[str]) -> None:
    for _ in range(300):
        assert process.poll() is None, process.stdout and process.stdout.read()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", at)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return writer.close()
    raise AssertionError("it did not start")


async def test_s3_06_s3_07_s3_08_and_s3_40_a_clean_start_a_foreign_database_and_a_port_that_is_taken(tmp_path):
    async with Mock() as mock:
        config = tmp_path / "litellm_config.yaml"
        config.write_text(CONFIG.replace("{mock}", mock.url))
        at = port()
        first = serve(config, at, DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
        try:
            await ready(at, first)
            second = serve(config, at)
            out, _ = await asyncio.to_thread(second.communicate, timeout=30)
            assert second.returncode != 0 and str(at) in out and "Traceback" not in out
            reader, writer = await asyncio.open_connection("127.0.0.1", at)
            data = json.dumps({"model": "extraction-model", **SAYS}).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
            )
            assert b" 200 " in (await reader.read())[:20]
            writer.close()
        finally:
            first.terminate()
            out, _ = await asyncio.to_thread(first.communicate, timeout=30)
        assert "extraction-model" in out and "127.0.0.1:9" not in out and "Traceback" not in out


@pytest.mark.parametrize("section", ["general_settings", "litellm_settings"])
async def test_s3_28_lines_of_the_log_are_json_wherever_that_is_said(section, tmp_path):
    async with Mock() as mock:
        config = tmp_path / "litellm_config.yaml"
        text = CONFIG.replace("{mock}", mock.url)
        head = "general_settings:\n" if section == "general_settings" else None
        text = text.replace(head, head + "  json_logs: true\n") if head else text.replace("set_verbose: false", "json_logs: true")
        config.write_text(text)
        at = port()
        process = serve(config, at)
        try:
            await ready(at, process)
        finally:
            process.terminate()
            out, _ = await asyncio.to_thread(process.communicate, timeout=30)
        logged = [line for line in out.splitlines() if line.startswith("{")]
        assert logged and all(isinstance(json.loads(line), dict) for line in logged)

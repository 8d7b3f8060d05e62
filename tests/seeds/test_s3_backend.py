"""Seed 3: the class by which a backend asks the service, and the five variables that say where it is."""

from __future__ import annotations

import json

import pytest

from penstock.mock import Script
from penstock.sdk.exceptions import SdkError
from penstock.sdk.litellm_provider import (
    LiteLLMProvider,
    LLMConnectionError,
    LLMInvalidResponseError,
    LLMModelNotFoundError,
    LLMProviderError,
    LLMRateLimitError,
    LLMTimeoutError,
    get_llm_provider,
)
from tests.door import open_door

CONFIG = """
model_list:
  - model_name: extraction-model
    litellm_params: {model: ollama/llama3.2, api_base: "{mock}"}
  - model_name: explanation-model
    litellm_params: {model: openai/gpt-4o-mini, api_base: "{mock}/v1", api_key: sk-of-the-service}
router_settings: {num_retries: 0}
"""
VARIABLES = ("EXTRACTION_PROVIDER", "EXPLANATION_PROVIDER", "LITELLM_BASE_URL", "LITELLM_EXTRACTION_MODEL", "LITELLM_EXPLANATION_MODEL")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in (*VARIABLES, "LITELLM_PROXY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def test_s3_35_a_prompt_goes_to_the_service(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        provider = LiteLLMProvider(base_url=door.url, default_model="extraction-model", timeout=10)
        assert await provider.generate("Hallo", system_prompt="You know German.") == "mock/echo: Hallo"
        asked = door.mock.received[-1].json
        assert [message["content"] for message in asked["messages"]] == ["You know German.", "Hallo"]
        assert (asked["options"]["temperature"], asked["options"]["num_predict"]) == (0.3, 2000)
        await provider.generate("Hallo", model="explanation-model", temperature=0.9, max_tokens=7)
        asked = door.mock.received[-1].json
        assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("gpt-4o-mini", 0.9, 7)
        assert await provider.check_health() is True
        assert {"extraction-model", "explanation-model"} <= set(await provider.list_models())
        await provider.close()
        with pytest.raises(RuntimeError, match="closed"):
            await provider.generate("Hallo")


async def test_s3_35_the_five_variables_say_who_does_what(tmp_path, monkeypatch):
    async with open_door(tmp_path, CONFIG) as door:
        told = ("litellm", "litellm", door.url + "/", "extraction-model", "explanation-model")
        for name, value in zip(VARIABLES, told, strict=True):
            monkeypatch.setenv(name, value)
        for task in ("extraction", "explanation"):
            provider = get_llm_provider(task)
            assert (provider.base_url, provider.default_model) == (door.url, f"{task}-model")
            assert await provider.generate(task) == f"mock/echo: {task}"
        assert LiteLLMProvider().base_url == door.url and LiteLLMProvider().default_model == "extraction-model"
        monkeypatch.setenv("EXPLANATION_PROVIDER", "openai")
        with pytest.raises(ValueError, match="OPENAI_EXPLANATION_MODEL does not say which"):
            get_llm_provider("explanation")
        monkeypatch.setenv("OPENAI_EXPLANATION_MODEL", "gpt-4o-mini")
        assert (get_llm_provider("explanation").model, get_llm_provider("explanation").base_url) == ("openai/gpt-4o-mini", "")
        monkeypatch.setenv("EXTRACTION_PROVIDER", "litelm")
        with pytest.raises(ValueError, match="EXTRACTION_PROVIDER is 'litelm'"):
            get_llm_provider("extraction")
        with pytest.raises(ValueError, match="extraction and explanation"):
            get_llm_provider("translation")


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"words": ["Hallo"]}', {"words": ["Hallo"]}), ('Sure!\n```json\n{"a": {"b": 1}}\n```', {"a": {"b": 1}})],
)
async def test_s3_34_and_s3_36_json_is_taken_out_of_the_words_around_it(text, found, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        door.mock.script = Script.always(text=text)
        assert await LiteLLMProvider(base_url=door.url, default_model="extraction-model").generate_json("x") == found
        assert door.mock.received[-1].json["format"] == "json"


async def test_s3_36_each_failure_has_a_class_of_its_own(tmp_path):
    nobody = LiteLLMProvider(base_url="http://127.0.0.1:9", default_model="m", timeout=2)
    for asked in (nobody.generate("x"), nobody.generate_json("x"), nobody.list_models()):
        with pytest.raises(LLMConnectionError, match=r"http://127\.0\.0\.1:9"):
            await asked
    assert await nobody.check_health() is False
    async with open_door(tmp_path, CONFIG) as door:
        provider = LiteLLMProvider(base_url=door.url, default_model="explanation-model", timeout=0.3)
        door.mock.script = Script.always(text="no braces here")
        with pytest.raises(LLMInvalidResponseError, match="no braces here"):
            await provider.generate_json("x")
        door.mock.script = Script.always(latency_ms=3000)
        with pytest.raises(LLMTimeoutError, match=r"within 0\.3 s"):
            await provider.generate("x")
        for status, kind in ((429, LLMRateLimitError), (404, LLMModelNotFoundError), (500, LLMProviderError)):
            door.mock.script = Script.always(status=status)
            with pytest.raises(kind) as raised:
                await provider.generate("x")
            assert isinstance(raised.value.__cause__, SdkError) and raised.value.__cause__.status_code == status
            assert "LLMProviderError" in json.dumps([base.__name__ for base in kind.__mro__])

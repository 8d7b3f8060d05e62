"""Seed 1: the service in Python, as a program imports it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.mock import Mock, Script, Step, ThreadMock
from penstock.sdk.exceptions import class_of
from penstock.sdk.litellm_provider import LiteLLMProvider
from penstock.sdk.provider_factory import ProviderFactory
from penstock.sdk.service import LiteLLMConfig, LiteLLMService, ToolDefinition, get_litellm_service
from tests.seeds import las
from tests.seeds.las import env_of, run_code

HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = ToolDefinition(
    name="get_weather",
    description="Get current weather for a location",
    parameters={"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
)


def call(name: str = "get_weather", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mock]:
    with ThreadMock() as running:
        for name, value in env_of(running.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("OLLAMA_API_BASE", raising=False)
        yield running


@pytest.fixture
def svc(mock: Mock) -> LiteLLMService:
    return LiteLLMService()


def test_s1_26_one_service_for_the_process(mock):
    assert get_litellm_service() is get_litellm_service()
    assert isinstance(get_litellm_service(), LiteLLMService) and LiteLLMService() is not get_litellm_service()


def test_s1_27_and_s1_31_a_chat_with_ollama_and_what_else_is_said(mock, svc):
    answer = svc.chat_completion(messages=HELLO, model="llama3.2", provider="ollama", temperature=0, top_p=0.5)
    assert answer.choices[0].message.content == "mock/echo: Hello!"
    asked = mock.received[-1]
    assert asked.path == "/api/chat" and asked.json["model"] == "llama3.2"
    assert asked.json["options"] == {"temperature": 0, "top_p": 0.5, "num_predict": 4096}


@pytest.mark.parametrize(
    ("given", "path", "model"),
    [
        ({}, "/api/chat", "llama3.2"),
        ({"model": "mistral:7b"}, "/api/chat", "mistral:7b"),
        ({"model": "hf.co/org/m"}, "/api/chat", "hf.co/org/m"),
        ({"model": "ollama/llama3.2", "provider": "ollama"}, "/api/chat", "llama3.2"),
        ({"model": "openai/gpt-4o"}, "/v1/chat/completions", "gpt-4o"),
        ({"model": "openai/gpt-4o", "provider": "openai"}, "/v1/chat/completions", "gpt-4o"),
        ({"model": "gpt-4o", "provider": "openai"}, "/v1/chat/completions", "gpt-4o"),
        ({"model": "claude-3-5-sonnet-20241022", "provider": "anthropic"}, "/v1/messages", "claude-3-5-sonnet-20241022"),
    ],
)
def test_s1_28_defaults_and_names_that_begin_with_their_provider(given, path, model, mock, svc):
    svc.chat_completion(messages=HELLO, **given)
    assert (mock.received[-1].path, mock.received[-1].json["model"]) == (path, model)


async def test_s1_29_awaited(mock, svc):
    answer = await svc.achat_completion(messages=HELLO, model="gpt-4o", provider="openai")
    assert type(answer) is type(svc.chat_completion(messages=HELLO, model="gpt-4o", provider="openai"))
    assert answer.choices[0].message.content == "mock/echo: Hello!"
    parts = [part async for part in await svc.achat_completion(messages=HELLO, model="gpt-4o", provider="openai", stream=True)]
    assert "".join(part.choices[0].delta.content for part in parts if part.choices) == "mock/echo: Hello!"


def test_s1_30_what_the_seeds_loop_prints_is_the_answer(mock, tmp_path):
    printed = run_code(las.SERVICE + las.STREAM, mock.url, tmp_path)
    assert printed == "mock/echo: Hello!\nmock/echo: Tell me a story"


def test_s1_32_a_tool_in_openais_form():
    assert WEATHER.to_openai() == {
        "type": "function",
        "function": {"name": "get_weather", "description": WEATHER.description, "parameters": WEATHER.parameters},
    }


def test_s1_33_the_seeds_chat_with_tools(mock, tmp_path):
    mock.script = Script(queue=(Step(tool_calls=(call(location="Tokyo"),)), Step(text="Sunny in Tokyo.")))
    code = "from services.litellm_service import get_litellm_service\nsvc = get_litellm_service()\n" + las.TOOLS
    assert run_code(code, mock.url, tmp_path) == "Sunny in Tokyo.\n"
    first, second = (asked.json for asked in mock.received)
    assert first["tools"][0]["function"]["name"] == "get_weather"
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    asked, told = second["messages"][1]["tool_calls"][0], second["messages"][2]
    assert json.loads(asked["function"]["arguments"]) == {"location": "Tokyo"} and told["tool_call_id"] == asked["id"]
    assert told["content"] == "Weather in Tokyo: Sunny, 72°F"


def test_s1_34_what_goes_wrong_with_a_tool_is_told_to_the_model(mock, svc):
    wrong = (call(location="Tokyo"), call("get_time"), {"name": "get_weather", "arguments": "{not json"}, call(place="Rome"))
    mock.script = Script(queue=(Step(tool_calls=wrong), Step(text="Sorry.")))

    def get_weather(location: str) -> str:
        raise OSError("the weather station is closed")

    result = svc.chat_with_tools(HELLO, [WEATHER], {"get_weather": get_weather}, model="gpt-4o", provider="openai")
    told = [message["content"] for message in mock.received[-1].json["messages"] if message["role"] == "tool"]
    assert "OSError: the weather station is closed" in told[0]
    assert "there is no tool 'get_time'; there are: get_weather" in told[1]
    assert "no JSON" in told[2] and "TypeError" in told[3] and "place" in told[3]
    assert result["response"] == "Sorry." and [one["error"] != "" for one in result["tool_calls"]] == [True] * 4


def test_s1_34_rounds_are_bounded(mock, svc):
    mock.script = Script.always(tool_calls=(call(location="Tokyo"),))
    svc.chat_with_tools(HELLO, [WEATHER], {"get_weather": str}, "gpt-4o", "openai", max_rounds=3, tool_choice="required")
    choices = [asked.json.get("tool_choice") for asked in mock.received]
    assert choices == ["required", None, None, "none"]


def test_s1_35_a_picture(mock, svc):
    svc.vision_completion(prompt="Describe", image_url="https://example.com/cat.jpg", model="gpt-4o", provider="openai")
    text, picture = mock.received[-1].json["messages"][0]["content"]
    assert text == {"type": "text", "text": "Describe"} and picture["image_url"]["url"] == "https://example.com/cat.jpg"


def test_s1_36_embeddings(mock, svc):
    answer = svc.create_embedding(input=["Hello world", "Goodbye world"], model="text-embedding-3-small", provider="openai")
    assert len([item.embedding for item in answer.data]) == 2 and isinstance(answer.data[0].embedding[0], float)
    assert mock.received[-1].path == "/v1/embeddings" and mock.received[-1].json["model"] == "text-embedding-3-small"


def test_s1_37_what_a_config_says_by_default():
    told = ("ollama", "llama3.2", 0.7, 4096, "http://localhost:11434", True, True)
    assert tuple(vars(LiteLLMConfig()).values()) == told
    names = "default_provider default_model temperature max_tokens ollama_base_url enable_caching enable_cost_tracking"
    assert " ".join(vars(LiteLLMConfig())) == names


def test_s1_38_a_config_is_put_into_effect(mock):
    with ThreadMock() as other:
        svc = LiteLLMService()
        svc.chat_completion(messages=HELLO)
        svc.config = LiteLLMConfig(ollama_base_url=other.url)
        svc._setup_litellm()
        svc.chat_completion(messages=HELLO)  # the very same: what another server said is no answer of this one
        assert (len(mock.received), len(other.received)) == (1, 1)


def test_s1_38_the_seeds_block(mock, tmp_path):
    code = las.CONFIG + "print(svc.chat_completion(messages=[{'role': 'user', 'content': 'hi'}]).choices[0].message.content)"
    assert run_code(code, mock.url, tmp_path) == "mock/echo: hi\n"


def test_s1_39_settings_change_while_it_runs(mock, svc):
    svc.update_config(default_provider="openai", default_model="gpt-4o", temperature=0.5)
    svc.chat_completion(messages=HELLO)
    asked = mock.received[-1]
    assert (asked.path, asked.json["model"], asked.json["temperature"]) == ("/v1/chat/completions", "gpt-4o", 0.5)


def test_s1_40_who_asks_the_same_again_is_answered_from_the_cache(mock, svc):
    first, second = (svc.chat_completion(messages=HELLO) for _ in range(2))
    assert len(mock.received) == 1 and first.choices == second.choices
    assert (first._hidden_params["cache_hit"], second._hidden_params["cache_hit"]) == (False, True)
    svc.update_config(enable_caching=False)
    svc.chat_completion(messages=HELLO)
    assert len(mock.received) == 2


def test_s1_41_what_calls_cost_is_summed_up(mock, svc):
    answer = svc.chat_completion(messages=HELLO, model="gpt-4o", provider="openai")
    cost = answer._hidden_params["response_cost"]
    told = svc.costs()
    assert cost > 0 and told["total_cost"] == cost == told["by_model"]["openai/gpt-4o"]["cost"]
    assert told["requests"] == 1 and told["prompt_tokens"] == answer.usage.prompt_tokens
    svc.update_config(enable_cost_tracking=False)
    svc.chat_completion(messages=HELLO)
    assert svc.costs() == told


def test_s1_42_s1_43_and_s1_44_the_seeds_factory(mock, tmp_path):
    shown = "print(response, response.choices[0].message.content, provider.model, type(provider).__module__)"
    told = run_code(las.FACTORY + shown, mock.url, tmp_path).strip()
    assert told == "mock/echo: Hello! mock/echo: Hello! ollama/llama3.2 penstock.sdk.litellm_provider"
    assert isinstance(ProviderFactory.create("litellm", model="openai/gpt-4o"), LiteLLMProvider)
    assert ProviderFactory.create("openai", "gpt-4o").model == "openai/gpt-4o"
    with pytest.raises(ValueError, match="did you mean 'litellm'"):
        ProviderFactory.create("litelm", model="x")


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "RateLimitError"), (401, "AuthenticationError"), (400, "InvalidRequestError"), (503, "ServiceUnavailableError")],
)
def test_s1_47_a_failure_is_the_exception_of_its_name(status, name, mock, svc):
    mock.script = Script.always(status=status)
    with pytest.raises(class_of(name)):
        svc.chat_completion(messages=HELLO, num_retries=0)


def test_s1_13_and_s1_51_the_address_of_ollama(mock, svc, monkeypatch):
    svc.chat_completion(messages=HELLO)
    with ThreadMock() as other:
        monkeypatch.setenv("OLLAMA_API_BASE", other.url)  # goes before the seed's name (C-21)
        svc.chat_completion(messages=HELLO)
        assert (len(mock.received), len(other.received)) == (1, 1)

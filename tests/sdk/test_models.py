"""`penstock.sdk`: LiteLLM's helpers by their names, over the price map."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Message
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from penstock import sdk
from penstock.core.price import Units
from penstock.sdk import models


@pytest.fixture(autouse=True)
def unregistered() -> Iterator[None]:
    models._OWN.clear()
    yield
    models._OWN.clear()


@pytest.mark.parametrize(
    ("ask", "yes", "no"),
    [
        (sdk.supports_vision, "gpt-4o", "gpt-3.5-turbo"),
        (sdk.supports_function_calling, "claude-sonnet-4-5", "text-embedding-3-small"),
        (sdk.supports_parallel_function_calling, "gpt-4o", "gpt-4"),
        (sdk.supports_response_schema, "gemini/gemini-2.5-flash", "gpt-4"),
        (sdk.supports_reasoning, "anthropic/claude-sonnet-4-5", "gpt-4o"),
        (sdk.supports_audio_input, "gpt-audio", "gpt-4o"),
        (sdk.supports_audio_output, "gpt-audio", "gpt-4o"),
        (sdk.supports_prompt_caching, "gpt-4o", "text-embedding-3-small"),
        (sdk.supports_web_search, "gpt-4o-search-preview", "gpt-4"),
        (sdk.supports_pdf_input, "claude-sonnet-4-5", "gpt-3.5-turbo"),
        (sdk.supports_tool_choice, "gpt-4o", "text-embedding-3-small"),
        (sdk.supports_system_messages, "gpt-4o", "text-embedding-3-small"),
    ],
)
def test_abilities(ask: Any, yes: str, no: str) -> None:
    assert ask(yes) is True and ask(no) is False and ask("nobody/has-this") is False
    assert ask.__name__.startswith("supports_") and ask.__doc__


def test_a_provider_beside_the_name_and_an_entry_that_is_silent() -> None:
    assert sdk.supports_vision("gpt-4o", custom_llm_provider="openai")
    assert sdk.supports_vision("gpt-4o", "azure")
    # azure/gpt-4-turbo says nothing of pictures, gpt-4-turbo does; an explicit "no" stays one.
    assert sdk.supports_vision("azure/gpt-4-turbo") and not sdk.supports("azure/gpt-audio", "reasoning")
    assert sdk.supports("gpt-4o", "supports_vision")


def test_model_info() -> None:
    info = sdk.get_model_info("gpt-4o")
    assert info["key"] == "gpt-4o" and info["litellm_provider"] == "openai" and info["mode"] == "chat"
    assert (info["max_tokens"], info["max_input_tokens"], info["max_output_tokens"]) == (16384, 128000, 16384)
    assert (info["input_cost_per_token"], info["output_cost_per_token"]) == (2.5e-06, 1e-05)
    assert info["output_vector_size"] is None, "columns that the map says nothing of are there, and None"
    assert sdk.get_max_tokens("gpt-4o") == 16384
    for ask in (sdk.get_model_info, sdk.get_max_tokens):
        with pytest.raises(sdk.UnknownModel, match="nobody/has-this.*register_model") as caught:
            ask("nobody/has-this")
        assert isinstance(caught.value, LookupError) and caught.value.model == "nobody/has-this"


def test_whose_a_model_is() -> None:
    assert sdk.get_llm_provider("groq/llama3-8b") == ("llama3-8b", "groq", None, None)
    assert sdk.get_llm_provider("x", api_base="http://h/v1") == ("x", "openai", None, "http://h/v1")
    with pytest.raises(LookupError):
        sdk.get_llm_provider("nobody-has-this")


def test_cost_per_token() -> None:
    assert sdk.cost_per_token("gpt-4o", 1000, 500) == (0.0025, 0.005)
    # the contract's check value: 10 in, 4 of them cached, 3 out
    assert sdk.cost_per_token("gpt-4o", 10, 3, cache_read_input_tokens=4) == (0.00002, 0.00003)
    assert sdk.cost_per_token("gpt-4o", 1000, 0, service_tier="priority") == (0.00425, 0.0)
    assert sdk.cost_per_token("ollama/llama3.2", 1000, 500) == (0.0, 0.0), "S1-11: a local engine is free"
    with pytest.raises(sdk.UnknownModel, match="No price"):
        sdk.cost_per_token("openai/nobody-knows", 1, 1)


@pytest.mark.parametrize(
    ("model", "dollars"),
    [("gpt-4o-mini", (0.15, 0.60)), ("claude-3-5-haiku-20241022", (0.80, 4.00)), ("ollama/llama3.1", (0.0, 0.0))],
)
def test_a_million_tokens(model: str, dollars: tuple[float, float]) -> None:
    assert sdk.cost_per_token(model, 10**6, 10**6) == dollars


USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 4}}


def test_the_cost_of_answers_of_every_dialect() -> None:
    chat: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [],
        "usage": USAGE,
    }
    assert sdk.completion_cost(chat) == sdk.completion_cost(ChatCompletion(**chat)) == 0.00005
    responses = {
        "object": "response",
        "model": "gpt-4o",
        "usage": {"input_tokens": 10, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}},
    }
    assert sdk.completion_cost(responses) == 0.00005
    usage = {"input_tokens": 6, "output_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0}
    message: dict[str, Any] = {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "usage": usage,
    }
    expected = (6 * 3 + 4 * 0.3 + 3 * 15) / 1e6
    assert sdk.completion_cost(message) == pytest.approx(expected, rel=1e-12)
    assert sdk.completion_cost(Message(**message)) == pytest.approx(expected, rel=1e-12)
    vectors = CreateEmbeddingResponse(
        object="list", data=[], model="text-embedding-3-small", usage={"prompt_tokens": 1000, "total_tokens": 1000}
    )
    assert sdk.completion_cost(vectors) == 0.00002
    assert sdk.completion_cost(chat, model="gpt-4o-mini") == pytest.approx((6 * 0.15 + 4 * 0.075 + 3 * 0.6) / 1e6)
    assert sdk.completion_cost({**chat, "service_tier": "priority"}) > 0.00005


def test_the_cost_of_texts_and_of_what_is_no_text() -> None:
    assert sdk.completion_cost(model="gpt-4o", prompt="a" * 4000, completion="b" * 400) == 0.0035
    assert sdk.completion_cost(model="whisper-1", units=Units(seconds=60)) == pytest.approx(0.006)
    for wrong in ({}, {"prompt": "x"}, {"model": "gpt-4o"}, {"completion_response": {"model": "gpt-4o"}}):
        with pytest.raises(ValueError):
            sdk.completion_cost(**wrong)
    with pytest.raises(ValueError, match="SimpleNamespace"):
        sdk.completion_cost(SimpleNamespace(model="gpt-4o"))


def test_token_counter() -> None:
    assert sdk.token_counter("gpt-4o", text="hello there, world") == 5
    assert sdk.token_counter(text=["abcd", "abcd"]) == 2 and sdk.token_counter(text="") == 0
    short = sdk.token_counter(messages=[{"role": "user", "content": "hi"}])
    assert 0 < short < sdk.token_counter(messages=[{"role": "user", "content": "hi " * 100}])
    assert sdk.token_counter(messages=[{"role": "user", "content": "hi"}], tools=[{"type": "function"}]) > short


def test_what_is_registered_wins_for_this_process() -> None:
    sdk.register_model(
        {
            "openai/mine": {
                "supports_vision": True,
                "max_output_tokens": 99,
                "input_cost_per_token": 1e-6,
                "output_cost_per_token": 2e-6,
            }
        }
    )
    assert sdk.supports_vision("openai/mine") and not sdk.supports_reasoning("openai/mine")
    assert sdk.get_max_tokens("openai/mine") == 99 and sdk.cost_per_token("openai/mine", 10, 10) == (1e-05, 2e-05)
    sdk.register_model({"gpt-4o": {"supports_vision": False, "input_cost_per_token": 1e-3}})
    assert sdk.cost_per_token("gpt-4o", 10, 0, cache_read_input_tokens=4) == (0.01, 0.0), "a price for all input"
    assert sdk.get_model_info("openai/gpt-4o")["supports_vision"] is False


def test_importing_it_is_cheap_and_every_name_is_there() -> None:
    code = "import sys, penstock.sdk; print('msgspec' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
    for name in sdk.__all__:
        assert getattr(sdk, name).__doc__, name
    assert dir(sdk) == sdk.__all__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sdk.no_such_name  # type: ignore[attr-defined]

"""`mock_response` and its kin: nobody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import sdk
from tests.sdk.conftest import ASKED

NOWHERE: dict[str, Any] = {"api_base": "http://127.0.0.1:9/v1", "api_key": "k"}


def test_a_text_is_the_answer_with_litellm_s_usage() -> None:
    answer = sdk.completion("openai/x", ASKED, mock_response="It is so.", **NOWHERE)
    assert answer.choices[0].message.content == "It is so." and answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (10, 20, 30)
    assert sdk.completion("nobody/knows", ASKED, mock_response="x", n=3).choices[2].index == 2


async def test_a_text_streams_in_pieces() -> None:
    chunks = [one async for one in await sdk.acompletion("x", ASKED, mock_response="It is so.", stream=True)]
    assert "".join(one.choices[0].delta.content for one in chunks) == "It is so." and len(chunks) == 4
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "name", ["RateLimitError", "InternalServerError", "ContextWindowExceededError", "AuthenticationError"]
)
def test_a_name_of_litellm_s_raises_it(name: str) -> None:
    with pytest.raises(getattr(sdk, name)) as caught:
        sdk.completion("openai/x", ASKED, mock_response=f"litellm.{name}")
    assert type(caught.value).__name__ == name and caught.value.model == "openai/x"


def test_an_exception_is_raised_as_it_is() -> None:
    mine = sdk.RateLimitError("slow down", "me", "m")
    with pytest.raises(sdk.RateLimitError) as caught:
        sdk.completion("openai/x", ASKED, mock_response=mine)
    assert caught.value is mine
    with pytest.raises(ZeroDivisionError):
        sdk.completion("openai/x", ASKED, mock_response=ZeroDivisionError)


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_and_bodies(stream: bool) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    found: Any = sdk.completion("x", ASKED, mock_tool_calls=calls, stream=stream)
    if stream:
        found = sdk.stream_chunk_builder(list(found))
    assert found.choices[0].message.tool_calls[0].function.name == "f"
    assert found.choices[0].finish_reason == "tool_calls" and found.choices[0].message.content is None
    whole = sdk.completion("x", ASKED, mock_response={"id": "mine", "choices": []})
    assert whole.id == "mine" and isinstance(whole, sdk.ModelResponse)


def test_other_operations_and_timeouts() -> None:
    assert sdk.embedding("x", ["a"], mock_response=[1.0, 2.0]).data[0].embedding == [1.0, 2.0]
    assert sdk.text_completion("hello", "x", mock_response="yes").choices[0].text == "yes"
    with pytest.raises(sdk.Timeout):
        sdk.completion("x", ASKED, mock_timeout=True, timeout=0.01)
    with pytest.raises(TypeError, match="not for rerank"):
        sdk.rerank("x", "a", ["b"], mock_response="y")

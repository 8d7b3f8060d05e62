"""Streams in process: read in a thread or in a loop, joined, broken off, left."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock
from penstock.sdk.channel import HIGH
from tests.sdk.conftest import ASKED, always

MODEL = "openai/gpt-4o-mini"


def test_the_printed_text_is_the_answer(to: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """S1-30: `print(chunk.choices[0].delta.content, end="")`, with no None behind it."""
    stream = sdk.completion(MODEL, ASKED, stream=True, **to)
    for chunk in stream:
        print(chunk.choices[0].delta.content, end="")
    assert capsys.readouterr().out == "mock/echo: hello"
    assert chunk.choices[0].finish_reason == "stop" and chunk.choices[0].delta.tool_calls is None
    assert isinstance(chunk, sdk.ModelResponseStream)
    whole = sdk.completion(MODEL, ASKED, **to)
    assert stream._hidden_params["response_cost"] == whole._hidden_params["response_cost"] > 0


async def test_the_same_stream_is_read_in_a_loop(to: dict[str, Any]) -> None:
    texts = []
    async for chunk in await sdk.acompletion(MODEL, ASKED, stream=True, **to):
        texts.append(chunk["choices"][0]["delta"].get("content") or "")
    assert "".join(texts) == "mock/echo: hello" and len(texts) > 2


@pytest.mark.parametrize(
    ("name", "given", "last"),
    [
        ("text_completion", {"prompt": "hello", "model": MODEL}, lambda one: one.choices[0].finish_reason == "stop"),
        ("responses", {"input": "hello", "model": MODEL}, lambda one: one.type == "response.completed"),
        (
            "anthropic_messages",
            {"messages": ASKED, "model": MODEL, "max_tokens": 9},
            lambda one: one.type == "message_stop",
        ),
    ],
)
def test_other_dialects_stream_their_events(name: str, given: dict[str, Any], last: Any, to: dict[str, Any]) -> None:
    events = list(getattr(sdk, name)(**given, stream=True, **to))
    assert len(events) > 3 and last(events[-1]), events[-1]


@pytest.mark.parametrize("how", ["close", "with", "drop"])
def test_who_leaves_closes_the_upstream(how: str, to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(length=2000, tokens_per_second=50)
    stream = sdk.completion(MODEL, ASKED, stream=True, **to)
    if how == "with":
        with stream:
            next(stream)
    else:
        next(stream)
    if how == "close":
        stream.close()
        assert list(stream) == []
    if how == "drop":
        del stream
        gc.collect()
    _until_left(mock)


async def test_who_breaks_out_of_a_loop_closes_the_upstream(to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(length=2000, tokens_per_second=50)
    stream = await sdk.acompletion(MODEL, ASKED, stream=True, **to)
    async for _ in stream:
        break
    await stream.aclose()
    await asyncio.to_thread(_until_left, mock)


async def test_who_is_cancelled_while_waiting_closes_the_upstream(to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(latency_ms=20_000)
    for stream in (False, True):
        task = asyncio.create_task(sdk.acompletion(MODEL, ASKED, stream=stream, **to))
        while len(mock.received) < 1 + stream:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(_until_left, mock)


def _until_left(mock: Mock) -> None:
    import time

    deadline = time.monotonic() + 10
    while not mock.received[-1].closed_early:
        assert time.monotonic() < deadline, mock.received
        time.sleep(0.01)


@pytest.mark.parametrize("status", [401, 429, 503])
def test_an_error_before_the_first_event_is_raised_by_the_call(status: int, to: dict[str, Any], mock: Mock) -> None:
    mock.script = always(status=status)
    with pytest.raises(sdk.exceptions.SdkError) as caught:
        sdk.completion(MODEL, ASKED, stream=True, num_retries=0, **to)
    assert caught.value.status_code == status


@pytest.mark.parametrize("step", [{"cut_after_events": 3, "cut": "rst"}, {"error_event_after": 3}])
def test_an_error_in_the_middle_is_raised_behind_what_came(
    step: dict[str, Any], to: dict[str, Any], mock: Mock
) -> None:
    mock.script = always(tokens_per_second=20, **step)
    came = []
    with pytest.raises(sdk.exceptions.SdkError) as caught:
        for chunk in sdk.completion(MODEL, ASKED, stream=True, num_retries=0, **to):
            came.append(chunk)
    assert came and caught.value.status_code >= 500 and caught.value.llm_provider == "openai"


def test_a_reader_who_sleeps_holds_the_upstream_back(to: dict[str, Any], mock: Mock) -> None:
    import time

    mock.script = always(length=4_000_000, chunk_size=8000)
    stream = sdk.completion(MODEL, ASKED, stream=True, **to)
    next(stream)
    time.sleep(1.5)
    waiting = stream._channel._size
    assert waiting < 4 * HIGH, "the answer is held back at the upstream, not kept here"
    assert not mock.received[0].complete
    text = "".join(chunk.choices[0].delta.content for chunk in stream)
    assert len(text) > 16_000_000


def test_chunks_join_into_the_answer(to: dict[str, Any], mock: Mock) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]
    asked = [{"role": "user", "content": 'call a {"x": 1} call b {"y": "z"}'}]
    options: dict[str, Any] = {"tools": tools, "n": 2, **to}
    whole = sdk.completion(MODEL, asked, **options)
    chunks = list(sdk.completion(MODEL, asked, stream=True, stream_options={"include_usage": True}, **options))
    joined = sdk.stream_chunk_builder(chunks, asked)
    assert joined is not None and len(joined.choices) == 2
    for mine, theirs in zip(joined.choices, whole.choices, strict=True):
        calls = [(call.function.name, call.function.arguments) for call in mine.message.tool_calls]
        assert calls == [(call.function.name, call.function.arguments) for call in theirs.message.tool_calls]
        assert len(calls) == 2 and mine.finish_reason == theirs.finish_reason == "tool_calls"
    assert joined.usage.total_tokens == whole.usage.total_tokens
    assert sdk.stream_chunk_builder([]) is None


def test_joined_chunks_without_a_usage_are_counted(to: dict[str, Any]) -> None:
    chunks = [one for one in sdk.completion(MODEL, ASKED, stream=True, **to) if not one.get("usage")]
    joined = sdk.stream_chunk_builder(chunks, ASKED)
    assert joined is not None and joined.usage.prompt_tokens > 0 and joined.usage.completion_tokens > 0
    assert joined.choices[0].message.content == "mock/echo: hello"

"""`mock_response` and its kin: an answer, a stream or an error that nobody is asked for."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core import sse
from penstock.runtime.ids import new_id
from penstock.sdk.exceptions import NAMES, class_of

if TYPE_CHECKING:
    from penstock.sdk.arguments import Asked
    from penstock.sdk.operations import Operation

_NAMED = re.compile(r"litellm\.(\w+)")
_USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
_PIECE = 3  # characters of a chunk, as LiteLLM cuts it


async def mock(operation: Operation, asked: Asked) -> dict[str, Any] | bytes:
    """Make the answer that a call's `mock_response` and so on say: a body, or the bytes of a stream. Raises what they
    say is raised."""
    mocks = asked.mocks
    if delay := mocks.get("mock_delay"):
        await asyncio.sleep(float(delay))
    if mocks.get("mock_timeout"):
        await asyncio.sleep(min(float(asked.fields.get("timeout") or 0), 600.0))
        raise class_of("Timeout")(message="This is a mock timeout error", model=asked.model, llm_provider="mock")
    said = mocks.get("mock_response")
    if isinstance(said, BaseException):
        raise said
    if isinstance(said, type) and issubclass(said, BaseException):
        raise said("This is a mock exception")
    if isinstance(said, str) and (named := _NAMED.fullmatch(said)) and named[1] in NAMES:
        text = f"This is a mock {named[1]}"
        raise class_of(named[1])(message=text, model=asked.model, llm_provider="mock")
    if isinstance(said, Mapping):
        return dict(said)
    body = _body(operation, asked, said, mocks.get("mock_tool_calls"))
    return b"".join(_events(body)) if asked.stream else body


def _body(operation: Operation, asked: Asked, said: Any, calls: Any) -> dict[str, Any]:
    at = int(time.time())
    if operation.name == "embedding":
        vector = said if isinstance(said, list) else [0.0]
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        return {
            "object": "list",
            "model": asked.model,
            "data": data,
            "usage": {"prompt_tokens": 10, "total_tokens": 10},
        }
    text = None if said is None else str(said)
    count = int(asked.fields.get("n") or 1)
    choices: list[dict[str, Any]]
    if operation.name == "text_completion":
        choices = [{"index": i, "text": text or "", "finish_reason": "stop"} for i in range(count)]
        kind, head = "text_completion", "cmpl"
    elif operation.name == "completion":
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = calls
        reason = "tool_calls" if calls else "stop"
        choices = [{"index": i, "message": message, "finish_reason": reason} for i in range(count)]
        kind, head = "chat.completion", "chatcmpl"
    else:
        raise TypeError(f"mock_response is for completion, text_completion and embedding, not for {operation.name}")
    made = {"id": f"{head}-{new_id()}", "object": kind, "created": at, "model": asked.model}
    return {**made, "choices": choices, "usage": dict(_USAGE)}


def _events(body: dict[str, Any]) -> Iterator[bytes]:
    """Cut a whole answer into a stream's events."""
    chat = body["object"] == "chat.completion"
    head = {"id": body["id"], "created": body["created"], "model": body["model"]}
    head["object"] = "chat.completion.chunk" if chat else "text_completion"

    def event(index: int, part: dict[str, Any], reason: str | None = None) -> bytes:
        said = {"delta": part} if chat else part
        choice = {"index": index, **said, "finish_reason": reason}
        return sse.encode(msgspec.json.encode({**head, "choices": [choice]}))

    for choice in body["choices"]:
        message = choice.get("message") or {}
        text = (message.get("content") if chat else choice["text"]) or ""
        pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
        for number, piece in enumerate(pieces or ([""] if not message.get("tool_calls") else [])):
            first = {"role": "assistant"} if chat and number == 0 else {}
            yield event(choice["index"], {**first, "content" if chat else "text": piece})
        if calls := message.get("tool_calls"):
            yield event(
                choice["index"], {"role": "assistant", "tool_calls": [{"index": i, **c} for i, c in enumerate(calls)]}
            )
        yield event(choice["index"], {} if chat else {"text": ""}, choice["finish_reason"])
    yield sse.DONE

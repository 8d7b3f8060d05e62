"""A stream's chunks -> the whole answer they are parts of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.sdk.answers import ModelResponse, TextCompletionResponse

_TEXTS = ("content", "reasoning_content", "refusal")
_CALL = ("id", "type")


def stream_chunk_builder(
    chunks: Iterable[Mapping[str, Any]], messages: list[Any] | None = None, **_: Any
) -> ModelResponse | TextCompletionResponse | None:
    """Join the chunks of a chat or of a completion into its answer; None where there are none. Where no chunk has a
    usage it is estimated, from ``messages`` and the text."""
    all_chunks = [chunk for chunk in chunks if chunk is not None]
    if not all_chunks:
        return None
    first = all_chunks[0]
    chat = first.get("object") != "text_completion"
    head: dict[str, Any] = {"object": "chat.completion" if chat else "text_completion"}
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    for chunk in all_chunks:
        for name in ("id", "created", "model", "system_fingerprint", "service_tier"):
            if chunk.get(name) is not None:
                head.setdefault(name, chunk[name])
        usage = chunk.get("usage") or usage
        for part in chunk.get("choices") or ():
            choice = choices.setdefault(part.get("index", 0), {"index": part.get("index", 0), "finish_reason": None})
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
            if chat:
                _add(choice.setdefault("message", {"role": "assistant", "content": None}), part.get("delta") or {})
            else:
                choice["text"] = choice.get("text", "") + (part.get("text") or "")
            _add_logprobs(choice, part.get("logprobs"))
    made = [choices[index] for index in sorted(choices)]
    for choice in made:
        calls = choice.get("message", {}).get("tool_calls")
        if calls is not None:
            choice["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
    body = {**head, "choices": made, "usage": usage or _estimated(made, messages)}
    return ModelResponse(body) if chat else TextCompletionResponse(body)


def _add(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add what a chunk says to a message."""
    for name, value in delta.items():
        if value is None:
            continue
        if name in _TEXTS:
            message[name] = (message.get(name) or "") + value
        elif name == "tool_calls":
            for number, call in enumerate(value):
                _add_call(message.setdefault(name, {}), call, number)
        elif name == "function_call":
            known = message.setdefault(name, {"name": "", "arguments": ""})
            for key in known:
                known[key] += value.get(key) or ""
        elif isinstance(value, list):
            message[name] = [*message.get(name, ()), *value]
        elif isinstance(value, Mapping):
            message[name] = {**message.get(name, {}), **value}
        else:
            message[name] = value


def _add_call(calls: dict[int, dict[str, Any]], part: Mapping[str, Any], number: int) -> None:
    index = part.get("index")
    call = calls.setdefault(
        number if index is None else index, {"type": "function", "function": {"name": "", "arguments": ""}}
    )
    for name in _CALL:
        if part.get(name):
            call[name] = part[name]
    function = part.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _add_logprobs(choice: dict[str, Any], given: Mapping[str, Any] | None) -> None:
    for name, values in (given or {}).items():
        if isinstance(values, list):
            found = choice.setdefault("logprobs", {})
            found[name] = [*(found.get(name) or ()), *values]


def _estimated(choices: list[dict[str, Any]], messages: list[Any] | None) -> dict[str, int]:
    from penstock.sdk.models import token_counter

    texts = [(choice.get("message") or {}).get("content") or choice.get("text") or "" for choice in choices]
    asked, said = token_counter(messages=messages) if messages else 0, token_counter(text=texts)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}

"""Every text a person or a model wrote in a Chat request, for guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Raw

from penstock.core.budget import check_depth
from penstock.core.dialects.openai_chat.messages_in import arguments
from penstock.core.dialects.openai_chat.reading import mapping, mappings, opens, optional_text, present, text


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts: contents, refusals, reasoning, and what calls were made with; no schemas, no names."""
    raw = present(fields, "messages")
    if raw is not None:
        for place, message in enumerate(mappings(raw, "messages")):
            yield from _message(message, f"messages[{place}]")
    prediction = present(fields, "prediction")
    if prediction is not None:
        yield from _content(mapping(prediction, "prediction"), "prediction")


def _message(message: Mapping[str, Raw], path: str) -> Iterator[str]:
    yield from _content(message, path)
    for key in ("refusal", "reasoning_content", "reasoning"):
        raw = present(message, key)
        if raw is not None and opens(raw, '"'):
            yield text(raw, f"{path}.{key}")
    raw = present(message, "thinking_blocks")
    if raw is not None:
        for block in mappings(raw, f"{path}.thinking_blocks"):
            if thought := optional_text(block, "thinking", path):
                yield thought
    raw = present(message, "tool_calls")
    calls = [] if raw is None else mappings(raw, f"{path}.tool_calls")
    for call in calls:
        for kind, key in (("function", "arguments"), ("custom", "input")):
            inner = present(call, kind)
            if inner is not None:
                yield arguments(mapping(inner, f"{path}.{kind}").get(key), f"{path}.{kind}.{key}")
    raw = present(message, "function_call")
    if raw is not None:
        yield arguments(mapping(raw, f"{path}.function_call").get("arguments"), f"{path}.function_call.arguments")


def _content(message: Mapping[str, Raw], path: str, depth: int = 0) -> Iterator[str]:
    check_depth(depth, path)
    raw = present(message, "content")
    if raw is None:
        return
    if opens(raw, '"'):
        yield text(raw, f"{path}.content")
        return
    for place, part in enumerate(mappings(raw, f"{path}.content")):
        where = f"{path}.content[{place}]"
        for key in ("text", "refusal", "thinking"):
            inner = present(part, key)
            if inner is None:
                continue
            if opens(inner, '"'):
                yield text(inner, f"{where}.{key}")
            else:
                yield from _content({"content": inner}, path, depth + 1)

"""Every text a person or a model wrote in a request to Cohere, for guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Raw

from penstock.core.dialects.cohere.messages_in import whole_args
from penstock.core.dialects.openai_chat.reading import mapping, mappings, opens, optional_text, plain, present
from penstock.core.dialects.walking import strings


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts: contents, plans, thoughts, arguments of calls, and documents with every string in them."""
    raw = present(fields, "messages")
    for place, message in enumerate(mappings(raw, "messages")) if raw is not None else ():
        path = f"messages[{place}]"
        if plan := optional_text(message, "tool_plan", path):
            yield plan
        if (content := present(message, "content")) is not None:
            yield from _content(content)
        calls = present(message, "tool_calls")
        for call in mappings(calls, f"{path}.tool_calls") if calls is not None else ():
            if (inner := present(call, "function")) is not None:
                yield whole_args(mapping(inner, path).get("arguments"), path)
    if (documents := present(fields, "documents")) is not None:
        yield from strings(plain(documents))


def _content(raw: Raw) -> Iterator[str]:
    if opens(raw, '"'):
        yield plain(raw)
        return
    for part in plain(raw):
        if isinstance(part, dict) and part.get("type") == "image_url":
            continue
        told = {k: v for k, v in part.items() if k != "type"} if isinstance(part, dict) else part
        yield from strings(told)

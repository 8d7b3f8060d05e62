"""Every text a person or a model wrote in a request to Ollama, for guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Raw

from penstock.core.dialects.ollama.messages_in import arguments
from penstock.core.dialects.openai_chat.reading import mapping, mappings, optional_text, present


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts: contents, thoughts, arguments of calls; prompt, system and suffix of /api/generate."""
    for key in ("system", "prompt", "suffix", "template"):
        if told := optional_text(fields, key, ""):
            yield told
    raw = present(fields, "messages")
    if raw is None:
        return
    for place, message in enumerate(mappings(raw, "messages")):
        path = f"messages[{place}]"
        for key in ("thinking", "content"):
            if told := optional_text(message, key, path):
                yield told
        calls = present(message, "tool_calls")
        for call in mappings(calls, f"{path}.tool_calls") if calls is not None else ():
            inner = present(call, "function")
            if inner is not None:
                yield arguments(mapping(inner, path).get("arguments"), f"{path}.arguments")

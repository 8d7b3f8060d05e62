"""The Messages wire shapes that both directions use: strict structs, one per block type.

Sources: the public API reference (https://docs.anthropic.com/en/api/messages) and the type package of the ``anthropic``
Python client 2.10. ``forbid_unknown_fields`` is what makes the fast path safe: a block that has a field the neutral
form cannot hold fails here and is read the slow way, which keeps that field (see ``blocks_in``).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct

from penstock.core.dialects.endings import Words, is_other

NAME = "anthropic"
FAMILY = "anthropic"


class Wired(Struct, tag_field="type", forbid_unknown_fields=True, omit_defaults=True):
    """A tagged object of the wire: unknown fields are refused on the way in, absent ones left out on the way out."""


class Cache(Wired, tag="ephemeral"):
    ttl: str | None = None


class Base64Source(Wired, tag="base64"):
    media_type: str
    data: str


class UrlSource(Wired, tag="url"):
    url: str


class FileSource(Wired, tag="file"):
    file_id: str


class TextSource(Wired, tag="text"):
    data: str
    media_type: Literal["text/plain"]


class Cites(Struct, forbid_unknown_fields=True):
    enabled: bool


class TextBlock(Wired, tag="text"):
    text: str
    cache_control: Cache | None = None
    citations: list[Raw] | None = None


class ImageBlock(Wired, tag="image"):
    source: Base64Source | UrlSource | FileSource
    cache_control: Cache | None = None


class DocumentBlock(Wired, tag="document"):
    source: Base64Source | UrlSource | FileSource | TextSource
    title: str | None = None
    context: str | None = None
    citations: Cites | None = None
    cache_control: Cache | None = None


class ThinkingBlock(Wired, tag="thinking"):
    thinking: str
    signature: str


class RedactedBlock(Wired, tag="redacted_thinking"):
    data: str


class ToolUseBlock(Wired, tag="tool_use"):
    id: str
    name: str
    input: Raw
    cache_control: Cache | None = None


class ToolResultBlock(Wired, tag="tool_result"):
    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | None = None
    is_error: bool | None = None
    cache_control: Cache | None = None


Block = TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedBlock | ToolUseBlock | ToolResultBlock

# The keys of each block that the neutral form holds. Any other key travels beside the block (see ``blocks_in``).
KNOWN: dict[str, frozenset[str]] = {
    "text": frozenset(("text", "cache_control", "citations")),
    "image": frozenset(("source", "cache_control")),
    "document": frozenset(("source", "title", "context", "citations", "cache_control")),
    "thinking": frozenset(("thinking", "signature")),
    "redacted_thinking": frozenset(("data",)),
    "tool_use": frozenset(("id", "name", "input", "cache_control")),
    "tool_result": frozenset(("tool_use_id", "content", "is_error", "cache_control")),
}

# Effort words and thinking budgets (tokens). The API's least budget is 1,024.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
LEAST_BUDGET = 1024

STOP_IN = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_use",
    "pause_turn": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "context",
    "compaction": "other:compaction",  # to be gone on with, as the client asked for; an answer in no other dialect
}
WORDS = Words("stop_reason", STOP_IN, {"error": "upstream_error", "abort": "upstream_error"})
STOP_OUT = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_use": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "filter": "refusal",
    "context": "model_context_window_exceeded",
    "other:compaction": "compaction",
}


def finish_in(word: str | None, has_tools: bool, said: bool) -> str:
    """Return the neutral reason for a ``stop_reason``; see ``Words.read`` for what it raises. A server that left it
    null is judged by what it wrote."""
    return "tool_use" if not word and has_tools else WORDS.read(word or "", said)


def finish_out(reason: str, sequence: str) -> str:
    """Return the ``stop_reason`` for a neutral reason: the nearest one where the API has none; for one that nobody
    knows that of an answer which was cut off."""
    if reason == "stop" and sequence:
        return "stop_sequence"
    return STOP_OUT.get(reason) or ("max_tokens" if is_other(reason) else "end_turn")


NO_SEQUENCE = "told only of an answer that it ended"


def sequence_out(reason: str, sequence: str) -> str | None:
    """Return ``stop_sequence`` for this ``stop_reason``: null with any other than "stop_sequence". Engines that speak
    Chat name the text that ended a tool call, too."""
    return sequence if sequence and reason == "stop_sequence" else None


def effort_of(budget: int) -> str:
    """Return the effort word for a thinking budget in tokens."""
    if budget >= BUDGETS["high"]:
        return "high"
    if budget >= BUDGETS["medium"]:
        return "medium"
    return "low" if budget >= LEAST_BUDGET else "minimal"

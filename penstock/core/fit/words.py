"""Blocks of one vendor that hold words for the model arrive as text at the others.

A search result that a tool returned, the page that a server's tool fetched, what code printed: the conversation goes
on about it, and a model that never saw it invents it. Sources: platform.claude.com/docs/en/build-with-claude/
(search-results) and agents-and-tools/tool-use/, the ``openai`` client's output items, ai.google.dev/api/caching#Part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.ir import Block, Loss, Message, Opaque, Request, Text, ToolResult

_ANY = Decoder(dict[str, Any]).decode
_DEEPEST = 8


class Spoken(Struct, frozen=True):
    """Where the words of a kind of block stand. ``keys``: fields whose strings are words, at any depth. ``label``: what
    the text begins with, so that the model knows whose words they are."""

    label: str
    keys: frozenset[str]


def _row(label: str, keys: str) -> Spoken:
    return Spoken(label, frozenset(keys.split()))


_PRINTED = _row("Result of code", "stdout stderr content")
_ROWS: Mapping[tuple[str, str], Spoken] = {
    ("anthropic", "search_result"): _row("Search result", "title source text"),
    ("anthropic", "tool_reference"): _row("Tool that can be called now", "tool_name"),
    ("anthropic", "web_search_tool_result"): _row("Found on the web", "title url"),
    ("anthropic", "web_fetch_tool_result"): _row("Fetched from the web", "url title data text"),
    ("anthropic", "code_execution_tool_result"): _PRINTED,
    ("anthropic", "bash_code_execution_tool_result"): _PRINTED,
    ("anthropic", "text_editor_code_execution_tool_result"): _PRINTED,
    ("anthropic", "mcp_tool_result"): _row("Result of a tool", "content text"),
    ("openai_responses", "file_search_call"): _row("Found in files", "filename text"),
    ("openai_responses", "code_interpreter_call"): _row("Code and what it printed", "code logs"),
    ("openai_responses", "mcp_call"): _row("Tool and its result", "name arguments output"),
    ("openai_responses", "agent_message"): _row("Message of another agent", "author recipient text"),
    ("gemini", "executableCode"): _row("Code that was run", "code"),
    ("gemini", "codeExecutionResult"): _row("Result of code", "output"),
}


def fit_words(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Write such blocks as text, which is told as a loss. Their place in the conversation stays."""
    if request.dialect == takes.dialect or not _has_opaque(request.messages):
        return request, None
    spoken, turns = takes.dialect, request.messages
    messages = tuple(_message(turn, f"messages.{n}", spoken, losses) for n, turn in enumerate(turns))
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request, None
    return replace(request, messages=messages), None


def _has_opaque(messages: tuple[Message, ...]) -> bool:
    for message in messages:
        for block in message.blocks:
            kind = type(block)
            if kind is Opaque:
                return True
            if kind is ToolResult:
                for part in block.content:  # type: ignore[union-attr]
                    if type(part) is Opaque:
                        return True
    return False


def _message(message: Message, at: str, spoken: str, losses: list[Loss]) -> Message:
    blocks = _blocks(message.blocks, f"{at}.blocks", spoken, losses)
    return message if blocks is message.blocks else replace(message, blocks=blocks)


def _blocks(blocks: tuple[Block, ...], at: str, spoken: str, losses: list[Loss]) -> tuple[Block, ...]:
    """Return the blocks themselves where all of them stay."""
    out: list[Block] | None = None
    for place, block in enumerate(blocks):
        new = block
        if type(block) is Opaque:
            new = _told(block, f"{at}.{place}", spoken, losses)
        elif type(block) is ToolResult and block.content:
            content = _blocks(block.content, f"{at}.{place}.content", spoken, losses)
            new = block if content is block.content else replace(block, content=content)
        if new is not block and out is None:
            out = list(blocks[:place])
        if out is not None:
            out.append(new)
    return blocks if out is None else tuple(out)


def _told(block: Opaque, at: str, spoken: str, losses: list[Loss]) -> Block:
    row = _ROWS.get((block.dialect, block.kind))
    if row is None or block.dialect == spoken:
        return block
    try:
        words = [text for text in _walk(_ANY(block.raw), row.keys, "", 0) if text.strip()]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return block
    if not words:
        return block
    losses.append(Loss(at, f"{block.kind} is sent as text"))
    return Text("\n".join((f"[{row.label}]", *words)))


def _walk(value: Any, keys: frozenset[str], key: str, depth: int) -> Iterator[str]:
    """Yield the words, in the order in which they stand."""
    if isinstance(value, str):
        if key in keys:
            yield value
    elif depth < _DEEPEST:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from _walk(inner, keys, name, depth + 1)
        elif isinstance(value, list):
            for inner in value:
                yield from _walk(inner, keys, key, depth + 1)

"""A conversation as one prompt, for models that complete texts and know no turns."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.ir import Loss, Message, Text, ToolResult


def split(messages: Iterable[Message], losses: list[Loss]) -> tuple[str, list[tuple[str, str]]]:
    """Split messages into the system prompt, and (role, text) of every other turn that has a text."""
    system: list[str] = []
    turns: list[tuple[str, str]] = []
    for place, message in enumerate(messages):
        text = _text(message, f"messages.{place}", losses)
        if not text:
            continue
        if message.role in ("system", "developer"):
            system.append(text)
        else:
            turns.append((message.role, text))
    return "\n\n".join(system), turns


def _text(message: Message, path: str, losses: list[Loss]) -> str:
    parts: list[str] = []
    for place, block in enumerate(message.blocks):
        if isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, ToolResult):
            parts += [inner.text for inner in block.content if isinstance(inner, Text)]
            losses.append(Loss(f"{path}.blocks.{place}", "a tool's result is told as text"))
        else:
            losses.append(Loss(f"{path}.blocks.{place}", "a prompt is text here"))
    return "\n".join(parts)


def write(system: str, turns: list[tuple[str, str]]) -> str:
    """Write the prompt: the one text of a single question as it is; a conversation as its turns with their speakers'
    names."""
    if len(turns) == 1 and turns[0][0] == "user":
        told = turns[0][1]
    else:
        lines = [f"{'Assistant' if role == 'assistant' else 'User'}: {text}" for role, text in turns]
        if not turns or turns[-1][0] != "assistant":
            lines.append("Assistant:")
        told = "\n\n".join(lines)
    return f"{system}\n\n{told}" if system else told

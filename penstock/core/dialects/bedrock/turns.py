"""The turns of a conversation as Converse wants them; see ``dialects.turns`` for what it shares with others. A turn
with a document has a text, too.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html
"""

from __future__ import annotations

from typing import Any

from penstock.core.dialects import turns
from penstock.core.dialects.bedrock.blocks_in import INSTEAD
from penstock.core.dialects.bedrock.blocks_out import SEE_DOCUMENT, Out, Writer
from penstock.core.dialects.bedrock.wire import NAME
from penstock.core.dialects.turns import Policy, Turn
from penstock.core.ir import Message, ToolUse

POLICY = Policy(dialect=NAME, blank_says=False, strays_stay=True, block_fields=INSTEAD)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Build the turns from ``start`` on."""
    return turns.build_turns(messages, start, writer, POLICY)


def write_turn(turn: Turn, writer: Writer) -> dict[str, Any] | None:
    """Write the turn for the wire; None when nothing of it is left."""
    blocks = writer.blocks(turn.items, turn.role)  # type: ignore[arg-type]
    if not blocks:
        return None
    if not writer.own and _bare(blocks):
        blocks.append({"text": SEE_DOCUMENT})
    return {"role": turn.role, "content": blocks}


def _bare(blocks: list[Out]) -> bool:
    """Tell whether a turn has a document and no text."""
    keys = [key for block in blocks if isinstance(block, dict) for key in block]
    return "document" in keys and "text" not in keys


def used_tools(messages: tuple[Message, ...]) -> list[str]:
    """Return the names of the tools that were called before, each once."""
    calls = (block for message in messages if message.role == "assistant" for block in message.blocks)
    return list(dict.fromkeys(block.name for block in calls if isinstance(block, ToolUse)))

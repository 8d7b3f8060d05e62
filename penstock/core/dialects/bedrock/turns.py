"""The turns of a conversation as Converse wants them; see ``dialects.turns`` for what it shares with others. A turn
with a document has a text, too.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html
"""

from __future__ import annotations

import re
from typing import Any

from penstock.core.dialects import turns
from penstock.core.dialects.bedrock.blocks_in import INSTEAD
from penstock.core.dialects.bedrock.blocks_out import SEE_DOCUMENT, Out, Writer
from penstock.core.dialects.bedrock.wire import NAME
from penstock.core.dialects.turns import Ids, Policy, Spelling, Turn, text_before_end
from penstock.core.ir import Message, ToolUse

POLICY = Policy(dialect=NAME, blank_says=False, strays_stay=True, block_fields=INSTEAD)
_IDS = Spelling(
    re.compile(r"[a-zA-Z0-9_.:-]{1,64}"),
    re.compile(r"[^a-zA-Z0-9_.:-]"),
    64,
    "respelled: the API takes 64 letters, digits and _.:-, each id once",
)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Build the turns from ``start`` on."""
    return turns.build_turns(messages, start, writer, POLICY, None if writer.own else Ids(_IDS, writer))


def write_turn(turn: Turn, writer: Writer, last: bool) -> dict[str, Any] | None:
    """Write the turn for the wire; None when nothing of it is left."""
    blocks = writer.blocks(turn.items, turn.role)  # type: ignore[arg-type]
    if not blocks:
        return None
    if last and turn.role == "assistant" and not writer.own:
        _trim(blocks, turn, writer)
    if not writer.own and _bare(blocks):
        blocks.append({"text": SEE_DOCUMENT})
    return {"role": turn.role, "content": blocks}


def _bare(blocks: list[Out]) -> bool:
    """Tell whether a turn has a document and no text."""
    keys = [key for block in blocks if isinstance(block, dict) for key in block]
    return "document" in keys and "text" not in keys


def _trim(blocks: list[Out], turn: Turn, writer: Writer) -> None:
    """Cut the white space at the end of a prefill: Claude answers 400 to it."""
    final = blocks[-1]
    if isinstance(final, dict) and isinstance(final.get("text"), str) and final["text"] != final["text"].rstrip():
        writer.lose(f"{text_before_end(turn)}.text", "white space at the end of a prefill is refused")
        final["text"] = final["text"].rstrip()


def used_tools(messages: tuple[Message, ...]) -> list[str]:
    """Return the names of the tools that were called before, each once."""
    calls = (block for message in messages if message.role == "assistant" for block in message.blocks)
    return list(dict.fromkeys(block.name for block in calls if isinstance(block, ToolUse)))

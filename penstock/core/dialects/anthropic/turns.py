"""The turns of a conversation as the Messages API wants them; see ``dialects.turns`` for what it shares with others.

Source: https://docs.anthropic.com/en/api/messages and the API's own 400s.
"""

from __future__ import annotations

import re

from msgspec import Raw
from msgspec.json import decode, encode

from penstock.core.dialects import turns
from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_in import FIELDS, TURN
from penstock.core.dialects.anthropic.blocks_out import Out, Writer
from penstock.core.dialects.turns import Ids, Item, Policy, Spelling, Turn, text_before_end
from penstock.core.ir import Message

POLICY = Policy(dialect=wire.NAME, opaque_stays=True, turn_fields=TURN, block_fields=FIELDS)
_IDS = Spelling(
    re.compile(r"[a-zA-Z0-9_-]+"),
    re.compile(r"[^a-zA-Z0-9_-]"),
    0,
    "respelled: the API takes letters, digits, _ and -, each id once",
)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Build the turns from ``start`` on. A server that is only compatible takes any id."""
    ids = None if writer.own or not writer.official else Ids(_IDS, writer)
    return turns.build_turns(messages, start, writer, POLICY, ids)


def write_turn(turn: Turn, writer: Writer, last: bool) -> dict[str, object] | None:
    """Write the turn for the wire; None when nothing of it is left."""
    role = turn.role
    blocks = writer.blocks(turn.items, role)  # type: ignore[arg-type]
    if not blocks and turn.fields is None:
        return None
    if last and role == "assistant" and writer.official and not writer.own:
        _trim(blocks, turn, writer)
    out: dict[str, object] = {"role": role, "content": _content(blocks)}
    if turn.fields is not None:
        out.update(decode(turn.fields.raw, type=dict[str, Raw]))
        if not blocks:
            del out["content"]
    return out


def _content(blocks: list[Out]) -> str | list[Out]:
    if len(blocks) == 1:
        only = blocks[0]
        if type(only) is wire.TextBlock and only.cache_control is None and only.citations is None:
            return only.text
    return blocks


def _trim(blocks: list[Out], turn: Turn, writer: Writer) -> None:
    """Cut the white space at the end of a prefill: the API answers 400 to it."""
    final = blocks[-1] if blocks else None
    if isinstance(final, wire.TextBlock) and final.text != final.text.rstrip():
        writer.lose(f"{text_before_end(turn)}.text", "white space at the end of a prefill is refused")
        blocks[-1] = wire.TextBlock(final.text.rstrip(), final.cache_control, final.citations)


def write_system(items: list[Item], writer: Writer) -> Raw | None:
    blocks = writer.blocks(items, "system")
    return Raw(encode(_content(blocks))) if blocks else None

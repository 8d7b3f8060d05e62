"""The turns of a conversation as the Messages API wants them; see ``dialects.turns`` for what it shares with others.

Source: https://docs.anthropic.com/en/api/messages and the API's own 400s.
"""

from __future__ import annotations

from msgspec import Raw
from msgspec.json import decode, encode

from penstock.core.dialects import turns
from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_in import FIELDS, TURN
from penstock.core.dialects.anthropic.blocks_out import Out, Writer
from penstock.core.dialects.turns import Item, Policy, Turn
from penstock.core.ir import Message

POLICY = Policy(dialect=wire.NAME, opaque_stays=True, turn_fields=TURN, block_fields=FIELDS)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Build the turns from ``start`` on."""
    return turns.build_turns(messages, start, writer, POLICY)


def write_turn(turn: Turn, writer: Writer) -> dict[str, object] | None:
    """Write the turn for the wire; None when nothing of it is left."""
    role = turn.role
    blocks = writer.blocks(turn.items, role)  # type: ignore[arg-type]
    if not blocks and turn.fields is None:
        return None
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


def write_system(items: list[Item], writer: Writer) -> Raw | None:
    blocks = writer.blocks(items, "system")
    return Raw(encode(_content(blocks))) if blocks else None

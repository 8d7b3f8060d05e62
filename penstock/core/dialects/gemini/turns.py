"""The contents of a conversation as the API wants them; see ``dialects.turns`` for what it shares with others. The
assistant is ``model`` here, and a result bears the name of its function.
"""

from __future__ import annotations

from typing import Any

from msgspec.json import Decoder

from penstock.core.dialects import turns
from penstock.core.dialects.gemini import wire
from penstock.core.dialects.gemini.parts_in import FIELDS, TURN
from penstock.core.dialects.gemini.parts_out import Writer
from penstock.core.dialects.turns import Policy, Turn
from penstock.core.ir import Message

_OBJECT = Decoder(dict[str, Any]).decode
POLICY = Policy(dialect=wire.NAME, system_stays=False, calls_anywhere=False, turn_fields=TURN, block_fields=FIELDS)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Build the turns from ``start`` on."""
    return turns.build_turns(messages, start, writer, POLICY, names=writer.names)


def write_turn(turn: Turn, writer: Writer) -> dict[str, Any] | None:
    """Write the turn as a content; None when nothing of it is left."""
    parts = writer.parts(turn.items)
    if not parts and turn.fields is None:
        return None
    model = turn.role == "assistant"
    if model and writer.version >= 3:
        _mark_unsigned(parts)
    out: dict[str, Any] = {"role": "model" if model else "user", "parts": parts}
    if turn.fields is not None:
        out.update(_OBJECT(turn.fields.raw))
    return out


def _mark_unsigned(parts: list[Any]) -> None:
    """Mark the first call of a step where none has a signature: models from 3 on answer 400 to that. The history is
    another model's then, or the client dropped the signature, and the vendor's own word for that goes in."""
    calls = [part for part in parts if isinstance(part, dict) and "functionCall" in part]
    if calls and not any("thoughtSignature" in call for call in calls):
        calls[0]["thoughtSignature"] = wire.SKIP

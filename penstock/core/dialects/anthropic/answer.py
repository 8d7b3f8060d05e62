"""Whole answers of the Messages API.

Source: https://docs.anthropic.com/en/api/messages (response) and the ``anthropic`` client's ``Message``.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.anthropic import usage as counts
from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_in import bad, items, present, read_block, string, unsealed
from penstock.core.dialects.anthropic.blocks_out import AnswerWriter
from penstock.core.dialects.anthropic.errors import stream_error
from penstock.core.dialects.base import RenderedAnswer, View
from penstock.core.dialects.carried import arranged
from penstock.core.dialects.turns import Item
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Block, Choice, Loss, Opaque, Response, ToolUse

_NULL = Raw(b"null")
_FIELDS = Decoder(dict[str, Raw])
_KNOWN = frozenset(("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"))


def parse_response(body: bytes) -> Response:
    """Parse a whole answer. Raises ``GatewayError("broken_answer")`` for what is not one, and the error it holds when
    an error came with a 200."""
    try:
        return _parse(body)
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a message: {error}.") from None
    except GatewayError as error:
        if error.kind != "bad_request":
            raise
        raise GatewayError("broken_answer", f"The upstream's answer is not a message: {error.message}") from None


def _parse(body: bytes) -> Response:
    fields = _FIELDS.decode(body)
    if bytes(fields.get("type", b"")) == b'"error"' or ("error" in fields and "content" not in fields):
        raise stream_error(body)
    content = present(fields, "content")
    if content is None:
        bad("content", None, "an array of content blocks")
    blocks: list[Block] = []
    for number, raw in enumerate(items(content, "content")):
        blocks.extend(read_block(raw, f"content.{number}"))
    blocks = list(unsealed(tuple(blocks)))
    meter = counts.Meter()
    extra = [Opaque(wire.NAME, key, bytes(raw)) for key, raw in fields.items() if key not in _KNOWN and not _null(raw)]
    used = present(fields, "usage")
    if used is not None:
        meter.feed(counts.read(used))
        extra.extend(counts.unknown(used))
    has_tools = any(isinstance(block, ToolUse) for block in blocks)
    finish = wire.finish_in(string(fields, "stop_reason", "", ""), has_tools, bool(blocks))
    choice = Choice(tuple(blocks), finish, string(fields, "stop_sequence", "", ""))
    return Response(
        id=string(fields, "id", "", ""),
        model=string(fields, "model", "", ""),
        choices=(choice,),
        usage=meter.usage(),
        service_tier=meter.tier,
        extra=tuple(extra),
    )


def _null(raw: Raw) -> bool:
    return raw == _NULL


def message_id(given: str, view: View) -> str:
    """Return the answer's id: a message's own, else a new one. Clients of this API have been seen to check the
    prefix."""
    return given if given.startswith("msg_") else view.mint("msg_")


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a Messages client. It holds one choice."""
    losses: list[Loss] = []
    writer = AnswerWriter(losses)
    choice = response.choices[0] if response.choices else Choice(())
    for number in range(1, len(response.choices)):
        losses.append(Loss(f"choices.{number}", "an answer holds one choice here"))
    if choice.logprobs:
        losses.append(Loss("choices.0.logprobs", "there are no logprobs here"))
    blocks: list[Item] = []
    for number, block in enumerate(choice.blocks):
        if isinstance(block, ToolUse) and not block.id:
            block = msgspec.structs.replace(block, id=view.mint("toolu_"))
        blocks.append((f"choices.0.blocks.{number}", block))
    used = counts.write(response.usage, counts.tier_out(response.service_tier))
    reason = wire.finish_out(choice.finish, choice.stop_sequence)
    sequence = wire.sequence_out(reason, choice.stop_sequence)
    if choice.stop_sequence and sequence is None:
        losses.append(Loss("choices.0.stop_sequence", wire.NO_SEQUENCE))
    body: dict[str, Any] = {
        "id": message_id(response.id, view),
        "type": "message",
        "role": "assistant",
        "model": view.model,
        "content": writer.blocks(arranged(blocks, wire.FAMILY), "assistant"),
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": used,
    }
    for opaque in response.extra:
        if opaque.dialect != wire.NAME:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
        elif opaque.kind.startswith("usage."):
            used[opaque.kind[6:]] = Raw(opaque.raw)
        else:
            body[opaque.kind] = Raw(opaque.raw)
    return RenderedAnswer(encode(body), tuple(losses))

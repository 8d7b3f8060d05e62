"""Streams of the Responses API that somebody else has begun: numbers and ids go on from those that the client has."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from penstock.core.dialects.base import StreamEncoder
from penstock.core.dialects.openai_responses.stream_out import Encoder


class _Last(Struct, gc=False):
    type: str = ""
    sequence_number: int = 0
    item_id: str = ""
    output_index: int = -1


_LAST = msgspec.json.Decoder(_Last).decode
# Behind any other event an item or a part has begun, or is over, of which no text tells.
_WITHIN = ("response.created", "response.in_progress", "response.output_text.delta")


def resume(encoder: StreamEncoder, last: bytes) -> bool:
    """Give an encoder the numbers and the item's id of the stream that it goes on with, see ``base.Dialect``. False
    where other items are out than it was told of: the next would be counted wrong."""
    assert isinstance(encoder, Encoder)
    try:
        found = _LAST(last)
    except msgspec.DecodeError:
        return False
    return found.type in _WITHIN and encoder.resume(found.sequence_number, found.output_index, found.item_id)

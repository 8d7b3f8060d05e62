"""Answers that stay: what ``previous_response_id`` and ``GET /v1/responses/{id}`` need, for any backend.

An answer is kept under its id with the items that led to it, unless the client says ``store: false``. When the next
request goes to the upstream that keeps the same answer itself, the id goes along; to any other the items go instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from penstock.core import sse
from penstock.core.dialects.openai_responses.stored import (
    expand_previous,
    input_items,
    keeps,
    output_items,
    previous_id,
    with_ids,
)
from penstock.core.errors import GatewayError
from penstock.runtime import apart, lanes
from penstock.runtime.ids import mint

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.stores.base import Store

NAME = "openai_responses"
_TURN = ("input",)  # what of a request is kept
KEEP = 24 * 3600.0  # seconds an answer is kept
_FINAL = (b"response.completed", b"response.incomplete")


class StoredResponse(Struct, frozen=True):
    """A stored turn of a conversation. ``body``: the answer. ``input``: the items of the request, ``items``: those and
    all before them and the answer's, oldest first. ``target``: who answered, "" when the upstream keeps nothing (the
    cross lane)."""

    body: Raw
    input: list[Raw]
    items: list[Raw]
    target: str = ""


_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(StoredResponse).decode
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode


def key(alias: str, response_id: str) -> str:
    """Return the store's key of an answer, with the caller's name in it: nobody reads another's answers by guessing
    ids."""
    return f"response:{alias}:{response_id}"


async def find(store: Store, alias: str, response_id: str) -> StoredResponse | None:
    found = await store.get(key(alias, response_id))
    return _DECODE(found) if found is not None else None


async def run(attempt: Attempt) -> None:
    """Make one try on the Responses surface, with the earlier turns in front; keep the answer."""
    call, asked = attempt.call, attempt.fields
    before: list[Raw] = []
    previous = previous_id(asked)
    if previous:
        stored = await find(call.means.store, call.caller.alias, previous)
        native = lanes.choose(attempt) == NAME
        if stored is not None:
            before = stored.items
            if not native or stored.target != attempt.target.id:
                many = len(before) > apart.MOST_ELEMENTS or len(call.exchange.body) >= apart.LARGE
                fields = await apart.plain(expand_previous, asked, before) if many else expand_previous(asked, before)
                attempt.send_fields(fields)
                attempt.previous = previous
        elif not native:
            text = (
                f"Previous response with id {previous!r} not found: it is unknown here, was not stored, or is too old."
            )
            raise GatewayError("bad_request", text, param="previous_response_id")
    await lanes.run(attempt)
    if keeps(asked):
        await _keep(attempt, asked, before)


async def _keep(attempt: Attempt, asked: Mapping[str, Raw], before: list[Raw]) -> None:
    call = attempt.call
    who = attempt.target.id if attempt.lane == "same" else ""
    given = {key: asked[key] for key in _TURN if key in asked}
    if attempt.long or len(attempt.tail) >= apart.LARGE:
        kept = await apart.plain(_stored, given, before, attempt.tail, attempt.stream, who)
    else:
        kept = _stored(given, before, attempt.tail, attempt.stream, who)
    if kept is not None:
        await call.means.store.put(key(call.caller.alias, kept[0]), kept[1], KEEP)


def _stored(
    asked: Mapping[str, Raw], before: list[Raw], tail: bytes, stream: bool, target: str
) -> tuple[str, bytes] | None:
    """Make what is kept of an answer: its id, and the turn. None when it cannot be asked for."""
    body = _final(tail) if stream else tail
    if not body:
        return None
    try:
        response_id = msgspec.json.decode(_FIELDS(body)["id"], type=str)
    except (KeyError, msgspec.DecodeError):
        return None
    own = with_ids(input_items(asked), mint)
    items = [*before, *own, *output_items(body)]
    return response_id, _ENCODE(StoredResponse(Raw(body), own, items, target))


def _final(tail: bytes) -> bytes:
    """Find the response object in a stream's last event; b"" where there is none."""
    decoder = sse.Decoder()
    for event in reversed(decoder.feed(tail) + decoder.close()):
        if event.name in _FINAL:
            return bytes(_FIELDS(event.data)["response"])
    return b""

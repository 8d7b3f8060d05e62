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
from penstock.core.dialects.openai_responses.compaction import (
    MARK,
    show_summaries,
    since_compaction,
    without_triggers,
)
from penstock.core.dialects.openai_responses.stored import (
    expand_previous,
    input_items,
    keeps,
    output_items,
    previous_id,
    with_ids,
)
from penstock.core.errors import GatewayError, shed
from penstock.runtime import apart, counting, lanes
from penstock.runtime.ids import mint

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.stores.base import Store

NAME = "openai_responses"
_TURN = ("input",)  # what of a request is kept
KEEP = 24 * 3600.0  # seconds an answer is kept
STATEFUL = frozenset(("background", "conversation"))
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
    """Return a kept answer of a caller's own. Raises "no_database"."""
    try:
        found = await store.get(key(alias, response_id))
    except OSError:
        text = "The database cannot be reached, so it is not known which responses are kept."
        raise GatewayError("no_database", text, retry_after=5) from None
    return _DECODE(found) if found is not None else None


async def run(attempt: Attempt) -> None:
    """Make one try on the Responses surface, with the earlier turns in front; keep the answer."""
    asked = attempt.fields
    if not STATEFUL.isdisjoint(asked):
        refuse_state(attempt)
    before = await go_on(attempt)
    try:
        await lanes.run(attempt)
    except GatewayError as error:
        # The vendor itself refuses a summary that is not its own, so nobody else pays for looking for one.
        if error.status != 400 or attempt.first_at is not None or not show_own(attempt):
            raise
        shed(error)
        await lanes.run(attempt)
    if keeps(asked):
        await keep(attempt, asked, before)


async def count(attempt: Attempt) -> None:
    """Make one try at a count of an input, the turns before in front."""
    await go_on(attempt)
    await counting.run(attempt)


def refuse_state(attempt: Attempt) -> None:
    """Refuse what would have to be kept elsewhere: a model without the conversation answers as if it had none, and an
    answer in the background would never be found. Raises "bad_request", and "unsupported" where another target may
    have it."""
    fields, target = attempt.fields, attempt.target
    if bytes(fields.get("background", b"")) == b"true":
        text = (
            "'background' is true, and this gateway makes no answers in the background. Leave it out, with 'stream': "
            "true for long ones, or use the provider's own API at /openai/v1/responses."
        )
        raise GatewayError("bad_request", text, param="background")
    given = bytes(fields.get("conversation", b"null"))
    if given == b"null" or (lanes.choose(attempt) == NAME and target.wire_for(NAME).official):
        return
    text = (
        f"'conversation' names one that OpenAI keeps, and {target.label} knows nothing of it. Send the turns in "
        "'input', or the answer before as 'previous_response_id', which works with every model here."
    )
    raise GatewayError("unsupported", text, param="conversation")


async def go_on(attempt: Attempt) -> list[Raw]:
    """Put the turns before into the attempt's fields where its target does not have them itself. Return the items of
    the turns before."""
    call, asked = attempt.call, attempt.fields
    before: list[Raw] = []
    previous = previous_id(asked)
    if previous:
        stored = await find(call.means.store, call.caller.tenant, previous)
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
            code = "previous_response_not_found"
            raise GatewayError("bad_request", text, param="previous_response_id", upstream_code=code)
    if not attempt.target.wire.official:  # who may well ignore an item that it does not know
        show_own(attempt)
    return before


def show_own(attempt: Attempt) -> bool:
    """Put summaries that this gateway made into the attempt's fields as what they say; tell whether there were any."""
    given = attempt.fields.get("input")
    if given is None or MARK not in bytes(given):
        return False
    attempt.send_fields(show_summaries(attempt.fields))
    return True


async def keep(attempt: Attempt, asked: Mapping[str, Raw], before: list[Raw]) -> None:
    """Keep an answer that is out, with the items that led to it: ``before`` and those of the request."""
    call = attempt.call
    who = attempt.target.id if attempt.lane == "same" and not attempt.goes_on else ""  # it may have begun elsewhere
    given = {key: asked[key] for key in _TURN if key in asked}
    if attempt.long or len(attempt.tail) >= apart.LARGE:
        kept = await apart.plain(_stored, given, before, attempt.tail, attempt.stream, who)
    else:
        kept = _stored(given, before, attempt.tail, attempt.stream, who)
    if kept is not None:
        await call.means.store.put(key(call.caller.tenant, kept[0]), kept[1], KEEP)


async def keep_given(call: Call, sent: bytes) -> None:
    """Keep an answer that was given again under the id that this client knows it by: it may go on from there."""
    previous = previous_id(call.fields)
    stored = await find(call.means.store, call.caller.tenant, previous) if previous else None
    given = {key: call.fields[key] for key in _TURN if key in call.fields}
    kept = _stored(given, [] if stored is None else stored.items, sent, call.stream, "")
    if kept is not None:
        await call.means.store.put(key(call.caller.tenant, kept[0]), kept[1], KEEP)


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
    own = with_ids(without_triggers(input_items(asked)), mint)
    answered = output_items(body)
    items = since_compaction(answered) or [*before, *own, *answered]
    return response_id, _ENCODE(StoredResponse(Raw(body), own, items, target))


def _final(tail: bytes) -> bytes:
    """Find the response object in a stream's last event; b"" where there is none."""
    decoder = sse.Decoder()
    for event in reversed(decoder.feed(tail) + decoder.close()):
        if event.name in _FINAL:
            return bytes(_FIELDS(event.data)["response"])
    return b""

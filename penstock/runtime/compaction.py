"""``/v1/responses/compact``: a conversation is replaced by what its user said and one item that stands for the rest.

OpenAI's own API makes the item where the target is one; any other target is asked for a summary, as for a
``compaction_trigger`` (``core.fit.compaction``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.openai_responses.compaction import with_trigger
from penstock.core.dialects.openai_responses.stored import input_items, with_ids
from penstock.core.dialects.openai_responses.usage import read_usage, write_usage
from penstock.core.errors import GatewayError
from penstock.core.fit.compaction import Compacted, ask_summary
from penstock.core.ir import Loss, Opaque, Response
from penstock.runtime import lanes, stored_responses
from penstock.runtime.cross import cross_request, usage_of
from penstock.runtime.ids import mint
from penstock.runtime.post import ask
from penstock.runtime.same import body_of, own_fields

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt

_UNKNOWN_THERE = frozenset({404, 405, 501})
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode


async def run(attempt: Attempt) -> None:
    """Make one try. A server of the Responses API that has no such URL is asked for a summary, too."""
    asked = attempt.fields
    if not stored_responses.STATEFUL.isdisjoint(asked):
        stored_responses.refuse_state(attempt)
    await stored_responses.go_on(attempt)
    dialect = lanes.choose(attempt)
    body = await _compacted(attempt) if dialect == stored_responses.NAME else None
    if body is None:
        body = await _summarized(attempt, dialect)
    attempt.call.outlet.whole(attempt, body)


async def _compacted(attempt: Attempt) -> bytes | None:
    """Return the target's own compaction; None where it has none."""
    attempt.lane = "same"
    endpoint = attempt.target.endpoint("openai_responses_compact")
    body = body_of(own_fields(attempt), attempt)
    try:
        told = await ask(attempt, endpoint, body, attempt.client.parse_error)
    except GatewayError as error:
        if error.status not in _UNKNOWN_THERE:
            raise
        return None
    try:
        fields = _FIELDS(told)
    except msgspec.DecodeError as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a JSON object: {error}.") from None
    attempt.usage = read_usage(fields.get("usage"))
    if "model" in fields:
        fields["model"] = attempt.call.model_raw
        told = msgspec.json.encode(fields)
    return told


async def _summarized(attempt: Attempt, dialect: str) -> bytes:
    """Ask for a summary in ``dialect`` and return the compaction that holds it."""
    attempt.lane = "cross"
    target, spoken = attempt.target, DIALECTS.get(dialect)
    if target.attempt is not None or spoken is None:
        raise GatewayError("unsupported", f"{target.label} cannot be asked for a summary.", param="input")
    request = replace(attempt.call.parse(with_trigger(attempt.fields)), stream=False, stream_usage=None)
    losses: list[Loss] = []
    if dialect == attempt.client.name:  # whose requests the fit leaves as they are
        request, _ = ask_summary(request, losses)
    endpoint = target.endpoint(dialect)
    body = cross_request(attempt, endpoint.quirks, spoken, request)
    attempt.losses += tuple(losses)
    told = await ask(attempt, endpoint, body, spoken.parse_error)
    mend = endpoint.quirks.mend
    answered = spoken.parse_response(told if mend is None else mend(told))
    attempt.usage = usage_of(attempt, answered)
    undo = attempt.undo if dialect != attempt.client.name else Compacted()
    assert undo is not None
    return _render(attempt, undo.response(answered))


def _render(attempt: Attempt, response: Response) -> bytes:
    """Render the object that the endpoint answers: what the user said, and the item behind it."""
    said = [raw for raw in input_items(attempt.fields) if bytes(_FIELDS(raw).get("role", b"")) == b'"user"']
    items = [Raw(block.raw) for block in response.choices[0].blocks if isinstance(block, Opaque)]
    made = {
        "id": mint("resp_"),
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [*with_ids(said, mint), *items],
        "usage": write_usage(attempt.usage),
    }
    return msgspec.json.encode(made)

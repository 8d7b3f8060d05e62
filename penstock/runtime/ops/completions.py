"""/v1/completions at a target: its own operation where it has one, else a chat for each prompt."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects import completions as completion_wire
from penstock.core.errors import GatewayError
from penstock.core.providers.operations import is_native
from penstock.runtime import lanes
from penstock.runtime.cross import cross_request, cross_response
from penstock.runtime.ops.ask import ask, together

if TYPE_CHECKING:
    from penstock.core.ir import Loss
    from penstock.runtime.attempt import Attempt


async def completions(attempt: Attempt) -> None:
    """Make one try at /v1/completions."""
    live, target = attempt.live, attempt.target
    _decide_dialect(attempt)
    if lanes.choose(attempt) == completion_wire.name or len(completion_wire.prompts(attempt.fields)) == 1:
        guessed = completion_wire.name in live.speaks(target)
        done = True
        try:
            await lanes.run(attempt)
        except completion_wire.Several:  # it turned out to know chats only, see ``speaks.forget_dialect``
            done = False
        if guessed and completion_wire.name not in live.speaks(target):
            # Its chat answered where this did not: it is not the model that is missing.
            live.asked.add(completion_wire.name)
        if done:
            return
    await _each(attempt)


def _decide_dialect(attempt: Attempt) -> None:
    """Decide whether the target is asked for completions or for chats. A guess that turns out wrong is taken back by
    ``speaks.forget_dialect``, as for any dialect."""
    live, target = attempt.live, attempt.target
    if completion_wire.name in live.speaks(target) or completion_wire.name in live.asked:
        return
    mode = str(target.deployment.info.get("mode") or "")
    native = is_native(target.provider.name, target.model, target.wire.official, mode)
    if native is None:
        live.asked.add(completion_wire.name)
    if native is not False:
        live.dialects = (*live.dialects, completion_wire.name)


async def _each(attempt: Attempt) -> None:
    """Send a chat for each prompt, and put all their choices in one answer. A stream begins when the last of them is
    there."""
    attempt.lane = "cross"
    target, dialect = attempt.target, lanes.choose(attempt)
    if target.attempt is not None:
        text = f"{target.label} takes one prompt at a time; send a request for each."
        raise GatewayError("unsupported", text, param="prompt")
    spoken, endpoint = DIALECTS[dialect], target.endpoint(dialect)
    parsed = completion_wire.parse_all(attempt.fields)
    requests = [replace(attempt.laid(request), stream=False, stream_usage=None) for request in parsed]
    bodies: list[bytes] = []
    losses: list[Loss] = []
    for request in requests:
        bodies.append(cross_request(attempt, endpoint.quirks, spoken, request))
        losses += attempt.losses
    attempt.losses = tuple(dict.fromkeys(losses))
    answers = await together(attempt, [partial(ask, attempt, dialect, body, dialect=dialect) for body in bodies])
    attempt.request = replace(requests[0], echo=tuple(text for request in requests for text in request.echo))
    read = [spoken.parse_response(answer) for answer in answers]
    undo = attempt.undo
    cross_response(attempt, completion_wire.joined(read if undo is None else [undo.response(one) for one in read]))

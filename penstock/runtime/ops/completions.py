"""/v1/completions at a target: its own operation where it has one, else a chat for each prompt."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.errors import GatewayError
from penstock.core.ops import completions as forms
from penstock.runtime import lanes
from penstock.runtime.cross import back_for, cross_request, cross_response
from penstock.runtime.ops.ask import ask, together

if TYPE_CHECKING:
    from penstock.core.ir import Loss
    from penstock.runtime.call import Call
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target


async def completions(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/completions."""
    _learn(target)
    if lanes.choose(call, target) == forms.name or len(forms.prompts(call.fields)) == 1:
        guessed = forms.name in target.dialects
        done = True
        try:
            await lanes.run(pool, call, target)
        except forms.Several:  # it turned out to know chats only, see ``speaks.unlearn``
            done = False
        if guessed and forms.name not in target.dialects:
            target.asked.add(forms.name)  # its chat answered where this did not: it is not the model that is missing
        if done:
            return
    await _each(pool, call, target)


def _learn(target: Target) -> None:
    """Settles whether the target is asked for completions or for chats. A guess that turns out wrong is taken back by
    ``speaks.unlearn``, as for any dialect."""
    if forms.name in target.dialects or forms.name in target.asked:
        return
    mode = str(target.deployment.info.get("mode") or "")
    native = forms.is_native(target.provider.name, target.model, target.wire.official, mode)
    if native is None:
        target.asked.add(forms.name)
    if native is not False:
        target.dialects = (*target.dialects, forms.name)


async def _each(pool: Pool, call: Call, target: Target) -> None:
    """A chat for each prompt, all their choices in one answer. A stream begins when the last of them is there."""
    call.lane = "cross"
    dialect = lanes.choose(call, target)
    if target.attempt is not None:
        text = f"{target.label} takes one prompt at a time; send a request for each."
        raise GatewayError("unsupported", text, param="prompt")
    spoken, endpoint = DIALECTS[dialect], target.endpoint(dialect)
    requests = [replace(request, stream=False, stream_usage=None) for request in forms.parse_all(call.fields)]
    bodies: list[bytes] = []
    losses: list[Loss] = []
    for call.request in requests:
        bodies.append(cross_request(call, target, endpoint.quirks, spoken))
        losses += call.losses
    call.losses = tuple(dict.fromkeys(losses))
    answers = await together(
        call, [partial(ask, pool, call, target, dialect, body, dialect=dialect) for body in bodies]
    )
    call.request = replace(requests[0], echo=tuple(text for request in requests for text in request.echo))
    call.lane = "cross"
    back = back_for(call, target, spoken)
    read = [spoken.parse_response(answer) for answer in answers]
    cross_response(call, forms.joined(read if back is None else [back.response(one) for one in read]))

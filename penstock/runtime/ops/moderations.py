"""/v1/moderations at a target, and the model that is meant when none is named."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.ops import moderations as forms
from penstock.core.price import Units
from penstock.runtime import outlet
from penstock.runtime.ops.ask import ask, own_fields, sealed, together

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.http import Pool
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target


async def moderations(pool: Pool, call: Call, target: Target) -> None:
    """One attempt at /v1/moderations."""
    call.lane = "same"
    fields = own_fields(call, target)
    [answer] = await together(call, [partial(ask, pool, call, target, "moderations", sealed(fields, target))])
    body, call.usage = forms.answer(answer, call.model_raw)
    call.units = Units(requests=1)
    call.first_at = call.clock()
    outlet.send_whole(call, body)


def moderation_model(state: State) -> str:
    """Who judges when a request names nobody: ``general_settings.moderation_model``, else the first model that is
    for it, else OpenAI's own if it is to be had here. "" when there is none."""
    named = state.config.general.values.get("moderation_model")
    if named:
        return str(named)
    for target in state.targets:
        deployment = target.deployment
        if "*" not in deployment.model_name and (
            deployment.info.get("mode") == "moderation" or "moderation" in target.model
        ):
            return deployment.model_name
    try:
        state.plan(forms.DEFAULT)
    except GatewayError:
        return ""
    return forms.DEFAULT



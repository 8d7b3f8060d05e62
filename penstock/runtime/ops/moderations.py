"""/v1/moderations at a target, and the model that is meant when none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.ops import moderations as moderation_wire
from penstock.core.price import Units
from penstock.runtime.ops.ask import ask
from penstock.runtime.same import body_of, own_fields

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.state import State


async def moderations(attempt: Attempt) -> None:
    """Make one try at /v1/moderations."""
    attempt.lane = "same"
    answer = await ask(attempt, "moderations", body_of(own_fields(attempt), attempt))
    body, attempt.usage = moderation_wire.answer(answer, attempt.call.model_raw)
    attempt.units = Units(requests=1)
    attempt.call.outlet.whole(attempt, body)


def moderation_model(state: State) -> str:
    """Choose the model that judges when a request names none: the first model that is for it, else OpenAI's own if it
    is to be had here. "" when there is none."""
    for target in state.targets:
        deployment = target.deployment
        if "*" not in deployment.model_name and (
            deployment.info.get("mode") == "moderation" or "moderation" in target.model
        ):
            return deployment.model_name
    try:
        state.plan(moderation_wire.DEFAULT)
    except GatewayError:
        return ""
    return moderation_wire.DEFAULT

"""One request that the gateway makes of itself: an item of a batch. It passes the gate and the engine as every request
does, and its answer is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.admit.caller import NOBODY
from penstock.core.errors import GatewayError
from penstock.runtime.call import Call

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.runtime.exchange import CollectedExchange
    from penstock.runtime.outlet import MountStyle
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface
    from penstock.server.gateway import Gateway


async def ask(
    gateway: Gateway,
    exchange: CollectedExchange,
    surface: Surface,
    state: State,
    path: str,
    style: MountStyle | None = None,
    caller: Caller | None = None,
) -> Call:
    """Answer an exchange as a call of a surface at a path. ``caller``: who makes it, where no header says so; then it
    is priced as a batch, where its deployment has a price for these. Give back its place in the line when it is
    over."""
    call = Call(exchange, gateway.engine.means, NOBODY, surface)
    call.path, call.mount_style, call.batched = path, style, caller is not None
    try:
        waits = gateway.gate.admit(call, surface, caller)
        if waits is not None:
            await waits
        gateway.held.take(exchange, len(exchange.body))
        await gateway.engine.handle(call, state)
    except GatewayError as error:
        call.outlet.refuse(call, error)
        gateway.engine.record(call, error)
    finally:
        gateway.end(exchange)
    return call

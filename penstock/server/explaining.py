"""The page that tells where a request would go, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.runtime.explain import explain
from penstock.runtime.wishes import read_wishes
from penstock.server.routes import JSON, Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway


def route_explained(gateway: Gateway, call: Call) -> Page:
    """Tell where a request for a model would go: every deployment, who is left out and why, the fallbacks. GET with
    ``?model=``, or POST the request itself: tags, length, needs and what it says of its own fallbacks count then."""
    exchange, state = call.exchange, gateway.state
    wishes = None
    if exchange.method == "POST":
        call.fields = open_body(exchange.body)
        raw = call.fields.get("model", msgspec.Raw(b"null"))
        named = msgspec.json.decode(raw)
        call.model, call.says = str(named), True
        wishes = read_wishes(call, state.most_fallbacks, state.keep_alive)
    else:
        named = parse_qs(exchange.query.decode("latin-1")).get("model", [None])[-1]
    if not isinstance(named, str) or not named:
        raise GatewayError("bad_request", "Name a model: ?model=NAME, or POST a request.", param="model")
    if gateway.engine.admission is not None:
        gateway.engine.admission.access(state).check(call.caller, named)
    plan = state.plan(named) if wishes is None else state.wished(named, wishes)
    told = explain(call, plan, gateway.engine.means.lives, gateway.clock())
    return Page(200, JSON, msgspec.json.encode(told))

"""``/v1/responses/{id}``: reading, deleting and cancelling answers that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from penstock.core.dialects.openai_responses.stored import input_items_page
from penstock.core.errors import GatewayError
from penstock.runtime import kept
from penstock.runtime.call import new_id
from penstock.server.refusals import JSON, no_route, wrong_method

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.server.gateway import Gateway

PREFIXES = ("/v1/responses/", "/responses/")
_METHODS = {"": ("GET", "DELETE"), "input_items": ("GET",), "cancel": ("POST",)}


async def serve(gateway: Gateway, exchange: Exchange) -> None:
    """Answers a request below ``/v1/responses/``. Raises ``GatewayError`` for what is not there."""
    alias = gateway.identity.check(exchange.headers).alias
    prefix = next(p for p in PREFIXES if exchange.path.startswith(p))
    response_id, _, rest = exchange.path[len(prefix) :].partition("/")
    if not response_id or rest not in _METHODS:
        raise no_route(exchange, ["/v1/responses/{id}", "/v1/responses/{id}/input_items"])
    if exchange.method not in _METHODS[rest]:
        raise wrong_method(exchange, _METHODS[rest])
    found = await kept.find(gateway.engine.store, alias, response_id)
    if found is None:
        raise GatewayError("upstream_not_found", f"Response with id {response_id[:100]!r} not found.")
    if rest == "cancel":
        raise GatewayError("bad_request", "Only responses made with 'background: true' can be cancelled.")
    if rest == "input_items":
        body = input_items_page(found.input, dict(parse_qsl(exchange.query.decode("latin-1"))))
    elif exchange.method == "DELETE":
        await gateway.engine.store.delete(kept.key(alias, response_id))
        body = msgspec.json.encode({"id": response_id, "object": "response.deleted", "deleted": True})
    else:
        body = bytes(found.body)
    call_id = new_id()
    exchange.whole(200, JSON + b"x-litellm-call-id: %b\r\n" % call_id.encode(), body)
    gateway.record(exchange, 200, call_id)

"""``/v1/responses/{id}``: reading, deleting and cancelling answers that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from penstock.core.admit.access import LLM
from penstock.core.dialects.openai_responses.stored import input_items_page
from penstock.core.errors import GatewayError
from penstock.runtime import stored_responses
from penstock.server.routes import JSON, Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.stored_responses import StoredResponse
    from penstock.server.gateway import Gateway


async def _find(gateway: Gateway, call: Call) -> StoredResponse:
    """Find the caller's own kept answer of that id."""
    response_id = call.params["id"]
    found = await stored_responses.find(gateway.engine.means.store, call.caller.tenant, response_id)
    if found is None:
        raise GatewayError("upstream_not_found", f"Response with id {response_id[:100]!r} not found.")
    return found


async def read(gateway: Gateway, call: Call) -> Page:
    """Read a kept answer."""
    return Page(200, JSON, bytes((await _find(gateway, call)).body))


async def read_items(gateway: Gateway, call: Call) -> Page:
    """List the items that led to a kept answer, page by page."""
    found = await _find(gateway, call)
    return Page(200, JSON, input_items_page(found.input, dict(parse_qsl(call.exchange.query.decode("latin-1")))))


async def delete(gateway: Gateway, call: Call) -> Page:
    """Forget a kept answer."""
    await _find(gateway, call)
    response_id = call.params["id"]
    await gateway.engine.means.store.delete(stored_responses.key(call.caller.tenant, response_id))
    told = {"id": response_id, "object": "response.deleted", "deleted": True}
    return Page(200, JSON, msgspec.json.encode(told))


async def cancel(gateway: Gateway, call: Call) -> Page:
    """Cancel an answer that is not complete. All that are kept are: only those made with ``background: true`` go on."""
    await _find(gateway, call)
    raise GatewayError("bad_request", "Only responses made with 'background: true' can be cancelled.")


ROUTES = tuple(
    row
    for prefix in ("/v1/responses", "/responses")
    for row in (
        Route(prefix + "/{id}", read, family=LLM),
        Route(prefix + "/{id}", delete, methods=("DELETE",), family=LLM),
        Route(prefix + "/{id}/input_items", read_items, family=LLM),
        Route(prefix + "/{id}/cancel", cancel, methods=("POST",), json=False, family=LLM),
    )
)

"""``/v1/batches``: OpenAI's batches of files.

Source: platform.openai.com/docs/api-reference/batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.admit.access import LLM
from penstock.core.batches.kept import CANCELLING, OPENAI, WINDOW, KeptBatch
from penstock.core.batches.openai import batch_object, list_object
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.runtime.ids import mint
from penstock.server.batches import passing
from penstock.server.batches.common import (
    answer,
    change,
    check_metadata,
    check_runs,
    find_batch,
    find_file,
    limit_in,
    owner_in_lists,
    query_of,
    stored,
)
from penstock.server.batches.files import BATCH
from penstock.server.batches.quotas import check_quotas
from penstock.server.batches.room import BATCH_ID, ENDPOINTS
from penstock.server.routes import Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

_PATHS = tuple(path for path, form in ENDPOINTS.items() if form == OPENAI)


async def create(gateway: Gateway, call: Call) -> Page:
    """Make a batch of an input file."""
    if (page := await passing.by_head(gateway, call)) is not None:
        return page
    fields = {name: msgspec.json.decode(raw) for name, raw in open_body(call.exchange.body).items()}
    if (page := await passing.by_fields(gateway, call, fields)) is not None:
        return page
    endpoint, window = fields.get("endpoint"), fields.get("completion_window", "24h")
    if endpoint not in _PATHS:
        text = f"endpoint: one of {', '.join(_PATHS)} is wanted, not {str(endpoint)[:60]!r}."
        raise GatewayError("bad_request", text, param="endpoint")
    if window != "24h":
        text = f"completion_window: '24h' is wanted, not {str(window)[:40]!r}."
        raise GatewayError("bad_request", text, param="completion_window")
    if not isinstance(fields.get("input_file_id"), str):
        text = "The field 'input_file_id' is missing: send the id of a file from POST /v1/files."
        raise GatewayError("bad_request", text, param="input_file_id")
    file = await find_file(gateway, call.caller, fields["input_file_id"])
    if file.purpose != BATCH:
        text = f"input_file_id: the file's purpose is {file.purpose!r}, and 'batch' is wanted."
        raise GatewayError("bad_request", text, param="input_file_id")
    check_runs(gateway, call.caller)
    await check_quotas(gateway.batches, call.caller)
    batch = _made(call, file.id, endpoint, check_metadata(fields.get("metadata")))
    await gateway.batches.add(batch)
    return answer(batch_object(batch))


def _made(call: Call, file_id: str, endpoint: Any, metadata: dict[str, str]) -> KeptBatch:
    now = time.time()
    return KeptBatch(
        id=mint(BATCH_ID),
        owner=call.caller.tenant,
        team=call.caller.team,
        form=OPENAI,
        created_at=now,
        expires_at=now + WINDOW,
        endpoint=endpoint,
        input=file_id,
        output=mint("file-"),
        errors=mint("file-"),
        client=call.exchange.client,
        metadata=metadata,
    )


async def list_batches(gateway: Gateway, call: Call) -> Page:
    """List the caller's batches, the newest first."""
    if (page := await passing.by_head(gateway, call)) is not None:
        return page
    query = query_of(call)
    owner, after, limit = owner_in_lists(call.caller), query.get("after", ""), limit_in(query, 20, 100)
    found = await stored(gateway.batches.store.batches(owner, OPENAI, after, limit))
    return answer(list_object([batch_object(row) for row in found.rows], found.more))


async def read(gateway: Gateway, call: Call) -> Page:
    """Describe a batch: how far it is, and where its results are."""
    if (page := await passing.by_batch(gateway, call, OPENAI)) is not None:
        return page
    return answer(batch_object(await find_batch(gateway, call.caller, call.params["id"], OPENAI)))


async def cancel(gateway: Gateway, call: Call) -> Page:
    """Cancel a batch. What is on its way ends, and its results stay."""
    if (page := await passing.by_batch(gateway, call, OPENAI)) is not None:
        return page
    batch = await find_batch(gateway, call.caller, call.params["id"], OPENAI)
    return answer(batch_object(await change(gateway, batch, cancelling)))


def cancelling(batch: KeptBatch) -> dict[str, Any] | None:
    """Return what changes of a batch that is to be cancelled; None where it is already. Raises "outdated" for one that
    is over."""
    if batch.finished and batch.status != "cancelled":
        raise GatewayError("outdated", f"Cannot cancel a batch with status '{batch.status}'.")
    if batch.finished or batch.status == CANCELLING:
        return None
    return {"status": CANCELLING, "cancelling_at": time.time()}


ROUTES = tuple(
    row
    for prefix in ("/v1/batches", "/batches")
    for row in (
        Route(prefix, create, methods=("POST",), no_pages=True, works=True, family=LLM),
        Route(prefix, list_batches, family=LLM),
        Route(prefix + "/{id}", read, family=LLM),
        Route(prefix + "/{id}/cancel", cancel, methods=("POST",), json=False, no_pages=True, family=LLM),
    )
)

"""``/v1/messages/batches``: Anthropic's batches of messages, for every model.

Source: docs.anthropic.com/en/api/creating-message-batches and the pages beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import IO, TYPE_CHECKING, Any

from penstock.core.admit.access import LLM
from penstock.core.batches import lines
from penstock.core.batches.anthropic import ENDPOINT, batch_object, input_lines, list_object, result_line
from penstock.core.batches.kept import ANTHROPIC, CANCELLING, WINDOW, KeptBatch
from penstock.core.errors import GatewayError
from penstock.runtime.ids import mint
from penstock.server.batches import passing
from penstock.server.batches.common import (
    PORTION,
    answer,
    base_of,
    change,
    check_runs,
    find_batch,
    limit_in,
    owner_in_lists,
    query_of,
    stored,
)
from penstock.server.batches.quotas import check_quotas
from penstock.server.batches.room import MESSAGES_ID
from penstock.server.routes import Page, Route
from penstock.server.streamed import Streamed

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

_JSONL = b"application/x-jsonl"


async def create(gateway: Gateway, call: Call) -> Page:
    """Make a batch of messages."""
    if (page := await passing.by_head(gateway, call)) is not None:
        return page
    check_runs(gateway, call.caller)
    room = gateway.batches
    # What is large is read aside: nobody else waits for it.
    asked = await asyncio.to_thread(input_lines, call.exchange.body, room.most_lines)
    batch = await keep_batch(gateway, call, ANTHROPIC, ENDPOINT, asked, MESSAGES_ID)
    return answer(_told(call, batch))


async def keep_batch(
    gateway: Gateway, call: Call, form: str, endpoint: str, asked: list[bytes], prefix: str
) -> KeptBatch:
    """Make a batch of lines. Raises "over_storage", "disk_full", "overloaded", "no_database"."""
    await check_quotas(gateway.batches, call.caller, size=sum(map(len, asked)))
    now = time.time()
    batch = KeptBatch(
        id=mint(prefix),
        owner=call.caller.tenant,
        team=call.caller.team,
        form=form,
        created_at=now,
        expires_at=now + WINDOW,
        endpoint=endpoint,
        input="",
        output=mint("file-"),
        errors=mint("file-"),
        client=call.exchange.client,
        total=len(asked),
    )
    await gateway.batches.add(batch, asked)
    return batch


async def list_batches(gateway: Gateway, call: Call) -> Page:
    """List the caller's batches of messages, the newest first."""
    if (page := await passing.by_head(gateway, call)) is not None:
        return page
    query = query_of(call)
    limit, owner, store = limit_in(query, 20, 1000), owner_in_lists(call.caller), gateway.batches.store
    before = query.get("before_id", "")
    found = await stored(
        store.batches(owner, ANTHROPIC, before or query.get("after_id", ""), limit, descending=not before)
    )
    rows = found.rows[::-1] if before else found.rows
    return answer(list_object([_told(call, row) for row in rows], found.more))


async def read(gateway: Gateway, call: Call) -> Page:
    """Describe a batch of messages: how far it is, and where its results are."""
    if (page := await passing.by_batch(gateway, call, ANTHROPIC)) is not None:
        return page
    return answer(_told(call, await find_batch(gateway, call.caller, call.params["id"], ANTHROPIC)))


async def cancel(gateway: Gateway, call: Call) -> Page:
    """Cancel a batch of messages. What is on its way ends, and its results stay."""
    if (page := await passing.by_batch(gateway, call, ANTHROPIC)) is not None:
        return page
    batch = await find_batch(gateway, call.caller, call.params["id"], ANTHROPIC)
    return answer(_told(call, await change(gateway, batch, _cancelling)))


def _cancelling(batch: KeptBatch) -> dict[str, Any] | None:
    if batch.finished or batch.status == CANCELLING:
        return None
    return {"status": CANCELLING, "cancelling_at": time.time()}


async def delete(gateway: Gateway, call: Call) -> Page:
    """Delete a batch of messages that has ended, and its results."""
    if (page := await passing.by_batch(gateway, call, ANTHROPIC)) is not None:
        return page
    room = gateway.batches
    batch = await find_batch(gateway, call.caller, call.params["id"], ANTHROPIC)
    if not batch.finished:
        text = f"The batch {batch.id} is being processed: cancel it first, and delete it when it has ended."
        raise GatewayError("bad_request", text)
    await stored(room.store.remove_batch(batch.id))
    for id_ in (batch.output, batch.errors):
        await stored(room.store.remove_file(id_))
        await asyncio.to_thread(room.folder.delete, id_)
    return answer({"id": batch.id, "type": "message_batch_deleted"})


async def read_results(gateway: Gateway, call: Call) -> Page | Streamed:
    """Stream the results of a batch of messages that has ended, a line each."""
    if (page := await passing.by_batch(gateway, call, ANTHROPIC, streams=True)) is not None:
        return page
    batch = await find_batch(gateway, call.caller, call.params["id"], ANTHROPIC)
    if not batch.finished:
        text = f"The batch {batch.id} has no results yet: its processing_status is not 'ended'."
        raise GatewayError("no_object", text)
    folder = gateway.batches.folder
    there = [id_ for id_ in (batch.output, batch.errors) if await asyncio.to_thread(folder.has, id_)]
    if not there and batch.total:
        raise GatewayError("no_object", f"The results of the batch {batch.id} are gone, or on another machine.")
    opened = [await asyncio.to_thread(folder.open, id_) for id_ in there]
    return Streamed(_JSONL, None, _results(opened))


async def _results(files: list[IO[bytes]]) -> AsyncIterator[bytes]:
    """Yield the lines of results, rewritten, in portions."""

    def portion(file: IO[bytes]) -> bytes:
        return b"".join(result_line(lines.read_result(raw)) for raw in file.readlines(PORTION))

    try:
        for file in files:
            while data := await asyncio.to_thread(portion, file):
                yield data
    finally:
        for file in files:
            file.close()


def _told(call: Call, batch: KeptBatch) -> dict[str, Any]:
    return batch_object(batch, base_of(call), time.time())


_PATH = "/v1/messages/batches"
ROUTES = (
    Route(_PATH, create, methods=("POST",), no_pages=True, works=True, family=LLM),
    Route(_PATH, list_batches, family=LLM),
    Route(_PATH + "/{id}", read, family=LLM),
    Route(_PATH + "/{id}", delete, methods=("DELETE",), no_pages=True, json=False, family=LLM),
    Route(_PATH + "/{id}/cancel", cancel, methods=("POST",), json=False, no_pages=True, family=LLM),
    Route(_PATH + "/{id}/results", read_results, family=LLM, answer="application/x-jsonl"),
)

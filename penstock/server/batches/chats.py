"""Many chats in one request (``/api/v1/batch/...``), as far as it is about their progress, and those that go on behind
the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from penstock.core.batches import lines
from penstock.core.batches.kept import CANCELLED, EXPIRED, FAILED, SHARED, KeptBatch
from penstock.core.errors import GatewayError
from penstock.server.batches.anthropic import keep_batch
from penstock.server.batches.common import answer, check_runs, stored
from penstock.server.batches.room import SHARED_ID
from penstock.server.routes import Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.batches.places import Progress
    from penstock.server.gateway import Gateway

_SHOWN = {CANCELLED: "cancelled", EXPIRED: "expired", FAILED: "failed"}


async def begin(gateway: Gateway, call: Call, items: Sequence[Raw]) -> Page:
    """Begin to answer chats, and tell how to ask for them."""
    check_runs(gateway, call.caller)
    encode = msgspec.json.Encoder().encode
    asked = []
    for index, item in enumerate(items):
        try:
            body = Raw(msgspec.json.format(item, indent=-1))
        except (msgspec.DecodeError, RecursionError) as error:
            raise GatewayError("bad_request", f"requests[{index}]: {error}.", param="requests") from None
        if bytes(memoryview(body)[:1]) != b"{":
            text = f"requests[{index}]: the body of a chat is wanted, an object."
            raise GatewayError("bad_request", text, param="requests")
        asked.append(encode({"custom_id": str(index), "method": "POST", "url": call.path, "body": body}) + b"\n")
    batch = await keep_batch(gateway, call, SHARED, call.path, asked, SHARED_ID)
    return answer(_told(batch), 202)


async def read(gateway: Gateway, call: Call) -> Page:
    """Tell how far a batch of chats is; of one that goes on behind its answer, also what came of it."""
    id_, caller = call.params["id"], call.caller
    progress = gateway.batches.answering.find(caller.tenant, id_)
    if progress is not None:
        return answer(_progress(id_, progress))
    batch = await stored(gateway.batches.store.batch(id_))
    if batch is None or batch.form != SHARED or not (caller.admin or batch.owner == caller.tenant):
        raise GatewayError("no_object", f"No batch found with id '{id_[:100]}'.", param="batch_id")
    if not batch.finished:
        return answer(_told(batch))
    found = await asyncio.to_thread(_read_results, gateway, batch)
    return answer({**_told(batch), "results": found})


def result(index: int, status: int, body: bytes) -> dict[str, Any]:
    """Tell what came of an item."""
    told = msgspec.json.decode(body, type=dict[str, Any])
    if status == 200:
        choices = told.get("choices") or [{}]
        return {"index": index, "success": True, "result": {**told, "message": choices[0].get("message")}}
    inner = told["error"]
    return {"index": index, "success": False, "error": inner["message"], "error_type": inner["type"]}


def _read_results(gateway: Gateway, batch: KeptBatch) -> list[dict[str, Any]]:
    """Read the results of a batch, in the order of its items."""
    folder, found = gateway.batches.folder, []
    for id_ in (batch.output, batch.errors):
        if folder.has(id_):
            with folder.open(id_) as file:
                found += _of_file(file)
    return sorted(found, key=lambda row: row["index"])


def _of_file(file: IO[bytes]) -> list[dict[str, Any]]:
    found = []
    for raw in file:
        row = lines.read_result(raw)
        index = int(row.custom_id)
        if row.response is None:
            error = row.error or {}
            told = {"index": index, "success": False, "error": error.get("message"), "error_type": error.get("code")}
            found.append(told)
        else:
            found.append(result(index, row.response.status_code, bytes(row.response.body)))
    return found


def _told(batch: KeptBatch) -> dict[str, Any]:
    status = _SHOWN.get(batch.status, "completed") if batch.finished else "in_progress"
    return _counted(
        batch.id, status, batch.total, batch.completed, batch.failed, batch.created_at, batch.ended_at or None
    )


def _progress(id_: str, one: Progress) -> dict[str, Any]:
    status = "completed" if one.ended else "in_progress"
    return _counted(id_, status, one.total, one.successful, one.failed, one.began, one.ended or None)


def _counted(
    id_: str, status: str, total: int, successful: int, failed: int, began: float, ended: float | None
) -> dict[str, Any]:
    done = successful + failed
    return {
        "batch_id": id_,
        "status": status,
        "total_requests": total,
        "completed": done,
        "successful": successful,
        "failed": failed,
        "progress": round(done / total, 4) if total else 0.0,
        "created_at": int(began),
        "completed_at": None if ended is None else int(ended),
    }

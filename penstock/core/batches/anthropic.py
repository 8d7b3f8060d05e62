"""Batches as Anthropic's clients know them (docs.anthropic.com/en/api/creating-message-batches)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.core.batches.kept import CANCELLING, FILE_DAYS, KeptBatch
from penstock.core.batches.lines import EXPIRED, Result
from penstock.core.errors import GatewayError

ENDPOINT = "/v1/messages"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_encode = msgspec.json.Encoder().encode


class _Request(Struct):
    custom_id: str
    params: Raw


class _Requests(Struct):
    requests: list[_Request]


def input_lines(body: bytes, most: int) -> list[bytes]:
    """Write the requests of a body as the lines of an input file. Raises "bad_request", which names the place."""
    try:
        found = msgspec.json.decode(body, type=_Requests).requests
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"Send {{'requests': [{{'custom_id': ..., 'params': {{...}}}}, ...]}}: {error}."
        raise GatewayError("bad_request", text, param="requests") from None
    if not 1 <= len(found) <= most:
        text = f"requests: a batch has 1 to {most} of them; this one has {len(found)}."
        raise GatewayError("bad_request", text, param="requests")
    seen: set[str] = set()
    lines = []
    for number, one in enumerate(found):
        where = f"requests.{number}"
        if not _ID.fullmatch(one.custom_id):
            text = f"{where}.custom_id: 1 to 64 letters, digits, '_' and '-' are wanted, not {one.custom_id[:80]!r}."
            raise GatewayError("bad_request", text, param=f"{where}.custom_id")
        if one.custom_id in seen:
            text = f"{where}.custom_id: {one.custom_id!r} stands twice; each must be of one request."
            raise GatewayError("bad_request", text, param=f"{where}.custom_id")
        if bytes(memoryview(one.params)[:1]) != b"{":
            text = f"{where}.params: the body of a request for {ENDPOINT} is wanted, an object."
            raise GatewayError("bad_request", text, param=f"{where}.params")
        seen.add(one.custom_id)
        params = Raw(msgspec.json.format(one.params, indent=-1))
        lines.append(_encode({"custom_id": one.custom_id, "method": "POST", "url": ENDPOINT, "body": params}) + b"\n")
    return lines


def batch_object(batch: KeptBatch, base: str, now: float) -> dict[str, Any]:
    """Describe a batch. ``base``: where its results are, before the path."""
    unasked = batch.cancelled + batch.expired
    done = batch.completed + batch.failed
    status = "ended" if batch.finished else "canceling" if batch.status == CANCELLING else "in_progress"
    # What was asked is counted when it is over, as Anthropic does: until then it is being processed.
    over = batch.finished
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0 if over else batch.total - done,
            "succeeded": batch.completed,
            "errored": batch.failed - unasked,
            "canceled": batch.cancelled,
            "expired": batch.expired,
        },
        "created_at": _time(batch.created_at),
        "expires_at": _time(batch.expires_at),
        "ended_at": _time(batch.ended_at),
        "cancel_initiated_at": _time(batch.cancelling_at),
        "archived_at": _time(batch.created_at + FILE_DAYS) if now > batch.created_at + FILE_DAYS else None,
        "results_url": f"{base}/v1/messages/batches/{batch.id}/results" if over else None,
    }


def result_line(result: Result) -> bytes:
    """Write a result as Anthropic's clients read it, with its line break."""
    told: dict[str, Any]
    if result.response is None:
        code = (result.error or {}).get("code")
        told = {"type": "expired" if code == EXPIRED else "canceled"}
    elif result.response.status_code == 200:
        told = {"type": "succeeded", "message": result.response.body}
    else:
        told = {"type": "errored", "error": result.response.body}
    return _encode({"custom_id": result.custom_id, "result": told}) + b"\n"


def list_object(rows: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """Describe a part of a list."""
    ids = [row["id"] for row in rows]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return {"data": rows, "has_more": more, "first_id": first, "last_id": last}


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else None

"""The page of batches: how far each is, its results, and the form that makes one of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from penstock.admin.ui.inner import ask, need, upload
from penstock.admin.ui.models import Typed, query_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import file_of, form_of, go, render

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

SIZE = 25
ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/rerank",
)
STATES = {
    "completed": "good", "failed": "bad", "expired": "bad", "cancelled": "plain", "cancelling": "warn",
    "validating": "plain", "in_progress": "warn", "finalizing": "warn",
}  # fmt: skip
EXAMPLE = (
    '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", '
    '"body": {"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}]}}'
)


async def show(gateway: Any, call: Call) -> Page:
    """Show the batches, the newest first."""
    return await _shown(gateway, call)


async def _shown(
    gateway: Any,
    call: Call,
    typed: dict[str, str] | None = None,
    wrong: dict[str, str] | None = None,
    status: int = 200,
) -> Page:
    after = query_of(call).get("after", "")
    found = await need(gateway, call, "GET", "/v1/batches", limit=SIZE, after=after)
    rows = found["data"]
    return render(
        gateway, call, "batches/list.html", status,
        rows=rows, more=rows[-1]["id"] if found.get("has_more") and rows else "", after=after, states=STATES,
        endpoints=ENDPOINTS, typed=Typed(typed or {}), wrong=Typed(wrong or {}), example=EXAMPLE,
    )  # fmt: skip


async def create(gateway: Any, call: Call) -> Page:
    """Make a batch of a file that is sent along, or of lines that are typed in."""
    typed, file = form_of(call), None
    if call.exchange.headers.get(b"content-type", b"").startswith(b"multipart/"):
        file = file_of(call, "file")
    if file is None and typed.get("lines", "").strip():
        file = ("batch.jsonl", typed["lines"].strip().encode() + b"\n")
    if file is None or not file[1]:
        return await _shown(gateway, call, typed, {"file": "Choose a file of JSON lines, or type them in."}, 400)
    sent = await upload(gateway, call, "/v1/files", file[0], file[1], purpose="batch")
    if not sent.good:
        return await _shown(gateway, call, typed, {"file": sent.error}, sent.status)
    body = {
        "input_file_id": sent.said["id"],
        "endpoint": typed.get("endpoint", ENDPOINTS[0]),
        "completion_window": "24h",
    }
    told = await ask(gateway, call, "POST", "/v1/batches", body)
    if not told.good:
        await ask(gateway, call, "DELETE", f"/v1/files/{quote(sent.said['id'], safe='')}")
        return await _shown(gateway, call, typed, {"": told.error}, told.status)
    return go(call, "/batches", f"The batch {told.said['id']} was made of {file[0][:80]}.")


async def cancel(gateway: Any, call: Call) -> Page:
    """Cancel a batch."""
    told = await ask(gateway, call, "POST", f"/v1/batches/{quote(call.params['id'], safe='')}/cancel")
    return go(call, "/batches", "The batch is being cancelled." if told.good else told.error, bad=not told.good)


ROUTES = (
    page("/batches", show),
    form("/batches/new", create),
    form("/batches/{id}/cancel", cancel),
)

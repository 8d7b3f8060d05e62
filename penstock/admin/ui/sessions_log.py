"""The sessions of coding agents: what the requests of each used and cost together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import query_of
from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.rows import page
from penstock.admin.ui.view import Blank, render

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

ROWS = 50
SPANS = {"1": "last day", "7": "last week", "30": "last month"}


async def show(gateway: Any, call: Call) -> Page:
    """List sessions, the one that was heard of last first."""
    if gateway.storage is None:
        return render(gateway, call, "sessions/list.html", rows=None)
    given = Blank(query_of(call))
    span = given["within"] if given["within"] in SPANS else "7"
    since = (datetime.now(UTC) - timedelta(days=int(span))).isoformat(timespec="seconds")
    told = await ask(gateway, call, "GET", "/spend/sessions", start_date=since, page=given["page"], page_size=ROWS)
    found = told.said if told.good else {"sessions": [], "page": 1, "more": False}
    return render(
        gateway, call, "sessions/list.html", 200 if told.good else 400, rows=found["sessions"], found=found,
        wrong=told.error, within=span, spans=SPANS,
    )  # fmt: skip


async def detail(gateway: Any, call: Call) -> Page:
    """Show the requests of one session, in their order."""
    wanted = call.params["id"]
    query = Blank(query_of(call))
    told = await need(
        gateway, call, "GET", "/spend/logs/session/ui", session_id=wanted, page=query["page"], page_size=ROWS
    )
    rows = told["data"]
    models: dict[str, int] = {}
    for one in rows:
        models[one["model_group"]] = models.get(one["model_group"], 0) + 1
    sums = {name: sum(one[name] for one in rows) for name in ("spend", "prompt_tokens", "completion_tokens")}
    return render(
        gateway, call, "sessions/detail.html", session=wanted, rows=rows, found=told, models=models, sums=sums,
        failed=sum(one["status"] == "failure" for one in rows),
    )  # fmt: skip


ROUTES = (page("/sessions", show), page("/sessions/{id:path}", detail))

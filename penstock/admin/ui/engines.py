"""The page of local engines: what each does and takes, its log, and the buttons that start and stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import go, render
from penstock.core.errors import GatewayError
from penstock.runtime.gate import PAGE_ADMIN, PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

LINES = 100
STATES = {
    "ready": "good", "starting": "warn", "draining": "warn", "stopping": "warn", "failed": "bad",
    "stopped": "plain", "unloaded": "plain",
}  # fmt: skip
DOES = {"start": "It is starting, or ready.", "stop": "It stops once it answers nobody.",
        "unload": "It gives back its memory once it answers nobody."}  # fmt: skip


async def show(gateway: Any, call: Call) -> Page:
    """Show the engines: state, memory, requests in flight and waiting."""
    found = await need(gateway, call, "GET", "/engines")
    return render(gateway, call, "engines/list.html", found=found, states=STATES)


async def one(gateway: Any, call: Call) -> Page:
    """Show one engine, and the last lines of its log."""
    name = quote(call.params["name"], safe="")
    row = await need(gateway, call, "GET", f"/engines/{name}")
    log = await ask(gateway, call, "GET", f"/engines/{name}/logs", lines=LINES)
    return render(gateway, call, "engines/one.html", row=row, log=log, states=STATES)


async def act(gateway: Any, call: Call) -> Page:
    """Start an engine, stop it, or have it give back its memory."""
    name, what = call.params["name"], call.params["what"]
    if what not in DOES:
        raise GatewayError("no_object", f"An engine can be told {', '.join(DOES)}, not {what[:40]!r}.")
    told = await ask(gateway, call, "POST", f"/engines/{quote(name, safe='')}/{what}")
    path = f"/engines/{quote(name, safe='')}"
    return go(call, path, DOES[what] if told.good else told.error, bad=not told.good)


ROUTES = (
    page("/engines", show, PAGE_VIEW),
    form("/engines/{name}/{what}", act, PAGE_ADMIN),
    page("/engines/{name}", one, PAGE_VIEW),
)

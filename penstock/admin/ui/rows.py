"""Rows of pages: what each row has in common, whatever it shows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from penstock.admin.ui.view import BASE, base_of, check_form, here, render
from penstock.core.admit.access import INFO
from penstock.core.errors import TABLE, GatewayError
from penstock.runtime.gate import PAGE, PUBLIC
from penstock.runtime.route import READ, Page, Route, Sends

if TYPE_CHECKING:
    from penstock.runtime.call import Call

HTML = "text/html"
_SIGNIN = BASE + "/signin"
_SCRIPTS = BASE + "/call/"  # what scripts ask for: they read errors as any client does


def page(path: str, handler: Callable[..., Any], role: str = PAGE) -> Route:
    """Make the row of a page that is looked at; ``path``: below the base."""
    return Route(BASE + path, handler, role=role, answer=HTML, family=INFO)


def form(path: str, handler: Callable[..., Any], role: str = PAGE) -> Route:
    """Make the row of what a form of ours is sent to. Before the handler is called the form has to prove that it is
    one."""

    async def checked(gateway: Any, call: Call) -> Page | Sends:
        check_form(gateway, call)
        made = handler(gateway, call)
        found: Page | Sends = await made if inspect.isawaitable(made) else made
        return found

    checked.__doc__ = handler.__doc__
    return Route(BASE + path, checked, methods=("POST",), role=role, json=False, answer=HTML, family=INFO)


def refused(gateway: Any, call: Call, error: GatewayError) -> Page | None:
    """Make the page that tells what went wrong, or where one signs in; None for a call that is none of a page's."""
    path = call.path
    if not (path == BASE or path.startswith(BASE + "/")) or path.startswith(_SCRIPTS):
        return None
    status = error.status or TABLE[error.kind].status
    partial = b"hx-request" in call.exchange.headers
    if error.kind == "unauthorized" and gateway.identity.needs_key and path != _SIGNIN:
        where = base_of(call) + "/signin"
        if call.exchange.method in READ and not partial:
            query = call.exchange.query.decode("latin-1")
            asked = path.removeprefix(BASE) + (f"?{query}" if query else "")
            where += f"?next={quote(asked, safe='')}" if asked else ""
        line = b"hx-redirect" if partial else b"location"
        head = b"text/plain\r\ncache-control: no-store\r\n%b: %b" % (line, where.encode())
        return Page(401 if partial else 303, head, b"Sign in first.")
    entry = here(path)
    may = call.caller.views or call.caller.key or call.caller.user or call.caller.admin
    return render(gateway, call, "error.html", status, error=error, title=entry.title if entry and may else "Penstock")


def public(path: str, handler: Callable[..., Any], methods: tuple[str, ...] = READ, answer: str = HTML) -> Route:
    """Make the row of what is there before anybody is signed in."""
    return Route(BASE + path, handler, methods=methods, role=PUBLIC, json=False, answer=answer, family=INFO)

"""Every row of the pages, asked as everybody: without a session none opens, with one those of its role, and a form
that no page of ours made does nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from penstock.admin.ui.rows import refused
from penstock.admin.ui.sessions import Sessions
from penstock.admin.ui.table import ROUTES
from penstock.runtime.gate import PAGE, PAGE_ADMIN, PAGE_VIEW, PUBLIC
from tests.server.managed import SECRET, Managed, open_managed, populate

PUBLIC_PATHS = {"/ui/signin", "/ui/enter", "/ui/static/{name:path}"}
CLOSED = [row for row in ROUTES if row.role != PUBLIC]
MAY = {
    PAGE: {"master", "proxy_admin", "viewer", "internal"},
    PAGE_VIEW: {"master", "proxy_admin", "viewer"},
    PAGE_ADMIN: {"master", "proxy_admin"},
}


def open_pages(managed: Managed) -> Sessions:
    """Show pages at a gateway of a test."""
    sessions = managed.door.gateway.gate.sessions = Sessions(SECRET)
    managed.door.gateway.pages = refused
    return sessions


def session_of(managed: Managed, sessions: Sessions, who: str) -> str:
    identity = managed.door.gateway.identity
    if who == "master":
        return sessions.sign(sessions.of_master(identity))
    return sessions.sign(sessions.of_key(identity.look_up(managed.keys[who].encode())))


async def ask(
    managed: Managed, method: str, path: str, cookie: str = "", token: str = "", **headers: str
) -> tuple[int, str]:
    more = {"cookie": f"penstock_session={cookie}"} if cookie else {}
    more |= {name.replace("_", "-"): value for name, value in headers.items()}
    body = f"token={token}".encode() if method == "POST" else b""
    if body:
        more["content-type"] = "application/x-www-form-urlencoded"
    status, _, answer = await managed.door.ask(method, re.sub(r"\{[a-z_]+(:path)?\}", "n", path), body, more)
    return status, answer.decode("utf-8", "replace")


def test_what_is_open_to_everybody_is_named_here() -> None:
    assert {row.path for row in ROUTES if row.role == PUBLIC} == PUBLIC_PATHS
    assert {row.role for row in CLOSED} <= set(MAY)
    assert all(row.path == "/ui" or row.path.startswith("/ui/") for row in ROUTES)


@pytest.mark.parametrize("row", CLOSED, ids=lambda row: f"{row.methods[0]} {row.path}")
async def test_who_may_open_it(row: Any, tmp_path: Path) -> None:
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        sessions = open_pages(managed)
        for method in row.methods:
            # A key is no session, neither is one that somebody else signed.
            forged = Sessions(b"another secret")
            for cookie, headers in (
                ("", {}),
                ("", {"authorization": f"Bearer {managed.keys['master']}"}),
                (session_of(managed, forged, "master"), {}),
            ):
                status, text = await ask(managed, method, row.path, cookie, **headers)
                assert status == (401 if "/call/" in row.path else 303), (row.path, text)
            for who in MAY[PAGE]:
                cookie = session_of(managed, sessions, who)
                if method in ("GET", "HEAD"):
                    status, text = await ask(managed, method, row.path, cookie)
                    assert (status == 403) == (who not in MAY[row.role]), (who, status, text[:300])
                    assert status < 500, (who, status, text[-600:])
                else:
                    status, text = await ask(managed, method, row.path, cookie, token="wrong")
                    assert status == 403 and ("too old" in text or who not in MAY[row.role]), (who, status, text[:300])
                    status, text = await ask(managed, method, row.path, cookie, sec_fetch_site="cross-site")
                    assert status == 403 and "another site" in text


async def test_a_key_that_is_blocked_ends_its_sessions(tmp_path: Path) -> None:
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        sessions = open_pages(managed)
        cookie = session_of(managed, sessions, "internal")
        assert (await ask(managed, "GET", "/ui", cookie))[0] == 200
        await managed.good("/key/block", {"key": managed.id("internal")})
        assert (await ask(managed, "GET", "/ui", cookie))[0] in (303, 401, 403)
        master = session_of(managed, sessions, "master")
        assert (await ask(managed, "GET", "/ui", master))[0] == 200
        session = sessions.read(master.encode())
        assert session is not None
        sessions.end(session)
        assert (await ask(managed, "GET", "/ui", master))[0] == 303


async def test_scripts_ask_as_who_is_signed_in(tmp_path: Path) -> None:
    async with open_managed(tmp_path) as managed:
        await populate(managed)
        sessions = open_pages(managed)
        for who, status in (("master", 200), ("internal", 403)):
            cookie = session_of(managed, sessions, who)
            assert (await ask(managed, "GET", "/ui/call/cache/ping", cookie))[0] in (status, 503), who
        cookie = session_of(managed, sessions, "master")
        for path in ("/ui/call/ui", "/ui/call/ui/signin", "/ui/call/ui/call/ui", "/ui/call//ui/signout"):
            status, text = await ask(managed, "GET", path, cookie)
            assert status == 404, (path, status, text[:200])

"""Signing in to the pages, and out: with the master key, a virtual key, as a user with a password, or by a link that
the gateway prints when it starts."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from penstock.admin import passwords
from penstock.admin.ui import oidc
from penstock.admin.ui.sessions import COOKIE, LASTS, LINK_LASTS, Session, cookies
from penstock.admin.ui.view import form_of, go, render, sessions_of, set_cookie
from penstock.core.admit.access import check_standing
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.identity import Identity

log = logging.getLogger("penstock")
FREE_TRIES = 5  # of an address or a name, before it has to wait
LONGEST_WAIT = 60.0  # seconds
FORGOTTEN_AFTER = 900.0
MOST_REMEMBERED = 10_000
AT_ONCE = 2  # passwords that are derived at a time: each takes 16 MiB and a processor
_WRONG = "This is no key or password that opens these pages."
_NAME, _PASSWORD = "UI_USERNAME", "UI_PASSWORD"


class Tries:
    """Counts who could not sign in. Whoever fails often waits, longer each time. ``clock``: seconds."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # who -> how often, and when last
        self.turn = asyncio.Semaphore(AT_ONCE)

    def wait(self, who: str, now: float) -> float:
        """Return the seconds that somebody has to wait; 0 for none."""
        count, last = self._failed.get(who, (0, 0.0))
        if count < FREE_TRIES or now - last > FORGOTTEN_AFTER:
            return 0.0
        return max(0.0, last + min(2.0 ** (count - FREE_TRIES), LONGEST_WAIT) - now)

    def failed(self, who: str, now: float) -> None:
        """Note that somebody could not sign in."""
        count, last = self._failed.pop(who, (0, now))
        self._failed[who] = (count + 1 if now - last <= FORGOTTEN_AFTER else 1), now
        while len(self._failed) > MOST_REMEMBERED:
            self._failed.popitem(last=False)

    def forget(self, who: str) -> None:
        """Note that somebody signed in."""
        self._failed.pop(who, None)


def show(gateway: Any, call: Call) -> Page:
    """Show where to sign in."""
    if not gateway.identity.needs_key:
        return go(call, "")
    return _form(gateway, call, next=_next(call))


async def sign_in(gateway: Any, call: Call) -> Page:
    """Sign somebody in to the pages, with a key or a name and a password."""
    sessions, tries = sessions_of(gateway), _tries(gateway)
    sessions.check_origin(call.exchange)
    form = form_of(call)
    name, secret = form.get("name", "").strip()[:320], form.get("secret", "").strip()[:1024]
    now, address = time.monotonic(), f"from {call.exchange.client}"
    counted = [address, f"as {name.lower()}"] if name else [address]
    waits = max(tries.wait(one, now) for one in counted)
    session = None
    if waits:
        wrong = f"Too many tries: wait {waits:.0f} s." if waits >= 1 else "Too many tries: wait a moment."
    else:
        session = await _session(gateway, name, secret, call.exchange.client)
        wrong = "" if session else _WRONG
    if session is None:
        if not waits:
            for one in counted:
                tries.failed(one, now)
            log.warning("the pages: somebody at %s could not sign in", call.exchange.client)
        return _form(gateway, call, 429 if waits else 401, next=form.get("next", ""), wrong=wrong, name=name)
    for one in counted:
        tries.forget(one)
    return _entered(gateway, call, session, form.get("next", ""))


async def enter(gateway: Any, call: Call) -> Page:
    """Sign in who holds the link that the gateway printed at its start; once."""
    sessions = sessions_of(gateway)
    code = parse_qs(call.exchange.query.decode("latin-1")).get("code", [""])[0]
    nonce, store = sessions.link_nonce(code), gateway.engine.means.store
    mark = f"page link {nonce}"
    if nonce is None or await store.get(mark) is not None:
        text = "This link was used, or is over. Sign in with the master key; a restart prints a new link."
        return _form(gateway, call, 401, wrong=text)
    sessions.end_link(nonce)
    await store.put(mark, b"used", LINK_LASTS)
    return _entered(gateway, call, sessions.of_master(gateway.identity), "")


def sign_out(gateway: Any, call: Call) -> Page:
    """End the session of a browser."""
    sessions = sessions_of(gateway)
    session = sessions.read(cookies(call.exchange.headers).get(COOKIE, b""))
    if session is not None:
        sessions.end(session)
    return go(call, "/signin", more=set_cookie(call, COOKIE, "", 0))


def _form(gateway: Any, call: Call, status: int = 200, next: str = "", wrong: str = "", name: str = "") -> Page:
    found = oidc.label(gateway)
    return render(gateway, call, "signin.html", status, next=next, wrong=wrong, name=name, provider=found)


def _entered(gateway: Any, call: Call, session: Session, then: str) -> Page:
    sealed = sessions_of(gateway).sign(session)
    # Only to a page of ours: what stands behind the base, and no second slash, which would be another host.
    path = then if then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable() else ""
    return go(call, path if path.isascii() else "", more=set_cookie(call, COOKIE, sealed, LASTS))


async def _session(gateway: Any, name: str, secret: str, address: str) -> Session | None:
    """Return the session of who proves to be somebody; None for who does not."""
    if not secret:
        return None
    identity: Identity = gateway.identity
    sessions = sessions_of(gateway)
    env = gateway.state.config.environment
    if name and name.lower() == (env.get(_NAME) or "admin").lower() and env.get(_PASSWORD):
        right = hmac.compare_digest(secret.encode(), env[_PASSWORD].encode())
        return sessions.of_master(identity) if right and identity.master is not None else None
    try:
        caller = identity.look_up(secret.encode())
        if caller.key:
            check_standing(caller, time.time(), address)
            return sessions.of_key(caller)
        return sessions.of_master(identity)
    except GatewayError:
        return await _user(gateway, name, secret) if name else None


async def _user(gateway: Any, name: str, secret: str) -> Session | None:
    """Return the session of a user, who is named by an id or an e-mail address. Who is none takes as long."""
    keyring = gateway.identity.keyring
    if keyring is None:
        return None
    id_ = name if keyring.row("user", name) is not None else keyring.user_of_address(name)
    body = keyring.body("user", id_) if id_ else None
    kept = str((body or {}).get("password") or "") or passwords.NOBODYS
    async with _tries(gateway).turn:
        right = await passwords.matches(secret, kept)
    return sessions_of(gateway).of_user(id_, body) if right and body is not None and id_ else None


def _tries(gateway: Any) -> Tries:
    sessions = sessions_of(gateway)
    if sessions.tries is None:
        sessions.tries = Tries()
    found: Tries = sessions.tries
    return found


def _next(call: Call) -> str:
    return parse_qs(call.exchange.query.decode("latin-1")).get("next", [""])[0][:500]

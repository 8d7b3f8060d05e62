"""The page behind an invitation's link: it sets the password of who is invited, once, and signs them in."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.ui.inner import ask
from penstock.admin.ui.lists import query_of
from penstock.admin.ui.rows import public
from penstock.admin.ui.sessions import COOKIE, LASTS
from penstock.admin.ui.view import form_of, go, render, sessions_of, set_cookie

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

SHORTEST = 8


async def show(gateway: Any, call: Call) -> Page:
    """Show the form in which somebody who is invited sets a password."""
    link = query_of(call).get("id", "")[:200]
    told = await ask(gateway, call, "GET", "/onboarding/get_token", invite_link=link)
    if not told.good:
        return _closed(gateway, call, told.error, told.status)
    return render(gateway, call, "access/invitation.html", link=link, email=told.said["user_email"], wrong="", over="")


def _closed(gateway: Any, call: Call, error: str, status: int) -> Page:
    return render(gateway, call, "access/invitation.html", status, link="", email="", wrong="", over=error)


async def accept(gateway: Any, call: Call) -> Page:
    """Set the password of who is invited, and sign in."""
    sessions = sessions_of(gateway)
    sessions.check_origin(call.exchange)
    form = form_of(call)
    link, password = form.get("id", "")[:200], form.get("password", "")
    told = await ask(gateway, call, "GET", "/onboarding/get_token", invite_link=link)
    if not told.good:
        return _closed(gateway, call, told.error, told.status)
    wrong = ""
    if len(password) < SHORTEST:
        wrong = f"A password has at least {SHORTEST} characters."
    elif password != form.get("again"):
        wrong = "The two are not the same."
    user = _user_of(told.said["token"])
    if not wrong:
        body = {"invitation_link": link, "user_id": user, "password": password}
        claimed = await ask(gateway, call, "POST", "/onboarding/claim_token", body, bearer=told.said["token"])
        wrong = claimed.error
    row = gateway.desk.keyring.body("user", user)
    if wrong or row is None:
        return render(
            gateway, call, "access/invitation.html", 400, link=link, email=told.said["user_email"], wrong=wrong, over=""
        )
    sealed = sessions.sign(sessions.of_user(user, row))
    return go(call, "", "Welcome. Next time, sign in with your e-mail address and this password.",
              more=set_cookie(call, COOKIE, sealed, LASTS))  # fmt: skip


def _user_of(token: str) -> str:
    """Return the user whom a session of an invitation is for: the gateway has just made it."""
    payload = token.split(".")[1]
    said = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(said["user_id"])


ROUTES = (public("/invitation", show), public("/invitation", accept, ("POST",)))

"""Management URLs of invitations: a user gets a link that sets a password, once, within seven days. LiteLLM's paths,
bodies and answers.

Of a link's id only a digest is kept, as of a key: who reads the database or the audit log cannot use it. Whoever holds
the link asks for a session first, and claims the link with it.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from penstock.admin import passwords, userrows
from penstock.admin.desk import Step
from penstock.admin.forms import author, desk_of, page, query_of, read
from penstock.admin.rows import need, post
from penstock.admin.scope import Scope
from penstock.core.admit.access import MANAGEMENT
from penstock.core.admit.periods import text_of, time_of
from penstock.core.errors import GatewayError
from penstock.runtime.gate import PUBLIC, VIEW
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
HOLDS = 7 * 86400.0  # seconds
SESSION = 15 * 60.0
KIND = "invitation"
_NO_USER = "User id does not exist in 'LiteLLM_UserTable'. Fix this by creating user via `/user/new`."
_NO_INVITATION = "Invitation id does not exist in the database."


class NewInvitation(Struct, kw_only=True):
    """The body of ``/invitation/new``."""

    user_id: str


class Invitation(Struct, kw_only=True):
    """The body of ``/invitation/delete``."""

    invitation_id: str


class ChangedInvitation(Invitation, kw_only=True):
    """The body of ``/invitation/update``."""

    is_accepted: bool


class Claim(Struct, kw_only=True):
    """The body of ``/onboarding/claim_token``."""

    invitation_link: str
    user_id: str
    password: str


# Who invites. ---------------------------------------------------------------------------------------------------------


async def new(gateway: Any, call: Call) -> Page:
    """Make an invitation for a user. Its id is the link, and is shown in this answer alone."""
    desk, form = desk_of(gateway), read(call, NewInvitation)
    if not await _may_invite(Scope(call.caller, desk.keyring), desk, form.user_id):
        raise GatewayError("bad_request", _NO_USER, param="user_id")
    link = secrets.token_urlsafe(24)
    id_ = desk.keyring.digest(link.encode())
    body = {
        "id": id_,
        "user_id": form.user_id,
        "is_accepted": False,
        "accepted_at": None,
        "expires_at": text_of(desk.clock() + HOLDS),
    }
    return page({**await desk.add(KIND, id_, body, author(call)), "id": link})


async def info(gateway: Any, call: Call) -> Page:
    """Show an invitation, named by its id."""
    desk, name = desk_of(gateway), need("invitation_id", query_of(call).get("invitation_id"))
    return page(_told(await _find(desk, name), name))


async def update(gateway: Any, call: Call) -> Page:
    """Set whether an invitation was accepted."""
    desk, form = desk_of(gateway), read(call, ChangedInvitation)
    row = await _own(desk, call, form.invitation_id)
    accepted = text_of(desk.clock()) if form.is_accepted else None
    body = {**fields_of(row), "is_accepted": form.is_accepted, "accepted_at": accepted}
    await desk.change(row, body, author(call))
    return page(_told(await _find(desk, form.invitation_id), form.invitation_id))


async def delete(gateway: Any, call: Call) -> Page:
    """Delete an invitation: its link sets no password any more."""
    desk, name = desk_of(gateway), read(call, Invitation).invitation_id
    row = await _own(desk, call, name)
    await desk.remove(row, author(call))
    return page(_told(row, name))


async def _may_invite(scope: Scope, desk: Desk, user: str) -> bool:
    """Tell whether somebody may have a user set a password: proxy admins, and admins of a team or an organisation that
    the user is in; of who may be more than they are, only the former."""
    row = await desk.row("user", user) if user else None
    if row is None:
        return False
    if scope.caller.admin:
        return True
    if scope.caller.views or not scope.takes_key({"user_id": user}):
        return False
    places = (
        ("member", "team_id", scope.runs_team),
        ("organization_member", "organization_id", scope.runs_organization),
    )
    for kind, name, runs in places:
        found = await desk.find(kind, {"user_id": user})
        if any(runs(fields_of(one)[name]) for one in found.rows):
            return True
    return False


async def _own(desk: Desk, call: Call, name: str) -> Row:
    """Find an invitation that the caller may change: who might have made it. Raises "bad_request", alike for one that
    is not there."""
    row = await _find(desk, name)
    if not await _may_invite(Scope(call.caller, desk.keyring), desk, fields_of(row)["user_id"]):
        if not call.caller.admin:  # an admin may change that of a user who is gone
            raise _missing()
    return row


async def _find(desk: Desk, name: str) -> Row:
    """Find an invitation by its link, or by the digest of it that the audit log has. Raises "bad_request"."""
    row = await desk.row(KIND, desk.keyring.digest(name.encode())) or await desk.row(KIND, name)
    if row is None:
        raise _missing()
    return row


def _missing() -> GatewayError:
    return GatewayError("bad_request", _NO_INVITATION, param="invitation_id")


def _told(row: Row, name: str) -> Fields:
    times = {
        "created_at": text_of(row.created_at),
        "created_by": row.created_by,
        "updated_at": text_of(row.updated_at),
        "updated_by": row.updated_by,
    }
    return {**fields_of(row), "id": name, **times}


# Who is invited. ------------------------------------------------------------------------------------------------------


async def begin(gateway: Any, call: Call) -> Page:
    """Give who holds a link a session in which it can be claimed. It ends after a quarter of an hour."""
    desk, link = desk_of(gateway), need("invite_link", query_of(call).get("invite_link"))
    row = await _claimable(desk, link)
    body = await desk.get("user", fields_of(row)["user_id"])
    if body is None:
        raise _refused("User does not exist in db.")
    token = _token(desk, row, body, desk.clock() + SESSION)
    told = {"login_url": "", "token": token, "user_email": body.get("user_email")}
    return page(told)


async def claim(gateway: Any, call: Call) -> Page:
    """Set the password of the user who is invited. Each link does that once."""
    desk, form = desk_of(gateway), read(call, Claim)
    row = await _claimable(desk, form.invitation_link)
    body = fields_of(row)
    if not hmac.compare_digest(str(body["user_id"]).encode(), form.user_id.encode()):
        text = "Invalid invitation link. The user id submitted does not match the user id this link is attached to."
        raise _refused(text)
    _check_session(desk, row, call.exchange.headers.get(b"authorization", b""))
    password = await passwords.derive(form.password)
    user = await desk.row("user", form.user_id)
    if user is None:
        raise _refused("User does not exist in db.")
    accepted = {**body, "is_accepted": True, "accepted_at": text_of(desk.clock())}
    steps = [
        Step(KIND, row.id, accepted, row, "accepted"),
        Step("user", user.id, {**fields_of(user), "password": password}, user, "updated"),
    ]
    try:
        await desk.write(steps, form.user_id)
    except GatewayError as error:
        if error.kind == "outdated" and fields_of(await _find(desk, form.invitation_link))["is_accepted"]:
            raise _refused("Invitation link has already been used.") from None
        raise
    changed = await desk.row("user", user.id)
    told = await userrows.tell(gateway, desk, changed or user)
    return page({"login_url": "", "token": None, "user_email": told.get("user_email"), "user": told})


async def _claimable(desk: Desk, link: str) -> Row:
    """Find the invitation of a link that can be claimed; a 401 else. Its digest is no link."""
    row = await desk.row(KIND, desk.keyring.digest(link.encode()))
    if row is None:
        raise _refused("Invitation link does not exist in db.")
    body = fields_of(row)
    if time_of(body["expires_at"]) < desk.clock():
        raise _refused("Invitation link has expired.")
    if body["is_accepted"] or body["accepted_at"] is not None:
        raise _refused("Invitation link has already been used.")
    return row


def _token(desk: Desk, row: Row, user: Fields, until: float) -> str:
    """Make the token of a session, as LiteLLM has it: a JSON web token of who is invited, in which ``key`` is what
    claims the link. It is taken as a whole, too."""
    key = f"{until:.0f}.{_seal(desk, row, f'{until:.0f}')}"
    said = {
        "user_id": user["user_id"],
        "user_email": user.get("user_email"),
        "user_role": user.get("user_role"),
        "key": key,
        "login_method": "username_password",
        "exp": int(until),
    }
    head = _encoded(b'{"alg":"HS256","typ":"JWT"}')
    text = f"{head}.{_encoded(msgspec.json.encode(said))}"
    return f"{text}.{_encoded(bytes.fromhex(desk.keyring.digest(text.encode())))}"


def _check_session(desk: Desk, row: Row, header: bytes) -> None:
    """Raise a 401 unless somebody brings the session of an invitation: its key, or the token that holds it."""
    given = header.decode("latin-1")
    given = given[7:] if given[:7].lower() == "bearer " else given
    if not given:
        raise _refused("Missing onboarding session for invitation link.")
    if given.count(".") == 2:
        text, _, seal = given.rpartition(".")
        right = hmac.compare_digest(seal.encode(), _encoded(bytes.fromhex(desk.keyring.digest(text.encode()))).encode())
        given = _key_within(text.partition(".")[2]) if right else ""
    until, _, seal = given.partition(".")
    known = until.isascii() and until.isdigit() and len(until) < 12 and int(until) >= desk.clock()
    if not known or not hmac.compare_digest(seal.encode(), _seal(desk, row, until).encode()):
        raise _refused("Invalid onboarding session for invitation link.")


def _key_within(payload: str) -> str:
    said = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(said["key"])


def _seal(desk: Desk, row: Row, until: str) -> str:
    return desk.keyring.digest(f"onboarding/{row.id}/{row.version}/{until}".encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _refused(text: str) -> GatewayError:
    return GatewayError("unauthorized", text)


ROUTES = (
    post("/invitation/new", new, NewInvitation),
    Route("/invitation/info", info, role=VIEW),
    post("/invitation/update", update, ChangedInvitation),
    post("/invitation/delete", delete, Invitation),
    Route("/onboarding/get_token", begin, role=PUBLIC, family=MANAGEMENT),
    post("/onboarding/claim_token", claim, Claim, PUBLIC),
)

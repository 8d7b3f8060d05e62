"""Keys that get a new secret by themselves (`auto_rotate`): when, who does it, and how their users come by it.

Both secrets open for a while. Until then `/key/info` tells the new one, `rotated_key`, to whoever has the old one (or
might rotate the key by hand): so a program can fetch it, and nobody needs to hand it over. It is kept sealed, and gone
with the old secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin import keyrows
from penstock.admin.desk import Step
from penstock.core.admit.holders import Bad
from penstock.core.admit.periods import later, time_of
from penstock.core.errors import GatewayError
from penstock.runtime.keyring import masked
from penstock.stores.base import Outdated, Row
from penstock.stores.sealing import BadSeal, NoCipher

if TYPE_CHECKING:
    from penstock.admin.desk import Desk

log = logging.getLogger("penstock")
ENABLED = "LITELLM_KEY_ROTATION_ENABLED"
EVERY = "LITELLM_KEY_ROTATION_CHECK_INTERVAL_SECONDS"
GRACE = "LITELLM_KEY_ROTATION_GRACE_PERIOD"
WHO = "penstock"
LONGEST_OVERLAP = 7 * 86400.0  # seconds that both secrets open, where nobody says it; and at most half of the interval
LEASE = 120.0  # seconds that a process has the rounds for itself, unless it says that it goes on
_ROUNDS = "key_rotation"
_LEASE_OF = 20  # keys that are rotated on one lease
_MARK = b'"auto_rotate":true'


def is_enabled(env: Mapping[str, str]) -> bool:
    """Tell whether keys are rotated by themselves: as with LiteLLM, where a variable says so."""
    return env.get(ENABLED, "").strip().lower() in ("true", "1", "yes", "on")


def due(rows: Iterable[Row], now: float) -> list[str]:
    """List the ids of the keys that are to be rotated by a time, or of which an old secret is to be forgotten."""
    found = []
    for row in rows:
        if _MARK not in row.body and b'"rotated":' not in row.body:
            continue
        body = msgspec.json.decode(row.body)
        if is_due(body, now) or _is_over(body, now):
            found.append(row.id)
    return found


def is_due(body: Mapping[str, Any], now: float) -> bool:
    """Tell whether it is time for a new secret. One that opens nothing needs none."""
    at = body.get("key_rotation_at")
    if not body.get("auto_rotate") or not at:
        return False
    try:
        return time_of(at) <= now and keyrows.status_of(body, now) == "active"
    except ValueError:  # of a row that somebody wrote by hand
        return False


def _is_over(body: Mapping[str, Any], now: float) -> bool:
    kept = body.get("rotated")
    return kept is not None and kept["until"] <= now


async def rotate_due(desk: Desk, process: str, grace: str | None) -> int:
    """Rotate the keys that are due, if no other process is at it; return how many there were. Raises
    ``GatewayError``, ``OSError``."""
    ids = await asyncio.to_thread(due, desk.keyring.rows("key"), desk.clock())
    count = 0
    for at in range(0, len(ids), _LEASE_OF):
        if not await _take_lease(desk, process, desk.clock()):
            break
        for id_ in ids[at : at + _LEASE_OF]:
            count += await _rotate(desk, id_, grace)
    return count


async def _take_lease(desk: Desk, process: str, now: float) -> bool:
    """Take the rounds for this process alone, by a row that says who has them until when."""
    before = await desk.store.get("note", _ROUNDS)
    if before is not None:
        held = msgspec.json.decode(before.body)["value"]
        if held["process"] != process and held["until"] > now:
            return False
    body = msgspec.json.encode({"name": _ROUNDS, "value": {"process": process, "until": now + LEASE}})
    made = (1, now, WHO) if before is None else (before.version + 1, before.created_at, before.created_by)
    try:
        await desk.store.write([Row("note", _ROUNDS, body, *made, now, WHO)])
    except Outdated:  # another process was faster
        return False
    return True


async def _rotate(desk: Desk, id_: str, grace: str | None) -> int:
    now, row = desk.clock(), await desk.row("key", id_)
    if row is None:
        return 0
    body = msgspec.json.decode(row.body)
    action = "rotated"
    try:
        if is_due(body, now):
            body = _with_new_secret(desk, body, grace, now)
        elif _is_over(body, now):
            del body["rotated"]
            action = "forgot"
        else:
            return 0
        await desk.write([Step("key", id_, body, row, action)], WHO)
    except NoCipher as error:
        log.error("The key %s cannot be rotated: %s", id_[:12], error.strerror or error)
        return 0
    except Bad as error:
        log.error("The key %s cannot be rotated: %s", id_[:12], error)
        return 0
    except GatewayError as error:
        if error.kind != "outdated":
            raise
        return 0  # somebody else changes it just now: it is looked at again
    return int(action == "rotated")


def _with_new_secret(desk: Desk, before: Mapping[str, Any], grace: str | None, now: float) -> dict[str, Any]:
    assert desk.sealer is not None, "whoever has a database has a sealer"
    secret = keyrows.make_secret(None)
    most = (later(before["rotation_interval"], now) - now) / 2
    until = keyrows.grace_of(grace, now) or now + min(most, LONGEST_OVERLAP)
    body = keyrows.rotate(before, desk.keyring.digest(secret.encode()), until, now)
    body["key_name"] = masked(secret.encode())
    body["rotated"] = {"secret": desk.sealer.seal(secret.encode(), _place(before["token"])), "until": until}
    return body


async def new_secret(desk: Desk, row: Row) -> dict[str, str]:
    """Return what `/key/info` tells of a secret that came by itself: nothing where the old one is over."""
    kept = msgspec.json.decode(row.body).get("rotated")
    if kept is None or kept["until"] <= desk.clock() or desk.sealer is None:
        return {}
    try:
        return {"rotated_key": (await asyncio.to_thread(desk.sealer.open, kept["secret"], _place(row.id))).decode()}
    except (BadSeal, NoCipher):
        return {}


def _place(id_: str) -> str:
    return f"key/{id_}/rotated"

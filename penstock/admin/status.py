"""``/gateway/status``: how every deployment stands, and what needs attention, each with where it is mended.

What takes longer to find out (budgets, the config) is looked at once in ``LASTS`` seconds, whoever asks how often.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import page
from penstock.admin.spending import spent_of_all
from penstock.core.admit.access import MANAGEMENT
from penstock.core.admit.amount import dollars
from penstock.core.errors import GatewayError
from penstock.runtime.gate import VIEW
from penstock.runtime.route import Page, Route
from penstock.runtime.tally import REQUESTS
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.targets import Target

Fields = dict[str, Any]
LASTS = 15.0  # seconds
NEAR = 0.8  # of a budget
SOON = 7 * 86400.0  # seconds before a key ends
MOST = 100  # items of one kind
MOST_ROWS = 20_000  # rows with a budget that are looked at
MOST_REVIEWED = 500  # deployments; a longer list is looked at by `penstock check`
OK, COOLING, FAILING, IDLE = "ok", "cooling", "failing", "idle"
_KINDS = (("key", "key_alias"), ("team", "team_alias"), ("user", "user_email"), ("organization", "organization_alias"))
_LOST = ("dropped", "refused", "lost")


class Slow:
    """What was found of one gateway the last time, and when."""

    def __init__(self) -> None:
        self.found: list[Fields] = []
        self.until = 0.0
        self.state: Any = None
        self.faults: list[Fields] = []
        self.one = asyncio.Lock()


async def status(gateway: Any, call: Call) -> Page:
    """Tell how every deployment stands, and what needs attention."""
    deployments = deployments_of(gateway)
    items = [_of_deployment(one) for one in deployments if one["state"] in (COOLING, FAILING)][:MOST]
    items += [*_of_places(gateway), *_unpriced(gateway), *await _slow(gateway)]
    counts = dict.fromkeys((OK, COOLING, FAILING, IDLE), 0)
    for one in deployments:
        counts[one["state"]] += 1
    items.sort(key=lambda one: one["level"] != "bad")
    told = {
        "deployments": deployments,
        "counts": counts,
        "attention": items,
        "active": sum(one["in_flight"] for one in deployments),
        "started_at": gateway.started_at,
    }
    return page(told)


def deployments_of(gateway: Any) -> list[Fields]:
    """Describe how each deployment stands, as this process knows it."""
    lives, now = gateway.engine.means.lives, gateway.clock()
    tally = gateway.tally
    tally.fold()
    asked: dict[str, int] = {}
    for cell in tally.cells.values():
        asked[cell.labels.target_id] = asked.get(cell.labels.target_id, 0) + cell.values[REQUESTS]
    return [_deployment(target, lives.get(target.live_id), asked.get(target.id, 0), now) for target in
            gateway.state.targets]  # fmt: skip


def _deployment(target: Target, live: Any, requests: int, now: float) -> Fields:
    told: Fields = {
        "id": target.id,
        "model_name": target.deployment.model_name,
        "model": target.label,
        "requests": requests,
        "in_flight": 0,
        "rests": None,
        "why": "",
        "state": OK if requests else IDLE,
    }
    if live is None:
        return told
    standing = live.standing
    told["in_flight"] = standing.in_flight
    left = standing.rests_until - now if standing.rests_until else 0.0
    trouble = live.health.trouble(now) or standing.unwell
    if left > 0:
        told |= {"state": COOLING, "rests": round(left, 1), "why": trouble or standing.why}
    elif trouble:
        told |= {"state": FAILING, "why": trouble}
    return told


def _item(level: str, kind: str, text: str, why: str = "", link: str = "") -> Fields:
    """Make an item. ``link``: the path of the page where it is mended, below that of all pages."""
    return {"level": level, "kind": kind, "text": text, "why": why[:500], "link": link}


def _of_deployment(one: Fields) -> Fields:
    name, link = f"{one['model_name']} ({one['model']})", f"/requests?model_id={one['id']}&status=failure"
    if one["state"] == COOLING:
        return _item("bad", "deployment", f"{name} rests for {one['rests']:.0f} s more", one["why"], link)
    return _item("bad", "deployment", f"{name} fails", one["why"], link)


def _of_places(gateway: Any) -> Iterable[Fields]:
    """Tell of what cannot be written down or sent."""
    if gateway.books is not None:
        for name, why in gateway.books.told().items():
            yield _item("bad", "ledger", f"What requests cost cannot be written ({name})", why, "/settings")
    storage = getattr(gateway, "storage", None)
    if storage is not None and not storage.connected:
        yield _item("bad", "database", "The database cannot be reached", "", "/settings")
    if gateway.callbacks is None:
        return
    for name, told in gateway.callbacks.told().items():
        if not isinstance(told, Mapping):
            continue
        lost = {one: told[one] for one in _LOST if told.get(one)}
        if told.get("trouble") or lost:
            said = "; ".join(f"{count:,} {what}" for what, count in lost.items())
            text = f"Records do not all reach {name}" + (f": {said}" if said else "")
            yield _item("bad" if lost else "warn", "sink", text, str(told.get("trouble", "")), "/settings")


def _unpriced(gateway: Any) -> Iterable[Fields]:
    """Tell of models whose requests count as nothing, as nobody says what they cost."""
    found = [one for one in gateway.state.targets if one.price.price is None and "*" not in one.model]
    names = sorted({target.deployment.model_name for target in found})
    for name in names[:MOST]:
        why = "Its requests count as $0 against every budget. Set input_cost_per_token and output_cost_per_token."
        yield _item("warn", "price", f"No price is known for {name}", why, "/models")


# What takes longer. ---------------------------------------------------------------------------------------------------


async def _slow(gateway: Any) -> list[Fields]:
    if gateway.looked is None:
        gateway.looked = Slow()
    slow: Slow = gateway.looked
    async with slow.one:
        if time.monotonic() >= slow.until:
            if slow.state is not gateway.state:
                slow.state, slow.faults = gateway.state, await asyncio.to_thread(_faults, gateway.state.config)
            slow.found = [*await _of_rows(gateway), *slow.faults]
            slow.until = time.monotonic() + LASTS
        return slow.found


def _faults(config: Any) -> list[Fields]:
    """Tell what of a config cannot work."""
    from penstock.runtime.review import review  # only who looks at this needs it

    if len(config.deployments) > MOST_REVIEWED:
        return []
    found = review(config, {**os.environ, **config.environment})
    return [
        _item("bad" if one.level == "error" else "warn", "config", f"{one.path or 'The config'}: {one.message}", "",
              "/settings")
        for one in found[:MOST]
    ]  # fmt: skip


async def _of_rows(gateway: Any) -> list[Fields]:
    """Tell of budgets that are nearly used up, and of keys that end soon."""
    keyring = gateway.keyring
    if keyring is None:
        return []
    rows = [(kind, alias, list(keyring.rows(kind))) for kind, alias in _KINDS]
    capped, ending = await asyncio.to_thread(_read_rows, rows, time.time())
    if not capped:
        return ending
    try:
        spent = await spent_of_all(gateway, [f"{kind}:{id_}" for kind, id_, _, _ in capped])
    except GatewayError:  # the database is away, which is told elsewhere
        return ending
    found = []
    for (kind, id_, name, most), amount in zip(capped, spent, strict=True):
        used = dollars(amount)
        if used >= NEAR * most:
            over = used >= most
            text = f"The budget of the {kind} {name} is {'used up' if over else f'used by {used / most:.0%}'}"
            link = f"/{kind}s/{id_}"
            found.append(
                (used / most, _item("bad" if over else "warn", "budget", text, f"${used:,.4g} of ${most:,.4g}", link))
            )
    found.sort(key=lambda one: -one[0])
    return [item for _, item in found[:MOST]] + ending


Capped = tuple[str, str, str, float]


def _read_rows(rows: Iterable[tuple[str, str, list[Any]]], now: float) -> tuple[list[Capped], list[Fields]]:
    """Find rows with a budget, and keys that end soon. In a thread: there may be many."""
    capped: list[Capped] = []
    ending: list[tuple[float, Fields]] = []
    for kind, alias, all_ in rows:
        for row in all_:
            body = fields_of(row)
            name = str(body.get(alias) or row.id[:20])
            most = body.get("max_budget")
            if isinstance(most, int | float) and most > 0 and len(capped) < MOST_ROWS:
                capped.append((kind, row.id, name, float(most)))
            if kind == "key" and body.get("expires") and (left := _left(body["expires"], now)) is not None:
                text = f"The key {name} ends in {_days(left)}"
                ending.append((left, _item("warn", "key", text, "", f"/keys/{row.id}")))
    ending.sort(key=lambda one: one[0])
    return capped, [item for _, item in ending[:MOST]]


def _left(expires: Any, now: float) -> float | None:
    """Return the seconds until a key ends, where that is soon."""
    try:
        at = expires if isinstance(expires, int | float) else datetime.fromisoformat(str(expires)).timestamp()
    except ValueError:
        return None
    return at - now if 0 < at - now < SOON else None


def _days(seconds: float) -> str:
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


ROUTES = (Route("/gateway/status", status, role=VIEW, family=MANAGEMENT),)

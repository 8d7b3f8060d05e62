"""What a report of spend is asked for: of which days, and of whom, as far as the caller may see it.

Reports are made of the sums per day, which a gateway of any age has few of; rows of single requests are read by an
index and page by page. An answer that would be larger than ``MOST_SUMS`` is refused with what would make it smaller.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.admin.desk import away
from penstock.admin.forms import desk_of, query_of
from penstock.admin.scope import Scope
from penstock.core.admit.amount import dollars
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    from penstock.runtime.call import Call
    from penstock.stores.sql.daily import Day
    from penstock.stores.sql.spend import SqlSpendStore

    T = TypeVar("T")

MOST_SUMS = 20_000  # sums of one answer
MOST_ADDED = 400_000  # sums that one answer is made of: a second's work
LAST = 30  # days of reports that say nothing of theirs
_NO_SPEND = "Nothing that is spent is kept by this gateway: it has no database. "
_NO_SPEND += "Set general_settings.master_key, or general_settings.database_url, and restart."


Whose = Mapping[str, object]
"""Whose requests are meant: what their fields are equal to, of key, team, user, organization and customer; a tuple: to
one of them."""

ALL: Whose = {}
ANY = object()


class Days(NamedTuple):
    """Days, both included, as ``2026-11-30``."""

    since: str
    until: str

    @property
    def times(self) -> tuple[float, float]:
        """Return when they begin, and when they are over."""
        begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in self)
        return begin.timestamp(), (end + timedelta(days=1)).timestamp()


class Asking:
    """One call of a report: its query, its caller's scope, and the store. Raises "bad_request" without a database."""

    def __init__(self, gateway: Any, call: Call) -> None:
        storage = getattr(gateway, "storage", None)
        if storage is None:
            raise GatewayError("bad_request", _NO_SPEND)
        self.gateway = gateway
        self.store: SqlSpendStore = storage.spend
        self.keyring = desk_of(gateway).keyring
        self.caller = call.caller
        self.scope = Scope(call.caller, self.keyring)
        self.query = query_of(call)

    # Of which days. ---------------------------------------------------------------------------------------------------

    def days(self) -> Days:
        """Read ``start_date`` and ``end_date``. Raises "bad_request" where one is missing or no day."""
        given = [self.query.get(name, "") for name in ("start_date", "end_date")]
        if not all(given):
            raise GatewayError("bad_request", "Please provide start_date and end_date, as YYYY-MM-DD.")
        found = Days(*(_day(name, text) for name, text in zip(("start_date", "end_date"), given, strict=True)))
        if found.until < found.since:
            raise GatewayError("bad_request", f"end_date must be on or after start_date: {found.since} is later.")
        return found

    def days_or_last(self) -> Days:
        """Read the days; those of the last month where none are named."""
        if self.query.get("start_date") or self.query.get("end_date"):
            return self.days()
        return last_days()

    # Of whom. ---------------------------------------------------------------------------------------------------------

    def mine(self) -> Whose:
        """Return all that the caller may see without naming anybody: everything, or what is the caller's own."""
        caller = self.caller
        if caller.views:
            return ALL
        if caller.user:
            return {"user": caller.user}
        if caller.key:
            return {"key": caller.key}
        raise GatewayError("forbidden", "This caller has neither a user nor a key, so nothing is its own.")

    def key(self, given: str) -> str:
        """Return the id of a key that is named, by itself or by an id; what is no key is the id of one that is gone."""
        return self.keyring.id_of(given) or given

    def named(self) -> Whose:
        """Return what ``team_id``, ``organization_id``, ``user_id``, ``api_key`` and ``end_user`` of the query leave of
        what the caller may see. Raises "forbidden" for what is somebody else's."""
        query = self.query
        whose: dict[str, object] = {}
        if team := query.get("team_id"):
            whose |= self.of_team(team)
        if organization := query.get("organization_id"):
            whose |= self.of_organization(organization)
        if user := query.get("user_id") or query.get("internal_user_id"):
            if not (whose or self.scope.sees_user(user)):
                raise denied("user", user)
            whose["user"] = user
        if given := query.get("api_key"):
            key = self.key(given)
            if whose.get("key", key) != key or not (whose or self.sees_key(key)):
                raise denied("key", given)
            whose["key"] = key
        whose = whose or dict(self.mine())
        if customer := query.get("end_user") or query.get("customer_id"):
            whose["customer"] = customer
        return whose

    def sees_key(self, key: str) -> bool:
        """Tell whether the caller may see what a key has spent."""
        return self.scope.sees_key({**(self.keyring.body("key", key) or {}), "token": key})

    def of_team(self, team: str) -> Whose:
        """Return what of a team the caller may see: all, or only what its own key spent. Raises "forbidden"."""
        if self.caller.views or self.scope.runs_team(team) or self.scope.may_in_team(team, "/team/daily/activity"):
            return {"team": team}
        if self.scope.in_team(team) and self.caller.key:
            return {"team": team, "key": self.caller.key}
        raise denied("team", team)

    def of_organization(self, organization: str) -> Whose:
        """Return all of an organisation, for its admins. Raises "forbidden"."""
        if self.caller.views or self.scope.runs_organization(organization):
            return {"organization": organization}
        raise denied("organization", organization)

    # Sums. ------------------------------------------------------------------------------------------------------------

    async def sums(self, whose: Whose, days: Days | None, by: tuple[str, ...], per: str = "", **more: Any) -> list[Day]:
        """Sum up days. ``per``: of each team, user, ... by its ``name``. Raises "bad_request" where there are more than
        ``MOST_SUMS``, and "no_database"."""
        since, until = days or ("", "")
        dimension, where = dimension_of(whose, per)
        where |= more.pop("where", {})
        limit = more.pop("limit", None)
        await self._check_work(dimension, where, since, until, by)
        asked = self.store.daily(
            dimension, where, since, until, by, limit=MOST_SUMS + 1 if limit is None else limit, **more
        )
        found = await answered(asked)
        if limit is None and len(found) > MOST_SUMS:
            text = f"There are more than {MOST_SUMS:,} sums: ask for fewer days, or for one key, user or team."
            raise GatewayError("bad_request", text)
        return found

    async def _check_work(
        self, dimension: str, where: dict[str, object], since: str, until: str, by: tuple[str, ...]
    ) -> None:
        """Refuse to add up more than is done within a second. Raises "bad_request"."""
        from penstock.stores.sql.daily import ALL as EVERYBODY
        from penstock.stores.sql.daily import coarsest
        from penstock.stores.sql.spend import EACH

        if EACH <= set(by) or coarsest(dimension, where, by) == EVERYBODY:
            return
        if await answered(self.store.count_sums(dimension, where, since, until, MOST_ADDED + 1)) > MOST_ADDED:
            text = (
                f"More than {MOST_ADDED:,} sums would have to be added up: name fewer days (start_date, end_date), or "
            )
            raise GatewayError(
                "bad_request", f"{text}one key, user or team. `penstock spend report` adds up all of them."
            )

    def alias_of(self, kind: str, id_: str) -> str | None:
        """Return the alias of a key or a team; None where it has none, or is gone."""
        found = (self.keyring.body(kind, id_) or {}).get(f"{kind}_alias") if id_ else None
        return found if isinstance(found, str) and found else None


def dimension_of(whose: Whose, per: str = "") -> tuple[str, dict[str, object]]:
    """Return which of the sums per day those of somebody are. ``per``: those of each team, user, ... of its. Raises
    "bad_request" where they are not kept: each sum is of one team, user, ..., and of a key of its."""
    kinds = [kind for kind in whose if kind != "key"]
    if per and per not in kinds:
        kinds.append(per)
        whose = {per: ANY, **whose}
    if len(kinds) > 1:
        text = f"Sums are kept of one of {' and '.join(kinds)}, not of both: leave one of them out."
        raise GatewayError("bad_request", text)
    where: dict[str, object] = {"name": whose[kinds[0]]} if kinds and whose[kinds[0]] is not ANY else {}
    if "key" in whose:
        where["key" if kinds else "name"] = whose["key"]
    return (kinds[0] if kinds else "key"), where


def last_days(count: int = LAST) -> Days:
    """Return so many days until today."""
    today = datetime.fromtimestamp(time.time(), UTC).date()
    return Days((today - timedelta(days=count)).isoformat(), today.isoformat())


def denied(kind: str, name: str) -> GatewayError:
    """Make the error for somebody else's spend; it does not tell whether there is such a one."""
    return GatewayError("forbidden", f"You may not see what the {kind} {name[:120]!r} has spent.")


async def answered(asked: Awaitable[T]) -> T:
    """Wait for the store. Raises "no_database" where it cannot be reached."""
    try:
        return await asked
    except OSError as error:
        raise away(error) from None


def spend(sums: Day) -> float:
    """Return the dollars of a sum."""
    return dollars(sums.cost)


def tokens(sums: Day) -> int:
    """Return all tokens of a sum."""
    return sums.input + sums.output


def _day(name: str, text: str) -> str:
    try:
        if len(text) != 10:
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        text = f"{name}: {text[:40]!r} is no day: write it as YYYY-MM-DD, such as 2026-11-30."
        raise GatewayError("bad_request", text, param=name) from None

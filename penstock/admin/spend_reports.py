"""``/global/spend/report`` and those of one key, user, team or organisation: what is charged to whom, by model and
key."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import page
from penstock.admin.spend_asked import ALL, Asking, denied, spend, tokens
from penstock.core.admit import amount
from penstock.core.errors import GatewayError
from penstock.runtime.gate import VIEW
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.admin.spend_asked import Whose
    from penstock.runtime.call import Call
    from penstock.stores.sql.daily import Day

_GROUPS = ("team", "customer", "api_key")


async def everybody(gateway: Any, call: Call) -> Page:
    """Report what was spent, per day and team or customer, or per key."""
    asking = Asking(gateway, call)
    query, days = asking.query, asking.days()
    group = query.get("group_by") or "team"
    if group not in _GROUPS:
        text = f"group_by: {group[:40]!r} is none of {', '.join(_GROUPS)}."
        raise GatewayError("bad_request", text, param="group_by")
    if query.get("api_key") or query.get("internal_user_id") or group == "api_key":
        return page(await _by_key(asking, asking.named()))
    where = {"name": query["team_id"]} if query.get("team_id") and group == "team" else {}
    if query.get("customer_id") and group == "customer":
        where = {"name": query["customer_id"]}
    found = await asking.sums(ALL, days, ("day", "name", "key", "model"), group, where=where)
    if group == "team" and not where:
        found += await _of_no_team(asking, found)
    return page(_by_day(asking, found, group))


async def _of_no_team(asking: Asking, found: Iterable[Day]) -> list[Day]:
    """Return what is left of all sums once those of teams are taken away."""
    from msgspec.structs import replace

    of_teams: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in found:
        sums = of_teams[one.day, one.key, one.model]
        for at, more in enumerate((one.cost, one.input, one.output)):
            sums[at] += more
    left = []
    for one in await asking.sums(ALL, asking.days(), ("day", "key", "model")):
        cost, taken_in, taken_out = of_teams.get((one.day, one.key, one.model), (0, 0, 0))
        rest = replace(one, cost=one.cost - cost, input=one.input - taken_in, output=one.output - taken_out)
        if rest.cost or tokens(rest):
            left.append(rest)
    return left


def _by_day(asking: Asking, found: Iterable[Day], group: str) -> list[dict[str, Any]]:
    """Arrange sums by day, then by team or customer."""
    days: dict[str, dict[str, list[Day]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        name = one.name
        if group == "team":
            name = asking.alias_of("team", name) or name or "Unassigned Team"
        days[one.day][name].append(one)
    called, listed = ("team_name", "teams") if group == "team" else ("customer", "customers")
    return [
        {
            "group_by_day": f"{day}T00:00:00+00:00",
            listed: [
                {
                    called: name,
                    "total_spend": amount.dollars(sum(one.cost for one in sums)),
                    "metadata": [
                        {"model": one.model, "api_key": one.key, "spend": spend(one), "total_tokens": tokens(one)}
                        for one in sums
                    ],
                }
                for name, sums in days[day].items()
            ],
        }
        for day in sorted(days)
    ]


async def _by_key(asking: Asking, whose: Whose) -> list[dict[str, Any]]:
    """Sum up by key, and each by model; the dearest key first."""
    keys: dict[str, list[Day]] = defaultdict(list)
    for one in await asking.sums(whose, asking.days(), ("key", "model")):
        keys[one.key].append(one)
    told = [
        {
            "api_key": key,
            "total_cost": amount.dollars(sum(one.cost for one in sums)),
            "total_input_tokens": sum(one.input for one in sums),
            "total_output_tokens": sum(one.output for one in sums),
            "model_details": [
                {
                    "model": one.model,
                    "total_cost": spend(one),
                    "total_input_tokens": one.input,
                    "total_output_tokens": one.output,
                }
                for one in sums
            ],
        }
        for key, sums in keys.items()
    ]
    return sorted(told, key=lambda one: one["total_cost"], reverse=True)


async def of_key(gateway: Any, call: Call) -> Page:
    """Report what a key has spent, by model; the caller's own, where none is named."""
    asking = Asking(gateway, call)
    key = asking.key(_named(asking, "api_key", asking.caller.key))
    if not asking.sees_key(key):
        raise denied("key", asking.query.get("api_key", ""))
    return page(await _by_key(asking, {"key": key}))


async def of_user(gateway: Any, call: Call) -> Page:
    """Report what a user has spent, by key and model; the caller's own, where none is named."""
    asking = Asking(gateway, call)
    user = _named(asking, "user_id", asking.caller.user)
    if not asking.scope.sees_user(user):
        raise denied("user", user)
    return page(await _by_key(asking, {"user": user}))


async def of_team(gateway: Any, call: Call) -> Page:
    """Report what a team has spent, by key and model; the caller's own, where none is named."""
    asking = Asking(gateway, call)
    return page(await _by_key(asking, asking.of_team(_named(asking, "team_id", asking.caller.team))))


async def of_organization(gateway: Any, call: Call) -> Page:
    """Report what an organisation has spent, by key and model; the caller's own, where none is named."""
    asking = Asking(gateway, call)
    name = _named(asking, "organization_id", asking.caller.organization)
    return page(await _by_key(asking, asking.of_organization(name)))


def _named(asking: Asking, parameter: str, own: str) -> str:
    found = asking.query.get(parameter) or own
    if not found:
        text = f"This key has no {parameter} of its own: name one with ?{parameter}=."
        raise GatewayError("bad_request", text, param=parameter)
    return found


ROUTES = (
    Route("/global/spend/report", everybody, role=VIEW),
    Route("/key/spend/report", of_key),
    Route("/user/spend/report", of_user),
    Route("/team/spend/report", of_team),
    Route("/organization/spend/report", of_organization),
)

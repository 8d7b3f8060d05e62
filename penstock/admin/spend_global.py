"""``/spend/keys|users|tags`` and ``/global/...``: who spends how much, with what. LiteLLM's answers, made of the sums
per day."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Any

from penstock.admin.desk import told as row_told
from penstock.admin.forms import author, body_of, number_of, page
from penstock.admin.spend_asked import ALL, Asking, Days, answered, last_days, spend, tokens
from penstock.admin.spend_logs import check_work
from penstock.admin.spending import need_ledger, put_right
from penstock.core.admit import amount
from penstock.core.admit.access import MANAGEMENT
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.route import READ, Page, Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.admin.spend_asked import Whose
    from penstock.runtime.call import Call
    from penstock.stores.sql.daily import Day

MOST_LISTED = 1000  # keys or users of one answer; who spent most comes first
MOST_NAMES = 20_000  # tags or end users of one answer
MOST_DAYS = 92  # in which single requests are counted
_UNASSIGNED = "Unassigned"
_OTHERS = "Other teams"
_MOST_TEAMS = 100
_MOST_MODELS = 10
_MOST_CUSTOMERS = 100
_AT_ONCE = 200  # accounts that are put right together


async def keys(gateway: Any, call: Call) -> Page:
    """List keys and what each has spent, the dearest first."""
    return await _listed(Asking(gateway, call), "key")


async def users(gateway: Any, call: Call) -> Page:
    """List users and what each has spent, the dearest first; one, where user_id names it."""
    asking = Asking(gateway, call)
    wanted = asking.query.get("user_id")
    if wanted is not None:
        if not asking.scope.sees_user(wanted):
            raise GatewayError("forbidden", "You may not see what another user has spent.")
        row = await gateway.desk.get("user", wanted)
        cost = await asking.sums({"user": wanted}, None, ("name",))
        return page([None if row is None else {**row, "spend": spend(cost[0]) if cost else 0.0}])
    return await _listed(asking, "user")


async def _listed(asking: Asking, kind: str) -> Page:
    """List the rows of a kind that the caller may see: those that spent most first, then those that spent nothing."""
    caller, whose = asking.caller, asking.mine()
    if whose and kind == "user":
        if not caller.user:
            return page([])
        whose = {"user": caller.user}
    costs = await _costs(asking, kind, whose)
    rows = [row for id_ in costs if (row := asking.keyring.row(kind, id_)) is not None]
    if whose and (kind == "user" or not caller.user):
        own = asking.keyring.row(kind, caller.user if kind == "user" else caller.key)
        rest = () if own is None else (own,)
    else:
        where = {"user_id": caller.user} if whose else None
        rest = (await asking.gateway.desk.find(kind, where, limit=MOST_LISTED)).rows
    rows += [row for row in rest if row.id not in costs]
    return page([{**row_told(row), "spend": costs.get(row.id, 0.0)} for row in rows[:MOST_LISTED]])


async def _costs(asking: Asking, kind: str, whose: Whose) -> dict[str, float]:
    """Return what keys or users have spent in all, the dearest first."""
    if not whose:
        found = await answered(asking.store.dearest(kind, MOST_LISTED))
        return {id_: amount.dollars(cost) for id_, cost in found.items()}
    by, per = (("name",), "user") if kind == "user" else (("key",), "")
    sums = await asking.sums(whose, None, by, per, order="cost", descending=True, limit=MOST_LISTED)
    return {one.name or one.key: spend(one) for one in sums}


async def tags(gateway: Any, call: Call) -> Page:
    """List tags with how many requests had each, and what these cost."""
    asking = Asking(gateway, call)
    asked = asking.query.get("start_date") or asking.query.get("end_date")
    found = await asking.sums(_of_tags(asking), asking.days() if asked else None, ("name",), "tag")
    return page(
        [{"individual_request_tag": one.name, "log_count": one.requests, "total_spend": spend(one)} for one in found]
    )


def _of_tags(asking: Asking) -> dict[str, object]:
    """Return whose tags a caller sees: everybody's, or those of its key."""
    whose = asking.mine()
    return {} if not whose else {"key": asking.caller.key}


async def tag_spend(gateway: Any, call: Call) -> Page:
    """Show what tags cost within some days, the dearest first."""
    asking = Asking(gateway, call)
    wanted = [one for one in asking.query.get("tags", "").split(",") if one]
    where = {"name": tuple(wanted)} if wanted and "all-tags" not in wanted else {}
    found = await asking.sums(_of_tags(asking), asking.days(), ("name",), "tag", where=where, order="cost",
                              descending=True)  # fmt: skip
    told = [{"name": one.name, "spend": spend(one), "log_count": one.requests} for one in found]
    return page({"spend_per_tag": told})


async def tag_names(gateway: Any, call: Call) -> Page:
    """List the tags that requests had."""
    asking = Asking(gateway, call)
    return page({"tag_names": await answered(asking.store.names("tag", MOST_NAMES))})


async def total(gateway: Any, call: Call) -> Page:
    """Show what all requests of the last month cost, and what they may."""
    asking = Asking(gateway, call)
    found = await asking.sums(ALL, last_days(), ())
    most = gateway.state.config.litellm.values.get("max_budget") or 0.0
    return page({"spend": sum(map(spend, found)), "max_budget": most})


async def per_day(gateway: Any, call: Call) -> Page:
    """Show what each day of the last month cost."""
    asking = Asking(gateway, call)
    found = await asking.sums(asking.named(), last_days(), ("day",))
    return page([{"date": one.day, "spend": spend(one)} for one in found])


async def top_keys(gateway: Any, call: Call) -> Page:
    """List the keys that spent most in the last month."""
    asking = Asking(gateway, call)
    found = await _top(asking, ("key",), MOST_LISTED)
    told = []
    for one in found:
        row = asking.keyring.body("key", one.key) or {}
        told.append(
            {
                "api_key": one.key,
                "key_alias": row.get("key_alias"),
                "key_name": row.get("key_name"),
                "total_spend": spend(one),
            }
        )
    return page(told)


async def top_models(gateway: Any, call: Call) -> Page:
    """List the models that cost most in the last month."""
    found = await _top(Asking(gateway, call), ("model",), _MOST_MODELS)
    return page([{"model": one.model, "total_spend": spend(one), "total_tokens": tokens(one)} for one in found])


async def providers(gateway: Any, call: Call) -> Page:
    """Show what each provider cost within some days."""
    asking = Asking(gateway, call)
    found = await asking.sums(asking.mine(), asking.days(), ("provider",), order="cost", descending=True)
    return page([{"provider": one.provider, "spend": spend(one)} for one in found if one.provider])


async def _top(asking: Asking, by: tuple[str, ...], usual: int) -> list[Day]:
    limit = number_of(asking.query, "limit", usual, 1, MOST_LISTED)
    return await asking.sums(asking.mine(), last_days(), by, order="cost", descending=True, limit=limit)


async def teams(gateway: Any, call: Call) -> Page:
    """Show what each team spent on each day of the last month; of many, those that spent most."""
    asking = Asking(gateway, call)
    month = last_days()
    first = await asking.sums(ALL, month, ("name",), "team", order="cost", descending=True, limit=_MOST_TEAMS)
    names = tuple(one.name for one in first)
    days: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rest: dict[str, int] = defaultdict(int)
    shown = await asking.sums(ALL, month, ("day", "name"), "team", where={"name": names}) if names else []
    for one in shown:
        days[one.day][asking.alias_of("team", one.name) or one.name] += one.cost
        rest[one.day] -= one.cost
    every = await asking.sums(ALL, month, ("day",))
    of_teams = {one.day: one.cost for one in await asking.sums(ALL, month, ("day",), "team")}
    for one in every:
        in_teams = of_teams.get(one.day, 0)
        for name, cost in ((_OTHERS, in_teams + rest[one.day]), (_UNASSIGNED, one.cost - in_teams)):
            if cost > 0:
                days[one.day][name] += cost
    totals: dict[str, int] = defaultdict(int)
    for of_day in days.values():
        for name, cost in of_day.items():
            totals[name] += cost
    dearest = sorted(totals, key=lambda name: totals[name], reverse=True)
    return page(
        {
            "daily_spend": [{"date": day, **_dollars(days[day])} for day in sorted(days)],
            "teams": dearest,
            "total_spend_per_team": [
                {"team_id": name, "total_spend": amount.dollars(totals[name])} for name in dearest[:_MOST_MODELS]
            ],
        }
    )


async def reset(gateway: Any, call: Call) -> Page:
    """Set what all keys and teams have spent to nothing. Requests and sums per day stay as they are."""
    asking = Asking(gateway, call)
    need_ledger(gateway)
    who = author(call)
    for kind, by, per in (("key", "key", ""), ("team", "name", "team")):
        costs = await answered(asking.store.daily(per or "key", by=(by,)))
        names = [name for one in costs if (name := getattr(one, by))]
        for at in range(0, len(names), _AT_ONCE):
            await asyncio.gather(*(put_right(gateway, kind, name, 0, who) for name in names[at : at + _AT_ONCE]))
    return page({"message": "Spend for all API Keys and Teams reset successfully", "status": "success"})


def _dollars(costs: dict[str, int]) -> dict[str, float]:
    return {name: amount.dollars(cost) for name, cost in costs.items()}


async def customers(gateway: Any, call: Call) -> Page:
    """List the end users that requests were for."""
    asking = Asking(gateway, call)
    return page({"end_users": await answered(asking.store.names("customer", MOST_NAMES))})


async def top_customers(gateway: Any, call: Call) -> Page:
    """List the end users that cost most, of all keys or of one."""
    asking = Asking(gateway, call)
    body = body_of(call) if call.exchange.method == "POST" else asking.query
    usual = last_days()
    given = {"start_date": str(body.get("startTime") or usual.since)[:10],
             "end_date": str(body.get("endTime") or usual.until)[:10]}  # fmt: skip
    asking.query = {**asking.query, **given}
    whose = {"key": asking.key(str(body["api_key"]))} if body.get("api_key") else ALL
    found = await asking.sums(whose, asking.days(), ("name",), "customer", order="cost", descending=True,
                              limit=_MOST_CUSTOMERS)  # fmt: skip
    return page([{"end_user": one.name, "total_count": one.requests, "total_spend": spend(one)} for one in found])


# Activity -------------------------------------------------------------------------------------------------------------


async def activity(gateway: Any, call: Call) -> Page:
    """Show how many requests and tokens there were on each of some days."""
    asking = Asking(gateway, call)
    return page(_active(await asking.sums(asking.mine(), asking.days(), ("day",))))


async def activity_by_model(gateway: Any, call: Call) -> Page:
    """Show how many requests and tokens there were on each of some days, for the models asked most."""
    asking = Asking(gateway, call)
    days: Days = asking.days()
    found: dict[str, list[Day]] = defaultdict(list)
    for one in await asking.sums(asking.mine(), days, ("day", "group")):
        found[one.group].append(one)
    told = [{"model": name, **_active(sums)} for name, sums in found.items()]
    return page(sorted(told, key=lambda one: one["sum_api_requests"], reverse=True)[:_MOST_MODELS])


def _active(found: Iterable[Day]) -> dict[str, Any]:
    sums = list(found)
    return {
        "daily_data": [
            {
                "date": date.fromisoformat(one.day).strftime("%b %d"),
                "api_requests": one.requests,
                "total_tokens": tokens(one),
            }
            for one in sums
        ],
        "sum_api_requests": sum(one.requests for one in sums),
        "sum_total_tokens": sum(tokens(one) for one in sums),
    }


async def exceptions(gateway: Any, call: Call) -> Page:
    """Show how many requests for a model failed because of a limit of rates, on each of some days."""
    asking = Asking(gateway, call)
    found = await _limited(asking, ())
    told = [{"date": _short(day), "num_rate_limit_exceptions": count} for (day,), count in sorted(found.items())]
    return page({"daily_data": told, "sum_num_rate_limit_exceptions": sum(found.values())})


async def exceptions_by_deployment(gateway: Any, call: Call) -> Page:
    """Show how many requests for a model failed because of a limit of rates, by deployment and day."""
    asking = Asking(gateway, call)
    told: dict[str, dict[str, Any]] = {}
    for (day, where), count in sorted((await _limited(asking, ("address",))).items()):
        one = told.setdefault(where, {"api_base": where, "daily_data": [], "sum_num_rate_limit_exceptions": 0})
        one["daily_data"].append({"date": _short(day), "num_rate_limit_exceptions": count})
        one["sum_num_rate_limit_exceptions"] += count
    ordered = sorted(told.values(), key=lambda one: one["sum_num_rate_limit_exceptions"], reverse=True)
    return page(ordered[:_MOST_MODELS])


async def _limited(asking: Asking, by: tuple[str, ...]) -> dict[tuple[str, ...], int]:
    group = asking.query.get("model_group", "")
    if not group:
        raise GatewayError("bad_request", "model_group: name the model.", param="model_group")
    since, until = asking.days().times
    if until - since > MOST_DAYS * 86400:
        raise GatewayError("bad_request", f"start_date and end_date: at most {MOST_DAYS} days can be counted at once.")
    where = {**asking.mine(), "group": group, "status": 429}
    await check_work(asking, where, since, until)
    return await answered(asking.store.count_by_day(where, since, until, by))


def _short(day: str) -> str:
    return date.fromisoformat(day).strftime("%b %d")


ROUTES = (
    Route("/spend/keys", keys),
    Route("/spend/users", users),
    Route("/spend/tags", tags),
    Route("/global/spend", total, role=VIEW),
    Route("/global/spend/reset", reset, methods=("POST",), role=ADMIN, json=False, no_pages=True, family=MANAGEMENT),
    Route("/global/spend/logs", per_day),
    Route("/global/spend/keys", top_keys),
    Route("/global/spend/models", top_models),
    Route("/global/spend/provider", providers),
    Route("/global/spend/teams", teams, role=VIEW),
    Route("/global/spend/tags", tag_spend),
    Route("/global/spend/all_tag_names", tag_names, role=VIEW),
    Route("/global/spend/end_users", top_customers, methods=(*READ, "POST"), role=VIEW, json=False),
    Route("/global/all_end_users", customers, role=VIEW),
    Route("/global/activity", activity),
    Route("/global/activity/model", activity_by_model),
    Route("/global/activity/exceptions", exceptions),
    Route("/global/activity/exceptions/deployment", exceptions_by_deployment),
)

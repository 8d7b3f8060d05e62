"""``/user|team|tag|organization|customer/daily/activity``: sums per day with what they are made of, as LiteLLM's pages
and its users' scripts read them."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import number_of, page
from penstock.admin.spend_asked import ALL, MOST_SUMS, Asking, answered, dimension_of, spend, tokens
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from penstock.admin.spend_asked import Whose
    from penstock.runtime.call import Call
    from penstock.stores.sql.daily import Day

MOST_KEYS = 100  # of an answer that has no pages; who spent most
_FULL = ("day", "name", "key", "model", "group", "provider")
_NAMES = frozenset(("dimension", *_FULL))  # what of sums is no figure
_LISTS = {"team": "team_ids", "tag": "tags", "organization": "organization_ids", "customer": "end_user_ids"}
_DEEPEST = 100_000


async def daily(dimension: str, gateway: Any, call: Call) -> Page:
    """Show what was used and spent on each day, with models, providers and keys, page by page."""
    asking = Asking(gateway, call)
    days, (whose, per, where) = asking.days(), _asked(asking, dimension)
    number, size = number_of(asking.query, "page", 1, 1, 1_000_000), number_of(asking.query, "page_size", 50, 1)
    if (number - 1) * size >= _DEEPEST:
        raise GatewayError("bad_request", f"page: pages end at {_DEEPEST:,} sums. Ask for fewer days.", param="page")
    found = await asking.sums(whose, days, _FULL, per, where=where, order="day", descending=True,
                              offset=(number - 1) * size, limit=size)  # fmt: skip
    of, narrowed = dimension_of(whose, per)
    count = await answered(asking.store.count_days(of, {**narrowed, **where}, days.since, days.until))
    told = [_day(asking, day, sums, dimension) for day, sums in _per_day(found).items()]
    meta = {"page": number, "total_pages": max(1, -(-count // size)), "has_more": number * size < count}
    return page({"results": told, "metadata": {**_totals(found), **meta}})


_WHAT = {"models": "model", "model_groups": "group", "providers": "provider"}


def _folded(finest: Sequence[Day], by: str) -> list[Day]:
    """Add up sums by day and one more field: a few thousand here, instead of all the store's once more."""
    if not finest:
        return []
    made, counted = type(finest[0]), [name for name in finest[0].__struct_fields__ if name not in _NAMES]
    counts_of = attrgetter(*counted)
    sums: dict[tuple[str, str], Sequence[int]] = {}
    for one in finest:
        of, counts = (one.day, getattr(one, by)), counts_of(one)
        sums[of] = tuple(map(add, sums[of], counts)) if of in sums else counts
    found = []
    for (day, name), figures in sorted(sums.items()):
        told: dict[str, Any] = {"day": day, by: name, **dict(zip(counted, figures, strict=True))}
        found.append(made("", **told))
    return found


async def aggregated(dimension: str, gateway: Any, call: Call) -> Page:
    """Show what was used and spent on each day, with models, providers and keys, all of it at once."""
    asking = Asking(gateway, call)
    days, (whose, per, where) = asking.days(), _asked(asking, dimension)
    # The sums that there may be too many of are asked for first: what is refused then took little.
    parts = {"entities": _per_day(await asking.sums(whose, days, ("day", "name"), per, where=where))}
    finest = await asking.sums(whose, days, ("day", *_WHAT.values()), per, where=where, limit=MOST_SUMS + 1)
    for name, by in _WHAT.items():
        few = len(finest) <= MOST_SUMS
        sums = _folded(finest, by) if few else await asking.sums(whose, days, ("day", by), per, where=where)
        parts[name] = _per_day(sums)
    dearest = await asking.sums(whose, days, ("key",), per, where=where, order="cost", descending=True, limit=MOST_KEYS)
    keys = tuple(one.key for one in dearest)
    of, narrowed = dimension_of(whose, per)
    count = await answered(asking.store.count_days(of, {**narrowed, **where}, days.since, days.until, ("key",)))
    found = await asking.sums(whose, days, ("day", "key"), per, where={**where, "key": keys}) if keys else []
    parts["api_keys"] = _per_day(found)
    sums = await asking.sums(whose, days, ("day",), per, where=where, order="day", descending=True)
    told = [
        {"date": one.day, "metrics": metrics([one]), "breakdown": _breakdown(asking, parts, one.day, dimension)}
        for one in sums
    ]
    meta = {"page": 1, "total_pages": 1, "has_more": False, "api_key_limit": MOST_KEYS, "total_api_keys": count}
    return page({"results": told, "metadata": {**_totals(sums), **meta}})


def _asked(asking: Asking, dimension: str) -> tuple[Whose, str, dict[str, object]]:
    """Read of whom: whose requests, per which of the sums, and which of these. Raises "forbidden"."""
    query, where = asking.query, dict[str, object]()
    if query.get("model"):
        where["model"] = query["model"]
    if given := query.get("api_key"):
        where["key"] = asking.key(given)
    if dimension == "user":
        user = query.get("user_id")
        whose = asking.mine() if not user else {"user": user}
        if user and not asking.scope.sees_user(user):
            raise GatewayError("forbidden", "You may not see what another user has spent.")
        return whose, "", where
    names = tuple(one for one in query.get(_LISTS[dimension], "").split(",") if one)
    whose = _of_names(asking, dimension, names)
    if names:
        where["name"] = names
    return whose, dimension, where


def _of_names(asking: Asking, dimension: str, names: tuple[str, ...]) -> Whose:
    """Return what the caller may see of teams, tags, ...: all, or what it has in them. Raises "forbidden"."""
    if asking.caller.views:
        return ALL
    if dimension in ("tag", "customer"):
        return {"key": asking.caller.key}
    if not names:
        text = f"{_LISTS[dimension]}: name whose spend you want to see."
        raise GatewayError("bad_request", text, param=_LISTS[dimension])
    seen = asking.of_team if dimension == "team" else asking.of_organization
    narrowed = [seen(name) for name in names]  # raises for the first that is not the caller's
    return {"key": asking.caller.key} if any("key" in one for one in narrowed) else ALL


def _per_day(found: Iterable[Day]) -> dict[str, list[Day]]:
    days: dict[str, list[Day]] = defaultdict(list)
    for one in found:
        days[one.day].append(one)
    return days


def _day(asking: Asking, day: str, sums: list[Day], dimension: str) -> dict[str, Any]:
    names = ("models", "model_groups", "providers", "api_keys", "entities")
    parts = {name: {day: sums} for name in names}
    return {"date": day, "metrics": metrics(sums), "breakdown": _breakdown(asking, parts, day, dimension)}


def _breakdown(
    asking: Asking, parts: dict[str, dict[str, list[Day]]], day: str, dimension: str
) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {"mcp_servers": {}, "endpoints": {}, "guardrails": {}}
    fields = {
        "models": "model",
        "model_groups": "group",
        "providers": "provider",
        "api_keys": "key",
        "entities": "name",
    }
    for name, field in fields.items():
        sums: dict[str, list[Day]] = defaultdict(list)
        for one in parts.get(name, {}).get(day, ()):
            sums[getattr(one, field)].append(one)
        told[name] = {of or "unknown": _part(asking, name, of, found, dimension) for of, found in sums.items()}
    return told


def _part(asking: Asking, name: str, of: str, found: list[Day], dimension: str) -> dict[str, Any]:
    """Tell of one model, provider, key or team: what it used, and of a model by which keys, where that is known."""
    if name == "api_keys":
        return {"metrics": metrics(found), "metadata": _key(asking, of)}
    keys: dict[str, list[Day]] = defaultdict(list)
    for one in found:
        if one.key:
            keys[one.key].append(one)
    beside = {key: {"metrics": metrics(sums), "metadata": _key(asking, key)} for key, sums in keys.items()}
    metadata: dict[str, Any] = {}
    if name == "entities" and dimension in KINDS:
        row = asking.keyring.body(dimension, of) or {}
        fields = ("team_alias", "user_email", "user_alias", "organization_alias", "alias")
        metadata = {field: row[field] for field in fields if row.get(field)}
    return {"metrics": metrics(found), "metadata": metadata, "api_key_breakdown": beside}


def _key(asking: Asking, key: str) -> dict[str, Any]:
    row = asking.keyring.body("key", key)
    fields = ("key_alias", "team_id", "user_id")
    return {**{name: (row or {}).get(name) for name in fields}, "user_email": None, "key_exists": row is not None}


def metrics(found: Iterable[Day]) -> dict[str, float]:
    """Sum up what was used and spent, with LiteLLM's names."""
    sums = list(found)
    return {
        "spend": sum(map(spend, sums)),
        "prompt_tokens": sum(one.input for one in sums),
        "completion_tokens": sum(one.output for one in sums),
        "cache_read_input_tokens": sum(one.cache_read for one in sums),
        "cache_creation_input_tokens": sum(one.cache_write for one in sums),
        "total_tokens": sum(map(tokens, sums)),
        "successful_requests": sum(one.requests - one.failed for one in sums),
        "failed_requests": sum(one.failed for one in sums),
        "api_requests": sum(one.requests for one in sums),
    }


def _totals(found: Iterable[Day]) -> dict[str, float]:
    named = {"total_tokens": "total_tokens"}
    return {named.get(name, f"total_{name}"): value for name, value in metrics(found).items()}


def _routes(prefix: str, dimension: str) -> tuple[Route, ...]:
    handlers = (("", daily), ("/aggregated", aggregated))
    return tuple(Route(f"{prefix}/daily/activity{end}", _bound(handler, dimension)) for end, handler in handlers)


def _bound(handler: Any, dimension: str) -> Any:
    """Return a handler of one dimension. Its docstring is the summary in the document of all URLs."""
    bound = partial(handler, dimension)
    bound.__doc__ = handler.__doc__
    return bound


ROUTES = tuple(
    row
    for prefix, dimension in (
        ("/user", "user"),
        ("/team", "team"),
        ("/tag", "tag"),
        ("/organization", "organization"),
        ("/customer", "customer"),
        ("/end_user", "customer"),
    )
    for row in _routes(prefix, dimension)
)

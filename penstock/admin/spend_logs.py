"""``/spend/logs``: what single requests cost, as LiteLLM tells it."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.arithmetic import arithmetic
from penstock.admin.forms import flag_of, missing, number_of, page, query_of
from penstock.admin.recent import need_recent
from penstock.admin.spend_asked import Asking, answered, spend
from penstock.core.admit import amount
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.base import SpentPage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Texts = Mapping[str, tuple[bytes, bytes]]

    from penstock.admin.spend_asked import Days, Whose
    from penstock.runtime.call import Call
    from penstock.runtime.keyring import Keyring
    from penstock.stores.base import Spent

MOST_ROWS = 10_000  # of an answer without pages, as LiteLLM's
MOST_SEARCHED = 200_000  # rows that are gone through for what no index has: a second's work
INDEXED = frozenset("call_id request_id session key team user organization customer".split())
DEEPEST = 100_000  # rows that a page may lie behind the first
_RENDERED_HERE = 100  # rows; more are rendered in a thread
_ORDERS = {
    "startTime": "at",
    "endTime": "at",
    "spend": "cost",
    "total_tokens": "tokens",
    "request_duration_ms": "ms",
    "model": "model",
    "ttft_ms": "first_ms",
}
_WORDS = ("messages", "input", "contents", "prompt", "query")
_FIELDS = {"model": "target", "model_group": "group", "model_id": "target_id", "session_id": "session"}


async def logs(gateway: Any, call: Call) -> Page:
    """List requests and what they cost, the newest first; sums per day, where days are named."""
    asking = Asking(gateway, call)
    whose, query = asking.named(), asking.query
    if query.get("start_date") or query.get("end_date"):
        days = asking.days()
        if flag_of(query, "summarize", True) and not query.get("request_id"):
            return page(await _summary(asking, whose, days))
        since, until = days.times
        return await _rows_page(asking, await _find(asking, whose, since, until))
    return await _rows_page(asking, await _find(asking, whose))


async def _find(
    asking: Asking, whose: Whose, since: float | None = None, until: float | None = None
) -> Sequence[Spent]:
    request = asking.query.get("request_id")
    if not request:
        return (await answered(asking.store.rows(whose, since, until, limit=MOST_ROWS))).rows
    for field in ("request_id", "call_id"):
        found = await answered(asking.store.rows({**whose, field: request}, since, until, limit=MOST_ROWS))
        if found.rows:
            return found.rows
    return ()


async def _summary(asking: Asking, whose: Whose, days: Days) -> list[dict[str, Any]]:
    """Sum up days, by key, user and model."""
    by_key = await asking.sums(whose, days, ("day", "key"))
    by_model = await asking.sums(whose, days, ("day", "model"))
    told: dict[str, dict[str, Any]] = {}
    for one in by_key:
        item = told.setdefault(one.day, {"startTime": one.day, "spend": 0, "users": {}, "models": {}})
        item[one.key] = item.get(one.key, 0) + one.cost
        item["spend"] += one.cost
    for one in by_model:
        told[one.day]["models"][one.model] = spend(one)
    if whose.keys() <= {"key", "user"}:  # of a team's users no sums are kept
        for one in await asking.sums(whose, days, ("day", "name"), "user"):
            told[one.day]["users"][one.name] = spend(one)
    for item in told.values():
        for name, value in item.items():
            if isinstance(value, int):
                item[name] = amount.dollars(value)
    return [*(told[day] for day in sorted(told)), *_empty(told, days)]


def _empty(told: Mapping[str, Any], days: Days) -> list[dict[str, Any]]:
    """Tell of the days behind the last one on which something was spent, as LiteLLM does."""
    if not told:
        return []
    last, end = date.fromisoformat(max(told)), date.fromisoformat(days.until)
    count = min((end - last).days, 366)
    return [
        {"startTime": (last + timedelta(days=n)).isoformat(), "spend": 0, "users": {}, "models": {}}
        for n in range(1, count + 1)
    ]


async def pages(gateway: Any, call: Call) -> Page:
    """List requests and what they cost page by page, with filters."""
    if getattr(gateway, "storage", None) is None and gateway.recent is not None:
        return _recent_page(gateway, call)
    asking = Asking(gateway, call)
    query = asking.query
    number, size = number_of(query, "page", 1, 1, 1_000_000), number_of(query, "page_size", 50, 1)
    order = query.get("sort_by") or "startTime"
    if order not in _ORDERS:
        text = f"Invalid sort_by: {order[:40]}. Must be one of: {', '.join(sorted(_ORDERS))}"
        raise GatewayError("bad_request", text, param="sort_by")
    direction = _one_of(query, "sort_order", ("asc", "desc")) or "desc"
    if (number - 1) * size >= DEEPEST:
        text = f"page: pages end at {DEEPEST:,} rows. Narrow down start_date and end_date."
        raise GatewayError("bad_request", text, param="page")
    since, until = times_of(asking)
    where, failed = dict(asking.named()), _one_of(query, "status_filter", ("success", "failure"))
    where |= {field: query[name] for name, field in _FIELDS.items() if query.get(name)}
    if query.get("cache_hit_filter"):
        where["cache_hit"] = _one_of(query, "cache_hit_filter", ("hit", "miss")) == "hit"
    if code := query.get("error_code"):
        where["status"] = number_of({"error_code": code}, "error_code", 0, 0)
    if query.get("call_id"):
        where["call_id"] = query["call_id"]
    if alias := query.get("key_alias"):
        where["key"] = await _key_of(asking, alias, where.get("key"))
    if query.get("request_id"):
        where["request_id"] = query["request_id"]
    costs = (_money(query, "min_spend"), _money(query, "max_spend"))
    more: dict[str, Any] = {
        "model": query.get("any_model", ""),
        "text": query.get("error_message", ""),
        "tag": query.get("tag", ""),
        "after": _cursor(query, order, direction),
    }
    if (
        _ORDERS[order] != "at"
        or failed
        or more["model"]
        or more["text"]
        or more["tag"]
        or any(cost is not None for cost in costs)
        or where.keys() - INDEXED
    ):
        await check_work(asking, where, since, until)
    found = await answered(
        asking.store.rows(
            where, since, until, _ORDERS[order], direction == "desc", (number - 1) * size, size,
            costs=costs,
            failed=None if failed is None else failed == "failure",
            **more,
        )
    )  # fmt: skip
    return await _rows_page(asking, found.rows, _Paged(found, number, size))


def _cursor(query: Mapping[str, str], order: str, direction: str) -> tuple[float, str] | None:
    """Read behind which request a page begins: the `next_cursor` of the page before it."""
    cursor = query.get("cursor", "")
    if not cursor:
        return None
    at, _, call_id = cursor.partition("~")
    try:
        if order != "startTime" or direction != "desc":
            raise ValueError
        return float(at), call_id
    except ValueError:
        text = f"cursor: {cursor[:60]!r} is no next_cursor of a page that goes by startTime, the newest first."
        raise GatewayError("bad_request", text, param="cursor") from None


async def check_work(asking: Asking, where: Whose, since: float | None, until: float | None) -> None:
    """Refuse a search that would go through too many rows. Raises "bad_request"."""
    quick = {name: value for name, value in where.items() if name in INDEXED}
    if await answered(asking.store.count(quick, since, until, MOST_SEARCHED + 1)) > MOST_SEARCHED:
        text = (
            f"More than {MOST_SEARCHED:,} requests would have to be searched or sorted: name fewer days (start_date, "
        )
        text += "end_date), or a key, user, team, organization or end user."
        raise GatewayError("bad_request", text, param="start_date")


class _Paged:
    """A page of how many."""

    def __init__(self, found: SpentPage, number: int, size: int) -> None:
        self.told: dict[str, Any] = {
            "total": found.total,
            "page": number,
            "page_size": size,
            "total_pages": -(-found.total // size),
        }
        if len(found.rows) == size < found.total:
            self.told["next_cursor"] = f"{found.rows[-1].at!r}~{found.rows[-1].call_id}"


async def one(gateway: Any, call: Call) -> Page:
    """Show what one request cost, by the id of its answer or of its call."""
    if getattr(gateway, "storage", None) is None and gateway.recent is not None:
        wanted = call.params["request_id"]
        for row in need_recent(gateway, call).entries():
            if wanted in (row.call_id, row.request_id):
                return page({**_told(row, None, {}), "price": arithmetic(row, gateway.state.config)})
        raise missing("request", wanted)
    asking = Asking(gateway, call)
    wanted, whose = call.params["request_id"], asking.mine()
    for field in ("call_id", "request_id"):
        found = await answered(asking.store.rows({**whose, field: wanted}, limit=1))
        if found.rows:
            row = found.rows[0]
            told = _told(row, asking.keyring, await answered(asking.store.texts([row.call_id])))
            return page({**told, "price": await asyncio.to_thread(arithmetic, row, gateway.state.config)})
    raise missing("request", wanted)


def _recent_page(gateway: Any, call: Call) -> Page:
    """List what this process has in memory, as no database keeps requests."""
    query = query_of(call)
    size, number = number_of(query, "page_size", 50, 1), number_of(query, "page", 1, 1, 1_000_000)
    found = need_recent(gateway, call).find(query)
    rows = found[(number - 1) * size : number * size]
    paged = _Paged(SpentPage(tuple(rows), len(found)), number, size)
    paged.told.pop("next_cursor", None)
    return page({"data": [_told(row, None, {}) for row in rows], **paged.told})


async def session(gateway: Any, call: Call) -> Page:
    """List the requests of a session page by page."""
    asking = Asking(gateway, call)
    wanted = asking.query.get("session_id", "")
    if not wanted:
        raise GatewayError("bad_request", "session_id: name the session.", param="session_id")
    number, size = number_of(asking.query, "page", 1, 1, 1000), number_of(asking.query, "page_size", 50, 1)
    whose = {**asking.mine(), "session": wanted}
    found = await answered(asking.store.rows(whose, descending=False, offset=(number - 1) * size, limit=size))
    return await _rows_page(asking, found.rows, _Paged(found, number, size))


async def _rows_page(asking: Asking, rows: Sequence[Spent], paged: _Paged | None = None) -> Page:
    texts: Texts = {}
    if len(rows) <= _RENDERED_HERE:  # more of them would be more than anybody reads
        texts = await answered(asking.store.texts([row.call_id for row in rows]))

    def render() -> Page:
        told = [_told(row, asking.keyring, texts) for row in rows]
        return page(told if paged is None else {"data": told, **paged.told})

    return render() if len(rows) <= _RENDERED_HERE else await asyncio.to_thread(render)


async def _key_of(asking: Asking, alias: str, narrowed: object) -> str:
    """Return the id of the key with an alias; one that no request has, where there is none, or none for who asks."""
    found = await asking.gateway.desk.find("key", {"key_alias": alias}, limit=1)
    if not found.rows or narrowed not in (None, found.rows[0].id):
        return "none"
    return str(found.rows[0].id)


def times_of(asking: Asking) -> tuple[float | None, float | None]:
    """Read from when to when. Both may be left out: then all that is kept is meant."""
    query = asking.query
    since, until = (_time(query, name) for name in ("start_date", "end_date"))
    if until is not None and len(query["end_date"].strip()) == 10:
        until += 86400
    if since is not None and until is not None and until < since:
        raise GatewayError("bad_request", "end_date must be on or after start_date.", param="end_date")
    return since, until


def _time(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        told = f"{name}: {text[:40]!r} is no time: write it as 2026-11-30 or 2026-11-30 14:05:00."
        raise GatewayError("bad_request", told, param=name) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _money(query: Mapping[str, str], name: str) -> int | None:
    if not query.get(name):
        return None
    found = amount.read(query[name])
    if found is None:
        text = f"{name}: {query[name][:40]!r} is no amount of dollars."
        raise GatewayError("bad_request", text, param=name)
    return found


def _one_of(query: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    found = query.get(name, "").lower()
    if found and found not in known:
        text = f"Invalid {name}: {found[:40]}. Must be one of: {', '.join(known)}"
        raise GatewayError("bad_request", text, param=name)
    return found or None


def _told(one: Spent, keyring: Keyring | None, texts: Texts) -> dict[str, Any]:
    """Tell of a request as LiteLLM's row does, with what it has no name for. ``texts``: what requests asked and were
    answered, where that is kept."""
    request, response = texts.get(one.call_id, (b"", b""))
    failed = bool(one.error) or one.status >= 400
    key = (None if keyring is None else keyring.body("key", one.key)) or {}
    error = {"error_code": str(one.status), "error_class": one.error, "error_message": one.message} if failed else None
    return {
        "request_id": one.request_id or one.call_id,
        "litellm_call_id": one.call_id,
        "call_type": one.kind,
        "api_key": one.key,
        "spend": amount.dollars(one.cost),
        "total_tokens": one.input + one.output,
        "prompt_tokens": one.input,
        "completion_tokens": one.output,
        "startTime": _iso(one.began),
        "endTime": _iso(one.at),
        "request_duration_ms": round(one.ms),
        "completionStartTime": None if one.first_ms is None else _iso(one.began + one.first_ms / 1000),
        "model": one.target or one.model,
        "model_id": one.target_id,
        "model_group": one.group or one.model,
        "custom_llm_provider": one.provider,
        "api_base": one.address,
        "user": one.user,
        "team_id": one.team or None,
        "organization_id": one.organization or None,
        "end_user": one.customer or None,
        "metadata": {
            "user_api_key": one.key,
            "user_api_key_alias": key.get("key_alias"),
            "user_api_key_team_id": one.team or None,
            "user_api_key_user_id": one.user or None,
            "user_api_key_org_id": one.organization or None,
            "spend_logs_metadata": _json(one.metadata),
            "usage_object": _json(one.usage),
            "error_information": error,
            "status": "failure" if failed else "success",
            "estimated": one.estimated,
            "pending": one.pending,
            "attempts": one.tries,
            "price_version": one.price_version or None,
            "path": one.path,
            "way": _json(one.way),
        },
        "cache_hit": str(one.cache_hit),
        "cache_key": one.cache_key,
        "request_tags": one.tags,
        "requester_ip_address": one.client or None,
        "messages": _messages(request),
        "response": _json(response) or {},
        "proxy_server_request": _json(request) or {},
        "session_id": one.session or None,
        "status": "failure" if failed else "success",
    }


def _messages(request: bytes) -> Any:
    """Return what a request says, in whichever field its dialect has that; {} where nothing is kept."""
    try:
        fields = msgspec.json.decode(request, type=dict[str, msgspec.Raw]) if request else {}
    except msgspec.DecodeError:  # it was no object
        return {}
    return next((fields[name] for name in _WORDS if name in fields), {})


def _json(raw: bytes) -> msgspec.Raw | None:
    """Return what was kept as JSON as it is; None for what is none: a text that was cut off."""
    if not raw:
        return None
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return msgspec.Raw(raw)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


ROUTES = (
    Route("/spend/logs", logs),
    Route("/spend/logs/v2", pages),
    Route("/spend/logs/ui", pages),
    Route("/spend/logs/session/ui", session),
    Route("/spend/logs/ui/{request_id}", one),
)

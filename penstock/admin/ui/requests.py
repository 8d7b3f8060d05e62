"""The log of requests: searched, filtered, page by page or as it grows; and each of them in every detail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from penstock.admin.forms import query_of
from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.replaying import ANSWERABLE, answer_text, differences, question_of, replayed
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import Blank, form_of, render

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
ROWS = 50
SPANS = {"": "all of time", "15m": "last 15 minutes", "1h": "last hour", "24h": "last day", "7d": "last week",
         "30d": "last month"}  # fmt: skip
_SPANS = {"15m": 900, "1h": 3600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
# Filter of the page -> what the log is asked for by it.
FILTERS = {
    "model": "any_model", "key": "api_key", "team": "team_id", "user": "user_id", "tag": "tag", "text": "error_message",
    "code": "error_code", "session": "session_id", "model_id": "model_id", "status": "status_filter",
}  # fmt: skip
_DIGEST = 64  # characters of a key's id
_SLOW = (("upstream", "waiting for the upstream"), ("stream", "the answer's stream"), ("gateway", "the gateway itself"),
         ("failed", "attempts that failed"))  # fmt: skip


async def show(gateway: Any, call: Call) -> Page:
    """List requests, the newest first."""
    given = {name: value.strip() for name, value in query_of(call).items() if value.strip()}
    asked = _asked(given)
    told = await ask(gateway, call, "GET", "/spend/logs/ui", **asked)
    if not told.good and given.get("id"):
        told.said["data"] = []
    rows = told.said.get("data", []) if told.good else []
    if told.good and not rows and given.get("id"):  # it may be the id of a call, and not of its answer
        asked["call_id"] = asked.pop("request_id")
        told = await ask(gateway, call, "GET", "/spend/logs/ui", **asked)
        rows = told.said.get("data", []) if told.good else []
    filters = {name: value for name, value in given.items() if name not in ("cursor", "tail")}
    cursor = told.said.get("next_cursor") if told.good else None
    return render(
        gateway, call, "requests/list.html", 200 if told.good else 400, rows=rows, given=Blank(given), wrong=told.error,
        spans=SPANS, tail=given.get("tail") == "on", filtered=bool(filters), query=urlencode(filters),
        total=told.said.get("total", 0) if told.good else 0,
        older=urlencode({**filters, "cursor": cursor}) if cursor else "", kept=gateway.recent is None,
    )  # fmt: skip


def _asked(given: Fields) -> Fields:
    """Turn a page's filters into those of the log."""
    asked: Fields = {api: given[name] for name, api in FILTERS.items() if given.get(name)}
    if (key := asked.pop("api_key", "")) and len(key) == _DIGEST:
        asked["api_key"] = key
    elif key:
        asked["key_alias"] = key
    if given.get("id"):
        asked["request_id"] = given["id"]
    if span := _SPANS.get(given.get("within", "")):
        asked["start_date"] = (datetime.now(UTC) - timedelta(seconds=span)).isoformat(timespec="seconds")
    for name, api in (("since", "start_date"), ("until", "end_date")):
        if given.get(name):
            asked[api] = given[name].replace("T", " ")
    return {**asked, "page_size": ROWS, "cursor": given.get("cursor")}


async def detail(gateway: Any, call: Call) -> Page:
    """Show one request."""
    return await _detail(gateway, call)


async def _detail(gateway: Any, call: Call, status: int = 200, **more: Any) -> Page:
    told = await need(gateway, call, "GET", f"/spend/logs/ui/{call.params['id']}")
    way = (told["metadata"] or {}).get("way") or {}
    bars = waterfall(told, way)
    given: Fields = {"replay": None, "wrong": "", "typed": Blank()}
    return render(
        gateway, call, "requests/detail.html", status, one={**told, "price": Blank(told["price"])}, way=Blank(way),
        bars=bars, slow=slowest(bars, told),
        question=question_of(told), answer=answer_text(told.get("response")), models=gateway.names_for(call),
        replays=told["metadata"]["path"] in ANSWERABLE or not told.get("proxy_server_request"), **{**given, **more},
    )  # fmt: skip


async def replay(gateway: Any, call: Call) -> Page:
    """Ask another model the same, and show how the answers differ."""
    typed = form_of(call)
    told = await need(gateway, call, "GET", f"/spend/logs/ui/{call.params['id']}")
    path, body, wrong = replayed(told, typed)
    if wrong:
        return await _detail(gateway, call, 400, wrong=wrong, typed=Blank(typed))
    found = await ask(gateway, call, "POST", path, body)
    if not found.good:
        return await _detail(gateway, call, 400, wrong=found.error, typed=Blank(typed))
    before, after = answer_text(told.get("response")), answer_text(found.said)
    shown = {"model": typed["model"], "text": after, "parts": differences(before, after) if before else None}
    return await _detail(gateway, call, replay=shown, typed=Blank(typed))


def waterfall(told: Fields, way: Fields) -> list[Fields]:
    """Lay out what happened one below the other: milliseconds from the request's first byte, and for how long."""
    total = float(told["request_duration_ms"] or 0) or 1.0
    first = _first_ms(told)
    if isinstance(way.get("ms"), dict) and way.get("attempts"):
        return _told_in_full(way, total, first)
    bars: list[Fields] = []
    failed = way.get("failed") or []
    for one in failed:
        start = max(0.0, one["at"] - one["ms"])
        how = "another one answered first" if one.get("let_go") else f"{one.get('status', '')} {one.get('error', '')}"
        bars.append(_bar(one["target"], "failed", start, one["ms"], total, how.strip(), one.get("message", "")))
    if told["status"] == "success" and told["custom_llm_provider"]:
        upstream = float(way.get("upstream") or 0)
        if first is not None:
            begin = max(0.0, first - upstream)
            answered = f"{told['custom_llm_provider']}/{told['model']}"
            bars.append(_bar(answered, "upstream", begin, first - begin, total, "until its first byte"))
            bars.append(_bar("the answer streams", "stream", first, max(0.0, total - first), total))
        else:
            begin = max(0.0, total - upstream)
            bars.append(_bar(f"{told['custom_llm_provider']}/{told['model']}", "upstream", begin, upstream, total))
    busy = sum(bar["ms"] for bar in bars)
    if not told["cache_hit"] == "True":
        bars.insert(
            0, _bar("the gateway itself", "gateway", 0.0, max(0.0, total - busy), total, "auth, routing, translation")
        )
    else:
        bars.append(_bar("from the cache", "gateway", 0.0, total, total))
    return bars


def _told_in_full(way: Fields, total: float, first: float | None) -> list[Fields]:
    """Lay out the way of a request that asked to be told of it."""
    ms, bars, at = way["ms"], [], 0.0
    for name, text in (("auth", "key and limits"), ("body", "the request's body comes"), ("queue", "waits in the line"),
                       ("read", "is read and planned")):  # fmt: skip
        if name in ms:
            bars.append(_bar(text, "gateway", at, ms[name], total))
            at += ms[name]
    for number, one in enumerate(way["attempts"], 1):
        name = f"{number}. {one.get('deployment', '')}"
        failed = "error" in one
        translate = float(one.get("translate") or 0)
        bars.append(_bar(f"{name}: translated", "gateway", at, translate, total))
        at += translate
        if "connect" in one and not one.get("kept"):
            bars.append(_bar(f"{name}: connects", "connect", at, one["connect"], total))
        upstream = float(one.get("upstream") or 0)
        how = f"{one.get('status', '')} {one['error']}".strip() if failed else ""
        bars.append(_bar(name, "failed" if failed else "upstream", at, upstream, total, how))
        at += upstream
    if "stream" in ms:
        begin = first if first is not None else at
        bars.append(_bar("the answer streams", "stream", begin, ms["stream"], total))
    return bars


def _bar(name: str, kind: str, start: float, ms: float, total: float, how: str = "", why: str = "") -> Fields:
    scale = 1000 / total
    at = min(start * scale, 998.0)
    return {
        "name": name, "kind": kind, "start": round(start, 2), "ms": round(ms, 2), "how": how, "why": why,
        "x": round(at, 1), "width": round(max(2.0, min(ms * scale, 1000 - at)), 1),
    }  # fmt: skip


def slowest(bars: list[Fields], told: Fields) -> str:
    """Say in a sentence what took most of the time."""
    total = float(told["request_duration_ms"] or 0)
    sums: dict[str, float] = {}
    for bar in bars:
        sums[bar["kind"]] = sums.get(bar["kind"], 0.0) + bar["ms"]
    if not total or not sums:
        return ""
    kind = max(sums, key=lambda name: sums[name])
    share = min(1.0, sums[kind] / total)
    return f"{share:.0%} of the time went to {dict(_SLOW).get(kind, kind)}."


def _first_ms(told: Fields) -> float | None:
    if not told.get("completionStartTime"):
        return None
    begin, first = (datetime.fromisoformat(told[name].replace("Z", "+00:00")) for name in
                    ("startTime", "completionStartTime"))  # fmt: skip
    return max(0.0, (first - begin).total_seconds() * 1000)


ROUTES = (
    page("/requests", show),
    page("/requests/{id:path}/replay", detail),
    page("/requests/{id:path}", detail),
    form("/requests/{id:path}/replay", replay),
)

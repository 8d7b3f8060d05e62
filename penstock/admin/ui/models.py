"""The pages of models: which deployments there are, how each stands, one by itself, and where a request would go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode

import msgspec

from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import form_of, go, render
from penstock.runtime.gate import PAGE_ADMIN

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

STATES = {
    "well": ("well", "good"),
    "unknown": ("not asked yet", "plain"),
    "resting": ("resting", "bad"),
    "trial": ("being tried", "warn"),
    "unwell": ("trouble", "bad"),
    "blocked": ("disabled", "plain"),
}
"""State of a deployment -> its word, and how it is coloured."""
LEAST = 10  # deployments from which on a list is worth a search
SIZE = 50


class Typed(dict[str, str]):
    """What stands in a form, or what is wrong with it, by field: "" for what was not given."""

    def __missing__(self, name: str) -> str:
        return ""


def query_of(call: Call) -> dict[str, str]:
    """Read the query of a page: the last value of each name."""
    return {key: values[-1] for key, values in parse_qs(call.exchange.query.decode("latin-1")).items()}


def at(id_: str, what: str = "one") -> str:
    """Return the path of a deployment's page."""
    return f"/models/{what}/{quote(id_, safe='')}"


async def show(gateway: Any, call: Call) -> Page:
    """Show the deployments by their public names, and how each stands."""
    query = query_of(call)
    asked = {name: query.get(name, "") for name in ("search", "provider", "trouble", "page")}
    found = await need(gateway, call, "GET", "/deployments", size=SIZE, **asked)
    kept = {name: value for name, value in asked.items() if value and name != "page"}
    return render(
        gateway, call, "models/list.html",
        found=found, asked=asked, kept=urlencode(kept), states=STATES, at=at,
        search=found["total_deployments"] > LEAST or bool(kept),
        may_change=call.caller.admin and gateway.registry is not None,
    )  # fmt: skip


async def one(gateway: Any, call: Call) -> Page:
    """Show one deployment: what it is, how it stands, what it costs and may."""
    return await shown(gateway, call)


async def shown(gateway: Any, call: Call, tried: Any = None, wrong: str = "", status: int = 200) -> Page:
    """Render the page of one deployment. ``tried``: what a test of it told; ``wrong``: why something was refused."""
    row = await need(gateway, call, "GET", "/deployments/" + call.params["id"])
    lists: dict[str, list[tuple[str, Any]]] = {"limits": _limits(row), "prices": _prices(row["model_info"])}
    return render(
        gateway, call, "models/one.html", status,
        row=row, tried=tried, wrong=wrong, states=STATES, at=at, may_change=call.caller.admin,
        may_edit=call.caller.admin and row["stored"] and gateway.registry is not None,
        supports=sorted(
            name.removeprefix("supports_").replace("_", " ")
            for name, value in row["model_info"].items()
            if name.startswith("supports_") and value is True
        ),
        **lists,
    )  # fmt: skip


def _limits(row: dict[str, Any]) -> list[tuple[str, Any]]:
    params, names = row["litellm_params"], {
        "rpm": "Requests a minute", "tpm": "Tokens a minute", "weight": "Weight", "order": "Order",
        "timeout": "Timeout (s)", "stream_timeout": "Timeout of streams (s)", "num_retries": "Retries",
    }  # fmt: skip
    found = [(title, params[name]) for name, title in names.items() if params.get(name) is not None]
    return [*found, ("At one time", row["most"])] if row["most"] else found


def _prices(info: dict[str, Any]) -> list[tuple[str, Any]]:
    """List the prices that there are: of tokens by the million, of all else as they are."""
    found = []
    for name, value in info.items():
        if "cost" in name and isinstance(value, int | float) and value:
            tokens = "_per_token" in name or "_token_cost" in name
            words = re.sub("_cost_per_token|_token_cost", "", name) if tokens else name.replace("_cost", "", 1)
            title = words.replace("_", " ").strip().capitalize()
            found.append((f"{title}, 1M tokens" if tokens else title, value * 1e6 if tokens else value))
    return sorted(found, key=lambda one: (not one[0].startswith(("Input, ", "Output, ")), one[0]))


async def test(gateway: Any, call: Call) -> Page:
    """Send a tiny request to a deployment, and show what came of it."""
    told = await ask(gateway, call, "POST", "/health/test_connection", {"model_info": {"id": call.params["id"]}})
    if b"hx-request" in call.exchange.headers:
        return render(gateway, call, "models/tried.html", tried=told)
    return await shown(gateway, call, tried=told)


async def block(gateway: Any, call: Call) -> Page:
    """Disable a deployment, or enable it again."""
    id_, on = call.params["id"], form_of(call).get("on") != "no"
    body = {"model_info": {"blocked": True if on else None}}
    told = await ask(gateway, call, "PATCH", f"/model/{quote(id_, safe='')}/update", body)
    if not told.good:
        return await shown(gateway, call, wrong=told.error, status=told.status)
    return go(call, at(id_), "It takes no traffic now." if on else "It takes traffic again.")


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a deployment."""
    told = await ask(gateway, call, "POST", "/model/delete", {"id": call.params["id"]})
    if not told.good:
        return await shown(gateway, call, wrong=told.error, status=told.status)
    return go(call, "/models", "The deployment was deleted.")


async def route(gateway: Any, call: Call) -> Page:
    """Show the form by which a request is typed in, and where it would go."""
    model = query_of(call).get("model", "")
    told = await ask(gateway, call, "GET", "/v1/route/explain", model=model) if model else None
    return _route(gateway, call, {"model": model, "text": ""}, told)


async def route_typed(gateway: Any, call: Call) -> Page:
    """Show where a typed request would go, and why."""
    typed = form_of(call)
    model, text = typed.get("model", "").strip(), typed.get("text", "").strip()
    body, wrong = request_of(model, text)
    if body is None:
        return _route(gateway, call, typed, None, {"text": wrong}, 400)
    told = await ask(gateway, call, "POST", "/v1/route/explain", body)
    return _route(gateway, call, typed, told, status=200 if told.good else told.status)


def request_of(model: str, text: str) -> tuple[dict[str, Any] | None, str]:
    """Make a request of what was typed: a whole body as JSON, or a user's text. None, and what is wrong with it."""
    if not text.startswith("{"):
        return {"model": model, "messages": [{"role": "user", "content": text}]}, ""
    try:
        body = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return None, f"This begins like JSON, and is none: {error}."
    return {**body, "model": model or body.get("model")}, ""


def _route(
    gateway: Any, call: Call, typed: dict[str, str], told: Any, wrong: dict[str, str] | None = None, status: int = 200
) -> Page:
    names = gateway.names_for(call)
    return render(
        gateway, call, "models/route.html", status,
        typed=Typed(typed), told=told, wrong=Typed(wrong or {}), names=names[:2000], at=at,
    )  # fmt: skip


ROUTES = (
    page("/models", show),
    page("/models/route", route),
    form("/models/route", route_typed),
    form("/models/test/{id:path}", test, PAGE_ADMIN),
    form("/models/block/{id:path}", block, PAGE_ADMIN),
    form("/models/delete/{id:path}", delete, PAGE_ADMIN),
    page("/models/one/{id:path}", one),
)

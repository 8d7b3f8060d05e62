"""The page of providers: who can be called, whether a key is there, and what its list of models says to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.modelforms import wrongs
from penstock.admin.ui.models import Typed, query_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import form_of, go, render
from penstock.core.errors import GatewayError
from penstock.core.providers.accounts import ACCOUNTS
from penstock.runtime.gate import PAGE_ADMIN, PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

KEYS = {
    "environment": ("in the environment", "good"),
    "stored": ("set here", "good"),
    "models": ("at its models", "good"),
    "account": ("by an account", "plain"),
    "none": ("needs none", "plain"),
    "missing": ("missing", "warn"),
}
"""Where a provider's key is -> its words, and how they are coloured."""
FILTERS = ("used", "all")


async def show(gateway: Any, call: Call) -> Page:
    """Show the providers, those that can be called first."""
    query = query_of(call)
    search, only = query.get("search", ""), query.get("only", "")
    rows = (await need(gateway, call, "GET", "/providers", search=search))["data"]
    ready = [row for row in rows if row["deployments"] or row["key"] in ("environment", "stored")]
    rest = [] if only == "used" else [row for row in rows if row not in ready]
    return render(gateway, call, "providers/list.html", ready=ready, rest=rest, search=search, only=only, keys=KEYS)


async def one(gateway: Any, call: Call) -> Page:
    """Show one provider."""
    return await _shown(gateway, call)


async def _shown(
    gateway: Any, call: Call, wrong: dict[str, str] | None = None, told: Any = None, status: int = 200
) -> Page:
    name = call.params["name"]
    rows = (await need(gateway, call, "GET", "/providers", search=name))["data"]
    row = next((row for row in rows if row["id"] == name), None)
    if row is None:
        raise GatewayError("no_object", f"There is no provider {name[:60]!r}.")
    served = await need(gateway, call, "GET", "/deployments", provider=name, size=100)
    accounts = ACCOUNTS.get(name, ())
    return render(
        gateway, call, "providers/one.html", status,
        row=row, served=served, wrong=Typed(wrong or {}), told=told, keys=KEYS, accounts=accounts,
        keeps=gateway.desk is not None,
    )  # fmt: skip


async def keep(gateway: Any, call: Call) -> Page:
    """Keep a provider's key, sealed. It is never shown again."""
    name, typed = call.params["name"], form_of(call)
    title = typed.get("credential_name", "").strip() or name
    fields = ("api_key", "api_base", *(one.name for one in ACCOUNTS.get(name, ())))
    values = {field: typed[field].strip() for field in fields if typed.get(field, "").strip()}
    if not values:
        return await _shown(gateway, call, {"api_key": "Type the key in."}, status=400)
    rows = (await need(gateway, call, "GET", "/providers", search=name))["data"]
    kept = [one for row in rows if row["id"] == name for one in row["credentials"]]
    if title in kept:
        told = await ask(gateway, call, "PATCH", f"/credentials/{quote(title, safe='')}", {"credential_values": values})
    else:
        body = {
            "credential_name": title,
            "credential_values": values,
            "credential_info": {"custom_llm_provider": name},
        }
        told = await ask(gateway, call, "POST", "/credentials", body)
    if not told.good:
        found = wrongs(told)
        return await _shown(gateway, call, found if set(found) <= set(fields) else {"": told.error}, status=told.status)
    return go(call, f"/providers/{name}", f"The credential {title} is kept, sealed. Models may use it now.")


async def forget(gateway: Any, call: Call) -> Page:
    """Delete a credential that no model uses."""
    title = form_of(call).get("credential_name", "")
    told = await ask(gateway, call, "DELETE", f"/credentials/{quote(title, safe='')}")
    if not told.good:
        return await _shown(gateway, call, {"": told.error}, status=told.status)
    return go(call, f"/providers/{call.params['name']}", f"The credential {title} was deleted.")


async def test(gateway: Any, call: Call) -> Page:
    """Ask a provider for its list of models, and show what came of it."""
    name, typed = call.params["name"], form_of(call)
    body = {"credential_name": typed["credential_name"]} if typed.get("credential_name") else {}
    told = await ask(gateway, call, "POST", f"/providers/{quote(name, safe='')}/test", body)
    if b"hx-request" in call.exchange.headers:
        return render(gateway, call, "providers/told.html", told=told, provider=name)
    return await _shown(gateway, call, told=told)


ROUTES = (
    page("/providers", show, PAGE_VIEW),
    form("/providers/{name}/test", test, PAGE_ADMIN),
    form("/providers/{name}/key", keep, PAGE_ADMIN),
    form("/providers/{name}/forget", forget, PAGE_ADMIN),
    page("/providers/{name}", one, PAGE_VIEW),
)

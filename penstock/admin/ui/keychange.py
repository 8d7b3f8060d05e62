"""Forms that make a virtual key, change one, and give one a new secret. A secret is shown once, in the answer to its
form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.admin.ui import editing, fields
from penstock.admin.ui.editing import Form, check_kept, nothing_kept
from penstock.admin.ui.inner import Told, ask
from penstock.admin.ui.keyfields import sections
from penstock.admin.ui.keys import find
from penstock.admin.ui.lists import address_of, names_of_teams, path_of, query_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.snippets import snippets
from penstock.admin.ui.view import form_of, go, render
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
_FROM_ADDRESS = ("team_id", "user_id", "max_budget", "key_alias")


async def _form(gateway: Any, call: Call, key: Fields | None) -> Form:
    """Return the form with the teams and budgets that may be chosen, and those that the key has."""
    teams = await names_of_teams(gateway, call)
    budgets = []
    if call.caller.views:
        told = await ask(gateway, call, "GET", "/budget/list")
        budgets = [(one["budget_id"], one["budget_id"]) for one in told.said[:500]] if told.good else []
    for name, known in (("team_id", teams), ("budget_id", budgets)):
        own = (key or query_of(call)).get(name)
        if own and all(own != id_ for id_, _ in known):
            known.append((own, own))
    parts = sections(tuple(teams), tuple(budgets))
    if key is None:
        return Form("New key", parts, "/keys/new", "/keys", "Create key")
    return Form(f"Edit {key['name']}", parts, key["path"] + "/edit", key["path"], "Save", key)


async def new(gateway: Any, call: Call) -> Page:
    """Show the form that makes a key."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    made = await _form(gateway, call, None)
    texts, query = fields.texts_of(made.parts, {}), query_of(call)
    for name in _FROM_ADDRESS:
        texts[name] = query.get(name, "")[:256]
    if not texts["user_id"] and not call.caller.admin:
        texts["user_id"] = call.caller.user
    return editing.show(gateway, call, made, texts)


async def create(gateway: Any, call: Call) -> Page:
    """Make a key, and show it once."""
    check_kept(gateway)
    told = await editing.send(gateway, call, await _form(gateway, call, None), "/key/generate", {})
    return _made(gateway, call, told.said, "new") if isinstance(told, Told) else told


def _made(gateway: Any, call: Call, told: Fields, how: str, until: str = "") -> Page:
    names = [one for one in gateway.names_for(call) if "*" not in one]
    own = [one for one in told.get("models") or () if one in names]
    model = next(iter([*own, *names]), "MODEL")
    return render(
        gateway, call, "access/made.html", key=told, snippets=snippets(address_of(call), told["key"], model), how=how,
        path=path_of("keys", told["token_id"]), until=until, warnings=told.get("warnings") or [],
    )  # fmt: skip


async def edit(gateway: Any, call: Call) -> Page:
    """Show the form that changes a key."""
    check_kept(gateway)
    key, may = await find(gateway, call)
    if not may["change"]:
        raise GatewayError("forbidden", "You may look at this key, and may not change it.")
    return editing.show(gateway, call, await _form(gateway, call, key))


async def change(gateway: Any, call: Call) -> Page:
    """Change a key."""
    check_kept(gateway)
    key, _ = await find(gateway, call)
    told = await editing.send(
        gateway, call, await _form(gateway, call, key), "/key/update", {"key": key["token"]}
    )  # fmt: skip
    return go(call, key["path"], "The key is changed: it holds from now on.") if isinstance(told, Told) else told


async def rotate(gateway: Any, call: Call) -> Page:
    """Give a key a new secret, and show it once."""
    check_kept(gateway)
    key, _ = await find(gateway, call)
    grace = form_of(call).get("grace_period", "").strip()
    body = {"key": key["token"], **({"grace_period": grace} if grace else {})}
    told = await ask(gateway, call, "POST", "/key/regenerate", body)
    if not told.good:
        return go(call, key["path"], told.error, bad=True)
    return _made(gateway, call, told.said, "rotated", grace)


ROUTES = (
    page("/keys/new", new),
    form("/keys/new", create),
    page("/keys/{id}/edit", edit),
    form("/keys/{id}/edit", change),
    form("/keys/{id}/rotate", rotate),
)

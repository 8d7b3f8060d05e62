"""The audit log: who changed what, and what it was before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from penstock.admin.forms import query_of
from penstock.admin.ui.inner import ask
from penstock.admin.ui.rows import page
from penstock.admin.ui.view import Blank, render
from penstock.runtime.gate import PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
ROWS = 25
KINDS = {
    "LiteLLM_VerificationToken": "key",
    "LiteLLM_TeamTable": "team",
    "LiteLLM_TeamMembership": "member of a team",
    "LiteLLM_UserTable": "user",
    "LiteLLM_OrganizationTable": "organization",
    "LiteLLM_OrganizationMembership": "member of an organization",
    "LiteLLM_BudgetTable": "budget",
    "LiteLLM_EndUserTable": "end user",
    "LiteLLM_ProxyModelTable": "model",
    "LiteLLM_CredentialsTable": "credential",
    "LiteLLM_Config": "setting",
    "LiteLLM_InvitationLink": "invitation",
}
ACTIONS = ("created", "updated", "deleted", "blocked", "unblocked", "regenerated", "rotated")
_FILTERS = {"who": "changed_by", "action": "action", "kind": "table_name", "object": "object_id"}
_COLOURS = {"created": "good", "deleted": "bad", "blocked": "bad"}
MOST_FIELDS = 60  # of one change
LONGEST = 4000  # characters of one value


async def show(gateway: Any, call: Call) -> Page:
    """List what was changed, the last change first."""
    if gateway.desk is None:
        return render(gateway, call, "audit.html", rows=None)
    given = {name: value.strip() for name, value in query_of(call).items() if value.strip()}
    asked: dict[str, Any] = {api: given.get(name) for name, api in _FILTERS.items()}
    told = await ask(gateway, call, "GET", "/audit", **asked, page=given.get("page"), page_size=ROWS)
    found: dict[str, Any] = told.said if told.good else {"audit_logs": [], "page": 1, "total_pages": 0, "total": 0}
    rows = [_row(one) for one in found["audit_logs"]]
    filters = {name: given[name] for name in _FILTERS if given.get(name)}
    return render(
        gateway, call, "audit.html", 200 if told.good else 400, rows=rows, given=Blank(given), wrong=told.error,
        kinds=KINDS, actions=ACTIONS, found=found, query=urlencode(filters), filtered=bool(filters),
    )  # fmt: skip


def _row(one: Fields) -> Fields:
    before, after = one["before_value"] or {}, one["updated_values"] or {}
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    changes = [{"name": name, "before": _text(before, name), "after": _text(after, name)} for name in names]
    kind = KINDS.get(one["table_name"], one["table_name"])
    title = next((str(of[name]) for of in (after, before) for name in of if name.endswith("_alias") and of[name]), "")
    return {
        **one, "kind": kind, "name": title or one["object_id"], "changes": changes[:MOST_FIELDS],
        "more": max(0, len(changes) - MOST_FIELDS), "colour": _COLOURS.get(one["action"], "plain"),
    }  # fmt: skip


def _text(body: Fields, name: str) -> str:
    if body.get(name) in (None, "", [], {}):
        return ""
    value = body[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


ROUTES = (page("/audit", show, PAGE_VIEW),)

"""Management URLs of the audit log: who changed what, when, and what it was before. LiteLLM's paths and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.desk import away
from penstock.admin.forms import desk_of, missing, number_of, page, query_of
from penstock.core.admit.periods import text_of
from penstock.runtime.gate import VIEW
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import KINDS

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Audited

Fields = dict[str, Any]
_TABLES = {
    "key": "LiteLLM_VerificationToken",
    "team": "LiteLLM_TeamTable",
    "member": "LiteLLM_TeamMembership",
    "user": "LiteLLM_UserTable",
    "organization": "LiteLLM_OrganizationTable",
    "organization_member": "LiteLLM_OrganizationMembership",
    "budget": "LiteLLM_BudgetTable",
    "customer": "LiteLLM_EndUserTable",
    "model": "LiteLLM_ProxyModelTable",
    "credential": "LiteLLM_CredentialsTable",
    "setting": "LiteLLM_Config",
    "invitation": "LiteLLM_InvitationLink",
}
"""LiteLLM's names of tables, which its clients filter by; for others our own stand."""
_KIND_OF = {**{about.table: kind for kind, about in KINDS.items()}, **{name: kind for kind, name in _TABLES.items()}}


async def listed(gateway: Any, call: Call) -> Page:
    """List what was changed, the last change first, page by page."""
    desk, query = desk_of(gateway), query_of(call)
    number, size = number_of(query, "page", 1, 1, 10**6), number_of(query, "page_size", 10, 1, 100)
    where: Fields = {}
    for name, field in (("changed_by", "who"), ("action", "action"), ("object_id", "row")):
        if query.get(name):
            where[field] = query[name]
    if query.get("table_name"):
        where["kind"] = _KIND_OF.get(query["table_name"], query["table_name"])
    found, total = await _find(desk, where, (number - 1) * size, size)
    pages = -(-total // size)
    logs = [_told(one) for one in found]
    return page({"audit_logs": logs, "total": total, "page": number, "page_size": size, "total_pages": pages})


async def show(gateway: Any, call: Call) -> Page:
    """Show one change."""
    desk = desk_of(gateway)
    found, _ = await _find(desk, {"id": call.params["id"]}, 0, 1)
    if not found:
        raise missing("audit_log", call.params["id"])
    return page(_told(found[0]))


async def _find(desk: Desk, where: Fields, offset: int, limit: int) -> tuple[tuple[Audited, ...], int]:
    try:
        return await desk.store.audits(where, offset, limit)
    except OSError as error:
        raise away(error) from None


def _told(one: Audited) -> Fields:
    return {
        "id": one.id,
        "updated_at": text_of(one.at),
        "changed_by": one.who,
        "changed_by_api_key": "",
        "action": one.action,
        "table_name": _TABLES.get(one.kind, KINDS[one.kind].table if one.kind in KINDS else one.kind),
        "object_id": one.row,
        "before_value": msgspec.json.decode(one.before) if one.before else None,
        "updated_values": msgspec.json.decode(one.after) if one.after else None,
    }


ROUTES = (Route("/audit", listed, role=VIEW), Route("/audit/{id}", show, role=VIEW))

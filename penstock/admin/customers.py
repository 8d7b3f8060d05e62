"""Management URLs of customers: end users, whom requests name. LiteLLM's paths, also by their older name
``/end_user/...``, its bodies and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET

from penstock.admin import keyforms
from penstock.admin.desk import Desk, Step, told
from penstock.admin.forms import author, desk_of, given, misspelt, page, query_of, read, refused
from penstock.admin.keyforms import Count, Given, Table
from penstock.admin.keyrows import resets_at
from penstock.admin.keys import read_spend
from penstock.admin.rows import AT_ONCE, Spend, tell_list, write
from penstock.admin.spending import put_right, spent
from penstock.core.admit.access import INFO, MANAGEMENT
from penstock.core.admit.amount import dollars
from penstock.core.admit.holders import Bad, read_holder
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
MOST_AT_ONCE, MOST_SHOWN = 500, 10_000
_BUDGET = ("max_budget", "soft_budget", "budget_duration", "model_max_budget", *keyforms.PACE)
_BLANK: Mapping[str, Any] = {
    **dict.fromkeys(("alias", "allowed_model_region", "default_model", "budget_id", "object_permission")),
    "blocked": False,
    "models": [],
}


class Customer(msgspec.Struct, kw_only=True):
    """The body of ``/customer/new`` and ``/customer/update``."""

    user_id: str
    alias: str | Given = UNSET
    blocked: bool | Given = UNSET
    budget_id: str | Given = UNSET
    max_budget: float | Given = UNSET
    soft_budget: float | Given = UNSET
    budget_duration: str | Given = UNSET
    max_parallel_requests: Count | Given = UNSET
    tpm_limit: Count | Given = UNSET
    rpm_limit: Count | Given = UNSET
    tpd_limit: Count | Given = UNSET
    model_max_budget: Table | Given = UNSET
    models: list[str] | Given = UNSET
    allowed_model_region: Literal["eu", "us"] | Given = UNSET
    default_model: str | Given = UNSET
    metadata: Table | Given = UNSET
    object_permission: Table | Given = UNSET
    spend: float | Given = UNSET


class Customers(msgspec.Struct, kw_only=True):
    """The body of calls about several customers."""

    user_ids: list[str]


async def new(gateway: Any, call: Call) -> Page:
    """Make a customer: an end user with a budget, limits or models of its own."""
    desk, fields = desk_of(gateway), given(read(call, Customer))
    id_ = fields["user_id"]
    body = _changed(gateway, desk, id_, {}, fields)
    spend = read_spend(gateway, fields["spend"]) if fields.get("spend") else 0
    try:
        await desk.add("customer", id_, body, author(call))
    except GatewayError as error:
        if error.kind != "exists":
            raise
        text = f"Customer already exists, passed user_id={id_[:100]}. Please pass a new user_id."
        raise GatewayError("exists", text, param="user_id") from None
    if spend:
        await put_right(gateway, "customer", id_, spend, author(call))
    return await _page(gateway, desk, call, id_)


async def update(gateway: Any, call: Call) -> Page:
    """Change a customer. Fields that are not sent stay; null takes one away."""
    desk, fields = desk_of(gateway), given(read(call, Customer))
    row = await _find(desk, fields["user_id"], "user_id")
    body = _changed(gateway, desk, row.id, msgspec.json.decode(row.body), fields)
    spend = None if fields.get("spend") is None else read_spend(gateway, fields["spend"])
    await desk.change(row, body, author(call))
    if spend is not None:
        await put_right(gateway, "customer", row.id, spend, author(call))
    return await _page(gateway, desk, call, row.id)


def _changed(gateway: Any, desk: Desk, id_: str, before: Mapping[str, Any], fields: Fields) -> Fields:
    """Return a customer's body with what a call gives. Raises what a client is told."""
    body = {name: value for name, value in {**before, **fields}.items() if value is not None and name != "spend"}
    model, budget_id = body.get("default_model"), body.get("budget_id")
    budget = desk.keyring.body("budget", budget_id) if budget_id else None
    try:
        if not id_ or len(id_) > 256 or not id_.isprintable():
            raise Bad("user_id", "must have 1 to 256 characters, and none that cannot be printed")
        if budget_id and budget is None:
            raise Bad("budget_id", f"there is no budget {budget_id!r:.100}; POST /budget/new makes one")
        if fields.get("budget_id") is not None and fields.get("max_budget") is not None:
            raise Bad("max_budget", "stands beside budget_id: give one of them")
        if model is not None and gateway.state.catalog.find(model) is None:
            raise Bad("default_model", f"there is no model {model!r:.100} here; GET /v1/models lists them")
        read_holder("customer", id_, body, budget)
    except Bad as error:
        raise refused(error) from None
    return body


async def _find(desk: Desk, id_: str, param: str) -> Row:
    row = await desk.row("customer", id_)
    if row is None:
        raise GatewayError("no_object", f"End User Id={id_[:100]} does not exist in db", param=param)
    return row


async def _page(gateway: Any, desk: Desk, call: Call, id_: str) -> Page:
    row, warnings = await desk.row("customer", id_), misspelt(call, Customer)
    assert row is not None  # it was written just now
    return page({**await _tell(gateway, desk, row), **({"warnings": warnings} if warnings else {})})


async def _tell(gateway: Any, desk: Desk, row: Row) -> Fields:
    """Return a customer as answers show it."""
    return {**_told(desk, row), "spend": dollars(await spent(gateway, "customer", row.id))}


def _told(desk: Desk, row: Row) -> Fields:
    """Tell a customer: its own limits stand in its budget, as LiteLLM has them."""
    body = {**_BLANK, **told(row)}
    budget = desk.keyring.body("budget", body["budget_id"]) if body["budget_id"] else None
    own = {name: body.pop(name) for name in _BUDGET if name in body}
    limits = None if budget is None and not own else {**dict.fromkeys(_BUDGET), **(budget or {}), **own}
    if limits is not None:
        resets = resets_at(own, budget, desk.clock())
        limits = {"budget_id": body["budget_id"], **limits, "budget_reset_at": resets}
    return {**body, "spend": Spend("customer", row.id), "litellm_budget_table": limits}


async def info(gateway: Any, call: Call) -> Page:
    """Describe a customer, named by `end_user_id`."""
    desk, query = desk_of(gateway), query_of(call)
    id_ = query.get("end_user_id") or query.get("user_id") or ""
    if not id_:
        text = "end_user_id is missing: ?end_user_id=..."
        raise GatewayError("bad_request", text, param="end_user_id", status=422)
    return page(await _tell(gateway, desk, await _find(desk, id_, "end_user_id")))


async def list_customers(gateway: Any, call: Call) -> Page:
    """List the customers, the newest first."""
    desk = desk_of(gateway)
    parts = []
    for number, row in enumerate((await desk.find("customer", descending=True, limit=MOST_SHOWN)).rows):
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        parts.append(write(_told(desk, row)))
    return await tell_list(gateway, parts)


async def delete(gateway: Any, call: Call) -> Page:
    """Delete customers: all of them, or none where one is not there."""
    desk, ids = desk_of(gateway), _ids(call)
    rows = {id_: await desk.row("customer", id_) for id_ in ids}
    missing = [id_[:100] for id_, row in rows.items() if row is None]
    if missing:
        text = f"End User Id(s)={', '.join(missing)[:500]} do not exist in db"
        raise GatewayError("no_object", text, param="user_ids")
    await desk.write([Step("customer", id_, None, row) for id_, row in rows.items()], author(call))
    text = f"Successfully deleted customers with ids: {list(rows)}"
    return page({"deleted_customers": len(rows), "message": text})


def _ids(call: Call) -> list[str]:
    ids = list(dict.fromkeys(read(call, Customers).user_ids))
    if not 0 < len(ids) <= MOST_AT_ONCE:
        raise GatewayError("bad_request", f"user_ids: send 1 to {MOST_AT_ONCE} of them.", param="user_ids")
    return ids


async def block(gateway: Any, call: Call) -> Page:
    """Block customers: requests that name them are refused. Those that are not there are made, blocked."""
    desk = desk_of(gateway)
    rows = await _block(desk, call, True)
    return page({"blocked_users": [await _tell(gateway, desk, row) for row in rows]})


async def unblock(gateway: Any, call: Call) -> Page:
    """Unblock customers, and tell which of them are blocked still: none."""
    desk = desk_of(gateway)
    await _block(desk, call, False)
    return page({"blocked_users": []})


async def _block(desk: Desk, call: Call, blocked: bool) -> list[Row]:
    ids, steps = _ids(call), []
    for id_ in ids:
        row = await desk.row("customer", id_) if blocked else await _find(desk, id_, "user_ids")
        body = {"user_id": id_} if row is None else msgspec.json.decode(row.body)
        action = "blocked" if blocked else "unblocked"
        steps.append(Step("customer", id_, {**body, "blocked": blocked}, row, action))
    await desk.write(steps, author(call))
    rows = [await desk.row("customer", id_) for id_ in ids]
    return [row for row in rows if row is not None]


_CHANGES = (
    ("new", new, Customer),
    ("update", update, Customer),
    ("delete", delete, Customers),
    ("block", block, Customers),
    ("unblock", unblock, Customers),
)
ROUTES = tuple(
    route
    for prefix in ("/customer", "/end_user")
    for route in (
        *(
            Route(f"{prefix}/{name}", handler, ("POST",), ADMIN, no_pages=True, family=MANAGEMENT, body=body)
            for name, handler, body in _CHANGES
        ),
        Route(f"{prefix}/info", info, role=VIEW, family=INFO),
        Route(f"{prefix}/list", list_customers, role=VIEW, family=INFO),
    )
)

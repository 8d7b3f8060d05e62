"""Management URLs of tags: names that requests bring, with a budget and with the models that they may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.admin import orgforms
from penstock.admin.desk import Step, told
from penstock.admin.forms import author, desk_of, given, misspelt, read
from penstock.admin.rows import Spend, budget_told, check, post, row_of, tell
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]


async def new(gateway: Any, call: Call) -> Page:
    """Make a tag."""
    desk, form = desk_of(gateway), read(call, orgforms.Tag)
    if not form.name.strip():
        raise GatewayError("bad_request", "name: a tag needs a name.", param="name")
    await desk.write([_step(gateway, desk, form, None)], author(call))
    return await _answer(gateway, desk, call, form.name, "created")


async def update(gateway: Any, call: Call) -> Page:
    """Change a tag. Fields that are not given stay; null takes one away."""
    desk, form = desk_of(gateway), read(call, orgforms.Tag)
    row = await row_of(desk, "tag", form.name)
    await desk.write([_step(gateway, desk, form, row)], author(call))
    return await _answer(gateway, desk, call, form.name, "updated")


def _step(gateway: Any, desk: Desk, form: orgforms.Tag, row: Row | None) -> Step:
    sent = given(form)
    if sent.get("models"):
        sent["models"], sent["model_info"] = _models(gateway, sent["models"])
    before = {} if row is None else fields_of(row)
    body = {name: value for name, value in {**before, **sent}.items() if value is not None}
    check(desk, "tag", form.name, body)
    return Step("tag", form.name, body, row)


def _models(gateway: Any, named: list[str]) -> tuple[list[str], Mapping[str, str]]:
    """Return the names of models that are named, or meant by the ids of deployments, and which id meant what. Raises
    "bad_request" for one that there is not."""
    by_id = {target.id: target.deployment.model_name for target in gateway.state.targets}
    for one in named:
        if one not in by_id and gateway.state.catalog.find(one) is None:
            text = f"models: {one[:120]!r} is neither a model here nor the id of a deployment."
            raise GatewayError("bad_request", text, param="models")
    names = list(dict.fromkeys(by_id.get(one, one) for one in named))
    return names, {one: by_id[one] for one in named if one in by_id}


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a tag. Requests may go on bringing it; it has no limits then."""
    desk, form = desk_of(gateway), read(call, orgforms.OneTag)
    await desk.remove(await row_of(desk, "tag", form.name), author(call))
    return await tell(gateway, {"message": f"Tag {form.name} deleted successfully"})


async def info(gateway: Any, call: Call) -> Page:
    """Show tags, by their names."""
    desk, form = desk_of(gateway), read(call, orgforms.Tags)
    rows = [await row_of(desk, "tag", name) for name in dict.fromkeys(form.names)]
    return await tell(gateway, {row.id: _told(gateway, desk, row) for row in rows})


async def listed(gateway: Any, call: Call) -> Page:
    """List all tags."""
    desk = desk_of(gateway)
    return await tell(gateway, [_told(gateway, desk, row) for row in (await desk.find("tag")).rows])


async def _answer(gateway: Any, desk: Desk, call: Call, name: str, done: str) -> Page:
    answer: Fields = {
        "message": f"Tag {name} {done} successfully",
        "tag": _told(gateway, desk, await row_of(desk, "tag", name)),
    }
    warnings = misspelt(call, orgforms.Tag)
    return await tell(gateway, {**answer, "warnings": warnings} if warnings else answer)


def _told(gateway: Any, desk: Desk, row: Row) -> Fields:
    fields = {"description": None, "models": [], "model_info": {}, **told(row)}
    return {
        **fields,
        "name": row.id,
        "spend": Spend("tag", row.id),
        "litellm_budget_table": budget_told(desk, fields),
    }


ROUTES = (
    post("/tag/new", new, orgforms.Tag, ADMIN),
    post("/tag/update", update, orgforms.Tag, ADMIN),
    post("/tag/delete", delete, orgforms.OneTag, ADMIN),
    Route("/tag/info", info, methods=("POST",), role=VIEW, no_pages=True, body=orgforms.Tags),
    Route("/tag/list", listed, role=VIEW),
)

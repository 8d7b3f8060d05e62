"""Management URLs of access groups: models under a name that keys and teams may be given in the place of each of them.

There are two kinds, as LiteLLM has them. ``/access_group`` writes the name into the deployments themselves
(``model_info.access_groups``); ``/v1/access_group`` keeps groups as things of their own, which teams and keys are given
by id (``access_group_ids``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.admin import orgforms
from penstock.admin.desk import Step, told
from penstock.admin.forms import author, desk_of, given, page, read
from penstock.admin.rows import need, post, row_of, unknown
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.ids import new_id
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.runtime.targets import Target
    from penstock.stores.base import Row

Fields = dict[str, Any]
_LISTS = "access_model_names access_mcp_server_ids access_agent_ids assigned_team_ids assigned_key_ids".split()
_HOLDERS = {"assigned_team_ids": "team", "assigned_key_ids": "key"}


# Groups of their own. -------------------------------------------------------------------------------------------------


async def add(gateway: Any, call: Call) -> Page:
    """Add an access group, and give it to the teams and keys that it names."""
    desk, form = desk_of(gateway), read(call, orgforms.AccessGroup)
    need("access_group_name", form.access_group_name)
    await desk.write(steps := await _steps(desk, new_id(), form, None), author(call))
    return page(_told(await row_of(desk, "access_group", steps[0].id)), 201)


async def change(gateway: Any, call: Call) -> Page:
    """Change an access group. Fields that are not given stay."""
    desk, form = desk_of(gateway), read(call, orgforms.AccessGroup)
    row = await row_of(desk, "access_group", call.params["access_group_id"])
    await desk.write(await _steps(desk, row.id, form, row), author(call))
    return page(_told(await row_of(desk, "access_group", row.id)))


async def delete(gateway: Any, call: Call) -> Page:
    """Delete an access group, and take it from all teams and keys."""
    desk = desk_of(gateway)
    row = await row_of(desk, "access_group", call.params["access_group_id"])
    steps = await _handed_out(desk, row.id, {name: [] for name in _HOLDERS}, fields_of(row))
    await desk.write([Step(row.kind, row.id, None, row), *steps], author(call))
    return Page(204, b"application/json", b"")


async def _steps(desk: Desk, id_: str, form: orgforms.AccessGroup, row: Row | None) -> list[Step]:
    before = {} if row is None else fields_of(row)
    sent = {name: value for name, value in given(form).items() if value is not None}
    if "assigned_key_ids" in sent:
        sent["assigned_key_ids"] = [desk.keyring.id_of(one) or one for one in sent["assigned_key_ids"]]
    body = {**before, **sent, "access_group_id": id_}
    return [Step("access_group", id_, body, row), *await _handed_out(desk, id_, body, before)]


async def _handed_out(desk: Desk, id_: str, body: Fields, before: Fields) -> list[Step]:
    """Prepare that teams and keys have a group which it names now, and have it no more which it named before."""
    steps = []
    for field, kind in _HOLDERS.items():
        now, was = body.get(field) or [], before.get(field) or []
        gone = []
        for name in dict.fromkeys((*now, *was)):
            row = await desk.row(kind, name)
            if row is None:
                gone += [name] if name in now else []
                continue
            fields = fields_of(row)
            groups = [one for one in fields.get("access_group_ids") or [] if one != id_]
            groups += [id_] if name in now else []
            if groups != (fields.get("access_group_ids") or []):
                steps.append(Step(kind, name, {**fields, "access_group_ids": groups}, row))
        if gone:
            raise unknown(kind, gone)
    return steps


async def show(gateway: Any, call: Call) -> Page:
    """Show an access group."""
    return page(_told(await row_of(desk_of(gateway), "access_group", call.params["access_group_id"])))


async def listed(gateway: Any, call: Call) -> Page:
    """List all access groups that are kept."""
    return page([_told(row) for row in (await desk_of(gateway).find("access_group")).rows])


def _told(row: Row) -> Fields:
    return {"description": None, **{name: [] for name in _LISTS}, **told(row)}


# Names in deployments. ------------------------------------------------------------------------------------------------


async def name_models(gateway: Any, call: Call) -> Page:
    """Make an access group of models that are stored, by their names or by the ids of deployments."""
    desk_of(gateway)
    form = read(call, orgforms.ModelGroup)
    group = need("access_group", form.access_group).strip()
    if _members(gateway, group):
        text = f"access_group: {group[:120]!r} is there already; PUT /access_group/{group[:120]}/update changes it."
        raise GatewayError("exists", text, param="access_group", status=409)
    return page(await _set(gateway, call, group, _wanted(gateway, form)))


async def rename_models(gateway: Any, call: Call) -> Page:
    """Change which stored models are in an access group."""
    desk_of(gateway)
    form, group = read(call, orgforms.ModelGroup), call.params["access_group"]
    _need_group(gateway, group)
    return page(await _set(gateway, call, group, _wanted(gateway, form)))


async def delete_named(gateway: Any, call: Call) -> Page:
    """Delete an access group from all models that are in it."""
    desk_of(gateway)
    group = call.params["access_group"]
    _need_group(gateway, group)
    done = await _set(gateway, call, group, [])
    return page({**done, "message": f"Access group '{group}' deleted successfully"})


def show_named(gateway: Any, call: Call) -> Page:
    """Show the models of an access group."""
    group = call.params["access_group"]
    _need_group(gateway, group)
    return page(_named_told(group, _members(gateway, group)))


def list_named(gateway: Any, call: Call) -> Page:
    """List the access groups that models are in."""
    groups = dict.fromkeys(one for target in gateway.state.targets for one in _groups_of(target))
    return page({"access_groups": [_named_told(group, _members(gateway, group)) for group in groups]})


def _groups_of(target: Target) -> list[str]:
    named = target.deployment.info.get("access_groups") or ()
    return [str(one) for one in named] if isinstance(named, list | tuple) else []


def _members(gateway: Any, group: str) -> list[Target]:
    return [target for target in gateway.state.targets if group in _groups_of(target)]


def _need_group(gateway: Any, group: str) -> None:
    if not _members(gateway, group):
        raise GatewayError("no_object", f"There is no model in an access group {group[:120]!r}.")


def _wanted(gateway: Any, form: orgforms.ModelGroup) -> list[Target]:
    """Find the deployments that a call means. Raises "bad_request" for names that are none, or stand in a file."""
    names, ids = form.model_names or [], form.model_ids or []
    if not names and not ids:
        text = "model_names: give at least one name of a model, or an id of a deployment in model_ids."
        raise GatewayError("bad_request", text, param="model_names")
    found: list[Target] = []
    for field, one in [("model_ids", one) for one in ids] or [("model_names", one) for one in names]:
        of = [t for t in gateway.state.targets if one == (t.id if field == "model_ids" else t.deployment.model_name)]
        if not of:
            raise GatewayError("bad_request", f"{field}: there is no model {one[:120]!r}.", param=field)
        found += of
    for target in found:
        if not target.deployment.stored:
            text = (
                f"model_names: {target.deployment.model_name!r:.120} stands in the config: write access_groups there."
            )
            raise GatewayError("bad_request", text, param="model_names")
    return found


async def _set(gateway: Any, call: Call, group: str, wanted: Sequence[Target]) -> Fields:
    """Write the name of a group into those deployments, and take it from all others."""
    if gateway.registry is None:
        raise GatewayError("not_installed", "The models of this gateway cannot be changed while it runs.")
    ids = {target.id for target in wanted}
    updated = 0
    for target in list(gateway.state.targets):
        had = _groups_of(target)
        if (group in had) == (target.id in ids):
            continue
        if not target.deployment.stored:
            text = f"{target.deployment.model_name!r:.120}, which is in {group!r:.120}, stands in the config"
            raise GatewayError("bad_request", f"access_group: {text}: change it there.", param="access_group")
        groups = [one for one in had if one != group] + ([group] if target.id in ids else [])
        await gateway.registry.update(target.id, {"model_info": {"access_groups": groups}}, author(call))
        updated += 1
    names = list(dict.fromkeys(target.deployment.model_name for target in wanted))
    return {"access_group": group, "model_names": names, "models_updated": updated}


def _named_told(group: str, members: Sequence[Target]) -> Fields:
    names = sorted({target.deployment.model_name for target in members})
    return {"access_group": group, "model_names": names, "deployment_count": len(members)}


ROUTES = (
    *(
        row
        for path in ("/v1/access_group", "/v1/unified_access_group")
        for row in (
            Route(path, listed, role=VIEW),
            post(path, add, orgforms.AccessGroup, ADMIN)._replace(status=201),
            Route(path + "/{access_group_id}", show, role=VIEW),
            post(path + "/{access_group_id}", change, orgforms.AccessGroup, ADMIN, method="PUT"),
            post(path + "/{access_group_id}", delete, None, ADMIN, method="DELETE")._replace(status=204),
        )
    ),
    post("/access_group/new", name_models, orgforms.ModelGroup, ADMIN),
    Route("/access_group/list", list_named, role=VIEW),
    Route("/access_group/{access_group}/info", show_named, role=VIEW),
    post("/access_group/{access_group}/update", rename_models, orgforms.ModelGroup, ADMIN, method="PUT"),
    post("/access_group/{access_group}/delete", delete_named, None, ADMIN, method="DELETE"),
)

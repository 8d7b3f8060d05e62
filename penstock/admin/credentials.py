"""Management URLs of credentials under a name, which models mean by ``litellm_credential_name``.

Their values are kept sealed, and are never told again: whoever gave one has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from penstock.admin.desk import Step
from penstock.admin.forms import author, desk_of, missing, page, read
from penstock.admin.rows import need, post, row_of
from penstock.config.sent import check_credential, credentials_of
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import MASK, fields_of
from penstock.stores.models_directory import open_credential, seal_credential
from penstock.stores.sealing import MISSING, BadSeal, NoCipher

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]


class Credential(msgspec.Struct, kw_only=True):
    """The body of calls about a credential."""

    credential_name: str | UnsetType | None = UNSET
    credential_values: dict[str, Any] | UnsetType | None = UNSET
    credential_info: dict[str, Any] | UnsetType | None = UNSET
    model_id: str | UnsetType | None = UNSET


async def new(gateway: Any, call: Call) -> Page:
    """Add a credential, which models may mean by its name from now on."""
    desk, form = desk_of(gateway), read(call, Credential)
    name = need("credential_name", form.credential_name)
    if name in credentials_of(gateway.state.config):
        text = f"credential_name: the credential_list of the config has {name[:120]!r} already; choose another name."
        raise GatewayError("exists", text, param="credential_name")
    if not form.credential_values:
        text = "credential_values: give the values; they are not taken from a model that is there."
        raise GatewayError("bad_request", text, param="credential_values")
    _check(gateway, name, form.credential_values)
    sealed = await _sealed(desk, name, form.credential_values)
    body = {"credential_name": name, "credential_values": sealed, "credential_info": form.credential_info or {}}
    await desk.write([Step("credential", name, body)], author(call))
    await _put_into_effect(gateway)
    return page({"success": True, "message": "Credential created successfully"})


async def update(gateway: Any, call: Call) -> Page:
    """Change a credential. Values that are not given stay; null takes one away."""
    desk, form = desk_of(gateway), read(call, Credential)
    row = await row_of(desk, "credential", call.params["credential_name"])
    if form.credential_name not in (UNSET, None, row.id):
        text = f"credential_name is not that of the path, {row.id[:120]!r}: a name stays, as models mean it."
        raise GatewayError("bad_request", text, param="credential_name")
    body = fields_of(row)
    sent = {name: value for name, value in (form.credential_values or {}).items() if value != MASK}
    fresh = {name: value for name, value in sent.items() if value is not None}
    _check(gateway, row.id, fresh)
    kept = {name: value for name, value in body["credential_values"].items() if name not in sent}
    body["credential_values"] = {**kept, **await _sealed(desk, row.id, fresh)}
    body["credential_info"] = {**(body.get("credential_info") or {}), **(form.credential_info or {})}
    await desk.change(row, body, author(call))
    await _put_into_effect(gateway)
    return page({"success": True, "message": "Credential updated successfully"})


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a credential that no model means."""
    desk = desk_of(gateway)
    row = await row_of(desk, "credential", call.params["credential_name"])
    for target in gateway.state.targets:
        deployment = target.deployment
        if deployment.params.get("litellm_credential_name") == row.id:
            text = f"The model {deployment.model_name[:120]!r} ({target.id}) means this credential: change it first."
            raise GatewayError("bad_request", text, param="credential_name")
    await desk.remove(row, author(call))
    await _put_into_effect(gateway)
    return page({"success": True, "message": "Credential deleted successfully"})


async def listed(gateway: Any, call: Call) -> Page:
    """List the credentials, those of the config as well, without their values."""
    desk = desk_of(gateway)
    found = [await _told(desk, row) for row in (await desk.find("credential")).rows]
    of_config = credentials_of(gateway.state.config).items()
    found += [_masked(name, section.values) for name, section in of_config]
    return page({"success": True, "credentials": found})


async def show(gateway: Any, call: Call) -> Page:
    """Show a credential without its values."""
    desk, name = desk_of(gateway), call.params["credential_name"]
    section = credentials_of(gateway.state.config).get(name)
    if section is not None:
        return page(_masked(name, section.values))
    return page(await _told(desk, await row_of(desk, "credential", name)))


def show_of_model(gateway: Any, call: Call) -> Page:
    """Show which values a model's deployment has, without the values."""
    desk_of(gateway)
    id_ = call.params["model_id"]
    target = next((target for target in gateway.state.targets if target.id == id_), None)
    if target is None:
        raise missing("model", id_)
    named = ("api_key", "api_base", "api_version")
    params = target.deployment.params
    values = {key: params[key] for key in (*named, *params) if params.get(key) is not None and _is_value(key)}
    return page(_masked(f"{target.deployment.model_name}-credential-{id_}", values))


def _is_value(key: str) -> bool:
    from penstock.config import keys
    from penstock.config.secret import is_secret_name

    row = keys.params.get(key)
    return key in ("api_base", "api_version") or is_secret_name(key) or (row is not None and row.spec == "secret")


def _masked(name: str, values: Mapping[str, Any], info: Mapping[str, Any] | None = None) -> Fields:
    return {"credential_name": name, "credential_values": dict.fromkeys(values, MASK), "credential_info": info or {}}


async def _told(desk: Desk, row: Row) -> Fields:
    """Tell a stored credential, and why it cannot be used where it does not open."""
    body = fields_of(row)
    told = _masked(row.id, body.get("credential_values") or {}, body.get("credential_info"))
    try:
        if desk.sealer is not None:
            await asyncio.to_thread(open_credential, desk.sealer, row.id, body)
    except BadSeal as error:
        told["unusable"] = f"It {error}: give its values again with PATCH /credentials/{row.id[:120]}."
    except NoCipher:
        told["unusable"] = MISSING
    return told


def _check(gateway: Any, name: str, values: Mapping[str, Any]) -> None:
    """Refuse values that no model could use, and those that would be read from this machine."""
    problems = check_credential(name, values, gateway.state.config)
    if problems:
        texts = "; ".join(problem.text().partition(": ")[2] for problem in problems)
        raise GatewayError("bad_request", texts, param=problems[0].path or "credential_values")


async def _sealed(desk: Desk, name: str, values: Mapping[str, Any]) -> dict[str, str]:
    if desk.sealer is None:
        raise GatewayError("not_installed", f"Credentials cannot be kept: {MISSING}.")
    try:
        return await asyncio.to_thread(seal_credential, desk.sealer, name, values)
    except NoCipher:
        raise GatewayError("not_installed", f"Credentials cannot be kept: {MISSING}.") from None


async def _put_into_effect(gateway: Any) -> None:
    """Serve the models that mean a credential with what it says now."""
    if gateway.registry is not None:
        await gateway.registry.put_into_effect()


ROUTES = (
    post("/credentials", new, Credential, ADMIN),
    Route("/credentials", listed, role=VIEW),
    Route("/credentials/by_name/{credential_name:path}", show, role=VIEW),
    Route("/credentials/by_model/{model_id:path}", show_of_model, role=VIEW),
    post("/credentials/{credential_name:path}", update, Credential, ADMIN, method="PATCH"),
    post("/credentials/{credential_name:path}", delete, None, ADMIN, method="DELETE"),
)

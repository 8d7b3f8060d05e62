"""Management URLs of deployments: add, change, delete. LiteLLM's paths, bodies and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from penstock.admin import modelinfo
from penstock.core.admit.access import MANAGEMENT
from penstock.core.envelope import read_as
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN
from penstock.runtime.route import JSON, Page, Route

if TYPE_CHECKING:
    from penstock.admin.registry import Change, Managed, Registry
    from penstock.runtime.call import Call

MOST_BYTES = 256 * 1024  # of an entry: one is read in the event loop
_ANYBODY = "a caller without a key"


class Entry(Struct):
    """An entry of `model_list`. Of a change what is given; `model_info.id` says of which."""

    model_name: str | None = None
    litellm_params: dict[str, Any] | None = None
    model_info: dict[str, Any] | None = None
    blocked: bool | None = None


class Named(Struct):
    """The id of a deployment."""

    id: str


def _entry(call: Call) -> dict[str, Any]:
    """Read an entry as it stands: which of its fields are right is told by whoever reads those of the file."""
    return read_as(call.exchange.body, dict[str, Any], MOST_BYTES)


async def add(gateway: Managed, call: Call) -> Page:
    """Add a deployment, which serves at once. It is an entry of `model_list`, as JSON."""
    registry = _registry(gateway)
    entry = _entry(call)
    if _blocked(entry):
        raise _no_blocks()
    return _page(await registry.add(_without(entry, "blocked"), _author(call)))


async def update(gateway: Managed, call: Call) -> Page:
    """Change a deployment, named by `model_info.id`. Keys that are not given stay, and so do those that are null."""
    registry = _registry(gateway)
    patch = _entry(call)
    info = patch.get("model_info")
    id_ = info.get("id") if isinstance(info, Mapping) else None
    if not isinstance(id_, str) or not id_:
        text = "model_info.id is missing: it names the deployment; GET /model/info lists the ids."
        raise GatewayError("bad_request", text, param="model_info.id")
    return await _update(registry, call, id_, patch, clears=False)


async def patch(gateway: Managed, call: Call) -> Page:
    """Change a deployment, named in the path. Keys that are not given stay; null takes one away, but no credential."""
    return await _update(_registry(gateway), call, call.params["id"], _entry(call), clears=True)


async def delete(gateway: Managed, call: Call) -> Page:
    """Delete a deployment, named by `id`. Requests that run finish; what is in the config file stays."""
    registry = _registry(gateway)
    id_ = _entry(call).get("id")
    if not isinstance(id_, str) or not id_:
        raise GatewayError("bad_request", 'The field \'id\' is missing: send {"id": "..."}.', param="id")
    try:
        await registry.delete(id_, _author(call))
    except GatewayError as error:
        if error.kind != "upstream_not_found":
            raise
        # A 400 here, as LiteLLM has it; the other paths have a 404.
        raise GatewayError("bad_request", f"Model with id={id_[:120]} not found in db", param="id") from None
    return Page(200, JSON, msgspec.json.encode({"message": f"Model: {id_} deleted successfully"}))


async def _update(registry: Registry, call: Call, id_: str, patch: Mapping[str, Any], clears: bool) -> Page:
    info = patch.get("model_info")
    named = info.get("id") if isinstance(info, Mapping) else None
    if named not in (None, id_):
        text = f"model_info.id is not that of the path, {id_[:120]!r}: an id stays; delete the model and add another."
        raise GatewayError("bad_request", text, param="model_info.id")
    if _blocked(patch):
        raise _no_blocks()
    return _page(await registry.update(id_, _without(patch, "blocked"), _author(call), clears))


def _registry(gateway: Managed) -> Registry:
    if gateway.registry is None:
        raise GatewayError("not_installed", "The models of this gateway cannot be changed while it runs.")
    return gateway.registry


def _author(call: Call) -> str:
    return call.caller.alias or _ANYBODY


def _blocked(entry: Mapping[str, Any]) -> bool:
    return entry.get("blocked") not in (None, False)


def _no_blocks() -> GatewayError:
    text = "blocked: deployments are not paused here; delete the model, and add it again when it may serve."
    return GatewayError("bad_request", text, param="blocked")


def _without(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != name}


def _page(change: Change) -> Page:
    """Render a deployment as LiteLLM's row of one; credentials are not among what is shown."""
    model, target = change.model, change.target
    told = {
        "model_id": model.id,
        "model_name": target.deployment.model_name,
        "litellm_params": modelinfo.own_params(target),
        "model_info": modelinfo.own_info(target),
        **model.history,
        "blocked": False,
        "persisted": change.lasts,
        "warnings": change.warnings,
    }
    return Page(200, JSON, msgspec.json.encode(told, enc_hook=str))


ROUTES = (
    Route("/model/new", add, methods=("POST",), role=ADMIN, no_pages=True, family=MANAGEMENT, body=Entry),
    Route("/model/update", update, methods=("POST",), role=ADMIN, no_pages=True, family=MANAGEMENT, body=Entry),
    Route("/model/delete", delete, methods=("POST",), role=ADMIN, no_pages=True, family=MANAGEMENT, body=Named),
    Route(
        "/model/{id:path}/update", patch, methods=("PATCH",), role=ADMIN, no_pages=True, family=MANAGEMENT, body=Entry
    ),
)

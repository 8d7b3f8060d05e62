"""Management URLs of the gateway's own settings: LiteLLM's paths, bodies and answers. What is secret in a setting is
shown to nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock.admin import configforms as forms
from penstock.admin.forms import author, desk_of, misspelt, page, query_of, read
from penstock.admin.rows import post
from penstock.admin.settings import Setting, Settings
from penstock.config import keys
from penstock.config.over import CALLBACKS as OF_CALLBACKS
from penstock.config.over import SECTIONS, VARIABLES, is_secret
from penstock.config.secret import Secret, is_secret_name
from penstock.config.spec import SECRET_SPECS
from penstock.core.admit.access import within
from penstock.core.errors import GatewayError
from penstock.runtime.addresses import read_networks
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.route import Page, Route
from penstock.sinks import LOCAL, OWN, SINKS
from penstock.stores.kinds import MASK

if TYPE_CHECKING:
    from penstock.runtime.call import Call

Fields = dict[str, Any]
GENERAL, LITELLM, ROUTER = "general_settings", "litellm_settings", "router_settings"
CALLBACKS = {"success_callback": "success", "failure_callback": "failure", "callbacks": "success_and_failure"}
_TYPES = {
    **dict.fromkeys(("bool", "flag"), "Boolean"),
    **dict.fromkeys(("count", "positive", "integer", "port"), "Integer"),
    **dict.fromkeys(("size", "seconds", "wait", "number", "numeric", "amount", "share"), "Float"),
    **dict.fromkeys(("list", "texts", "names", "lists"), "List"),
    **dict.fromkeys(("mapping", "headers", "connection"), "Dictionary"),
    "one": "Select",
}
_DEEPEST = 20


# What is written. -----------------------------------------------------------------------------------------------------


async def update(gateway: Any, call: Call) -> Page:
    """Set settings of several sections. They hold at once, over those of the config file, and after a restart."""
    form = read(call, forms.Config)
    given, warnings = list[Setting](), misspelt(call, forms.Config)
    for section in SECTIONS:
        for key, value in (getattr(form, section) or {}).items():
            if value is None:
                continue
            if holds_mask(value):  # what was shown comes back
                warnings.append(f"{section}.{key[:100]} stays as it is: it holds {MASK!r}, which stands for a secret.")
                continue
            if section == LITELLM and key in OF_CALLBACKS:
                check_callbacks(gateway, key, value)
            if section == LITELLM and key == "success_callback" and isinstance(value, list):
                value = _joined(gateway, key, value)
            given.append(Setting(section, key, value))
    warnings += await _set(gateway, call, given)
    if form.model_list:
        warnings.append("model_list is ignored: POST /model/new adds models.")
    return page({"message": "Config updated successfully", **({"warnings": warnings} if warnings else {})})


async def update_field(gateway: Any, call: Call) -> Page:
    """Set one of the general settings."""
    form = read(call, forms.Field)
    if form.field_value is None:
        text = "field_value is null: POST /config/field/delete takes a setting away."
        raise GatewayError("bad_request", text, param="field_value")
    _check_name(form.field_name)
    if holds_mask(form.field_value):
        text = f"field_value holds {MASK!r}, which stands for a secret: send the value itself."
        raise GatewayError("bad_request", text, param="field_value")
    return _section(gateway, await _set(gateway, call, [Setting(GENERAL, form.field_name, form.field_value)]))


async def delete_field(gateway: Any, call: Call) -> Page:
    """Delete one of the general settings that were set here: what the config file says holds again."""
    settings, name = settings_of(gateway), read(call, forms.FieldName).field_name
    _check_name(name)
    if name not in settings.stored().get(GENERAL, {}):
        text = f"Field name={name} not in config"
        raise GatewayError("bad_request", f"{text}: it was not set over HTTP.", param="field_name")
    return _section(gateway, await _set(gateway, call, [Setting(GENERAL, name, None)]))


async def delete_callback(gateway: Any, call: Call) -> Page:
    """Delete a callback from the lists that name it."""
    name = read(call, forms.Callback).callback_name.lower()
    lists = {key: _callbacks(gateway, key) for key in CALLBACKS}
    left = {key: [one for one in names if one.lower() != name] for key, names in lists.items()}
    given = [Setting(LITELLM, key, left[key]) for key in CALLBACKS if left[key] != lists[key]]
    if not given:
        text = f"Callback '{name[:100]}' not found in active configuration"
        raise GatewayError("no_object", text, param="callback_name")
    await _set(gateway, call, given)
    told = {
        "message": f"Successfully deleted callback: {name}",
        "removed_callback": name,
        "remaining_callbacks": [one for names in left.values() for one in names],
        "deleted_at": datetime.now(UTC).isoformat(),
    }
    return page(told)


async def add_address(gateway: Any, call: Call) -> Page:
    """Add an address, or a network, that may call. The first one keeps all others out."""
    ip = read(call, forms.Address).ip.strip()
    problems: list[str] = []
    read_networks("ip", [ip], problems)
    if problems:
        raise GatewayError("bad_request", f"ip: {ip[:60]!r} is no address or network such as 10.0.0.0/8.", param="ip")
    known = _addresses(gateway)
    if ip in known:
        raise GatewayError("bad_request", "IP address already exists", param="ip")
    told = await _set(gateway, call, [Setting(GENERAL, "allowed_ips", [*known, ip])])
    client = call.exchange.client
    if not within(client, [*known, ip]):
        told.append(f"Requests from {client}, such as this one, are refused from now on.")
    answer = {"message": f"IP {ip} address added successfully", "status": "success"}
    return page({**answer, **({"warnings": told} if told else {})})


async def delete_address(gateway: Any, call: Call) -> Page:
    """Delete an address that may call. Without the last one everybody may."""
    ip = read(call, forms.Address).ip.strip()
    known = _addresses(gateway)
    if ip not in known:
        raise GatewayError("no_object", "IP address not found", param="ip")
    await _set(gateway, call, [Setting(GENERAL, "allowed_ips", [one for one in known if one != ip])])
    return page({"message": f"IP {ip} deleted successfully", "status": "success"})


# What is shown. -------------------------------------------------------------------------------------------------------


async def show_addresses(gateway: Any, call: Call) -> Page:
    """Show the addresses that may call; null where all may."""
    return page({"data": _addresses(gateway) or None})


async def show_field(gateway: Any, call: Call) -> Page:
    """Show one of the general settings, and where it was set."""
    settings, name = settings_of(gateway), query_of(call).get("field_name", "")
    _check_name(name)
    row = _described(gateway, settings, name)
    if row["source"] == "unset":
        raise GatewayError("bad_request", f"Field name={name} is not set", param="field_name")
    return page({key: row[key] for key in ("field_name", "field_value", "source", "editable")})


async def list_fields(gateway: Any, call: Call) -> Page:
    """List the general settings, each with its value and where that comes from."""
    settings, kind = settings_of(gateway), query_of(call).get("config_type", "")
    if kind != GENERAL:
        text = f"config_type: {kind[:60]!r} is not general_settings."
        raise GatewayError("bad_request", text, param="config_type", status=422)
    return page([_described(gateway, settings, name) for name in keys.general.names()])


async def show_callbacks(gateway: Any, call: Call) -> Page:
    """Show where records are sent, and the settings of the router."""
    settings_of(gateway)
    found = [
        {"name": name, "variables": {}, "type": kind}
        for key, kind in CALLBACKS.items()
        for name in _callbacks(gateway, key)
    ]
    alerting = _raw(gateway, GENERAL).get("alerting") or []
    told = {
        "status": "success",
        "callbacks": found,
        "alerts": [{"name": name, "variables": {}} for name in alerting if isinstance(name, str)],
        "active_alerting_destinations": alerting,
        "router_settings": masked(_raw(gateway, ROUTER)),
        "available_callbacks": {
            name: {
                "litellm_callback_name": name,
                "litellm_callback_params": [variable.upper() for variable in variables.split()],
                "ui_callback_name": name,
            }
            for name, variables in OWN.items()
        },
    }
    return page(told)


async def show_config(gateway: Any, call: Call) -> Page:
    """Show the config as it is served, without its secrets."""
    settings_of(gateway)
    raw = gateway.state.config.raw
    told = {name: masked(value, name) for name, value in raw.items()}
    variables = {**(raw.get(VARIABLES) or {}), **settings_of(gateway).stored().get(VARIABLES, {})}
    return page({**told, VARIABLES: dict.fromkeys(variables, MASK)})


def masked(value: Any, name: str = "", depth: int = 0) -> Any:
    """Return a value with a mask in the place of what is secret in it."""
    if isinstance(value, Secret) or (value and is_secret_name(name) and isinstance(value, str | int | float)):
        return MASK
    if depth > _DEEPEST:
        return MASK
    if isinstance(value, Mapping):
        row = keys.general.get(name) or keys.params.get(name)
        if row is not None and row.spec in SECRET_SPECS:  # headers: any of them may be a key
            return dict.fromkeys(value, MASK)
        return {key: masked(inner, str(key), depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, name, depth + 1) for inner in value]
    return MASK if isinstance(value, str) and is_secret(GENERAL, "", value) else value


# What both need. ------------------------------------------------------------------------------------------------------


def settings_of(gateway: Any) -> Settings:
    """Return where settings are changed. Raises "bad_request" where nothing is kept."""
    desk_of(gateway)
    settings: Settings | None = gateway.settings
    if settings is None:
        raise GatewayError("bad_request", "The settings of this gateway are as they were when it started.")
    return settings


async def _set(gateway: Any, call: Call, given: list[Setting]) -> list[str]:
    return await settings_of(gateway).change(given, author(call), may_read(gateway)) if given else []


def may_read(gateway: Any) -> frozenset[str]:
    """Return which variables of the environment what is sent may name."""
    return frozenset(gateway.state.config.general.values.get("stored_models_may_read") or ())


def _raw(gateway: Any, section: str) -> Mapping[str, Any]:
    found = gateway.state.config.raw.get(section)
    return found if isinstance(found, Mapping) else {}


def _check_name(name: str) -> None:
    if keys.general.get(name) is None:
        raise GatewayError("bad_request", f"Invalid field={name[:100]} passed in.", param="field_name")


def _described(gateway: Any, settings: Settings, name: str) -> Fields:
    row = keys.general.rows[name]
    served, stored = _raw(gateway, GENERAL), settings.stored().get(GENERAL, {})
    source = "db" if name in stored else "config" if served.get(name) is not None else "unset"
    kind, _, choices = row.spec.partition(":")
    value = served.get(name)
    return {
        "field_name": name,
        "field_type": _TYPES.get(kind, "String"),
        "field_description": row.meaning,
        "field_value": MASK if value is not None and is_secret(GENERAL, name, value) else masked(value, name),
        "stored_in_db": True if source == "db" else False if source == "config" else None,
        "field_default_value": row.default,
        "premium_field": False,
        "nested_fields": None,
        "field_options": choices.split(",") if choices else None,
        "field_tab": None,
        "source": source,
        "editable": True,
    }


def _section(gateway: Any, warnings: list[str]) -> Page:
    """Tell what is stored of the general settings, as LiteLLM's row of them."""
    stored = settings_of(gateway).stored().get(GENERAL, {})
    shown = {key: MASK if is_secret(GENERAL, key, value) else value for key, value in stored.items()}
    told = {"param_name": GENERAL, "param_value": shown}
    return page({**told, **({"warnings": warnings} if warnings else {})})


def _addresses(gateway: Any) -> list[str]:
    settings_of(gateway)
    return [str(one) for one in gateway.state.config.general.values.get("allowed_ips") or ()]


def _callbacks(gateway: Any, key: str) -> list[str]:
    found = _raw(gateway, LITELLM).get(key) or []
    return [str(one) for one in ([found] if isinstance(found, str) else found)]


def check_callbacks(gateway: Any, key: str, value: Any) -> None:
    """Refuse names that would import code, and those of places that only the operator knows: nobody sets them over
    HTTP. What the file names may be sent back. Raises "bad_request"."""
    known = set(_callbacks(gateway, key))
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str) and (name in known or (name in SINKS and name not in LOCAL)):
            continue
        text = f"{LITELLM}.{key}: {name!r:.100} is none of {', '.join(sorted(SINKS.keys() - LOCAL))}"
        text += "; your own code is named in the config file."
        raise GatewayError("bad_request", text, param=key)


def _joined(gateway: Any, key: str, given: list[Any]) -> list[Any]:
    """Add callbacks to those that there are: LiteLLM's clients send the new one alone."""
    return list(dict.fromkeys([*_callbacks(gateway, key), *map(str, given)]))


def holds_mask(value: Any) -> bool:
    """Tell whether a value has the mask in it that stands for a secret."""
    return any(one == MASK for one in _texts(value))


def _texts(value: Any, depth: int = 0) -> Iterator[Any]:
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, depth + 1)
    else:
        yield value


ROUTES = (
    post("/config/update", update, forms.Config, ADMIN),
    post("/config/field/update", update_field, forms.Field, ADMIN),
    post("/config/field/delete", delete_field, forms.FieldName, ADMIN),
    post("/config/callback/delete", delete_callback, forms.Callback, ADMIN),
    post("/add/allowed_ip", add_address, forms.Address, ADMIN),
    post("/delete/allowed_ip", delete_address, forms.Address, ADMIN),
    Route("/get/allowed_ips", show_addresses, role=VIEW),
    Route("/config/field/info", show_field, role=VIEW),
    Route("/config/list", list_fields, role=VIEW),
    Route("/config/yaml", show_config, role=VIEW),
    Route("/get/config/callbacks", show_callbacks, role=VIEW),
)

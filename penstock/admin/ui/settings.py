"""Settings: what most gateways set at once, every section of the config as a form, what was changed, the way back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import number_of, query_of
from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import Blank, form_of, go, render
from penstock.core.errors import GatewayError
from penstock.runtime.gate import PAGE_ADMIN, PAGE_VIEW
from penstock.runtime.route import Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call

Fields = dict[str, Any]
SECTIONS = {"general_settings": "General", "litellm_settings": "Models and cache", "router_settings": "Routing"}
MASK = "********"
_NUMBERS = frozenset("count positive integer port size seconds wait number numeric amount share".split())
_FLAGS = frozenset(("bool", "flag"))
_ON = {"true": True, "false": False}
LONGEST = 64 * 1024  # characters of one value
_TEMPERATURE, _TOKENS, _LAID = "temperature", "max_tokens", "default_litellm_params"
_OLLAMA = "OLLAMA_BASE_URL"


# The short form. ------------------------------------------------------------------------------------------------------


async def show(gateway: Any, call: Call) -> Page:
    """Show what most gateways set, and which providers there are."""
    return await _short(gateway, call)


async def _short(
    gateway: Any, call: Call, status: int = 200, wrong: str = "", param: str = "", typed: Any = None
) -> Page:
    if gateway.settings is None:
        return render(gateway, call, "settings/none.html")
    now = await _now(gateway, call)
    providers = await ask(gateway, call, "GET", "/api/v1/litellm/providers")
    return render(
        gateway, call, "settings/short.html", status, sections=SECTIONS,
        providers=providers.said["providers"] if providers.good else [],
        models=gateway.names_for(call), given=Blank(typed if typed is not None else now), wrong=wrong, param=param,
        ollama=await _has_ollama(gateway, call), tab="",
    )  # fmt: skip


async def _now(gateway: Any, call: Call) -> Fields:
    """Return what the short form shows, as text."""
    values: Fields = {}
    for section in SECTIONS:
        told = await need(gateway, call, "GET", "/config/section", section=section)
        values[section] = {one["name"]: one["value"] for one in told["settings"]}
    laid = values["router_settings"].get(_LAID) or {}
    return {
        "default_model": values["general_settings"].get("default_model") or "",
        _TEMPERATURE: str(laid.get(_TEMPERATURE, "")),
        _TOKENS: str(laid.get(_TOKENS, "")),
        "cache": "true" if values["litellm_settings"].get("cache") else "",
        "costs": "" if values["general_settings"].get("disable_spend_updates") else "true",
        _LAID: laid,
    }


async def _has_ollama(gateway: Any, call: Call) -> bool:
    told = await need(gateway, call, "GET", "/config/yaml")
    return _OLLAMA in (told.get("environment_variables") or {})


async def save(gateway: Any, call: Call) -> Page:
    """Save the short form."""
    typed = form_of(call)
    now = await _now(gateway, call)
    changes: list[Fields] = []
    laid = dict(now[_LAID])
    for name, read in ((_TEMPERATURE, float), (_TOKENS, int)):
        text = typed.get(name, "").strip()
        laid.pop(name, None)
        if text:
            try:
                laid[name] = read(text)
            except ValueError:
                said = f"{name} is {text[:40]!r}; it must be a number."
                return await _short(gateway, call, 400, said, name, typed)
    if laid != now[_LAID]:
        changes.append({"section": "router_settings", "key": _LAID, "value": laid or None})
    if (model := typed.get("default_model", "").strip()) != now["default_model"]:
        changes.append({"section": "general_settings", "key": "default_model", "value": model or None})
    if typed.get("cache", "") != now["cache"]:
        changes.append({"section": "litellm_settings", "key": "cache", "value": typed.get("cache") == "true"})
    if typed.get("costs", "") != now["costs"]:
        value = typed.get("costs") != "true"
        changes.append({"section": "general_settings", "key": "disable_spend_updates", "value": value})
    if address := typed.get(_OLLAMA, "").strip():
        changes.append({"section": "environment_variables", "key": _OLLAMA, "value": address})
    if not changes:
        return go(call, "/settings", said="Nothing was changed.")
    told = await ask(gateway, call, "POST", "/config/change", {"changes": changes})
    if not told.good:
        return await _short(gateway, call, 400, told.error, _param(told.said), typed)
    return go(call, "/settings", said=_saved(told.said))


# Whole sections. ------------------------------------------------------------------------------------------------------


async def section(gateway: Any, call: Call) -> Page:
    """Show a section of the config as a form."""
    return await _section(gateway, call)


async def _section(gateway: Any, call: Call, status: int = 200, typed: Fields | None = None, **more: Any) -> Page:
    name = call.params["section"]
    if name not in SECTIONS:
        raise GatewayError("no_route", f"There is no section {name[:60]!r}.")
    told = await need(gateway, call, "GET", "/config/section", section=name)
    query = query_of(call).get("q", "").strip().lower()
    rows = [_field(one) for one in told["settings"]]
    if typed is not None:
        rows = [{**one, "text": typed.get(one["name"], one["text"])} for one in rows]
    shown = [one for one in rows if not query or query in f"{one['name']} {one['meaning']}".lower()]
    shown.sort(key=lambda one: (one["source"] == "unset", one["name"]))
    given: Fields = {"wrong": "", "param": "", "preview": None}
    return render(
        gateway, call, "settings/section.html", status, section=name, title=SECTIONS[name], rows=shown, q=query,
        sections=SECTIONS, tab=name, typed=typed, mask=MASK, **{**given, **more},
    )  # fmt: skip


def _field(one: Fields) -> Fields:
    value = one["value"]
    kind = "flag" if one["type"] in _FLAGS else "choice" if one["choices"] else "text"
    if isinstance(value, dict | list) or (kind == "text" and not _is_plain(one["type"])):
        kind = "long"
    secret = value == MASK
    return {**one, "kind": "secret" if secret else kind, "text": "" if secret else _text(value)}


def _is_plain(kind: str) -> bool:
    return kind in _NUMBERS or kind in ("str", "secret", "hedge", "one")


def _text(value: Any) -> str:
    """Write a value as it is edited: JSON, but for plain text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=1 if isinstance(value, dict | list) and value else None, ensure_ascii=False)


def _read(one: Fields, text: str) -> Any:
    """Read what was typed. Raises ``ValueError`` with what is wrong."""
    text = text.strip()
    if not text:
        return None
    if len(text) > LONGEST:
        raise ValueError(f"{one['name']} is over {LONGEST:,} characters long.")
    if one["kind"] == "flag":
        return _ON.get(text, text)
    if one["kind"] == "long":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            if text[:1] in "[{":
                raise ValueError(f'{one["name"]} is no JSON: write a list as ["a"], fields as {{"name": 1}}.') from None
            return text
    if one["type"] in _NUMBERS:
        try:
            return json.loads(text)
        except ValueError:
            return text  # the config's own reader says what would be right
    return text


async def change(gateway: Any, call: Call) -> Page:
    """Show what changing settings of a section would do; change them, once that was seen."""
    name, typed = call.params["section"], form_of(call)
    if name not in SECTIONS:
        raise GatewayError("no_route", f"There is no section {name[:60]!r}.")
    told = await need(gateway, call, "GET", "/config/section", section=name)
    changes = []
    for one in map(_field, told["settings"]):
        if one["name"] not in typed or typed[one["name"]].strip() == one["text"].strip():
            continue
        try:
            value = _read(one, typed[one["name"]])
        except ValueError as error:
            return await _section(gateway, call, 400, typed, wrong=str(error), param=one["name"])
        changes.append({"section": name, "key": one["name"], "value": value})
    if not changes:
        return go(call, f"/settings/{name}", said="Nothing was changed.")
    sure = typed.get("sure") == "yes"
    answer = await ask(gateway, call, "POST", "/config/change", {"changes": changes, "preview": not sure})
    if not answer.good:
        return await _section(gateway, call, 400, typed, wrong=answer.error, param=_param(answer.said))
    if sure:
        return go(call, f"/settings/{name}", said=_saved(answer.said))
    names = {one["key"] for one in changes}
    kept = {key: value for key, value in typed.items() if key in names}
    return await _section(gateway, call, typed=typed, preview=answer.said, kept=kept)


def _param(said: Any) -> str:
    """Return the setting that an answer is about, without its section."""
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("param") or "").rpartition(".")[2] if isinstance(error, dict) else ""


def _saved(said: Fields) -> str:
    return " ".join(["Saved.", *said.get("warnings", [])])


# What was changed. ----------------------------------------------------------------------------------------------------


async def history(gateway: Any, call: Call) -> Page:
    """Show what was changed, by whom, and the way back."""
    return await _history(gateway, call)


async def _history(
    gateway: Any, call: Call, status: int = 200, wrong: str = "", preview: Any = None, id_: str = ""
) -> Page:
    number = number_of(query_of(call), "page", 1, 1, 1000)
    told = await need(gateway, call, "GET", "/config/revisions", page=number)
    for one in told["revisions"]:
        _write(one["changes"])
    if preview:
        _write(preview["changes"])
    return render(
        gateway, call, "settings/history.html", status, found=told, sections=SECTIONS, tab="history", wrong=wrong,
        preview=preview, of=id_,
    )  # fmt: skip


def _write(changes: list[Fields]) -> None:
    for change in changes:
        for side in ("before", "after"):
            change[side] = _text(change[side])


async def back(gateway: Any, call: Call) -> Page:
    """Set settings back to what they were before a revision; show first what that would do, where it is asked."""
    typed = form_of(call)
    preview = typed.get("preview") == "yes"
    body = {"id": typed.get("id", ""), "preview": preview}
    told = await ask(gateway, call, "POST", "/config/rollback", body)
    if not told.good:
        return await _history(gateway, call, 400, told.error)
    if preview:
        return await _history(gateway, call, preview=told.said, id_=typed.get("id", ""))
    return go(call, "/settings/history", said=_saved(told.said).replace("Saved.", "Set back."))


async def export(gateway: Any, call: Call) -> Page:
    """Send the config as it is served as YAML, without its secrets."""
    import yaml  # few ask for it

    told = await need(gateway, call, "GET", "/config/yaml")
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    head = b'application/yaml; charset=utf-8\r\ncontent-disposition: attachment; filename="config.yaml"'
    return Page(200, head + b"\r\ncache-control: no-store", text.encode())


ROUTES = (
    page("/settings", show, PAGE_VIEW),
    page("/settings/history", history, PAGE_VIEW),
    page("/settings/export", export, PAGE_VIEW),
    page("/settings/{section}", section, PAGE_VIEW),
    form("/settings", save, PAGE_ADMIN),
    form("/settings/history", back, PAGE_ADMIN),
    form("/settings/{section}", change, PAGE_ADMIN),
)

"""The forms of a model: whose it is, what it is called, by which credential, at which price, within which limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from penstock.admin.ui.inner import Told, ask, need
from penstock.admin.ui.models import Typed, at, query_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import form_of, go, render
from penstock.core.errors import GatewayError
from penstock.core.providers.accounts import ACCOUNTS, EXAMPLES, POPULAR
from penstock.runtime.gate import PAGE_ADMIN
from penstock.runtime.prices import MAP

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page


NUMBERS = {
    "rpm": "Requests a minute", "tpm": "Tokens a minute", "weight": "Weight", "order": "Order",
    "timeout": "Timeout (seconds)",
}  # fmt: skip
PRICES = {"input_cost_per_token": "Input", "output_cost_per_token": "Output"}
"""Prices that the form has, in dollars for a million tokens; all others by ``more``."""
MODES = ("", "chat", "completion", "embedding", "rerank", "moderation", "image_generation", "audio_speech",
         "audio_transcription")  # fmt: skip
_SHOWN = {*NUMBERS, *PRICES, "model", "api_base", "api_key", "tags", "litellm_credential_name"}
_TOLD = {"use_in_pass_through", "use_litellm_proxy", "merge_reasoning_content_in_choices", "custom_llm_provider"}
_MOST_NAMES = 300  # names of models that a form proposes


class Wrong(Exception):
    """A field that cannot be sent: its name, and what is wrong with it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


async def new(gateway: Any, call: Call) -> Page:
    """Show whose models can be added; of a chosen provider, the form of a model."""
    query = query_of(call)
    chosen, search = query.get("provider", ""), query.get("search", "")
    if not chosen:
        rows = (await need(gateway, call, "GET", "/providers", search=search))["data"]
        first = [row for name in POPULAR for row in rows if row["id"] == name]
        ready = [row for row in rows if row["deployments"] or row["key"] in ("environment", "stored")]
        return render(
            gateway, call, "models/pick.html", search=search, first=[] if search else _once([*ready, *first]), rows=rows
        )
    typed = {"model": query.get("model", ""), "provider": chosen}
    return await _form(gateway, call, chosen, typed)


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({row["id"]: row for row in rows}.values())


async def create(gateway: Any, call: Call) -> Page:
    """Add a model, or try it before."""
    typed = form_of(call)
    provider = typed.get("provider", "")
    try:
        params, info = entry_of(typed, provider)
    except Wrong as wrong:
        return await _form(gateway, call, provider, typed, {wrong.name: str(wrong)}, status=400)
    if typed.get("do") == "test":
        return await _tried(gateway, call, provider, typed, params, info)
    body = {"model_name": typed.get("model_name", "").strip() or typed["model"].strip(), "litellm_params": params}
    told = await ask(gateway, call, "POST", "/model/new", body | ({"model_info": info} if info else {}))
    if not told.good:
        return await _form(gateway, call, provider, typed, wrongs(told), status=told.status)
    warnings = " ".join(told.said.get("warnings") or ())
    return go(call, at(told.said["model_id"]), f"The model {body['model_name']} serves now. {warnings}".strip())


async def edit(gateway: Any, call: Call) -> Page:
    """Show the form of a model that is there."""
    row = await _stored(gateway, call)
    return await _form(gateway, call, row["provider"], typed_of(row), row=row)


async def change(gateway: Any, call: Call) -> Page:
    """Change a model, or try the change before."""
    row, typed = await _stored(gateway, call), form_of(call)
    provider = row["provider"]
    try:
        params, info = entry_of(typed, provider, row)
    except Wrong as wrong:
        return await _form(gateway, call, provider, typed, {wrong.name: str(wrong)}, status=400, row=row)
    if typed.get("do") == "test":
        return await _tried(gateway, call, provider, typed, params, info, row)
    name = typed.get("model_name", "").strip() or row["model_name"]
    body = {"model_name": name, "litellm_params": params, "model_info": info}
    told = await ask(gateway, call, "PATCH", f"/model/{quote(row['id'], safe='')}/update", body)
    if not told.good:
        return await _form(gateway, call, provider, typed, wrongs(told), status=told.status, row=row)
    return go(call, at(row["id"]), "The model was changed, and serves so now.")


async def _stored(gateway: Any, call: Call) -> Any:
    row = await need(gateway, call, "GET", "/deployments/" + call.params["id"])
    if not row["stored"]:
        where = f"It stands in {row['place']}: change it there, and reload." if row["place"] else "It is not stored."
        raise GatewayError("bad_request", f"This deployment cannot be edited here. {where}")
    return row


async def _tried(
    gateway: Any, call: Call, provider: str, typed: dict[str, str], params: dict[str, Any], info: dict[str, Any],
    row: Any = None,
) -> Page:  # fmt: skip
    given = {name: value for name, value in params.items() if value is not None}
    has_key = any(name in given for name in ("api_key", "litellm_credential_name"))
    if row is not None and not has_key:
        told = Told(400, {"error": {"message": "The stored key is not sent along with a change that is not saved: "
                                               "type it again, or save first and test then."}})  # fmt: skip
    else:
        body = {"litellm_params": given, "model_info": {key: value for key, value in info.items() if value is not None}}
        told = await ask(gateway, call, "POST", "/health/test_connection", body)
    if b"hx-request" in call.exchange.headers:
        return render(gateway, call, "models/tried.html", tried=told)
    return await _form(gateway, call, provider, typed, wrongs(told), row=row, tried=told)


async def _form(
    gateway: Any, call: Call, provider: str, typed: dict[str, str], wrong: dict[str, str] | None = None,
    status: int = 200, row: Any = None, tried: Any = None,
) -> Page:  # fmt: skip
    found = (await need(gateway, call, "GET", "/providers"))["data"]
    of = next((one for one in found if one["id"] == provider or provider in one["aliases"]), None)
    if of is None:
        raise GatewayError("no_object", f"There is no provider {provider[:60]!r}: choose one of the list.")
    credentials = await ask(gateway, call, "GET", "/credentials")
    names = sorted(one["credential_name"] for one in credentials.said["credentials"]) if credentials.good else []
    typed, known = Typed(typed), known_models(of["id"])
    typed.setdefault("litellm_credential_name", next(iter(of["credentials"]), "") if row is None else "")
    return render(
        gateway, call, "models/form.html", status,
        of=of, typed=typed, wrong=Typed(wrong or {}), row=row, tried=tried, credentials=names, at=at,
        accounts=ACCOUNTS.get(of["id"], ()), numbers=NUMBERS, prices=PRICES, modes=MODES, known=known,
        example=EXAMPLES.get(of["id"]) or next(iter(known), ""),
    )  # fmt: skip


def known_models(provider: str) -> list[str]:
    """List models of a provider that the price list knows."""
    head = provider + "/"
    names = {name.removeprefix(head) for name in MAP.names() if name.startswith(head)}
    if len(names) < _MOST_NAMES:
        for name in MAP.names():
            if "/" not in name and (MAP.get(name) or {}).get("litellm_provider", "").startswith(provider):
                names.add(name)
    return sorted(name for name in names if not name.startswith("*"))[:_MOST_NAMES]


def wrongs(told: Told) -> dict[str, str]:
    """Tell what an answer refused, by the field of the form that it is about; "" for the whole of it."""
    if told.good:
        return {}
    error = told.said.get("error") if isinstance(told.said, dict) else None
    param = str((error or {}).get("param") or "") if isinstance(error, dict) else ""
    last = param.rpartition(".")[2]
    known = _SHOWN | {one.name for accounts in ACCOUNTS.values() for one in accounts} | {"model_name", "more", "mode"}
    return {last if last in known else "": told.error}


def entry_of(typed: dict[str, str], provider: str, row: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make `litellm_params` and `model_info` of a form. Of one that is changed (``row``) what is empty takes away; but
    a secret stays. Raises ``Wrong``."""
    model = typed.get("model", "").strip()
    if not model:
        raise Wrong("model", "Name the model as the provider calls it.")
    params: dict[str, Any] = {"model": model if model.startswith(provider + "/") else f"{provider}/{model}"}
    accounts = ACCOUNTS.get(provider, ())
    secrets = {"api_key", *(one.name for one in accounts if one.secret)}
    for name in ("api_key", "api_base", "litellm_credential_name", *(one.name for one in accounts)):
        value = typed.get(name, "").strip()
        if value:
            params[name] = value
        elif row is not None and name not in secrets:
            params[name] = None
    for name, title in NUMBERS.items():
        _put(params, name, _number(typed, name, title), row)
    for name, title in PRICES.items():
        price = _number(typed, name, title)
        _put(params, name, None if price is None else price / 1e6, row)
    tags = [tag.strip() for tag in typed.get("tags", "").split(",") if tag.strip()]
    _put(params, "tags", tags or None, row)
    params |= _more(typed.get("more", ""))
    info: dict[str, Any] = {}
    _put(info, "mode", typed.get("mode") or None, row)
    return params, info


def _put(block: dict[str, Any], name: str, value: Any, row: Any) -> None:
    if value is not None or row is not None:
        block[name] = value


def _number(typed: dict[str, str], name: str, title: str) -> float | int | None:
    text = typed.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e15:
        raise Wrong(name, f"{title}: a number that is not below 0 is wanted, not {text[:40]!r}.")
    return int(value) if value.is_integer() and name not in PRICES else value


def _more(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Wrong("more", f"A JSON object of litellm_params is wanted: {error}.") from None


def typed_of(row: dict[str, Any]) -> dict[str, str]:
    """Fill a form with what a deployment is; no credential is among it."""
    params, info = row["litellm_params"], row["model_info"]
    typed = {"model_name": row["model_name"], "model": str(params.get("model", ""))}
    typed["model"] = typed["model"].removeprefix(row["provider"] + "/")
    names = (*NUMBERS, "api_base", *(one.name for one in ACCOUNTS.get(row["provider"], ()) if not one.secret))
    typed |= {name: str(params[name]) for name in names if params.get(name) is not None}
    typed |= {name: f"{params[name] * 1e6:.10g}" for name in PRICES if isinstance(params.get(name), int | float)}
    typed["litellm_credential_name"] = row.get("credential") or ""
    typed["tags"] = ", ".join(row["tags"])
    typed["mode"] = str(info.get("mode") or "")
    more = {key: value for key, value in params.items() if key not in {*_SHOWN, *_TOLD, *names}}
    typed["more"] = msgspec.json.format(msgspec.json.encode(more)).decode() if more else ""
    return typed


ROUTES = (
    page("/models/new", new, PAGE_ADMIN),
    form("/models/new", create, PAGE_ADMIN),
    page("/models/edit/{id:path}", edit, PAGE_ADMIN),
    form("/models/edit/{id:path}", change, PAGE_ADMIN),
)

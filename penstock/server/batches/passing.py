"""Files and batches of a provider's own: asked of it with the gateway's credential, and noted as their maker's.

A request names the provider with ``custom_llm_provider`` (in the query, the body, a form, or the header
``custom-llm-provider``), as LiteLLM's clients do. What is made so is known from then on: whoever reads it need not name
the provider again, and nobody else may. How the request is passed on is ``pass_through``'s affair.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from penstock.core.batches.kept import ANTHROPIC, OPENAI, RUNNING, KeptBatch, KeptFile
from penstock.core.errors import GatewayError, shed
from penstock.core.providers.pass_through import provider_at
from penstock.runtime.call import Call
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.ids import new_id
from penstock.runtime.outlet import MountStyle
from penstock.server.batches.common import base_of, find_batch, find_file, query_of, stored
from penstock.server.batches.owed import ReadExchange, is_over, pay_once
from penstock.server.pass_through import by_provider
from penstock.server.routes import JSON, Page

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.core.batches.used import ResultsMeter
    from penstock.server.gateway import Gateway

log = logging.getLogger("penstock")
FIELD = "custom_llm_provider"
_RESULTS = b'"results_url"'
HEADER = b"custom-llm-provider"


class _Named(Struct):
    id: str


class Passed:
    """An answer of a provider's that goes to the client as it comes."""

    def __init__(self, gateway: Gateway, provider: str) -> None:
        self._gateway, self._provider = gateway, provider

    async def send(self, call: Call) -> None:
        """Pass the call on as it is: its path stands below the provider's prefix."""
        style = call.mount_style or MountStyle()
        below = "" if call.path.startswith("/v1/") else "/v1"
        call.mount_style = style._replace(base=f"/{self._provider}{below}{style.base}")
        await _visit(self._gateway, self._provider, call)


def named_in(fields: Mapping[str, Raw]) -> str | None:
    """Return the provider that a body names; None where it names none. Raises "bad_request"."""
    raw = fields.get(FIELD)
    return None if raw is None else _known(msgspec.json.decode(raw))


def named_by_head(call: Call) -> str | None:
    """Return the provider that a query or a header names; None where they name none. Raises "bad_request"."""
    header = call.exchange.headers.get(HEADER)
    named = query_of(call).get(FIELD) or (None if header is None else header.decode("latin-1"))
    return None if named is None else _known(named)


def _known(named: object) -> str:
    if not isinstance(named, str) or provider_at(f"/{named}/v1") is None:
        text = f"{FIELD}: {str(named)[:60]!r} is no provider. Leave it out, and the gateway keeps files and batches."
        raise GatewayError("bad_request", text, param=FIELD)
    return named


async def by_head(gateway: Gateway, call: Call) -> Page | None:
    """Let a provider answer a list, or make a batch, where the head names one. Lists are those of the provider's whole
    account, so only an admin may read them. Raises "forbidden"."""
    provider = named_by_head(call)
    if provider is None:
        return None
    if call.exchange.method == "POST":
        return await _make(gateway, call, provider, call.exchange.body)
    if not call.caller.admin:
        text = f"Only an admin may list what {provider} has; without {FIELD} the list has what is yours."
        raise GatewayError("forbidden", text, param=FIELD)
    inner = await _ask(gateway, call, provider, _path(call), query=_without(call))
    return _page(inner, call)


async def note_passed(gateway: Gateway, call: Call, provider: str, told: bytes) -> None:
    """Note the batch that a provider told of on a path of its own: whose it is who makes one there, and that it is to
    be paid once it has ended. The client has its answer by then."""
    form = ANTHROPIC if call.path.partition("/messages/")[1] else OPENAI
    owner = call.caller.tenant
    try:
        if call.exchange.method != "POST" or call.path.endswith("/cancel"):
            id_ = msgspec.json.decode(told, type=_Named).id
            kept = await stored(gateway.batches.store.batch(id_))
            if kept is None or kept.provider != provider:
                return  # nobody knows who made it
            owner = kept.owner
        await _note(gateway, call, owner, provider, form, told)
    except (GatewayError, msgspec.DecodeError) as error:
        log.warning("a batch of %s could not be noted: %s", provider, error)


async def by_fields(gateway: Gateway, call: Call, fields: Mapping[str, Any]) -> Page | None:
    """Let a provider make a batch, where the body names one, or its input file is one of a provider's."""
    named = fields.get(FIELD)
    provider = None if named is None else _known(named)
    if provider is None and isinstance(fields.get("input_file_id"), str):
        file = await stored(gateway.batches.store.file(fields["input_file_id"]))
        if file is not None and file.provider:
            await find_file(gateway, call.caller, file.id)
            provider = file.provider
    if provider is None:
        return None
    body = msgspec.json.encode({name: value for name, value in fields.items() if name != FIELD})
    return await _make(gateway, call, provider, body)


async def by_file(gateway: Gateway, call: Call, streams: bool = False) -> Page | Passed | None:
    """Let a provider answer for a file of its own; None for one that the gateway has. Raises "no_object"."""
    id_ = call.params["id"]
    kept = await stored(gateway.batches.store.file(id_))
    provider = await _whose(gateway, call, None if kept is None else kept.provider)
    if provider is None:
        return None
    if kept is not None:
        await find_file(gateway, call.caller, id_)
    if streams:
        return Passed(gateway, provider)
    inner = await _ask(gateway, call, provider, _path(call), query=_without(call))
    if kept is not None and call.exchange.method == "DELETE" and inner.status == 200:
        await stored(gateway.batches.store.remove_file(id_))
    return _page(inner, call)


async def by_batch(gateway: Gateway, call: Call, form: str, streams: bool = False) -> Any:
    """Let a provider answer for a batch of its own; None for one that the gateway has. Raises "no_object"."""
    id_ = call.params["id"]
    kept = await stored(gateway.batches.store.batch(id_))
    provider = await _whose(gateway, call, None if kept is None else kept.provider)
    if provider is None:
        return None
    if kept is not None:
        await find_batch(gateway, call.caller, id_, form)
        if not kept.finished and (streams or call.exchange.method == "DELETE"):
            await _look(gateway, call, kept)  # what is taken or gone is paid
    if streams:
        return Passed(gateway, provider)
    inner = await _ask(gateway, call, provider, _path(call), query=_without(call))
    if inner.status == 200 and kept is not None:
        if call.exchange.method == "DELETE":
            await stored(gateway.batches.store.remove_batch(id_))
        else:
            await _note(gateway, call, kept.owner, provider, form, inner.answer)
    return _page(inner, call)


async def _look(gateway: Gateway, call: Call, kept: KeptBatch) -> None:
    """Look how far a batch of a provider's is, and note it."""
    path = "/v1/messages/batches/" if kept.form == ANTHROPIC else "/v1/batches/"
    inner = await _ask(gateway, call, kept.provider, path + kept.id, method="GET")
    if inner.status == 200:
        await _note(gateway, call, kept.owner, kept.provider, kept.form, inner.answer)


async def pass_upload(
    gateway: Gateway, call: Call, provider: str, fields: Mapping[str, Raw], name: str, path: Path
) -> Page:
    """Send a file on to a provider, with the other fields of its form. Raises "too_large": it is held in memory as it
    is signed."""
    size = (await asyncio.to_thread(path.stat)).st_size
    if size > gateway.max_body:
        text = (
            f"A file for {provider} may have {gateway.max_body} bytes here; send it to /{provider}/v1/files yourself."
        )
        raise GatewayError("too_large", text, param="file")
    gateway.held.take(call.exchange, 2 * size)
    mark = new_id().replace("-", "").encode()
    parts = []
    for field, raw in fields.items():
        value = msgspec.json.decode(raw)
        if field != FIELD and isinstance(value, str):
            head = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
            parts.append(head % (mark, _quoted(field), value.encode()))
    head = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n'
    parts.append(head % (mark, _quoted(name)) + b"Content-Type: application/octet-stream\r\n\r\n")
    parts += (await asyncio.to_thread(path.read_bytes), b"\r\n--%b--\r\n" % mark)
    content_type = b"multipart/form-data; boundary=" + mark
    return await _make(gateway, call, provider, b"".join(parts), content_type)


# Asking the provider --------------------------------------------------------------------------------------------------


async def _whose(gateway: Gateway, call: Call, kept: str | None) -> str | None:
    """Return the provider that has what is asked for; None where the gateway itself may have it. Of what was not made
    here nobody knows whose it is: only an admin may ask."""
    if kept is not None:
        return kept or None
    named = named_by_head(call)
    if named is not None and not call.caller.admin:
        raise GatewayError("no_object", f"Nothing of the id {call.params['id'][:100]!r} is yours.", param="id")
    return named


async def _make(gateway: Gateway, call: Call, provider: str, body: bytes, content_type: bytes = JSON) -> Page:
    """Let a provider make something, and note whose it is."""
    inner = await _ask(gateway, call, provider, _path(call), body, content_type)
    if inner.status == 200:
        form = OPENAI if "/messages/" not in call.path else ANTHROPIC
        await _note(gateway, call, call.caller.tenant, provider, form, inner.answer)
    return _page(inner, call)


async def _note(gateway: Gateway, call: Call, owner: str, provider: str, form: str, body: bytes) -> None:
    """Note the file or batch that a provider tells of, and the files of results that a batch names, as an owner's; have
    a batch paid that has ended."""
    store, now = gateway.batches.store, time.time()
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return
    id_ = told.get("id")
    if not isinstance(id_, str) or not 1 <= len(id_) <= 64:
        return
    shown = msgspec.json.encode(told)
    if told.get("object") == "file":
        file = KeptFile(
            id=id_, owner=owner, created_at=now, filename=str(told.get("filename", "")), provider=provider,
            shown=shown.decode(), purpose=str(told.get("purpose", ""))[:40], bytes=_whole(told.get("bytes")),
        )  # fmt: skip
        await stored(store.add_file(file))
        return
    kept = await stored(store.batch(id_))
    if kept is None:
        kept = KeptBatch(
            id=id_, owner=owner, form=form, created_at=now, expires_at=0.0, provider=provider, shown=shown.decode(),
            endpoint=str(told.get("endpoint", "")), input=str(told.get("input_file_id", "")), status=RUNNING,
            client=call.exchange.client,
        )  # fmt: skip
        await stored(store.add_batch(kept))
    if kept.provider != provider:
        return
    if not kept.finished and is_over(told):
        async with gateway.batches.turn(id_):  # of this process one reads the results
            now_kept = await stored(store.batch(id_))
            if now_kept is not None and not now_kept.finished:
                await pay_once(gateway, call.caller, now_kept, shown, told, partial(_read, gateway, call, provider))
    else:
        await stored(store.change(kept.changed(shown=shown.decode())))
    for name in ("output_file_id", "error_file_id"):
        found = told.get(name)
        if isinstance(found, str) and 1 <= len(found) <= 64 and await stored(store.file(found)) is None:
            made = KeptFile(
                id=found, owner=owner, created_at=now, filename="", provider=provider, purpose="batch_output",
                shown=msgspec.json.encode({"id": found, "object": "file", "purpose": "batch_output"}).decode(),
            )  # fmt: skip
            await stored(store.add_file(made))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


async def _ask(
    gateway: Gateway, call: Call, provider: str, path: str, body: bytes = b"", content_type: bytes = JSON,
    query: bytes = b"", method: str = "",
) -> CollectedExchange:  # fmt: skip
    """Ask a provider in a call of its own, as the same caller."""
    exchange = call.exchange
    left_out = (b"content-type", b"content-length", b"transfer-encoding", HEADER)
    headers = {name: value for name, value in exchange.headers.items() if name not in left_out}
    if body:
        headers |= {b"content-type": content_type, b"content-length": str(len(body)).encode()}
    inner = CollectedExchange(
        method or exchange.method, f"/{provider}{path}", headers, body, query=query, client=exchange.client,
        started=gateway.clock(),
    )  # fmt: skip
    await _drive(gateway, call, provider, inner)
    return inner


async def _read(gateway: Gateway, call: Call, provider: str, path: str) -> ResultsMeter | None:
    """Read through the results that a provider has at a path; None where they do not come whole."""
    exchange = call.exchange
    kept = {name: value for name, value in exchange.headers.items() if not name.startswith(b"content-")}
    kept.pop(b"transfer-encoding", None)
    inner = ReadExchange(f"/{provider}{path}", kept, exchange.client, gateway.clock())
    try:
        await _drive(gateway, call, provider, inner)
    except GatewayError as error:
        log.warning("the batch at %s%s is not paid yet, as its results cannot be read: %s", provider, path, error)
        return None
    if inner.status != 200 or not inner.finished:
        log.warning("the batch at %s%s is not paid yet, as its results answer with %d", provider, path, inner.status)
        return None
    inner.meter.close()
    return inner.meter


async def _drive(gateway: Gateway, call: Call, provider: str, inner: CollectedExchange) -> None:
    """Ask a provider by an exchange, as the same caller."""
    asked = Call(inner, gateway.engine.means, call.caller)
    try:
        await _visit(gateway, provider, asked)
        gateway.engine.record(asked, None)
    except GatewayError as error:
        shed(error)
        gateway.engine.record(asked, error)
        raise
    finally:
        gateway.end(inner)


async def _visit(gateway: Gateway, provider: str, call: Call) -> None:
    visit = by_provider(f"/{provider}/v1", gateway.state)
    if visit is None:
        text = f"Nothing is passed on to {provider}: general_settings.pass_through is false."
        raise GatewayError("not_configured", text, param=FIELD)
    await visit.answer(gateway, call)


def _path(call: Call) -> str:
    return call.path if call.path.startswith("/v1/") else "/v1" + call.path


def _without(call: Call) -> bytes:
    """Return the query without what is for the gateway."""
    parts = call.exchange.query.split(b"&")
    return b"&".join(part for part in parts if part and not part.startswith(FIELD.encode() + b"="))


def _page(inner: CollectedExchange, call: Call) -> Page:
    found = next((line for line in inner.head.split(b"\r\n") if line.lower().startswith(b"content-type:")), b"")
    body = inner.answer
    if _RESULTS in body:
        body = _with_results_here(body, call)
    return Page(inner.status, found.partition(b":")[2].strip() or JSON, body)


def _with_results_here(body: bytes, call: Call) -> bytes:
    """Lead clients here for the results of a provider's batches: Anthropic's SDK asks where the batch says, and the
    provider would not know its key."""
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return body
    rows = told.get("data")
    for row in rows if isinstance(rows, list) else [told]:
        if isinstance(row, dict) and row.get("results_url") and isinstance(id_ := row.get("id"), str):
            row["results_url"] = f"{base_of(call)}/v1/messages/batches/{id_}/results"
    return msgspec.json.encode(told)


def _quoted(text: str) -> bytes:
    return text.replace("\\", "_").replace('"', "%22").replace("\r", " ").replace("\n", " ").encode()

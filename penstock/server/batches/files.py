"""``/v1/files``: files are received in portions, kept in the state directory, and given to whom they belong.

Source: platform.openai.com/docs/api-reference/files."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.admit.access import LLM
from penstock.core.batches.kept import FILE_DAYS, KeptFile
from penstock.core.batches.openai import file_object, list_object
from penstock.core.errors import GatewayError
from penstock.core.ops.forms import boundary_of
from penstock.core.ops.formstream import Content, Form, Opened
from penstock.runtime.ids import mint
from penstock.server.batches import passing
from penstock.server.batches.common import (
    answer,
    find_file,
    limit_in,
    owner_in_lists,
    portions,
    query_of,
    stored,
)
from penstock.server.batches.quotas import Quota, check_quotas, kept_no_more, quotas_of
from penstock.server.routes import Page, Route
from penstock.server.streamed import DOWNLOAD, Streamed

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.runtime.call import Call
    from penstock.runtime.exchange import Exchange
    from penstock.server.batches.room import BatchRoom
    from penstock.server.gateway import Gateway
    from penstock.stores.files_disk import Incoming

BATCH = "batch"
PURPOSES = ("assistants", BATCH, "fine-tune", "vision", "user_data", "evals")
SHORTEST, LONGEST = 3600, 2592000  # seconds that a client may have a file kept: OpenAI's
_WRITTEN = 1024 * 1024  # bytes that are gathered before the disk is asked
_NAME = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]|[/\\]")


async def upload(gateway: Gateway, call: Call) -> Page:
    """Add a file: a form with ``purpose`` and ``file``."""
    room, exchange, named = gateway.batches, call.exchange, passing.named_by_head(call)
    room.check_kept()
    boundary = boundary_of(exchange.headers.get(b"content-type"))
    id_, now = mint("file-"), time.time()
    quotas = await quotas_of(room, call.caller) if named is None else ()
    try:
        incoming = await asyncio.to_thread(room.folder.create, id_)
        try:
            form, name = await _receive(exchange, boundary, incoming, room.most_bytes, gateway, quotas)
            fields = form.fields()
            if (provider := named or passing.named_in(fields)) is not None:
                return await passing.pass_upload(gateway, call, provider, fields, name, incoming.flushed())
            file = _described(id_, call, name, fields, now)
            size = await asyncio.to_thread(incoming.close)
        finally:
            await asyncio.to_thread(incoming.discard)
    except OSError as error:
        raise kept_no_more("The file", error) from None
    file = msgspec.structs.replace(file, bytes=size)
    await _keep(room, file, call)
    return answer(file_object(file))


async def _keep(room: BatchRoom, file: KeptFile, call: Call) -> None:
    """Keep what is known of a file, or delete it. Raises "no_database", "over_storage"."""
    try:
        await stored(room.store.add_file(file))
        await check_quotas(room, call.caller)  # others may have come in meanwhile, in any process
    except GatewayError:
        with suppress(GatewayError):
            await stored(room.store.remove_file(file.id))
        await asyncio.to_thread(room.folder.delete, file.id)
        raise


async def _receive(
    exchange: Exchange, boundary: bytes, incoming: Incoming, most_of_batch: int, gateway: Gateway,
    quotas: tuple[Quota, ...],
) -> tuple[Form, str]:  # fmt: skip
    """Write the file of a form as it comes; return the form and the file's name. Raises "bad_request", "too_large",
    "over_storage"."""
    form, name, opened, waiting, size = Form(boundary), None, False, bytearray(), 0
    async for data in _pieces(exchange):
        for event in form.feed(data):
            if isinstance(event, Opened):
                opened = event.filename is not None and event.name == "file"
                if opened and name is not None:
                    raise GatewayError("bad_request", "file: one file is wanted, and the form has two.", param="file")
                name = event.filename if opened else name
            elif isinstance(event, Content) and opened:
                waiting += event.data
        if len(waiting) >= _WRITTEN:
            size += len(waiting)
            if size > gateway.max_upload:
                raise gateway.upload_too_large()
            _check_quotas(quotas, form, size)
            await asyncio.to_thread(incoming.write, bytes(waiting))
            waiting.clear()
    form.reader.close()
    if name is None:
        raise GatewayError("bad_request", "The field 'file' is missing: send the file with its name.", param="file")
    _check_quotas(quotas, form, incoming.size + len(waiting))
    await asyncio.to_thread(incoming.write, bytes(waiting))
    if _text(form.fields(), "purpose") == BATCH and incoming.size > most_of_batch:
        text = (
            f"The batch file is over {most_of_batch} bytes, the limit here (general_settings.max_batch_file_size_mb)."
        )
        raise GatewayError("too_large", text, param="file")
    return form, name


def _check_quotas(quotas: tuple[Quota, ...], form: Form, size: int) -> None:
    """Refuse a file that is over a quota, unless it is a provider's to keep. Raises "over_storage"."""
    if quotas and passing.named_in(form.fields()) is None:
        for quota in quotas:
            quota.check(1, size)


async def _pieces(exchange: Exchange) -> AsyncIterator[bytes]:
    """Yield a body as it comes, or the one that is there."""
    if exchange.upload is None:
        yield exchange.body
        return
    while data := await exchange.upload.source.take():
        yield data


def _described(id_: str, call: Call, name: str, fields: dict[str, Raw], now: float) -> KeptFile:
    """Describe a file as its form does. Raises "bad_request"."""
    purpose = _text(fields, "purpose")
    if purpose not in PURPOSES:
        text = f"purpose: one of {', '.join(PURPOSES)} is wanted, not {purpose[:40]!r}."
        raise GatewayError("bad_request", text, param="purpose")
    until = now + FILE_DAYS if purpose == BATCH else 0.0
    seconds = _text(fields, "expires_after[seconds]")
    if seconds:
        if not (seconds.isascii() and seconds.isdigit() and SHORTEST <= int(seconds[:12]) <= LONGEST):
            text = f"expires_after[seconds]: {SHORTEST} to {LONGEST} is wanted, not {seconds[:40]!r}."
            raise GatewayError("bad_request", text, param="expires_after")
        until = now + int(seconds)
    return KeptFile(
        id=id_,
        owner=call.caller.tenant,
        team=call.caller.team,
        created_at=now,
        filename=_NAME.sub("_", name)[:200] or "file",
        purpose=purpose,
        expires_at=until,
    )


def _text(fields: dict[str, Raw], name: str) -> str:
    found = msgspec.json.decode(fields.get(name, b'""'))
    return found if isinstance(found, str) else ""


async def list_files(gateway: Gateway, call: Call) -> Page:
    """List the caller's files, the newest first."""
    query = query_of(call)
    if (page := await passing.by_head(gateway, call)) is not None:
        return page
    owner, purpose, after = owner_in_lists(call.caller), query.get("purpose", ""), query.get("after", "")
    limit, falling = limit_in(query, 10_000, 10_000), query.get("order") != "asc"
    found = await stored(gateway.batches.store.files(owner, purpose, after, limit, descending=falling))
    return answer(list_object([file_object(row) for row in found.rows], found.more))


async def read_file(gateway: Gateway, call: Call) -> Any:
    """Describe a file."""
    if (page := await passing.by_file(gateway, call)) is not None:
        return page
    return answer(file_object(await find_file(gateway, call.caller, call.params["id"])))


async def read_content(gateway: Gateway, call: Call) -> Any:
    """Read what is in a file."""
    if (passed := await passing.by_file(gateway, call, streams=True)) is not None:
        return passed
    file = await find_file(gateway, call.caller, call.params["id"])
    try:
        opened = await asyncio.to_thread(gateway.batches.folder.open, file.id)
    except OSError:
        text = f"The file {file.id} is not on this machine: gateways that share a database share the folder of files."
        raise GatewayError("no_object", text, param="id") from None
    return Streamed(b"application/octet-stream", file.bytes, portions(opened), DOWNLOAD)


async def delete_file(gateway: Gateway, call: Call) -> Any:
    """Delete a file. What is in it is gone at once; a batch that reads it goes on no further."""
    if (page := await passing.by_file(gateway, call)) is not None:
        return page
    room = gateway.batches
    file = await find_file(gateway, call.caller, call.params["id"])
    await stored(room.store.remove_file(file.id))
    await asyncio.to_thread(room.folder.delete, file.id)
    return answer({"id": file.id, "object": "file", "deleted": True})


ROUTES = tuple(
    row
    for prefix in ("/v1/files", "/files")
    for row in (
        Route(prefix, upload, methods=("POST",), json=False, no_pages=True, family=LLM, upload=True),
        Route(prefix, list_files, family=LLM),
        Route(prefix + "/{id}", read_file, family=LLM),
        Route(prefix + "/{id}", delete_file, methods=("DELETE",), no_pages=True, family=LLM),
        Route(prefix + "/{id}/content", read_content, family=LLM, answer="application/octet-stream"),
    )
)

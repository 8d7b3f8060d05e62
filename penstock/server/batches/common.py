"""What the URLs of files and batches share: whose they are, parts of lists, and answers that are streamed from disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from penstock.core.batches.kept import KeptBatch, KeptFile
from penstock.core.errors import GatewayError
from penstock.server.routes import JSON, Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from penstock.core.admit.caller import Caller
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

T = TypeVar("T")
PORTION = 256 * 1024  # bytes that are read from the disk at once
_AWAY = "The database cannot be reached, so it is not known which files and batches there are."


async def stored(asked: Awaitable[T]) -> T:
    """Wait for what a store says. Raises "no_database"."""
    try:
        return await asked
    except OSError:
        raise GatewayError("no_database", _AWAY, retry_after=5) from None


def owner_in_lists(caller: Caller) -> str | None:
    """Return whose files and batches a caller's lists show; None: everybody's."""
    return None if caller.admin else caller.tenant


async def find_file(gateway: Gateway, caller: Caller, id_: str) -> KeptFile:
    """Find a file of a caller's own. Raises "no_object" for what is another's, as for what is not there."""
    found = await stored(gateway.batches.store.file(id_))
    if found is None or not (caller.admin or found.owner == caller.tenant):
        raise GatewayError("no_object", f"No such File object: {id_[:100]}", param="id")
    return found


async def find_batch(gateway: Gateway, caller: Caller, id_: str, form: str) -> KeptBatch:
    """Find a batch of a caller's own. Raises "no_object"."""
    found = await stored(gateway.batches.store.batch(id_))
    if found is None or found.form != form or not (caller.admin or found.owner == caller.tenant):
        raise GatewayError("no_object", f"No batch found with id '{id_[:100]}'.", param="id")
    return found


def check_runs(gateway: Gateway, caller: Caller) -> None:
    """Refuse a batch of somebody whom only his own request can name: it goes on when that is over. Raises
    "forbidden"."""
    if gateway.batches.find_owner(caller.tenant) is None:
        text = "A batch goes on when its request is over, so it needs a virtual key (/key/generate) or the master key."
        raise GatewayError("forbidden", text)


def answer(told: Any, status: int = 200) -> Page:
    return Page(status, JSON, msgspec.json.encode(told))


def base_of(call: Call) -> str:
    """Return where the client found the gateway, before the path: addresses that it is told begin so."""
    headers = call.exchange.headers
    host = headers.get(b"host", b"127.0.0.1").decode("latin-1")
    scheme = headers.get(b"x-forwarded-proto", b"http").decode("latin-1").partition(",")[0].strip()
    prefix = "" if call.mount_style is None else call.mount_style.prefix
    return f"{'https' if scheme == 'https' else 'http'}://{host}{call.below}{prefix}"


def query_of(call: Call) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(call.exchange.query.decode("latin-1")).items()}


def limit_in(query: Mapping[str, str], default: int, most: int) -> int:
    """Read how many rows a part of a list is to have. Raises "bad_request"."""
    given = query.get("limit")
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= most):
        raise GatewayError(
            "bad_request", f"limit: a number from 1 to {most} is wanted, not {given[:40]!r}.", param="limit"
        )
    return int(given)


def check_metadata(found: object) -> dict[str, str]:
    """Read what a client notes with a batch: at most 16 texts. Raises "bad_request"."""
    if found is None:
        return {}
    good = isinstance(found, dict) and len(found) <= 16
    if not good or not all(isinstance(v, str) and len(v) <= 512 and len(k) <= 64 for k, v in found.items()):  # type: ignore[attr-defined]
        text = "metadata: at most 16 texts of at most 512 characters are wanted, under names of at most 64."
        raise GatewayError("bad_request", text, param="metadata")
    return dict(found)  # type: ignore[call-overload]


async def change(gateway: Gateway, batch: KeptBatch, make: Any) -> KeptBatch:
    """Change a batch that its runner may change at the same time. ``make``: the fields that change, of the batch as it
    is; None for none. Raises "no_object" where it is gone."""
    while True:
        fields = make(batch)
        if fields is None:
            return batch
        after = batch.changed(**fields)
        if await stored(gateway.batches.store.change(after)):
            gateway.batches.wake()
            return after
        found = await stored(gateway.batches.store.batch(batch.id))
        if found is None:
            raise GatewayError("no_object", f"No batch found with id '{batch.id}'.", param="id")
        batch = found


async def portions(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, which is closed at the end."""
    with file:
        while data := await asyncio.to_thread(file.read, PORTION):
            yield data

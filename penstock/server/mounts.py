"""Prefixes under which other products' clients expect the gateway: what is served there is what is served here.

A mount is a row: its prefix, where what follows it leads, and what is told differently there. Everything else (keys,
routing, records) is the gateway's own, for the request goes through the same door again under its plain path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from penstock.core.errors import GatewayError
from penstock.runtime.call import new_id
from penstock.runtime.exchange import Exchange
from penstock.runtime.outlet import safe
from penstock.runtime.surface import Surface
from penstock.server import las, shared
from penstock.server.page import Page, answer
from penstock.server.surfaces import find

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.server.gateway import Gateway

Plain = Callable[["Gateway", Exchange], Awaitable[None]]
Fields = dict[str, "Raw"]
_OWN = frozenset({"path", "mount"})


class Mount(NamedTuple):
    """``base``: what stands in the prefix's place. ``surfaces``, ``pages``, ``batches``: what is only there, by the
    path behind the prefix. ``enter``: changes a request's fields before the surface does. ``error``: changes the
    ``error`` object of a refusal (OpenAI's shape). ``answer``: changes a whole good answer of a path. ``lines``: header
    lines of every answer. ``parameter``: what must stand in the query, where a prefix alone does not say who asks."""

    prefix: str
    base: str = ""
    surfaces: Mapping[str, Surface] = {}
    pages: Mapping[str, Page] = {}
    batches: Mapping[str, shared.Batch] = {}
    enter: Callable[[Gateway, Exchange, Fields], None] | None = None
    default_model: Callable[[Any], str] | None = None
    error: Callable[[dict[str, Any], int, Exchange], None] | None = None
    answer: Mapping[str, Callable[[bytes], bytes]] = {}
    lines: Callable[[Exchange], bytes] | None = None
    parameter: bytes = b""


class Mounted(Exchange):
    """A door's exchange under another path; all that is not named here is the door's. The path it was asked for under
    is back when the answer goes out, and so stands in the record."""

    def __init__(self, exchange: Exchange, mount: Mount, path: str) -> None:
        object.__setattr__(self, "_exchange", exchange)
        object.__setattr__(self, "_asked", exchange.path)
        object.__setattr__(self, "_rest", exchange.path[len(mount.prefix) :])
        object.__setattr__(self, "mount", mount)
        object.__setattr__(self, "path", path)

    def __getattribute__(self, name: str) -> Any:
        if name in _MINE:
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_exchange"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._exchange, name, value)

    def raw_path(self) -> bytes:
        raw: bytes = self._exchange.raw_path()
        prefix = self.mount.prefix.encode()
        if not raw.startswith(prefix):
            raise GatewayError("bad_request", "This path is not passed on: its beginning is encoded.", param="path")
        return self.mount.base.encode() + raw[len(prefix) :]

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        mount = self.mount
        if status >= 400 and mount.error is not None:
            body = self._retold(status, body)
        elif status == 200 and self._rest in mount.answer:
            body = mount.answer[self._rest](body)
        self._exchange.whole(status, headers + self._lines(), body)

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        self._exchange.start(status, headers + self._lines(), framing)

    def _lines(self) -> bytes:
        self.path = self._asked
        lines = self.mount.lines
        return b"" if lines is None else lines(self)

    def _retold(self, status: int, body: bytes) -> bytes:
        try:
            told = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError:
            return body
        error = told.get("error")
        if not isinstance(error, dict) or "param" not in error:  # not of OpenAI's shape
            return body
        assert self.mount.error is not None
        self.mount.error(error, status, self)
        return msgspec.json.encode(told)


_MINE = frozenset(
    "path mount raw_path whole start _lines _retold _exchange _asked _rest __class__ __setattr__ __dict__".split()
)


def mount_at(path: str, query: bytes) -> Mount | None:
    """The mount that a path is below; the longest prefix counts."""
    for mount in MOUNTS:
        if path.startswith(mount.prefix + "/") or path == mount.prefix:
            return mount if mount.parameter in query else None
    return None


async def serve(gateway: Gateway, exchange: Exchange, mount: Mount, plain: Plain) -> None:
    """Answers a request below a mount, errors included. ``plain`` serves what is no surface and only of the gateway's
    own."""
    rest = exchange.path[len(mount.prefix) :]
    mounted = cast(Exchange, Mounted(exchange, mount, mount.base + rest or "/"))
    try:
        batch, page = mount.batches.get(rest), mount.pages.get(rest)
        surface = mount.surfaces.get(rest) or find(mounted.path)
        if batch is not None:
            await shared.serve_batch(gateway, mounted, batch, _adapted(gateway, mount, batch.surface))
        elif page is not None:
            answer(gateway, mounted, page)
        elif surface is not None:
            call = gateway.admit(mounted, _adapted(gateway, mount, surface))
            await gateway.engine.handle(call, gateway.state)
        else:
            await plain(gateway, mounted)
    except GatewayError as error:
        gateway.refuse(mounted, error)


def _adapted(gateway: Gateway, mount: Mount, surface: Surface) -> Surface:
    enter, inner = mount.enter, surface.enter
    if enter is not None:

        def both(exchange: Exchange, fields: Fields) -> None:
            enter(gateway, exchange, fields)
            if inner is not None:
                inner(exchange, fields)

        surface = surface._replace(enter=both)
    if mount.default_model is not None and surface.default_model is None:
        surface = surface._replace(default_model=mount.default_model)
    return surface


# Olla (seed 2): everything, with headers that say so ------------------------------------------------------------------


def _olla_lines(exchange: Exchange) -> bytes:
    call = exchange.call
    given = exchange.headers.get(b"x-request-id", b"").decode("latin-1")
    took = (call.clock() if call is not None else exchange.started) - exchange.started
    lines = b"x-olla-endpoint: litellm-gateway\r\nx-olla-backend-type: litellm\r\n"
    if call is not None and call.model:
        lines += b"x-olla-model: %b\r\n" % safe(call.model)
    request_id = safe(given)[:256] if given else b"req_" + new_id().replace("-", "").encode()
    return lines + b"x-olla-request-id: %b\r\nx-olla-response-time: %.3fs\r\n" % (request_id, took)


def _olla_error(error: dict[str, Any], status: int, exchange: Exchange) -> None:
    """``code`` is the status as a number there (C-06)."""
    error["code"] = status
    if exchange.call is not None and exchange.call.target is not None:
        error["provider"] = exchange.call.target.provider.name


MOUNTS: tuple[Mount, ...] = (
    Mount("/olla/litellm", error=_olla_error, lines=_olla_lines),
    Mount("/api/v1/litellm", surfaces=las.SURFACES, pages=las.PAGES, enter=las.enter, answer=las.ANSWERS),
    Mount(
        "/api/v1",
        base="/v1",
        surfaces=shared.SURFACES,
        pages=shared.PAGES,
        batches=shared.BATCHES,
        enter=shared.enter,
        default_model=shared.default_model,
        error=shared.error,
    ),
    # Responses of Azure OpenAI's clients have no deployment in the path (see ``inpath`` for what has); without a
    # version in the query the path is OpenAI's, passed through.
    Mount("/openai/responses", base="/v1/responses", parameter=b"api-version="),
)
"""Longer prefixes first."""

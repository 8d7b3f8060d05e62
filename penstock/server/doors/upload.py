"""Large forms at the doors: a request whose body is passed on while it comes, and never held as a whole.

Which requests these are is decided by their heads alone. Everything else about them (who may call, what the form says,
where it goes) is the gateway's, as for every request; and until it asks for the body, none of it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.runtime.http.source import Source
from penstock.runtime.ops.upload import Upload
from penstock.server.doors.coming import ComingExchange, take_in

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange

    # circle: an upload is an exchange of the quick door, which finds out that a request is one
    from penstock.server.doors.quick import QuickExchange, QuickProtocol
    from penstock.server.gateway import Gateway


def is_upload(gateway: Gateway, method: str, path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether the request is a form that may be passed on while it comes. A compressed one is read whole."""
    if method != "POST" or b"content-encoding" in headers:
        return False
    if not headers.get(b"content-type", b"").lstrip()[:19].lower() == b"multipart/form-data":
        return False
    return gateway.site.upload_at(path)


async def serve(gateway: Gateway, exchange: Exchange) -> None:
    """Serve the exchange as ``Gateway.serve`` does, and give back whatever was held of its body."""
    try:
        await gateway.serve(exchange)
    finally:
        if exchange.upload is not None:
            exchange.upload.close()


class UploadExchange(ComingExchange):
    """An exchange whose body is an upload."""

    __slots__ = ("upload",)
    upload: Upload

    def expected(self, length: int | None) -> Source:
        source = Source(self._pause, self._resume, length=length)
        source.wanted = self._ask
        self.upload = Upload(source, length)
        return source

    def begin(self) -> None:
        proto = self.proto
        proto.active = self
        proto.deadline = 0.0
        self.started = proto.gateway.clock()
        self._began = self.touched = proto.loop.time()
        proto.gateway.begin(self)
        self.task = proto.loop.create_task(serve(proto.gateway, self))

    def feed(self, data: bytes) -> None:
        super().feed(data)
        source = self.coming
        if source.received > self.proto.gateway.max_upload:
            source.fail(self.proto.gateway.upload_too_large())


def receive(proto: QuickProtocol, head: QuickExchange) -> None:
    """Begin an upload, if that is what a request is whose body is large, or of unknown length."""
    if is_upload(proto.gateway, head.method, head.path, head.headers):
        exchange = UploadExchange(proto, head)
        proto.exchange = None
        take_in(proto, exchange)

"""Content-Encoding: of clients' requests, and of upstreams that compress although we asked for identity.

Bounded against bombs."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from penstock.runtime.http.errors import BodyTruncated, ProtocolError, TooLarge
from penstock.runtime.http.options import Limits
from penstock.runtime.http.origin import Origin

# zstd blocks inflate to 128 KB from as little as 4 bytes, and its binding takes no output limit, so the input is cut.
_ZSTD_STEP = 256
MAX_CODINGS = 3
# Members of a gzip file, frames of zstd: each costs more than its bytes, and an empty one takes a dozen of them.
_MAX_PARTS = 1000


class Corrupt(Exception):
    """The compressed stream is broken."""


class Bomb(Exception):
    """The output does not fit into the room left."""


class Missing(Exception):
    """The package for this coding is not installed; the argument is its name."""


class Codec(Protocol):
    """One coding. ``feed`` raises Bomb rather than return more than ``room`` bytes; ``ended``: at a clean end."""

    def feed(self, data: bytes, room: int) -> bytes: ...

    @property
    def ended(self) -> bool: ...


class Zlib:
    """gzip (also several members in a row) and deflate (zlib-wrapped, or raw as some servers send it)."""

    __slots__ = ("_first", "_inflate", "_parts", "_started", "_wbits")

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._started = False
        self._parts = 1
        self._first = b""

    @property
    def ended(self) -> bool:
        return self._inflate.eof or not self._started

    def feed(self, data: bytes, room: int) -> bytes:
        if not self._started and self._wbits == zlib.MAX_WBITS:
            # A zlib header is two bytes whose value is a multiple of 31 (RFC 1950); anything else is raw deflate.
            data = self._first + data
            if len(data) < 2:
                self._first = data
                return b""
            if data[0] & 15 != 8 or (data[0] << 8 | data[1]) % 31:
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._started = self._started or bool(data)
        parts: list[bytes] = []
        while data:
            if self._inflate.eof:
                if self._wbits == zlib.MAX_WBITS:
                    raise Corrupt("data after the end of the deflate stream")
                self._parts = _counted(self._parts)
                self._inflate = zlib.decompressobj(self._wbits)
            try:
                part = self._inflate.decompress(data, room + 1)
            except zlib.error as exc:
                raise Corrupt(str(exc)) from exc
            room -= len(part)
            if room < 0:
                raise Bomb
            parts.append(part)
            data = self._inflate.unused_data
        return b"".join(parts)


class Brotli:
    """br, through the ``brotli`` package (1.2 or later: earlier ones cannot bound their output)."""

    __slots__ = ("_inner", "_module", "_started")

    def __init__(self) -> None:
        self._module: Any = _package("brotli")
        self._inner: Any = self._module.Decompressor()
        if not hasattr(self._inner, "can_accept_more_data"):
            raise Missing("brotli>=1.2")
        self._started = False

    @property
    def ended(self) -> bool:
        return not self._started or bool(self._inner.is_finished())

    def feed(self, data: bytes, room: int) -> bytes:
        self._started = self._started or bool(data)
        parts: list[bytes] = []
        while True:
            try:
                part: bytes = self._inner.process(data, output_buffer_limit=room + 1)
            except self._module.error as exc:
                raise Corrupt(str(exc)) from exc
            room -= len(part)
            if room < 0:
                raise Bomb
            parts.append(part)
            data = b""
            if self._inner.is_finished() or self._inner.can_accept_more_data():
                return b"".join(parts)


class Zstd:
    """zstd, through the ``zstandard`` package; windows up to 8 MB (RFC 9659), several frames in a row."""

    __slots__ = ("_decompressor", "_inner", "_module", "_parts", "_started")

    def __init__(self) -> None:
        self._parts = 1
        self._module: Any = _package("zstandard")
        self._decompressor: Any = self._module.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
        self._inner: Any = self._decompressor.decompressobj()
        self._started = False

    @property
    def ended(self) -> bool:
        return not self._started or bool(self._inner.eof)

    def feed(self, data: bytes, room: int) -> bytes:
        self._started = self._started or bool(data)
        parts: list[bytes] = []
        at = 0
        while at < len(data):
            if self._inner.eof:
                self._parts = _counted(self._parts)
                self._inner = self._decompressor.decompressobj()
            step = data[at : at + _ZSTD_STEP]
            at += len(step)
            try:
                part: bytes = self._inner.decompress(step)
            except self._module.ZstdError as exc:
                raise Corrupt(str(exc)) from exc
            if self._inner.eof:
                at -= len(self._inner.unused_data)
            room -= len(part)
            if room < 0:
                raise Bomb
            parts.append(part)
        return b"".join(parts)


class Decoder:
    """The codings of one body, undone in reverse order.

    ``feed`` and ``finish`` raise ProtocolError (corrupt), TooLarge (bomb) and BodyTruncated (incomplete at the end).
    """

    __slots__ = ("_codecs", "_floor", "_names", "_origin", "_produced", "_ratio", "_received")

    def __init__(self, header: bytes, limits: Limits, origin: Origin) -> None:
        self._origin = origin
        self._ratio = limits.max_inflate_ratio
        self._floor = limits.inflate_floor
        self._received = 0
        self._produced = 0
        self._names = ", ".join(codings(header))
        self._codecs: list[Codec] = [self._open(name) for name in reversed(codings(header))]
        if len(self._codecs) > MAX_CODINGS:
            raise self._error(f"{len(self._codecs)} content-encodings on one body, at most {MAX_CODINGS} are undone")

    def _open(self, name: str) -> Codec:
        try:
            return codec_of(name)
        except Missing as exc:
            raise self._error(
                f"the answer has content-encoding {name!r}, which was not asked for; install {exc} to read it"
            ) from exc
        except LookupError:
            text = f"the answer has the unknown content-encoding {name[:40]!r}, which was not asked for"
            raise self._error(text) from None

    def _error(self, message: str) -> ProtocolError:
        return ProtocolError(message, phase="body", sent=True, origin=self._origin)

    def feed(self, data: bytes) -> bytes:
        self._received += len(data)
        room = max(self._floor, self._ratio * self._received) - self._produced
        try:
            for codec in self._codecs:
                data = codec.feed(data, room)
        except Corrupt as exc:
            raise self._error(f"the {self._names} body is corrupt: {exc}") from exc
        except Bomb as exc:
            message = f"the {self._names} body inflates over {self._ratio} times what was received"
            raise TooLarge(message, phase="body", sent=True, origin=self._origin) from exc
        self._produced += len(data)
        return data

    def finish(self) -> None:
        if not all(codec.ended for codec in self._codecs):
            message = f"the {self._names} body ended in the middle of the compressed stream"
            raise BodyTruncated(message, phase="body", sent=True, origin=self._origin)


def codec_of(name: str) -> Codec:
    """Make the codec of a coding. Raises LookupError for one that is not known, ``Missing``."""
    return _CODECS[name]()


_CODECS: Mapping[str, Callable[[], Codec]] = {
    "gzip": lambda: Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: Zlib(zlib.MAX_WBITS),
    "br": Brotli,
    "zstd": Zstd,
}


def readable() -> list[str]:
    """List the codings that can be read here: not those whose package is not installed."""
    found = []
    for name in ("gzip", "deflate", "br", "zstd"):
        try:
            codec_of(name)
        except Missing:
            continue
        found.append(name)
    return found


def _counted(parts: int) -> int:
    if parts >= _MAX_PARTS:
        raise Corrupt(f"it has over {_MAX_PARTS} members")
    return parts + 1


def codings(header: bytes) -> list[str]:
    """List the codings of a Content-Encoding value in the order they were applied, identity left out."""
    names = (part.strip().lower() for part in header.decode("latin-1").split(","))
    return [name for name in names if name not in ("", "identity")]


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise Missing(name) from exc

"""Bodies of requests that come compressed (Content-Encoding, RFC 9110, 8.4): Codex sends zstd, many send gzip.

They are read behind the gate, so that a stranger's costs nothing; never beyond the limit that a body has, nor to many
times what was sent; and what takes long is read in a thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime.http import in_task
from penstock.runtime.http.decode import MAX_CODINGS, Bomb, Codec, Corrupt, Missing, codec_of, codings, readable

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange

RATIO = 100  # times what was sent; Envoy's limit, too
FLOOR = 1024 * 1024  # bytes that any body may grow to, however small it came
AT_ONCE = FLOOR // RATIO  # bytes that come to no more than ``FLOOR``: some milliseconds' work
_PIECE = 64 * 1024  # of what is fed: a codec copies what it has not used yet


async def read_coded(exchange: Exchange, limit: int) -> None:
    """Put the decoded body in the place of the compressed one. ``limit``: its largest size in bytes. Raises
    "content_coding", "bad_request" and "too_large"."""
    body, coded_as = exchange.body, exchange.headers[b"content-encoding"]
    if len(body) <= AT_ONCE:
        exchange.body = decode(body, coded_as, limit)
    else:
        await in_task()  # only a task can wait for a thread
        exchange.body = await asyncio.to_thread(decode, body, coded_as, limit)


def room_for(size: int, limit: int) -> int:
    """Return to how many bytes a compressed body of ``size`` may grow."""
    return min(limit, max(FLOOR, RATIO * size))


def decode(body: bytes, coded_as: bytes, limit: int) -> bytes:
    """Undo the codings of a body, the last one first. See ``read_coded``."""
    names = codings(coded_as)
    if not names or not body:
        return body
    if len(names) > MAX_CODINGS:
        text = f"The body has {len(names)} Content-Encodings; at most {MAX_CODINGS} are undone."
        raise GatewayError("content_coding", text, upstream_type=", ".join(readable()))
    codecs = [_codec(name) for name in reversed(names)]
    room = room_for(len(body), limit)
    parts: list[bytes] = []
    try:
        for start in range(0, len(body), _PIECE):
            data = body[start : start + _PIECE]
            for codec in codecs:
                data = codec.feed(data, room)
            room -= len(data)
            parts.append(data)
    except Corrupt as error:
        text = f"The body is not what Content-Encoding says ({', '.join(names)}): {error}."
        raise GatewayError("bad_request", text) from None
    except Bomb:
        raise _too_large(limit, len(body)) from None
    if not all(codec.ended for codec in codecs):
        text = f"The body ends in the middle of what Content-Encoding says ({', '.join(names)})."
        raise GatewayError("bad_request", text)
    return b"".join(parts)


def _codec(name: str) -> Codec:
    try:
        return codec_of(name)
    except Missing as missing:
        why = f"cannot be read here without the package {missing}"
    except LookupError:
        why = "is not known here"
    accepted = ", ".join(readable())
    text = f"The Content-Encoding {name[:40]!r} {why}; send one of {accepted}, or no compression."
    raise GatewayError("content_coding", text, upstream_type=accepted)


def _too_large(limit: int, sent: int) -> GatewayError:
    if limit <= max(FLOOR, RATIO * sent):
        text = f"The decompressed body is over {limit} bytes, the limit here (general_settings.max_request_size_mb)."
    else:
        text = f"The compressed body grows to over {RATIO} times its {sent} bytes; send it without compression."
    return GatewayError("too_large", text)

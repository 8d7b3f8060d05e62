"""What a caller may choose: limits, timeouts, TLS. Plain frozen values, no behaviour."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Bounds of a pool and of every answer read through it. Counts, seconds and bytes.

    max_per_origin: connections open or being opened to one origin; further requests wait in a FIFO queue.
    max_idle_per_origin, idle_expiry: kept for reuse, at most so many and so long (seconds).
    max_header_bytes, max_header_count: of one response head, interim (1xx) heads included.
    max_status_line: bytes of the first line.
    max_chunk_extension: bytes of chunk extensions and trailers beyond 32 per chunk and twice the data they come with.
    read_high_water: body bytes held for a slow reader before reading from the upstream stops.
    max_inflate_ratio, inflate_floor: a compressed body may grow to ``inflate_floor`` bytes, or to so many times what
        was received, whichever is more; deflate reaches 1032:1, text rarely 50:1.
    """

    max_per_origin: int = 1000
    max_idle_per_origin: int = 100
    idle_expiry: float = 30.0
    max_header_bytes: int = 65536
    max_header_count: int = 256
    max_status_line: int = 8192
    max_chunk_extension: int = 4096
    read_high_water: int = 262144
    max_inflate_ratio: int = 200
    inflate_floor: int = 4 * 1024 * 1024


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds, None = off. They fire up to 0.1 s late (one shared ticker), never early.

    connect: DNS, TCP, proxy and TLS together. first_byte: request written to final response headers.
    stall: between body bytes, or while our writing makes no progress. total: from ``send`` to the end of the body.
    pool: waiting for a free connection.
    """

    connect: float | None = 10.0
    first_byte: float | None = 600.0
    stall: float | None = 600.0
    total: float | None = None
    pool: float | None = 10.0


class Tls(msgspec.Struct, frozen=True):
    """How to speak TLS to an origin. Paths are PEM files; contexts are built on first use and cached per value.

    verify: False accepts any certificate. ca_file, ca_dir: instead of the system's CAs. client_cert, client_key:
    for mutual TLS (the key may be in the certificate's file). server_name: sent as SNI and checked instead of the host;
    ValueError for one that ssl would choke on in the middle of a handshake.
    """

    verify: bool = True
    ca_file: str | None = None
    ca_dir: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.server_name is not None and (not self.server_name or self.server_name.startswith(".")):
            raise ValueError(f"server_name {self.server_name!r} is not a host name")


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds. connect_ms: opening the connection, 0.0 when reused. first_byte_ms: request written to headers."""

    connect_ms: float
    first_byte_ms: float
    reused: bool

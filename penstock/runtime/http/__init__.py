"""The upstream transport: HTTP/1.1 over asyncio, pooled, bounded, cancellable. Knows nothing of what it carries.

pool = Pool(Limits(), Tls(), Proxies.from_env(os.environ))
origin = Origin.parse("https://api.example.com/v1")
head = render_head(b"POST", b"/v1/things", origin, [(b"authorization", key)])      # once
resp = await pool.send(origin, head, body, Timeouts())                             # per request
try:
    await resp.pump(feed)
finally:
    resp.close()
"""

from penstock.runtime.http.descriptors import out_of_files
from penstock.runtime.http.driven import Batch, Driven, Wake, in_task
from penstock.runtime.http.errors import (
    BodyTruncated,
    ConnectError,
    ConnectTimeout,
    Disconnected,
    FirstByteTimeout,
    LocalLimit,
    PoolTimeout,
    ProtocolError,
    ProxyError,
    StallTimeout,
    TlsError,
    TooLarge,
    TotalTimeout,
    TransportError,
)
from penstock.runtime.http.head import render_head, render_header
from penstock.runtime.http.options import Limits, Timeouts, Timings, Tls
from penstock.runtime.http.origin import Origin
from penstock.runtime.http.pool import Pool
from penstock.runtime.http.proxies import Proxies
from penstock.runtime.http.response import Response

__all__ = [
    "Batch", "BodyTruncated", "ConnectError", "ConnectTimeout", "Disconnected", "Driven", "FirstByteTimeout", "Limits",
    "LocalLimit", "Origin", "Pool", "PoolTimeout", "ProtocolError", "Proxies", "ProxyError", "Response", "StallTimeout",
    "Timeouts", "Timings", "Tls", "TlsError", "TooLarge", "TotalTimeout", "TransportError", "Wake", "in_task",
    "out_of_files", "render_head", "render_header",
]  # fmt: skip

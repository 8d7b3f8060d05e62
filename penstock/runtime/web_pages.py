"""Which web pages may use the gateway, and the header lines that tell a browser so (CORS, in the Fetch standard).

With a key every page may ask, as LiteLLM has it: it must still bring the key. Without one a page of any site that the
user opens could ask in their name, so only pages of this machine may, and those that the admin names. A ``*`` among
the names is for gateways with a key.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.runtime.identity import is_local_page
from penstock.runtime.outlet import safe

ORIGINS = "LITELLM_CORS_ORIGINS"
CREDENTIALS = "LITELLM_CORS_ALLOW_CREDENTIALS"
# What a script may read of an answer's head. The star is for requests without cookies, and of those that is all.
_SHOWN = (
    b"access-control-expose-headers: *, x-litellm-call-id, x-litellm-model-id, x-litellm-model-group, "
    b"x-litellm-response-cost, x-litellm-attempted-retries, x-litellm-attempted-fallbacks, x-request-id, "
    b"x-penstock-lane, x-penstock-dropped, x-penstock-overhead-ms, retry-after\r\n"
)
_METHODS = b"access-control-allow-methods: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n"
_KEPT = b"access-control-max-age: 600\r\n"


class WebPages:
    """The rule. ``named``: origins of pages that may always ask. ``everyone``: all may, where a key is needed.
    ``credentials``: a page may let the browser send cookies, of which the gateway has none."""

    def __init__(self, origins: str = "", credentials: str = "") -> None:
        given = [origin.strip().rstrip("/").lower() for origin in origins.split(",")]
        self.named = frozenset(origin.encode() for origin in given if origin not in ("", "*"))
        self.everyone = "*" in given or not self.named
        self.credentials = credentials.strip().lower() == "true" if credentials.strip() else not self.everyone
        self._open = b"access-control-allow-origin: *\r\n" + _SHOWN

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> WebPages:
        """Make the rule that LiteLLM's variables of the environment say."""
        return cls(environment.get(ORIGINS, ""), environment.get(CREDENTIALS, ""))

    def lines(self, origin: bytes, needs_key: bool) -> bytes:
        """Render the header lines of an answer to a page; b"" for one that may not read it."""
        if needs_key and self.everyone and not self.credentials:
            return self._open
        if origin.lower() not in self.named and not (self.everyone if needs_key else is_local_page(origin)):
            return b""
        shown = b"access-control-allow-origin: %b\r\nvary: Origin\r\n" % safe(origin.decode("latin-1"))
        return shown + (b"access-control-allow-credentials: true\r\n" if self.credentials else b"") + _SHOWN

    def permission(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Render what else a browser asks for before it sends a page's request (a preflight): methods and headers."""
        wanted = headers.get(b"access-control-request-headers", b"")
        allowed = b"access-control-allow-headers: %b\r\n" % safe(wanted.decode("latin-1"))[:4096] if wanted else b""
        return _METHODS + allowed + _KEPT


def is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request with an Origin is a browser's question whether a page may send another one."""
    return method == "OPTIONS" and b"access-control-request-method" in headers

"""AWS Signature Version 4: the ``Authorization`` of one request, from its parts, the keys and the time.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. The vendor's
library says the same in ten times the time, which a request would wait for.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from urllib.parse import quote

from msgspec import Struct

ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(Struct, frozen=True):
    """An account's keys. ``token``: of a session, "" for keys that last."""

    access: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Keys({self.access[:4]}...)"


class Signing:
    """Signs requests to one service in one region. The key of a day is derived once.

    ``lines``: finished header lines (CRLF-ended) that carry the signature. ``now``: "20261120T083000Z". ``path`` and
    ``query`` as they stand in the request line. The host, the time, the token and ``content_type`` (where there is
    one) are signed."""

    __slots__ = ("_access", "_day", "_key", "_region", "_secret", "_service", "_token")

    def __init__(self, keys: Keys, region: str, service: str) -> None:
        self._access = keys.access
        self._secret = keys.secret
        self._token = keys.token
        self._region = region
        self._service = service
        self._day = ""
        self._key = b""

    def __repr__(self) -> str:
        return f"Signing({self._service}, {self._region})"

    def lines(
        self, method: str, host: str, path: str, query: str, body: bytes, now: str, content_type: str = ""
    ) -> bytes:
        names, headers = "host;x-amz-date", f"host:{host}\nx-amz-date:{now}\n"
        if content_type:
            names, headers = "content-type;" + names, f"content-type:{content_type}\n" + headers
        told = f"x-amz-date: {now}\r\n"
        if self._token:
            names, headers = names + ";x-amz-security-token", f"{headers}x-amz-security-token:{self._token}\n"
            told += f"x-amz-security-token: {self._token}\r\n"
        canonical = "\n".join(
            (method, canonical_path(path), canonical_query(query), headers, names, sha256(body).hexdigest())
        )
        scope = f"{now[:8]}/{self._region}/{self._service}/aws4_request"
        digest = sha256(canonical.encode()).hexdigest()
        signature = _hmac(self._day_key(now[:8]), f"{ALGORITHM}\n{now}\n{scope}\n{digest}").hex()
        credential = f"{self._access}/{scope}"
        told += f"authorization: {ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}\r\n"
        return told.encode()

    def _day_key(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = _hmac(key, part)
            self._day, self._key = day, key
        return self._key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def canonical_path(path: str) -> str:
    """Every service but S3 escapes the path once more than the request line does, after dots are resolved."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    end = "/" if parts and path.endswith("/") else ""
    return quote("/" + "/".join(parts) + end, safe="/~")


def canonical_query(query: str) -> str:
    """Pairs in order of their names."""
    if not query:
        return ""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(f"{name}={value}" for name, _, value in sorted(pairs))

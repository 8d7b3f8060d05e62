"""HTTP for google-auth out of the standard library. It runs in a thread, a few times an hour: neither ``requests`` nor
our own asynchronous transport has a place there."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import google.auth.exceptions
import google.auth.transport

TIMEOUT = 20.0  # seconds; a token endpoint answers at once, or something is wrong


class Answer(google.auth.transport.Response):  # type: ignore[misc]
    """Status, headers and body of one answer."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._status, self._headers, self._data = status, headers, data

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    def data(self) -> bytes:
        return self._data


class Transport(google.auth.transport.Request):  # type: ignore[misc]
    """What ``Credentials.refresh`` calls. Proxies come from the environment."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **unused: Any,
    ) -> Answer:
        if not url.startswith(("https://", "http://")):
            raise google.auth.exceptions.TransportError(f"{url[:80]!r} is no http address")
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(url, data, dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout or TIMEOUT) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, dict(refused.headers), refused.read())
        except OSError as error:
            raise google.auth.exceptions.TransportError(f"{url.partition('?')[0]}: {error}", retryable=True) from error

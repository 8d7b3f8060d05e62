"""Asking a token endpoint: OAuth 2.0 (RFC 6749, section 5), and the metadata services that answer in its words.

The addresses come from the configuration or from the platform's own environment, never from a client. A secret goes
over https, or to this machine; redirects are not followed; of an answer nothing is repeated but the error's own words,
without what it was sent and what looks like a credential.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from penstock.config.known import secrets_in
from penstock.core.errors import GatewayError
from penstock.core.mask import LONGEST, Mask
from penstock.runtime.cloud.tokens import Token
from penstock.runtime.http import Origin, Pool, Proxies, Timeouts, TransportError, render_head

if TYPE_CHECKING:
    from penstock.runtime.http import Tls

PATIENCE = Timeouts(connect=10.0, first_byte=20.0, stall=20.0, total=30.0, pool=10.0)
MAX_ANSWER = 64 * 1024
UNTOLD_LIFE = 300.0  # seconds, where an answer does not say how long its token lives


async def fetch(
    whose: str,
    url: str,
    form: Mapping[str, str] | None,
    *,
    env: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    tls: Tls | None = None,
    metadata: bool = False,
    json: bytes | None = None,
) -> dict[str, Any]:
    """Ask a token endpoint and return its answer. ``form`` is POSTed (or ``json``, as it is); with neither the request
    is a GET. ``whose``: who is asked, for messages ("Entra ID"). ``env`` names the proxies. ``metadata``: the
    platform's own service beside this machine, over plain http and past any proxy.

    Raises ``GatewayError``: "not_configured" where the endpoint refuses (400 to 499 but 408 and 429) or the address
    is none, "connect" for everything else that goes wrong.
    """
    origin, path = _origin(whose, url, metadata)
    body = urlencode(form).encode() if form is not None else json
    told = [(b"accept", b"application/json"), (b"user-agent", b"penstock")]
    if body is not None:
        told.append((b"content-type", b"application/x-www-form-urlencoded" if json is None else b"application/json"))
    told += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    try:
        head = render_head(b"GET" if body is None else b"POST", path.encode(), origin, told)
    except ValueError as error:
        raise GatewayError("not_configured", f"No token of {whose}: {error}.") from None
    pool = Pool(proxies=None if metadata else Proxies.from_env(env))
    try:
        answer = await pool.send(origin, head, body, PATIENCE, tls=tls)
        try:
            data = await answer.read(MAX_ANSWER)
        finally:
            answer.close()
    except TransportError as error:
        raise GatewayError("connect", f"No token of {whose}: {_clean(str(error), form, headers)[:300]}") from None
    finally:
        await pool.close()  # a few times an hour: there is nothing to keep open
    return _read(whose, answer.status, data, lambda words: _clean(words, form, headers))


def _origin(whose: str, url: str, metadata: bool) -> tuple[Origin, str]:
    try:
        origin, parts = Origin.parse(url), urlsplit(url)
    except ValueError as error:
        raise GatewayError("not_configured", f"The address for tokens of {whose} is no URL: {error}.") from None
    if origin.scheme != "https" and not metadata and not origin.is_loopback:
        raise GatewayError(
            "not_configured",
            f"The address for tokens of {whose} is {origin}; a secret is sent there, so it must begin with https://.",
        )
    return origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _clean(words: str, form: Mapping[str, str] | None, headers: Mapping[str, str] | None) -> str:
    """Take out of an endpoint's words what it was sent, and what looks like a credential."""
    return Mask(secrets_in({**(form or {}), **(headers or {})})).clean(words)


def _read(whose: str, status: int, data: bytes, clean: Callable[[str], str]) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = {}
    if 200 <= status < 300 and told:
        return told
    if 200 <= status < 300:
        raise GatewayError("connect", f"No token of {whose}: its answer is no JSON object.")
    refused = 400 <= status < 500 and status not in (408, 429)
    words = clean(_words(told))[:400]
    text = f"No token of {whose}: it answered {status}{': ' + words if words else ''}"
    raise GatewayError("not_configured" if refused else "connect", text.rstrip(".") + ".")


def _words(told: Mapping[str, Any]) -> str:
    """Join the words of an error: RFC 6749's, or IBM's (``errorCode``, ``errorMessage``)."""
    found = [told.get(name) for name in ("error", "error_description", "errorCode", "errorMessage", "message")]
    text = ", ".join(" ".join(word.split()) for word in found if isinstance(word, str) and word)
    return text[:LONGEST]


def token_of(
    whose: str,
    told: Mapping[str, Any],
    *,
    field: str = "access_token",
    scheme: str = "Bearer",
    now: float | None = None,
) -> Token:
    """Read the token in an answer, as an ``authorization`` line. Its end is ``expires_in`` (seconds from now) or, where
    that is missing, ``expires_on`` or ``expiration`` (seconds since 1970), as numbers or as texts. Raises "connect" for
    an answer without a token, or with one that no header carries."""
    token = told.get(field)
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise GatewayError("connect", f"No token of {whose}: its answer has no usable {field!r}.")
    now = time.time() if now is None else now
    life = _seconds(told.get("expires_in"))
    until = _seconds(told.get("expires_on")) or _seconds(told.get("expiration"))
    ends_at = now + life if life is not None else until if until is not None else now + UNTOLD_LIFE
    return Token(header(scheme, token), ends_at)


def _seconds(value: object) -> float | None:
    try:
        found = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else 0.0
    except ValueError:
        return None
    return found if 0 < found < 1e12 else None


def header(scheme: str, token: str) -> bytes:
    """Render an ``authorization`` line. Raises "not_configured" for a token that no header carries."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise GatewayError("not_configured", "A token has a line break or a character outside ASCII; check its copy.")
    return b"authorization: %b %b\r\n" % (scheme.encode(), token.encode())


def basic(name: str, secret: str) -> str:
    """Return the value of an ``authorization`` header for HTTP Basic, as OAuth wants it (RFC 6749, 2.3.1)."""
    both = f"{quote(name, safe='')}:{quote(secret, safe='')}"
    return "Basic " + base64.b64encode(both.encode()).decode()

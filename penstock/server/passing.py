"""Pass-through paths: ``/{provider}/{path}`` for every provider, and the config's own ``pass_through_endpoints``.

The gateway's key opens them, wherever the vendor's SDK puts it; it stays here, and the provider's own goes upstream.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.dialects import DIALECTS
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.ops import forms
from penstock.core.providers.passing import (
    LONGEST_MODEL,
    METHODS,
    PASS,
    SHORTEST_SECRET,
    dialect_at,
    model_in,
    provider_at,
    query_for,
    request_headers,
    rest_of,
    takes_key_in_query,
)
from penstock.core.providers.spec import NO_QUIRKS
from penstock.core.providers.urls import passed_url
from penstock.runtime.call import new_id
from penstock.runtime.endpoint import Endpoint
from penstock.runtime.engine import translated
from penstock.runtime.http import Origin, TransportError, render_head
from penstock.runtime.identity import ANONYMOUS, in_query, presented
from penstock.runtime.passing import Passing, lend
from penstock.server.refusals import JSON, wrong_method

if TYPE_CHECKING:
    from penstock.core.dialects.base import Dialect
    from penstock.core.providers.spec import Provider
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.identity import Caller
    from penstock.runtime.passages import Passage
    from penstock.runtime.state import State
    from penstock.server.gateway import Gateway

_origin = lru_cache(256)(Origin.parse)


async def serve(gateway: Gateway, exchange: Exchange) -> bool:
    """Answers a request on a pass-through path; False for any other. Raises ``GatewayError`` for one that is refused
    before an upstream is asked."""
    provider = provider_at(exchange.path)
    if provider is None or gateway.state.config.general.values.get("pass_through") is False:
        return False
    await _through(gateway, exchange, *_by_provider(gateway, exchange, provider))
    return True


async def serve_passage(gateway: Gateway, exchange: Exchange) -> bool:
    """The same for the config's own paths, which go before everything else: whoever wrote them meant them."""
    passage = passage_at(gateway.state, exchange.path)
    if passage is None:
        return False
    await _through(gateway, exchange, *_by_config(gateway, exchange, passage))
    return True


def passage_at(state: State, path: str) -> Passage | None:
    return next((passage for passage in state.passages if passage.takes(path)), None)


# Who asks, and where it goes ------------------------------------------------------------------------------------------


def _by_provider(gateway: Gateway, exchange: Exchange, provider: Provider) -> tuple[Passing, Endpoint]:
    query = exchange.query if takes_key_in_query(provider) else b""
    caller = _enter(gateway, exchange, gateway.identity.check(exchange.headers, query), METHODS)
    raw = exchange.raw_path()
    rest = rest_of(raw)
    if provider_at(raw.decode("ascii")) is not provider:  # %2F: the prefix as it was sent is no provider's
        raise GatewayError("bad_request", "This path is not passed on: its first segment is encoded.", param="path")
    passing = Passing(exchange, caller, new_id(), gateway.clock)
    passing.fields = _fields(exchange)
    passing.model = model_in(rest) or _model(exchange, passing.fields)
    lent = passing.lent = lend(gateway.state, provider, passing.model)
    provider = lent.target.provider
    passing.provider = provider.name
    passing.timeout = gateway.state.config.general.values.get("pass_through_request_timeout")
    own = lent.headers(dialect_at(provider, rest))
    passing.signer = lent.signer
    try:
        url = passed_url(provider, lent.target.deployment.api_base, lent.target.env, rest)
    except LookupError as error:
        raise GatewayError("not_configured", str(error.args[0])) from None
    except ValueError as error:
        raise GatewayError("not_configured", str(error)) from None
    secret = _secret(gateway, exchange, query)
    kept = query_for(provider, exchange.query, secret)
    if kept:
        url += ("&" if "?" in url else "?") + kept
    headers = request_headers(exchange.headers, [name for name, _ in own], secret) + own
    return passing, _endpoint(exchange.method, url, headers, passing)


def _by_config(gateway: Gateway, exchange: Exchange, passage: Passage) -> tuple[Passing, Endpoint]:
    caller = ANONYMOUS._replace(admin=False) if passage.open else gateway.identity.check(exchange.headers)
    _enter(gateway, exchange, caller, passage.methods)
    raw = exchange.raw_path()
    rest_of(raw + b"/" if raw.count(b"/") == 1 else raw)
    rest = raw.decode("ascii")[len(passage.path.rstrip("/")) :] if passage.below else ""
    if passage.below and not raw.startswith(passage.path.rstrip("/").encode()):
        raise GatewayError("bad_request", "This path is not passed on: its beginning is encoded.", param="path")
    passing = Passing(exchange, caller, new_id(), gateway.clock)
    passing.provider = passage.path
    passing.flat = passage.cost
    passing.timeout = passage.timeout or gateway.state.config.general.values.get("pass_through_request_timeout")
    passing.fields = _fields(exchange)
    passing.model = _model(exchange, passing.fields)
    secret = _secret(gateway, exchange, b"")
    headers = request_headers(exchange.headers, [name for name, _ in passage.headers], secret)
    if not passage.forward:
        kept = {b"content-type", b"content-encoding", b"accept"}
        kept |= {name.removeprefix(PASS) for name in exchange.headers if name.startswith(PASS)}
        headers = [pair for pair in headers if pair[0] in kept]
    url = passage.url(rest, query_for(None, exchange.query, secret))
    return passing, _endpoint(exchange.method, url, [*headers, *passage.headers], passing)


def _secret(gateway: Gateway, exchange: Exchange, query: bytes) -> bytes:
    """The caller's key for the gateway, b"" where none is needed."""
    if not gateway.identity.needs_key:
        return b""
    try:
        key = presented(exchange.headers) or in_query(query) or b""
    except GatewayError:  # an open passage, and a header that is no key of ours
        return b""
    return key if len(key) >= SHORTEST_SECRET else b""


def _enter(gateway: Gateway, exchange: Exchange, caller: Caller, methods: tuple[str, ...]) -> Caller:
    if exchange.method not in methods:
        raise wrong_method(exchange, methods)
    if gateway.draining:
        raise GatewayError("draining", "The gateway is shutting down; send the request again.", retry_after=1)
    # Without a key any page that the user opens could ask here; a browser tells who asks (Fetch Metadata), also where
    # it sends no Origin.
    if not gateway.identity.needs_key and exchange.headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
        raise GatewayError("forbidden", "No key is configured, so requests from other web pages are refused.")
    return caller


def _endpoint(method: str, url: str, headers: list[tuple[bytes, bytes]], passing: Passing) -> Endpoint:
    cut = url.index("/", 8)
    try:
        origin = _origin(url[:cut])
        head = render_head(method.encode(), url[cut:].encode("ascii"), origin, headers)
    except ValueError as error:
        raise GatewayError("bad_request", f"This request cannot be passed on: {error}.") from None
    return Endpoint(origin, head, url, NO_QUIRKS, (), passing.signer)


def _fields(exchange: Exchange) -> dict[str, Raw]:
    """The body's top level, if it is a JSON object: read for the record and the price, never changed."""
    if not exchange.body or b"json" not in exchange.headers.get(b"content-type", b""):
        return {}
    try:
        return open_body(exchange.body)
    except GatewayError:
        return {}  # the upstream says what is wrong with it


def _model(exchange: Exchange, fields: dict[str, Raw]) -> str:
    raw = bytes(fields.get("model", b""))
    if raw[:1] == b'"' and len(raw) <= LONGEST_MODEL:
        return raw[1:-1].decode("utf-8", "replace")
    content_type = exchange.headers.get(b"content-type", b"")
    if not content_type.startswith(b"multipart/"):
        return ""
    try:
        found = forms.parts(exchange.body, forms.boundary_of(content_type))
        raw = bytes(forms.fields_of(exchange.body, found).get("model", b""))
    except GatewayError:
        return ""
    return raw[1:-1].decode("utf-8", "replace")[:LONGEST_MODEL] if raw[:1] == b'"' else ""


# The answer, or what became of it ------------------------------------------------------------------------------------


async def _through(gateway: Gateway, exchange: Exchange, passing: Passing, endpoint: Endpoint) -> None:
    error: GatewayError | None = None
    try:
        await passing.run(gateway.engine.pool, endpoint)
    except GatewayError as refused:
        error = refused
    except TransportError as broken:
        error = translated(broken, exchange.responded)
        error.provider = passing.provider
    except asyncio.CancelledError:
        error = exchange.ending
        if error is None:
            gateway.records.put(passing.record(GatewayError("client_gone", "The client closed the connection.")))
            raise
    if error is not None:
        if exchange.responded:
            exchange.abort()  # whatever the bytes are, they must not look complete
        else:
            status, body = error_dialect(exchange.path).render_error(error)
            exchange.whole(status, JSON + b"x-litellm-call-id: %b\r\n" % passing.call_id.encode(), body)
    gateway.records.put(passing.record(error))


def error_dialect(path: str) -> Dialect:
    """In whose shape an error on a pass-through path is told: that of the vendor's own, as far as it is spoken here."""
    provider = provider_at(path)
    name = "openai_chat" if provider is None else dialect_at(provider, path[path.index("/", 1) :])
    return DIALECTS.get(name, DIALECTS["openai_chat"])

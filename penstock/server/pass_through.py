"""Pass-through paths: ``/{provider}/{path}`` for every provider, and the config's own ``pass_through_endpoints``.

The gateway's key opens them, wherever the vendor's SDK puts it; it stays here, and the provider's own goes upstream.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from msgspec import Raw

from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.ops import forms
from penstock.core.providers.pass_through import (
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
    with_model,
)
from penstock.core.providers.spec import NO_QUIRKS
from penstock.core.providers.urls import passed_url
from penstock.runtime.credential import credential_for, deployment_for
from penstock.runtime.endpoint import Endpoint
from penstock.runtime.gate import KEY, PUBLIC, Rule
from penstock.runtime.http import Origin, render_head
from penstock.runtime.pass_through import PassThrough
from penstock.server.gateway import Visit

if TYPE_CHECKING:
    from penstock.core.providers.spec import Provider
    from penstock.runtime.call import Call
    from penstock.runtime.endpoint import Signer
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.pass_through_endpoints import PassThroughEndpoint
    from penstock.runtime.state import State
    from penstock.server.gateway import Gateway

_origin = lru_cache(256)(Origin.parse)


def by_provider(path: str, state: State) -> Visit | None:
    """Find what a request on a provider's prefix is; None for any other path."""
    provider = provider_at(path)
    if provider is None or state.config.general.values.get("pass_through") is False:
        return None
    rule = Rule(METHODS, works=True, key_in_query=takes_key_in_query(provider), no_pages=True)
    return Visit(rule, partial(_to_provider, provider), as_sent=True)


def by_config(path: str, state: State) -> Visit | None:
    """Find what answers at one of the config's own paths, which go before everything else: whoever wrote them meant
    them."""
    endpoint = state.pass_through_at(path)
    if endpoint is None:
        return None
    rule = Rule(endpoint.methods, role=PUBLIC if endpoint.open else KEY, works=True, no_pages=True)
    return Visit(rule, partial(_to_address, endpoint), as_sent=True)


# Where it goes --------------------------------------------------------------------------------------------------------


async def _to_provider(provider: Provider, gateway: Gateway, call: Call) -> None:
    exchange, state = call.exchange, gateway.state
    raw = call.raw_path()
    rest = rest_of(raw)
    if provider_at(raw.decode("ascii")) is not provider:  # %2F: the prefix as it was sent is no provider's
        raise GatewayError("bad_request", "This path is not passed on: its first segment is encoded.", param="path")
    call.fields = _fields(exchange)
    named = model_in(rest)
    asked = model = named or _model(exchange, call.fields)
    credential = deployment_for(state, provider, named)
    if credential is not None:
        model = credential.target.model
        rest = with_model(rest, credential.target.path_model)
    else:
        credential = credential_for(state, provider, model)
    target = credential.target
    provider = target.provider
    call.known = state
    attempt = PassThrough.of(call, provider.name, model, credential)
    attempt.timeout = state.config.general.values.get("pass_through_request_timeout")
    own = credential.headers(dialect_at(provider, rest))
    attempt.sent = credential.mask
    try:
        url = passed_url(provider, target.deployment.api_base, target.env, rest)
    except LookupError as error:
        raise GatewayError("not_configured", str(error.args[0])) from None
    except ValueError as error:
        raise GatewayError("not_configured", str(error)) from None
    secret = gateway.gate.secret(exchange, exchange.query if takes_key_in_query(provider) else b"", SHORTEST_SECRET)
    kept = query_for(provider, exchange.query, secret)
    if kept:
        url += ("&" if "?" in url else "?") + kept
    headers = request_headers(exchange.headers, [name for name, _ in own], secret) + own
    names = tuple(dict.fromkeys(name for one in (asked, model) if one for name in (one, f"{provider.name}/{one}")))
    await _pass(gateway, attempt, _endpoint(exchange.method, url, headers, credential.signer), asked or model, names)
    if attempt.seen is not None and attempt.seen.batch:
        from penstock.server.batches.passing import note_passed  # which passes through here what it asks itself

        await note_passed(gateway, call, provider.name, attempt.seen.batch)


async def _to_address(endpoint: PassThroughEndpoint, gateway: Gateway, call: Call) -> None:
    exchange, general = call.exchange, gateway.state.config.general
    raw = call.raw_path()
    rest_of(raw + b"/" if raw.count(b"/") == 1 else raw)
    rest = raw.decode("ascii")[len(endpoint.path.rstrip("/")) :] if endpoint.below else ""
    if endpoint.below and not raw.startswith(endpoint.path.rstrip("/").encode()):
        raise GatewayError("bad_request", "This path is not passed on: its beginning is encoded.", param="path")
    call.fields = _fields(exchange)
    call.known = gateway.state
    attempt = PassThrough.of(call, endpoint.path, _model(exchange, call.fields), None)
    attempt.flat, attempt.sent = endpoint.cost, endpoint.mask
    attempt.timeout = endpoint.timeout or general.values.get("pass_through_request_timeout")
    secret = gateway.gate.secret(exchange, b"", SHORTEST_SECRET)
    headers = request_headers(exchange.headers, [name for name, _ in endpoint.headers], secret)
    if not endpoint.forward:
        kept = {b"content-type", b"content-encoding", b"accept"}
        kept |= {name.removeprefix(PASS) for name in exchange.headers if name.startswith(PASS)}
        headers = [pair for pair in headers if pair[0] in kept]
    url = endpoint.url(rest, query_for(None, exchange.query, secret))
    # Who wrote such a path into the config meant it for all who may call it; a model is looked at where one is named.
    names = (attempt.asked,) if attempt.asked else None
    target = _endpoint(exchange.method, url, [*headers, *endpoint.headers], None)
    await _pass(gateway, attempt, target, attempt.asked, names)


async def _pass(
    gateway: Gateway, attempt: PassThrough, endpoint: Endpoint, model: str, names: tuple[str, ...] | None
) -> None:
    """Pass a request on, once it is admitted. ``names``: by which lists of models know the one that it asks; None
    where they do not matter."""
    admission, call = gateway.engine.admission, attempt.call
    if admission is None:
        return await attempt.pass_through(endpoint)
    call.attempt = attempt  # what it may cost is its own to tell
    try:
        if (waits := admission.admit_passed(call, gateway.state, model, names)) is not None:
            await waits
        await attempt.pass_through(endpoint)
    finally:
        admission.release(call)


def _endpoint(method: str, url: str, headers: list[tuple[bytes, bytes]], signer: Signer | None) -> Endpoint:
    cut = url.index("/", 8)
    try:
        origin = _origin(url[:cut])
        head = render_head(method.encode(), url[cut:].encode("ascii"), origin, headers)
    except ValueError as error:
        raise GatewayError("bad_request", f"This request cannot be passed on: {error}.") from None
    return Endpoint(origin, head, url, NO_QUIRKS, (), signer)


def _fields(exchange: Exchange) -> dict[str, Raw]:
    """Open the body's top level, if it is a JSON object: read for the record and the price, never changed."""
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

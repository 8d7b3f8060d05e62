"""``/v1/messages/count_tokens`` and ``:countTokens``: the upstream's own count where it counts, else a local one,
marked as such where the answer has a place for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.core.count import estimate
from penstock.core.dialects import DIALECTS, guided
from penstock.core.envelope import seal
from penstock.runtime import outlet
from penstock.runtime.call import GATEWAY_FIELDS, Call

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target

MAX_ANSWER = 64 * 1024
_UNKNOWN_THERE = frozenset({404, 405, 501})
_VERSION = "anthropic_version"  # what Claude's bodies carry on Vertex AI


async def run(pool: Pool, call: Call, target: Target) -> None:
    """One attempt. An engine that speaks a dialect but does not count is no failure: we count then."""
    call.stream = False  # whatever the body says: there is nothing to stream, and no keep-alive to begin one
    client: Any = call.surface.dialect
    tokens = None
    spoken = _spoken(call, target)
    if spoken is not None:
        tokens = await _ask(pool, call, target, spoken)
    if tokens is None:
        client.parse_count_request(call.fields)  # what is wrong with the request is told here, too
        body = client.render_count(estimate(call.fields, 0).input, "local_estimate")
    else:
        body = client.render_count(tokens, "provider")
    call.first_at = call.clock()
    outlet.send_whole(call, body)


def _spoken(call: Call, target: Target) -> Any:
    """The dialect to count in: the client's own, else the first of the target's that counts."""
    names = sorted(target.dialects, key=lambda name: name != call.surface.dialect.name)
    found = (DIALECTS[name] for name in names if name in DIALECTS)
    return next((dialect for dialect in found if dialect.parse_count is not None), None)


async def _ask(pool: Pool, call: Call, target: Target, spoken: Any) -> int | None:
    endpoint = target.endpoint(f"{spoken.name}_count_tokens")
    body = seal(_fields(call, target, spoken))
    sent = call.clock()
    extra = outlet.passed_on(call, endpoint) + b"x-request-id: %b\r\n" % call.request_id
    if endpoint.signer is not None:
        extra += await endpoint.signer.lines(endpoint, "POST", body)
    answer = await pool.send(endpoint.origin, endpoint.head, body, target.timeouts, extra, target.tls)
    try:
        told = await answer.read(MAX_ANSWER)
        call.upstream += call.clock() - sent
        if answer.status in _UNKNOWN_THERE:
            call.lane = ""
            return None
        if not 200 <= answer.status < 300:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
            raise spoken.parse_error(answer.status, headers, told)
        tokens: int = spoken.parse_count(told)
        return tokens
    finally:
        answer.close()


def _fields(call: Call, target: Target, spoken: Any) -> dict[str, Raw]:
    """The client's own body for its own dialect, else what the request is there."""
    client: Any = call.surface.dialect
    wire = target.wire_for(spoken.name)
    if spoken is client:
        call.lane = "same"
        left_out = GATEWAY_FIELDS | guided.FIELDS  # a form takes no part in a count
        fields = {key: value for key, value in call.fields.items() if key not in left_out}
        fields["model"] = target.model_raw
    else:
        call.lane = "cross"
        rendered = spoken.render_request(client.parse_count_request(call.fields), wire)
        call.losses = rendered.losses
        fields = {**rendered.fields, "model": target.model_raw}
        fields = spoken.count_fields(fields)
    fields = spoken.count_request(fields, wire)
    if _VERSION in target.defaults:
        fields[_VERSION] = target.defaults[_VERSION]
    return fields

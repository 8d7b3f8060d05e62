"""``/v1/messages/count_tokens``, ``/v1/responses/input_tokens`` and ``:countTokens``: the upstream's own count where it
counts, else a local one, marked as such where the answer has a place for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.core.count import estimate
from penstock.core.dialects import DIALECTS, guided
from penstock.core.envelope import seal
from penstock.core.errors import GatewayError
from penstock.core.fit import fit
from penstock.runtime import apart
from penstock.runtime.call import GATEWAY_FIELDS
from penstock.runtime.post import ask

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.runtime.attempt import Attempt

MAX_ANSWER = 64 * 1024
_UNKNOWN_THERE = frozenset({404, 405, 501})
_VERSION = "anthropic_version"  # what Claude's bodies carry on Vertex AI


async def run(attempt: Attempt) -> None:
    """Make one try. An engine that speaks a dialect but does not count is no failure: we count then."""
    client: Any = attempt.client
    tokens = None
    attempt.long = apart.is_long_request(attempt)
    spoken = _spoken(attempt, client)
    if spoken is not None:
        tokens = await _count(attempt, client, spoken)
    if tokens is None:
        # What is wrong with the request is told here, too.
        if attempt.long:
            await apart.plain(_check, client, attempt.fields)
        else:
            _check(client, attempt.fields)
        body = client.render_count(estimate(attempt.fields, 0).input, "local_estimate")
    else:
        body = client.render_count(tokens, "provider")
    attempt.call.outlet.whole(attempt, body)


def _check(client: Any, fields: dict[str, Raw]) -> None:
    client.parse_count_request(fields)


def _spoken(attempt: Attempt, client: Any) -> Any:
    """Choose the dialect to count in: the client's own, else the first of the target's that counts."""
    names = sorted(attempt.live.speaks(attempt.target), key=lambda name: name != client.name)
    found = (DIALECTS[name] for name in names if name in DIALECTS and _may_count(attempt, name, client.name))
    return next((dialect for dialect in found if dialect.parse_count is not None), None)


def _may_count(attempt: Attempt, name: str, asked: str) -> bool:
    """Tell whether it is worth asking: servers that follow OpenAI seldom have its count."""
    return name != "openai_responses" or name == asked or attempt.target.wire.official


async def _count(attempt: Attempt, client: Any, spoken: Any) -> int | None:
    endpoint = attempt.target.endpoint(f"{spoken.name}_count_tokens")
    if attempt.long and spoken is not client:
        body = seal(await apart.render(attempt, _fields, client, spoken))
    else:
        body = seal(_fields(attempt, client, spoken))
    try:
        told = await ask(attempt, endpoint, body, spoken.parse_error, limit=MAX_ANSWER)
    except GatewayError as error:
        if error.status not in _UNKNOWN_THERE:
            raise
        attempt.lane = ""
        return None
    tokens: int = spoken.parse_count(told)
    return tokens


def _fields(attempt: Attempt, client: Any, spoken: Any) -> dict[str, Raw]:
    """Make the body of a count: the client's own for its own dialect, else the request as it is in the other."""
    target = attempt.target
    wire = target.wire_for(spoken.name)
    if spoken is client:
        attempt.lane = "same"
        left_out = GATEWAY_FIELDS | guided.FIELDS  # a form takes no part in a count
        fields = {key: value for key, value in attempt.fields.items() if key not in left_out}
        fields["model"] = target.model_raw
        if client.name == "openai_responses":
            fields = client.count_fields(fields)
    else:
        attempt.lane = "cross"
        fitted = fit(client.parse_count_request(attempt.fields), target.takes_for(spoken.name))
        rendered = spoken.render_request(fitted.request, wire)
        attempt.losses = fitted.losses + fitted.told(rendered.losses)
        fields = {**rendered.fields, "model": target.model_raw}
        fields = spoken.count_fields(fields)
    fields = spoken.count_request(fields, wire)
    if _VERSION in target.extra_body:
        fields[_VERSION] = target.extra_body[_VERSION]
    return fields

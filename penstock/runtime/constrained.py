"""Requests with a form for their answer: ``guided_*``, ``structured_outputs``, ``validate``, on every surface.

``want`` is called once per attempt, for requests and deployments that have anything of it; all others never come
here. It leaves ``Attempt.form``, and the attempt then makes its body by ``request``: in the client's own dialect
where the target has a field for the form at the top level, else by the way of the neutral form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from penstock.core.defaults import WORDS
from penstock.core.dialects import DIALECTS, guided
from penstock.core.errors import GatewayError
from penstock.core.ir import Loss, OutputFormat, Request
from penstock.core.providers.constraints import ENGINE_DIALECTS, lower, vllm_fields
from penstock.runtime import apart, schema_check
from penstock.runtime.cross import cross_request, lost
from penstock.runtime.same import merge, same_request
from penstock.runtime.schema_check import AnswerForm

if TYPE_CHECKING:
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.targets import Target

_TRUE, _FALSE, _NULL = Raw(b"true"), Raw(b"false"), Raw(b"null")


async def want(attempt: Attempt) -> None:
    """Find out what form an attempt's answer must have, and note it in ``attempt.form``. Raises "bad_request" for
    fields of the wrong type, and for a schema or an expression that is none where the answer is to be checked."""
    target, fields = attempt.target, attempt.fields
    if "extra_body" in fields:
        fields = _spread(fields)
    client = attempt.client.name
    if fields is not attempt.fields:
        attempt.send_fields(fields)
    output = guided.read(fields)
    if output is None and not guided.given(fields, client):
        output = _said_form(target, client)
    asked = _flag(fields)
    check = None
    if asked or (asked is None and target.validates):
        check = await schema_check.prepare((await apart.parsed(attempt)).output, bool(asked))
    ignored: tuple[str, ...] = ()
    if output is not None and guided.given(fields, client):
        output, ignored = None, guided.named(fields)
    if output is not None or ignored or check is not None:
        attempt.form = AnswerForm(output, ignored, check)


def _said_form(target: Target, client: str) -> OutputFormat | None:
    """Return the form that the deployment asks for where a request does not. One in Chat's own words is laid under a
    Chat request as it is."""
    said = target.said
    output = said.request.output if said is not None else None
    if said is None or output is None or output.kind == "text" or (client in WORDS and not said.guided):
        return None
    return output


def _flag(fields: dict[str, Raw]) -> bool | None:
    raw = fields.get("validate", _NULL)
    if raw == _NULL:
        return None
    if raw not in (_TRUE, _FALSE):
        raise GatewayError("bad_request", "'validate' must be true or false.", param="validate")
    return raw == _TRUE


def _spread(fields: dict[str, Raw]) -> dict[str, Raw]:
    """Merge the fields of ``extra_body`` with the others, when any of them is ours."""
    try:
        extra = msgspec.json.decode(fields["extra_body"], type=dict[str, Raw] | None) or {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise GatewayError("bad_request", "'extra_body' must be an object.", param="extra_body") from None
    if guided.FIELDS.isdisjoint(extra) and "validate" not in extra:
        return fields
    merged = dict(fields)
    merge(merged)
    if "validate" in extra:
        merged["validate"] = extra["validate"]
    return merged


def request(
    attempt: Attempt, form: AnswerForm, quirks: Quirks, dialect: str, given: dict[str, Raw] | None = None
) -> bytes:
    """Render the body of an attempt in ``dialect``; sets ``attempt.lane``. ``given``: other fields of the client's
    dialect than the attempt's. Raises "unsupported" for a form that the target cannot be held to."""
    target = attempt.target
    given = attempt.fields if given is None else given
    fields = None
    if dialect == attempt.client.name:
        fields = _top_level(given, attempt, form, dialect)
    if fields is not None:
        attempt.lane = "same"
        body = same_request(attempt, fields, quirks, dialect)
        if form.output is not None and form.output.kind in guided.CONSTRAINTS:
            attempt.losses += _same_losses(target, form.output, dialect)
    else:
        attempt.lane = "cross"
        other = attempt.laid(attempt.call.parse(given)) if given is not attempt.fields else None
        body = cross_request(attempt, quirks, DIALECTS[dialect], other)
    if form.ignored and target.on_unsupported != "drop":
        why = "the form that is asked for in the dialect's own words wins"
        attempt.losses += tuple(Loss(name, why) for name in form.ignored)
    return body


def _top_level(given: dict[str, Raw], attempt: Attempt, form: AnswerForm, dialect: str) -> dict[str, Raw] | None:
    """Put the form asked for where the target looks for it among the client's fields; None when it takes more than
    that."""
    target = attempt.target
    fields = {key: raw for key, raw in given.items() if key not in guided.FIELDS}
    output = form.output
    if output is None:
        return fields
    if output.kind in guided.CONSTRAINTS:
        if dialect not in ENGINE_DIALECTS:
            return None
        lowered = lower(_only(output), target.guides, dialect)
        if lowered is None or lowered.wrapped:
            return None
        if lowered.lost:
            lost(output, target, lowered)
            return fields if target.on_unsupported == "drop" else given
        return {**fields, **lowered.fields}
    if target.guides == "vllm" and dialect in ENGINE_DIALECTS:
        kind, value = ("json", Raw(output.schema)) if output.schema else ("json_object", _TRUE)
        return {**fields, **vllm_fields(f"guided_{kind}", kind, value, output.options)}
    if target.guides == "llama_cpp" and dialect == "completions":  # its older operation has no response_format
        return {**fields, "json_schema": Raw(output.schema or b'{"type":"object"}')}
    if dialect == "anthropic" and not target.wire_for(dialect).native_schema:
        return None
    return fields if guided.lift(fields, output, dialect) else None


def _same_losses(target: Target, output: OutputFormat, dialect: str) -> tuple[Loss, ...]:
    lowered = lower(_only(output), target.guides, dialect)
    if lowered is None or not lowered.lost or target.on_unsupported == "drop":
        return ()
    return lost(output, target, lowered)


def _only(output: OutputFormat) -> Request:
    return Request(model="", messages=(), output=output)

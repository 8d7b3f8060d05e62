"""Requests with a form for their answer: ``guided_*``, ``structured_outputs``, ``validate``, on every surface.

``enter`` is called once per attempt, for requests and deployments that have anything of it; all others never come
here. It leaves ``Call.wanted``, and the attempt then makes its body by ``request``: in the client's own dialect where
the target has a field for the form at the top level, else by the way of the neutral form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from penstock.core.dialects import DIALECTS, guided
from penstock.core.errors import GatewayError
from penstock.core.ir import Loss, OutputFormat, Request
from penstock.core.providers.constraints import ENGINE_DIALECTS, ENGINES, lower, vllm_fields
from penstock.runtime import checked, lanes
from penstock.runtime.call import Call
from penstock.runtime.cross import cross_request, lost

if TYPE_CHECKING:
    from penstock.core.providers.spec import Quirks
    from penstock.runtime.checking import Check
    from penstock.runtime.targets import Target

_TRUE, _FALSE, _NULL = Raw(b"true"), Raw(b"false"), Raw(b"null")


class Wanted(Struct, frozen=True):
    """What an attempt must see to. ``output``: what vLLM's fields ask for, None when they do not or are ``ignored`` for
    the dialect's own words. ``check``: how the answer is checked. ``added``: fields that the deployment put in."""

    output: OutputFormat | None = None
    ignored: tuple[str, ...] = ()
    check: Check | None = None
    added: frozenset[str] = frozenset()


async def enter(call: Call, target: Target) -> None:
    """Sets ``call.wanted`` for one attempt. Raises "bad_request" for fields of the wrong type, and for a schema or an
    expression that is none where the answer is to be checked."""
    fields, before = call.fields, call.wanted
    call.wanted, call.notes = None, b""
    if before is not None and before.added:
        fields = {key: raw for key, raw in fields.items() if key not in before.added}
    if "extra_body" in fields:
        fields = _spread(fields)
    client = call.surface.dialect.name
    added = frozenset[str]()
    if target.guided_defaults and guided.FIELDS.isdisjoint(fields) and not guided.given(fields, client):
        fields = {**fields, **target.guided_defaults}
        added = frozenset(target.guided_defaults)
    if fields is not call.fields:
        call.fields, call.request = fields, None
    output = guided.read(fields)
    asked = _flag(fields)
    check = None
    if asked or (asked is None and target.validates):
        check = await checked.prepare(call.parsed().output, bool(asked))
    ignored: tuple[str, ...] = ()
    if output is not None and guided.given(fields, client):
        output, ignored = None, guided.named(fields)
    if output is not None or ignored or check is not None or added:
        call.wanted = Wanted(output, ignored, check, added)


def _flag(fields: dict[str, Raw]) -> bool | None:
    raw = fields.get("validate", _NULL)
    if raw == _NULL:
        return None
    if raw not in (_TRUE, _FALSE):
        raise GatewayError("bad_request", "'validate' must be true or false.", param="validate")
    return raw == _TRUE


def _spread(fields: dict[str, Raw]) -> dict[str, Raw]:
    """The fields with those of ``extra_body`` among them, when any of those is ours."""
    try:
        extra = msgspec.json.decode(fields["extra_body"], type=dict[str, Raw] | None) or {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise GatewayError("bad_request", "'extra_body' must be an object.", param="extra_body") from None
    if guided.FIELDS.isdisjoint(extra) and "validate" not in extra:
        return fields
    merged = dict(fields)
    lanes.merge(merged)
    if "validate" in extra:
        merged["validate"] = extra["validate"]
    return merged


def request(call: Call, target: Target, quirks: Quirks, dialect: str) -> bytes:
    """The body of an attempt in ``dialect``; sets ``call.lane``. Raises "unsupported" for a form that the target cannot
    be held to."""
    wanted = call.wanted
    assert wanted is not None
    fields = None
    if dialect == call.surface.dialect.name:
        fields = _top_level(call, target, wanted, dialect)
    if fields is not None:
        own = call.fields
        call.lane, call.fields = "same", fields
        try:
            body = lanes.same_request(call, target, quirks, dialect)
        finally:
            call.fields = own
        if wanted.output is not None and wanted.output.kind in guided.CONSTRAINTS:
            call.losses += _same_losses(target, wanted.output, dialect)
    else:
        call.lane = "cross"
        body = cross_request(call, target, quirks, DIALECTS[dialect])
    if wanted.ignored and target.on_unsupported != "drop":
        why = "the form that is asked for in the dialect's own words wins"
        call.losses += tuple(Loss(name, why) for name in wanted.ignored)
    return body


def _top_level(call: Call, target: Target, wanted: Wanted, dialect: str) -> dict[str, Raw] | None:
    """The client's fields with the form where the target looks for it; None when it takes more than that."""
    fields = {key: raw for key, raw in call.fields.items() if key not in guided.FIELDS}
    output = wanted.output
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
            return fields if target.on_unsupported == "drop" else call.fields
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


__all__ = ["ENGINES", "Wanted", "enter", "request"]

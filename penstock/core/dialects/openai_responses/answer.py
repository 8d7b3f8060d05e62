"""Whole answers: response objects read and written."""

from __future__ import annotations

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.base import RenderedAnswer, View
from penstock.core.dialects.openai_chat.answer import seconds
from penstock.core.dialects.openai_chat.reading import absent, mapping, opens, optional_text, present
from penstock.core.dialects.openai_responses.errors import stream_error
from penstock.core.dialects.openai_responses.items_in import read_output
from penstock.core.dialects.openai_responses.names import NAME, PART_FIELDS, finish_in
from penstock.core.dialects.openai_responses.parts import beside, fields_of
from penstock.core.dialects.openai_responses.stream_out import Encoder
from penstock.core.dialects.openai_responses.usage import read_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Block, Choice, End, Loss, Opaque, Refusal, Response, ToolUse, explode

_TOP = Decoder(dict[str, Raw]).decode
_LIST = Decoder(list[Raw]).decode
# The fields that are read, and those that repeat the request or say nothing new of the answer.
_KNOWN = frozenset(
    "id object created_at completed_at model output status error incomplete_details usage service_tier".split()
)
_ECHOED = frozenset(
    (
        "background conversation instructions max_output_tokens max_tool_calls metadata parallel_tool_calls "
        "previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning "
        "safety_identifier store temperature text tool_choice tools top_logprobs top_p truncation user output_text"
    ).split()
)


def parse_response(body: bytes) -> Response:
    """Parse a whole answer. A failed response comes with a 200: its error is raised. A body that is no response raises
    ``GatewayError("broken_answer")``."""
    try:
        fields = _TOP(body)
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a JSON object: {error}.") from None
    raise_failed(fields)
    try:
        return read_response(fields)
    except GatewayError as error:
        if error.kind != "bad_request":
            raise
        raise GatewayError("broken_answer", f"The upstream's answer is not a response: {error.message}") from None


def raise_failed(fields: dict[str, Raw]) -> None:
    """Raise the error of a failed or cancelled response."""
    status = bytes(fields.get("status", b""))
    error = present(fields, "error")
    if status in (b'"failed"', b'"cancelled"') or (error is not None and absent(fields.get("output"))):
        if error is None and status == b'"cancelled"':
            raise GatewayError("upstream_error", "The upstream cancelled the response.")
        raise stream_error(fields)


def read_response(fields: dict[str, Raw], given: list[Block] | None = None) -> Response:
    """Read the answer in a response object. ``given``: its blocks, where they are known already."""
    output = present(fields, "output")
    if output is None and given is None:
        raise GatewayError("broken_answer", "The upstream's answer has no 'output'.")
    blocks = given if given is not None else read_output(output or Raw(b"[]"))
    logs: list[Raw] = []
    blocks = [kept for block in blocks if (kept := take_logprobs(block, logs)) is not None]
    created = present(fields, "created_at")
    return Response(
        id=optional_text(fields, "id", ""),
        model=optional_text(fields, "model", ""),
        choices=(Choice(tuple(blocks), finish_of(fields, blocks), "", write_logs(logs)),),
        usage=read_usage(present(fields, "usage")),
        created=0 if created is None else seconds(created),
        service_tier=optional_text(fields, "service_tier", ""),
        extra=tuple(
            Opaque(NAME, key, bytes(raw))
            for key, raw in fields.items()
            if key not in _KNOWN and key not in _ECHOED and not absent(raw)
        ),
    )


def finish_of(fields: dict[str, Raw], blocks: list[Block]) -> str:
    """Return the neutral reason of a response object that holds ``blocks``."""
    details = present(fields, "incomplete_details")
    reason = optional_text(mapping(details, "incomplete_details"), "reason", "") if details is not None else ""
    called = any(isinstance(block, ToolUse) for block in blocks)
    refused = any(isinstance(block, Refusal) for block in blocks)
    return finish_in(optional_text(fields, "status", ""), reason, called, refused)


def take_logprobs(block: Block, logs: list[Raw]) -> Block | None:
    """Take a text's log probabilities out of the fields kept beside it; None when nothing is left of those."""
    if not isinstance(block, Opaque) or block.dialect != NAME or block.kind[:1] != PART_FIELDS:
        return block
    fields = fields_of(block)
    raw = fields.get("logprobs")
    if raw is None or not opens(raw, "["):
        return block
    logs.extend(_LIST(raw))
    del fields["logprobs"]
    return beside(PART_FIELDS, fields) if fields else None


def write_logs(logs: list[Raw]) -> bytes:
    """Write log probabilities as Chat's object, which is the neutral form's."""
    return encode({"content": logs, "refusal": None}) if logs else b""


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of this dialect. It is told as its stream would tell it, and the last event's
    object is it."""
    encoder = Encoder(view)
    end = End()
    for event in explode(response, 1 << 30):
        if isinstance(event, End):
            end = event
            encoder.settle()
        else:
            encoder.feed(event)
    _, made = encoder.final(end)
    losses: list[Loss] = list(encoder.losses)
    for opaque in response.extra:
        if opaque.dialect == NAME:
            made.setdefault(opaque.kind, Raw(opaque.raw))
        else:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
    return RenderedAnswer(encode(made), tuple(losses))

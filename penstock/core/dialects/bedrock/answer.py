"""Whole answers of Converse.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax.
They have neither an id nor the model's name; ``trace`` and the like are ``extra``.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.base import RenderedAnswer, View
from penstock.core.dialects.bedrock import usage, wire
from penstock.core.dialects.bedrock.blocks_in import read_blocks
from penstock.core.dialects.bedrock.blocks_out import AnswerWriter
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Choice, Loss, Opaque, Response


class _Message(Struct):
    content: Raw


class _Output(Struct):
    message: _Message


class Tier(Struct):
    type: str = ""


class _Answer(Struct, rename="camel"):
    output: _Output
    stop_reason: str = ""
    usage: usage.Counts | None = None
    service_tier: Tier | None = None
    additional_model_response_fields: Raw = Raw()


_ANSWER = Decoder(_Answer).decode
_FIELDS = Decoder(dict[str, Raw]).decode
ECHOES = frozenset(("metrics", "performanceConfig"))
"""What an answer says of the service's own time and of a setting that was asked for: no part of it."""
MORE = "additionalModelResponseFields"
_KNOWN = ECHOES | {"output", "stopReason", "usage", "serviceTier"}


def parse_response(body: bytes) -> Response:
    """Parse a whole answer. Raises ``GatewayError("broken_answer")`` for what is not one."""
    try:
        answer = _ANSWER(body)
        blocks = read_blocks(answer.output.message.content, "output.message.content")
        told, sequence = stop_sequence(answer.additional_model_response_fields)
        finish = wire.finish_in(answer.stop_reason, bool(blocks))
        rest = {key: raw for key, raw in _FIELDS(body).items() if key not in _KNOWN and bytes(raw) != b"null"}
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is none of Converse: {error}.") from None
    except GatewayError as error:
        if error.kind != "bad_request":
            raise
        raise GatewayError("broken_answer", f"The upstream's answer is none of Converse: {error.message}") from None
    if told:
        rest.pop(MORE, None)
    return Response(
        id="",
        model="",
        choices=(Choice(blocks, finish, sequence),),
        usage=usage.read(answer.usage),
        service_tier=answer.service_tier.type if answer.service_tier is not None else "",
        extra=tuple(Opaque(wire.NAME, key, bytes(raw)) for key, raw in rest.items()),
    )


class _Ended(Struct):
    stop_sequence: str | None = None
    delta: Raw = Raw()


_ENDED = Decoder(_Ended, strict=False).decode


def stop_sequence(raw: Raw) -> tuple[bool, str]:
    """Find which text ended an answer, where the model's own fields say it (Claude's do, of themselves, in a stream one
    level deeper), and tell whether they say nothing else."""
    try:
        if not raw or bytes(raw) == b"null":
            return True, ""
        fields = _FIELDS(raw)
        held = _ENDED(fields["delta"] if "delta" in fields else raw)
        return fields.keys() <= {"delta", "stop_sequence"}, held.stop_sequence or ""
    except BAD_JSON:
        return False, ""


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of this dialect."""
    losses: list[Loss] = []
    writer = AnswerWriter(losses)
    choice = response.choices[0] if response.choices else Choice(())
    items = [(f"choices.0.blocks.{at}", block) for at, block in enumerate(choice.blocks)]
    message = {"role": "assistant", "content": writer.blocks(items, "assistant")}
    if choice.logprobs:
        losses.append(Loss("choices.0.logprobs", "there are no log probabilities here"))
    for number in range(1, len(response.choices)):
        losses.append(Loss(f"choices.{number}", "one answer only"))
    body: dict[str, Any] = {
        "output": {"message": message},
        "stopReason": wire.finish_out(choice.finish, choice.stop_sequence),
        "usage": usage.write(response.usage),
        "metrics": {"latencyMs": view.elapsed() // 1_000_000},
    }
    if choice.stop_sequence:
        body[MORE] = {"stop_sequence": choice.stop_sequence}
    if response.service_tier:
        body["serviceTier"] = {"type": response.service_tier}
    for opaque in response.extra:
        if opaque.dialect == wire.NAME:
            body[opaque.kind] = Raw(opaque.raw)
        else:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
    return RenderedAnswer(encode(body), tuple(losses))

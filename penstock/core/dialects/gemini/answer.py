"""Whole ``generateContent`` answers.

Source: https://ai.google.dev/api/generate-content#GenerateContentResponse. A whole answer is read as a stream of one
chunk, so that the two can never differ; an array of chunks (a stream that was not sent as events) is read as well.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core import sse
from penstock.core.dialects.base import RenderedAnswer, View
from penstock.core.dialects.gemini import logprobs, usage, wire
from penstock.core.dialects.gemini.parts_out import AnswerWriter, cite_out
from penstock.core.dialects.gemini.stream_in import ContentDecoder
from penstock.core.dialects.gemini.stream_out import put
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Choice, Collector, Loss, Opaque, Other, Response, Text
from penstock.core.ir.request import Refusal

_ITEMS = Decoder(list[Raw]).decode


def parse_response(body: bytes) -> Response:
    """Parse a whole answer. Raises ``GatewayError("broken_answer")`` for what is not one, and the error it holds when
    an error came with a 200."""
    decoder, collector = ContentDecoder(), Collector()
    extra: list[Opaque] = []
    try:
        for chunk in _chunks(body):
            for event in decoder.feed(sse.Event(b"", chunk)):
                collector.feed(event)
                if isinstance(event, Other):
                    extra.append(event.opaque)
        for event in decoder.close():
            collector.feed(event)
    except GatewayError as error:
        if error.kind != "broken_stream":
            raise
        detail = error.message.replace("event that is not", "answer that is not")
        raise GatewayError("broken_answer", f"The upstream's answer cannot be read: {detail}") from None
    return msgspec.structs.replace(collector.response(), extra=tuple(extra))


def _chunks(body: bytes) -> list[bytes]:
    if body.lstrip()[:1] != b"[":
        return [body]
    try:
        return [bytes(raw) for raw in _ITEMS(body)]
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not JSON: {error}.") from None


def render_response(response: Response, view: View) -> RenderedAnswer:
    """Render the answer for a client of this dialect."""
    losses: list[Loss] = []
    candidates = [_candidate(choice, number, losses) for number, choice in enumerate(response.choices)]
    body: dict[str, Any] = {"candidates": candidates}
    if any(opaque.dialect == wire.NAME and opaque.kind == "promptFeedback" for opaque in response.extra):
        body = {}
    for opaque in response.extra:
        if opaque.dialect == wire.NAME:
            put(body, opaque)
        else:
            losses.append(Loss(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only"))
    if response.usage is not None:
        body["usageMetadata"] = usage.write(response.usage)
    body["modelVersion"] = view.model
    body["responseId"] = response.id or view.mint("")
    return RenderedAnswer(encode(body), tuple(losses))


def _candidate(choice: Choice, number: int, losses: list[Loss]) -> dict[str, Any]:
    writer = AnswerWriter(losses)
    at = f"choices.{number}"
    parts = writer.parts([(f"{at}.blocks.{place}", block) for place, block in enumerate(choice.blocks)])
    out: dict[str, Any] = {
        "content": {"parts": parts or [{"text": ""}], "role": "model"},
        "finishReason": wire.finish_out(choice.finish),
        "index": number,
    }
    cited = _citations(choice, at, losses)
    if cited:
        out["citationMetadata"] = {"citations": cited}
    if choice.logprobs:
        told = logprobs.from_openai(choice.logprobs)
        if told is not None:
            out["logprobsResult"] = told
    return out


def _citations(choice: Choice, at: str, losses: list[Loss]) -> list[dict[str, Any]]:
    """Write all citations of a candidate, placed in the whole of its text, in bytes."""
    out = []
    base = 0
    for place, block in enumerate(choice.blocks):
        if isinstance(block, Text):
            for number, cited in enumerate(block.citations):
                start, end = _bytes(block.text, cited.start), _bytes(block.text, cited.end)
                written = cite_out(msgspec.structs.replace(cited, start=start, end=end), base)
                if written is None:
                    losses.append(Loss(f"{at}.blocks.{place}.citations.{number}", "a citation without a URL"))
                else:
                    out.append(written)
        if isinstance(block, (Text, Refusal)):
            base += len(block.text.encode("utf-8", "surrogatepass"))
    return out


def _bytes(text: str, at: int) -> int:
    return at if at < 0 or text.isascii() else len(text[:at].encode("utf-8", "surrogatepass"))

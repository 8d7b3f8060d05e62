"""SAP AI Core's orchestration service: OpenAI's chat inside an envelope.

Reference: https://help.sap.com/docs/sap-ai-core/generative-ai ("Orchestration", version 2), the service's field lists
in sap-ai-sdk-gen 7.4 (orchestration_v2/models). The answer stands in ``final_result``, in streams as well; thoughts are
blocks with a signature. The request is Chat's until ``providers.sap`` puts it into its envelope, so that a deployment's
defaults and quirks find it as they know it. No client speaks this, so what a client would need is Chat's.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from penstock.core import sse
from penstock.core.dialects.base import Dialect
from penstock.core.dialects.openai_chat.answer import parse_response as parse_chat
from penstock.core.dialects.openai_chat.answer import render_response
from penstock.core.dialects.openai_chat.errors import error_in_answer, parse_error, render_error
from penstock.core.dialects.openai_chat.request_in import parse_request
from penstock.core.dialects.openai_chat.request_out import render_request
from penstock.core.dialects.openai_chat.stream_in import Decoder as ChatDecoder
from penstock.core.dialects.openai_chat.stream_out import Encoder as encoder
from penstock.core.dialects.openai_chat.texts import texts
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Event, Response

NAME = "sap"
_NULL = Raw(b"null")


class _Envelope(Struct):
    final_result: Raw = _NULL
    error: Raw = _NULL


_OPEN = msgspec.json.Decoder(_Envelope).decode
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_CHOICES = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_ENCODE = msgspec.json.Encoder().encode


def unwrapped(body: bytes) -> bytes:
    """Return the Chat answer (or chunk) in an envelope, b"" for one without. Raises the error that it carries, and
    "broken_answer" for what is no envelope."""
    try:
        found = _OPEN(body)
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a JSON object: {error}.") from None
    if found.error != _NULL:
        raise error_in_answer(found.error)
    result = bytes(found.final_result)
    if result == b"null":
        return b""
    return _with_plain_thoughts(result) if b'"reasoning_content"' in result else result


def _with_plain_thoughts(result: bytes) -> bytes:
    """Write thoughts that are blocks as LiteLLM's ``thinking_blocks`` beside their text, which Chat's readers know; all
    else stays byte for byte."""
    try:
        top = _FIELDS(result)
        choices = _CHOICES(top["choices"])
        changed = [_plain(choice, holder) for choice in choices for holder in ("message", "delta") if holder in choice]
    except (*BAD_JSON, KeyError):
        return result  # its reader says what is wrong with it
    if not any(changed):
        return result
    top["choices"] = Raw(_ENCODE(choices))
    return _ENCODE(top)


class _Thought(Struct):
    content: str | None = None
    signature: str | None = None


def _plain(choice: dict[str, Raw], holder: str) -> bool:
    """Change one message or delta; tell whether there was something to change."""
    fields = _FIELDS(choice[holder])
    blocks = fields.get("reasoning_content")
    if blocks is None or bytes(memoryview(blocks)[:1]) != b"[":
        return False
    thoughts = msgspec.json.decode(blocks, type=list[_Thought])
    told = [{"type": "thinking", "thinking": t.content or "", "signature": t.signature or ""} for t in thoughts]
    fields["reasoning_content"] = Raw(_ENCODE("".join(t.content or "" for t in thoughts)))
    fields["thinking_blocks"] = Raw(_ENCODE(told))
    choice[holder] = Raw(_ENCODE(fields))
    return True


def parse_response(body: bytes) -> Response:
    """Parse a whole answer."""
    inner = unwrapped(body)
    if not inner:
        raise GatewayError("broken_answer", "The upstream's answer has no 'final_result'.")
    return parse_chat(inner)


class Decoder:
    """A decoder of Chat streams in SAP's envelopes: see ``base.StreamDecoder``."""

    __slots__ = ("_chat",)

    def __init__(self) -> None:
        self._chat = ChatDecoder()

    def feed(self, event: sse.Event) -> Iterable[Event]:
        data = event.data
        if data == b"[DONE]" or not data.strip():
            return self._chat.feed(event)
        inner = unwrapped(data)
        return self._chat.feed(sse.Event(event.name, inner)) if inner else ()

    def close(self) -> Iterable[Event]:
        return self._chat.close()


def decoder() -> Decoder:
    """Make a decoder for one stream of an upstream."""
    return Decoder()


DIALECT = Dialect(
    name=NAME,
    family=NAME,
    parse_request=parse_request,
    render_request=render_request,
    parse_response=parse_response,
    render_response=render_response,
    decoder=decoder,
    encoder=encoder,
    parse_error=parse_error,
    render_error=render_error,
    texts=texts,
)

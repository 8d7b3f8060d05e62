"""/v1/images/generations and /v1/images/edits: pictures from words. Answers pass as they are; what they cost is read.

Reference: platform.openai.com/docs/api-reference/images. Older models are billed per image, by size and quality; the
newer ones tell the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core.dialects.openai_chat.errors import error_in_answer
from penstock.core.dialects.openai_chat.reading import needed, optional_text, present, text
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.price import Units


class _Tokens(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None


_TOP = Decoder(dict[str, Raw]).decode
_TOKENS = Decoder(_Tokens, strict=False).decode
_ROWS = Decoder(list[Raw]).decode


def check(fields: Mapping[str, Raw]) -> None:
    """Check the prompt. Raises "bad_request" without one."""
    text(needed(fields, "prompt", "", "a text"), "prompt")


def usage_of(raw: Raw | None) -> Usage | None:
    """Read the ``usage`` of an answer or of a stream's last event, where it tells tokens."""
    if raw is None:
        return None
    try:
        told = _TOKENS(raw)
    except BAD_JSON:
        return None
    if told.input_tokens is None and told.output_tokens is None:
        return None
    return Usage(fresh=told.input_tokens or 0, output=told.output_tokens or 0)


def read(body: bytes, fields: Mapping[str, Raw]) -> tuple[Usage | None, Units | None]:
    """Read what an answer used: tokens where it tells them, else images of the size asked for. Raises "broken_answer",
    and the error of a 200 that carries one."""
    try:
        top = _TOP(body)
        if "data" not in top and (error := present(top, "error")) is not None:
            raise error_in_answer(error)
        count = len(_ROWS(top.get("data", Raw(b"null"))))
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is no list of images: {error}.") from None
    usage = usage_of(top.get("usage"))
    if usage is not None:
        return usage, None
    size = optional_text(top, "size", "") or optional_text(fields, "size", "")
    return None, Units(images=count, size=size or "1024x1024")

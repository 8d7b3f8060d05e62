"""The two spellings of one answer: a completion's ``text`` and ``logprobs``, and a chat's."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import encode

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError

_CHOICES = msgspec.json.Decoder(list[dict[str, Raw]]).decode


class _Top(msgspec.Struct, gc=False):
    token: str
    logprob: float | None = None


class _Token(msgspec.Struct, gc=False):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Top] | None = None


class _Rows(msgspec.Struct, gc=False):
    content: list[_Token] | None = None


_ROWS = msgspec.json.Decoder(_Rows).decode


class _Plain(msgspec.Struct, gc=False):
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


_PLAIN = msgspec.json.Decoder(_Plain).decode


def plain_logprobs(raw: bytes, offset: int) -> tuple[dict[str, Any] | None, int]:
    """Translate a chat's ``logprobs`` to a completion's, the first token at character ``offset`` of the text; return
    the offset behind the last, too. None where it is not a chat's."""
    try:
        rows = _ROWS(raw).content
    except BAD_JSON:
        return None, offset
    if rows is None:
        return None, offset
    offsets = []
    for row in rows:
        offsets.append(offset)
        offset += len(row.token)
    tops = [{top.token: top.logprob for top in row.top_logprobs or ()} for row in rows]
    told = {
        "tokens": [row.token for row in rows],
        "token_logprobs": [row.logprob for row in rows],
        "top_logprobs": tops if any(tops) else None,
        "text_offset": offsets,
    }
    return told, offset


def _chat_logprobs(raw: Raw) -> Raw:
    """Translate a completion's ``logprobs`` to a chat's; what is in a chat's form already stays."""
    try:
        found = _PLAIN(raw)
    except BAD_JSON:
        return raw
    if found.tokens is None:
        return raw
    rows = []
    for place, token in enumerate(found.tokens):
        value = found.token_logprobs[place] if found.token_logprobs and place < len(found.token_logprobs) else None
        tops = found.top_logprobs[place] if found.top_logprobs and place < len(found.top_logprobs) else None
        told = [{"token": word, "logprob": number, "bytes": None} for word, number in (tops or {}).items()]
        rows.append({"token": token, "logprob": value, "bytes": None, "top_logprobs": told})
    return Raw(encode({"content": rows}))


def _choices(raw: Raw, holder: str) -> list[dict[str, Any]]:
    """Return the choices of an answer with each ``text`` in the place of a chat's."""
    out = []
    for choice in _CHOICES(raw):
        told: dict[str, Any] = {key: value for key, value in choice.items() if key not in ("text", "logprobs")}
        if "text" in choice:
            told[holder] = {"role": "assistant", "content": choice["text"]}
        if "logprobs" in choice and bytes(choice["logprobs"]) != b"null":
            told["logprobs"] = _chat_logprobs(choice["logprobs"])
        out.append(told)
    return out


def chat_body(fields: dict[str, Raw]) -> bytes:
    """Translate a whole answer to a chat's. Raises "broken_answer"."""
    out: dict[str, Any] = dict(fields)
    try:
        if "choices" in fields:
            out["choices"] = _choices(fields["choices"], "message")
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is not a completion: {error}.") from None
    return encode(out)


def chat_chunk(data: bytes) -> bytes:
    """Translate a chunk of a stream to a chat's; what cannot be read is left for the chat's reader to refuse."""
    try:
        fields = msgspec.json.decode(data, type=dict[str, Raw])
        out: dict[str, Any] = dict(fields)
        if "choices" in fields:
            out["choices"] = _choices(fields["choices"], "delta")
    except BAD_JSON:
        return data
    return encode(out)

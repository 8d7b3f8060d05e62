"""Log probabilities: Cohere tells ``{"text", "token_ids", "logprobs"}`` for each piece of text, OpenAI a row a token.

A piece of several tokens is one row whose log probability is their sum, which is that of the whole piece.
https://docs.cohere.com/reference/chat ("logprobs").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.envelope import BAD_JSON


class _Item(Struct):
    text: str | None = None
    logprobs: list[float] | None = None


class _Row(Struct):
    token: str = ""
    logprob: float = 0.0


class _Rows(Struct):
    content: list[_Row] | None = None


_ITEM = Decoder(_Item).decode
_ROWS = Decoder(_Rows).decode
_BAD = BAD_JSON


def to_openai(items: Iterable[Raw]) -> bytes:
    """Translate to OpenAI's ``logprobs`` object; b"" where nothing is told."""
    rows: list[dict[str, Any]] = []
    for raw in items:
        try:
            item = _ITEM(raw)
        except _BAD:
            continue
        if item.logprobs:
            rows.append(
                {"token": item.text or "", "logprob": sum(item.logprobs), "bytes": None, "top_logprobs": []}
            )
    return encode({"content": rows, "refusal": None}) if rows else b""


def to_cohere(raw: bytes) -> list[dict[str, Any]]:
    """Translate OpenAI's ``logprobs`` object back. Token ids are not known: the list, which the API's clients want, is
    empty."""
    try:
        told = _ROWS(raw)
    except _BAD:
        return []
    return [{"text": row.token, "token_ids": [], "logprobs": [row.logprob]} for row in told.content or ()]

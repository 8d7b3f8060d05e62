"""``logprobsResult`` to OpenAI's ``logprobs`` object, which is the neutral form's, and back.

Source: https://ai.google.dev/api/generate-content#LogprobsResult and OpenAI's reference of the chat completion object.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.envelope import BAD_JSON


class _Token(Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _Tops(Struct):
    candidates: list[_Token] | None = None


class _Result(Struct, rename="camel"):
    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_Tops] | None = None


class _OpenToken(Struct):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[_OpenToken] | None = None


class _Open(Struct):
    content: list[_OpenToken] | None = None
    refusal: list[_OpenToken] | None = None


_RESULT = Decoder(_Result).decode
_OPEN = Decoder(_Open).decode


def _openai(token: _Token) -> dict[str, Any]:
    data = list(token.token.encode("utf-8", "surrogatepass"))
    return {"token": token.token, "logprob": token.log_probability, "bytes": data}


def to_openai(raw: Raw | bytes) -> bytes:
    """Translate to OpenAI's ``logprobs`` object; b"" for what is no such result."""
    try:
        result = _RESULT(raw)
    except BAD_JSON:
        return b""
    tops = result.top_candidates or []
    content = []
    for place, token in enumerate(result.chosen_candidates or ()):
        near = tops[place].candidates if place < len(tops) else None
        content.append({**_openai(token), "top_logprobs": [_openai(one) for one in near or ()]})
    return encode({"content": content, "refusal": None}) if content else b""


def from_openai(raw: bytes) -> dict[str, Any] | None:
    """Translate OpenAI's ``logprobs`` object; None for what has no tokens. Those of a refusal stand with the others."""
    try:
        told = _OPEN(raw)
    except BAD_JSON:
        return None
    tokens = [*(told.content or ()), *(told.refusal or ())]
    if not tokens:
        return None
    chosen = [_google(token) for token in tokens]
    out: dict[str, Any] = {"chosenCandidates": chosen}
    if any(token.top_logprobs for token in tokens):
        out["topCandidates"] = [{"candidates": [_google(one) for one in token.top_logprobs or ()]} for token in tokens]
    return out


def _google(token: _OpenToken) -> dict[str, Any]:
    return {"token": token.token, "logProbability": token.logprob}

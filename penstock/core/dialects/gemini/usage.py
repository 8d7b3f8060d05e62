"""``usageMetadata`` to the disjoint counters and back.

``promptTokenCount`` includes what was read from the cache and excludes the results of the vendor's own tools
(``toolUsePromptTokenCount``); ``candidatesTokenCount`` excludes thoughts. Every chunk of a stream has the counts so
far: the last one that is told wins. Source: https://ai.google.dev/api/generate-content#UsageMetadata.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Usage


class _Modality(Struct, rename="camel"):
    modality: str = ""
    token_count: int | None = None


class _Counts(Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


_COUNTS = Decoder(_Counts).decode


class Meter:
    """The counts of one answer. A count that a later chunk leaves out keeps its last value."""

    __slots__ = ("_told", "seen")

    def __init__(self) -> None:
        self._told = _Counts()
        self.seen = False

    def feed(self, raw: Raw | bytes) -> None:
        """Take in counts. Those in a shape that nobody knows are no reason to lose the answer."""
        if not memoryview(raw) or bytes(memoryview(raw)[:1]) != b"{":
            return
        try:
            new = _COUNTS(raw)
        except BAD_JSON:
            return
        self.seen = True
        told = self._told
        for name in _Counts.__struct_fields__:
            value = getattr(new, name)
            if value is not None:
                setattr(told, name, value)

    def usage(self) -> Usage | None:
        if not self.seen:
            return None
        told = self._told
        cached = told.cached_content_token_count or 0
        thoughts = told.thoughts_token_count or 0
        fresh = max((told.prompt_token_count or 0) - cached, 0) + (told.tool_use_prompt_token_count or 0)
        return Usage(
            fresh=fresh,
            cache_read=cached,
            output=(told.candidates_token_count or 0) + thoughts,
            reasoning=thoughts,
            audio_in=_audio(told.prompt_tokens_details),
            audio_out=_audio(told.candidates_tokens_details),
        )


def _audio(details: list[_Modality] | None) -> int:
    return sum(one.token_count or 0 for one in details or () if one.modality == "AUDIO")


def write(usage: Usage) -> dict[str, Any]:
    """Write the ``usageMetadata`` of an answer. What was written to a cache is part of the prompt here."""
    out: dict[str, Any] = {"promptTokenCount": usage.input, "candidatesTokenCount": usage.output - usage.reasoning}
    if usage.cache_read:
        out["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        out["thoughtsTokenCount"] = usage.reasoning
    out["totalTokenCount"] = usage.total
    if usage.audio_in:
        out["promptTokensDetails"] = _split(usage.input, usage.audio_in)
    if usage.audio_out:
        out["candidatesTokensDetails"] = _split(usage.output - usage.reasoning, usage.audio_out)
    return out


def _split(total: int, audio: int) -> list[dict[str, Any]]:
    rest = {"modality": "TEXT", "tokenCount": max(total - audio, 0)}
    return [rest, {"modality": "AUDIO", "tokenCount": audio}]

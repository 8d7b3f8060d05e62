"""What single providers want of a request and no table of quirks can say: one small pure function each (`Quirks.fit`).

Each edits the top level of a Chat request in place and returns what was taken away.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from penstock.core.ir import Loss

_STRING = msgspec.json.Decoder(str).decode
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_NO_THOUGHTS = Raw(b'{"type":"disabled"}')
_AUTO = Raw(b'"auto"')
_TRUE, _FALSE, _NULL = Raw(b"true"), Raw(b"false"), Raw(b"null")
_NUMBER = msgspec.json.Decoder(float).decode

Fit = Callable[[dict[str, Raw], bool], list[Loss]]


def _word(raw: Raw | None) -> str:
    """Read a string's text; "" for anything else."""
    try:
        return _STRING(raw) if raw is not None else ""
    except msgspec.DecodeError:
        return ""


def _is_forced(choice: Raw | None) -> bool:
    """Tell whether a `tool_choice` leaves the model no way but to call."""
    return choice is not None and (_word(choice) == "required" or bytes(choice)[:1] == b"{")


def _thinks(raw: Raw) -> bool:
    try:
        return _word(_FIELDS(raw).get("type")) != "disabled"
    except msgspec.DecodeError:
        return True


def deepseek(fields: dict[str, Raw], drop_unsupported: bool) -> list[Loss]:
    """Fit a request to DeepSeek: thinking is turned off by `thinking`, not by an effort of "none"; and a model that
    thinks refuses a forced call ("Thinking mode does not support this tool_choice"). It thinks unless told not to: a
    client that forces a call and says nothing of thinking (nor names `deepseek-reasoner`) gets the call. One that wants
    both gets the upstream's error, or with `drop_params` "auto".

    https://api-docs.deepseek.com/guides/thinking_mode , https://github.com/deepseek-ai/DeepSeek-V3/issues/1376
    """
    if _word(fields.get("reasoning_effort")) == "none":
        del fields["reasoning_effort"]
        fields.setdefault("thinking", _NO_THOUGHTS)
    model = _word(fields.get("model"))
    if not _is_forced(fields.get("tool_choice")) or model == "deepseek-chat":
        return []
    if "thinking" not in fields and "reasoning_effort" not in fields and model != "deepseek-reasoner":
        fields["thinking"] = _NO_THOUGHTS
    elif drop_unsupported and ("thinking" not in fields or _thinks(fields["thinking"])):
        fields["tool_choice"] = _AUTO
        return [Loss("tool_choice", "weakened to auto: no call can be forced while the model thinks")]
    return []


_EFFORTS = ("reasoning_effort", "reasoning", "thinking")
_LEAST_TOP_P = 0.95


def claude(fields: dict[str, Raw], drop_unsupported: bool) -> list[Loss]:
    """Fit a Chat request to a Claude that is behind somebody's OpenAI door: it refuses to think where a call is forced,
    and settings of sampling while it thinks. With `drop_params` they are left out; else the upstream says so.

    https://platform.claude.com/docs/en/build-with-claude/extended-thinking
    """
    if not drop_unsupported:
        return []
    asked = [key for key in _EFFORTS if key in fields and _asks(fields[key])]
    if not asked:
        return []
    if _is_forced(fields.get("tool_choice")):
        for key in asked:
            del fields[key]
        return [Loss(key, "no thinking while a tool call is forced") for key in asked]
    against = []
    if _number(fields.get("temperature"), 1) != 1:
        against.append("temperature")
    if _number(fields.get("top_p"), 1) < _LEAST_TOP_P:
        against.append("top_p")
    if fields.get("top_k", _NULL) != _NULL:
        against.append("top_k")
    for key in against:
        del fields[key]
    return [Loss(key, "cannot be set while thinking") for key in against]


def _asks(raw: Raw) -> bool:
    """Tell whether one of the fields about thinking asks for it."""
    if bytes(raw)[:1] == b'"':
        return _word(raw) != "none"
    try:
        told = _FIELDS(raw)
    except msgspec.DecodeError:
        return False
    if _word(told.get("type")) == "disabled" or told.get("enabled") == _FALSE:
        return False
    return _word(told.get("effort")) != "none"


def _number(raw: Raw | None, otherwise: float) -> float:
    try:
        return _NUMBER(raw) if raw is not None else otherwise
    except msgspec.DecodeError:
        return otherwise


def plain_effort(fields: dict[str, Raw]) -> list[Loss]:
    """Write LiteLLM's ``reasoning_effort: {"effort": ..., "summary": ...}`` as the word that Chat's servers take."""
    told = fields["reasoning_effort"]
    if bytes(memoryview(told)[:1]) != b"{":
        return []
    try:
        inner = _FIELDS(told)
    except msgspec.DecodeError:
        return []
    effort = inner.pop("effort", _NULL)
    if effort == _NULL:
        del fields["reasoning_effort"]
    else:
        fields["reasoning_effort"] = effort
    return [Loss(f"reasoning_effort.{key}", "Chat gives no summaries") for key in inner if inner[key] != _NULL]


def together(fields: dict[str, Raw], drop_unsupported: bool) -> list[Loss]:
    """Fit a request to Together: `stop` is a list, `logprobs` the number of alternatives, and reasoning is turned off
    by `reasoning.enabled`.

    https://docs.together.ai/reference/chat-completions-1
    """
    stop = fields.get("stop")
    if stop is not None and bytes(stop)[:1] == b'"':
        fields["stop"] = Raw(b"[" + bytes(stop) + b"]")
    told = fields.get("logprobs")
    if told is not None and bytes(told) in (b"true", b"false", b"null"):
        del fields["logprobs"]
        count = fields.pop("top_logprobs", None)
        if told == _TRUE:
            fields["logprobs"] = count if count is not None and count != _NULL else Raw(b"1")
    if _word(fields.get("reasoning_effort")) == "none":
        del fields["reasoning_effort"]
        fields.setdefault("reasoning", Raw(b'{"enabled":false}'))
    return []

"""What single providers want of a request and no table of quirks can say: one small pure function each (`Quirks.fit`).

Each edits the top level of a Chat request in place and returns what was taken away.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from penstock.core.ir import Loss

_STRING = msgspec.json.Decoder(str).decode
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_NO_THOUGHTS = Raw(b'{"type":"disabled"}')
_AUTO = Raw(b'"auto"')
_TRUE, _NULL = Raw(b"true"), Raw(b"null")


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

"""The request for the rest of an answer: the client's own, with what was said so far behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from penstock.core.dialects.completions import Completion
from penstock.core.ir import Request

GO_ON = (
    "Your answer above was cut off by a fault of the connection. Go on with it exactly where it stops: begin with the "
    "very next character, and with a space or a line break if that comes next. Repeat nothing, do not begin again, and "
    "say nothing about the interruption."
)
"""What a model is asked that does not go on by itself with an answer that has begun."""
_TURNS = {
    "openai_chat": "messages",
    "anthropic": "messages",
    "ollama": "messages",
    "openai_responses": "input",
    "gemini": "contents",
}
_FREE = ("text", "json_object")  # forms of which no check would fail because two models wrote them
# Where a request says how long its answer may be: at the top, or within an object there.
_LIMITS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "openai_chat": (("max_tokens",), ("max_completion_tokens",)),
    "completions": (("max_tokens",),),
    "anthropic": (("max_tokens",),),
    "openai_responses": (("max_output_tokens",),),
    "gemini": (("generationConfig", "maxOutputTokens"),),
    "ollama": (("options", "num_predict"),),
}
_LEAST = 16  # tokens, which OpenAI's Responses insist on
_encode = msgspec.json.Encoder().encode
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_NUMBER = msgspec.json.Decoder(int).decode


def add_turns(fields: Mapping[str, Raw], dialect: str, turns: Iterable[tuple[str, str]]) -> dict[str, Raw] | None:
    """Return a request's fields with more turns behind its own: (role, text) each. None where there is no conversation
    to which they could be added."""
    key = _TURNS.get(dialect)
    if key is None or key not in fields:
        return None
    made: list[object] = [{"role": role, "content": text} for role, text in turns]
    if dialect == "gemini":
        made = [{"role": "user" if role == "user" else "model", "parts": [{"text": text}]} for role, text in turns]
    had: list[object] = []
    if bytes(memoryview(fields[key])[:1]) == b"[":
        had = [*msgspec.json.decode(fields[key], type=list[Raw])]
    elif key == "input":
        had = [{"role": "user", "content": fields[key]}]
    else:  # Gemini takes one turn without a list around it
        had = [fields[key]]
    return {**fields, key: Raw(_encode([*had, *made]))}


def ask_on(fields: Mapping[str, Raw], dialect: str, said: str, begun: bool) -> dict[str, Raw] | None:
    """Return the fields of a request for the rest of an answer of which ``said`` is out. ``begun``: the target goes on
    with an answer that has begun; white space at its end is refused by several. None where that cannot be asked."""
    if not said.strip():
        return dict(fields)
    if dialect == "completions":
        return _complete(fields, said)
    turns = [("assistant", said.rstrip())] if begun else [("assistant", said), ("user", GO_ON)]
    return add_turns(fields, dialect, turns)


def _complete(fields: Mapping[str, Raw], said: str) -> dict[str, Raw] | None:
    """Put the text so far behind a prompt, which is all that a completion is."""
    try:
        given = msgspec.json.decode(fields["prompt"], type=str | list[str])
    except (KeyError, msgspec.DecodeError):
        return None
    prompts = [given] if isinstance(given, str) else given
    return {**fields, "prompt": Raw(_encode(prompts[0] + said))} if len(prompts) == 1 else None


def shorten(fields: dict[str, Raw], dialect: str, spent: int) -> dict[str, Raw]:
    """Lower a request's limits of tokens by those that the beginning of the answer took."""
    for path in _LIMITS.get(dialect, ()):
        try:
            inner = fields if len(path) == 1 else _OBJECT(fields[path[0]])
            limit = _NUMBER(inner[path[-1]])
        except (KeyError, msgspec.DecodeError):
            continue
        if limit > 0:  # Ollama's -1 is none
            inner = {**inner, path[-1]: Raw(_encode(max(limit - spent, min(limit, _LEAST))))}
            fields = inner if len(path) == 1 else {**fields, path[0]: Raw(_encode(inner))}
    return fields


def may_be_continued(request: Request, dialect: str) -> bool:
    """Tell whether the answer to a request is one that two models may write: one text, of no form that it would be
    checked for, without log probabilities."""
    if request.n not in (None, 1) or request.logprobs or (isinstance(request, Completion) and request.echo):
        return False
    if request.output is not None and request.output.kind not in _FREE:
        return False
    return dialect in _TURNS or dialect == "completions"

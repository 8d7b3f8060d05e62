"""What single providers answer that is not quite Chat, made into Chat: one small pure function each (`Quirks.mend`).

Each takes the JSON of a whole answer or of one chunk and gives it back, the very same bytes when nothing is to be done,
which one search tells. So what a vendor has of its own reaches clients of every dialect, those of Chat included. Bytes
that are no such JSON are given back, for the decoder to say what is wrong with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from penstock.core.envelope import BAD_JSON

_ENCODE = msgspec.json.Encoder().encode
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_LIST = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_ANY = msgspec.json.Decoder().decode
_STRING = msgspec.json.Decoder(str).decode
_NULL = Raw(b"null")
_PARTS = re.compile(rb'"content"\s*:\s*\[')
_LOGPROBS = re.compile(rb'"logprobs"\s*:\s*[{\d-]')
_EOS = re.compile(rb'("finish_reason"\s*:\s*)"eos"')

Fields = dict[str, Raw]


def chain(*mends: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Chain several functions, one after the other."""

    return partial(_all_of, mends)  # and no closure: a large answer is mended in another process


def _all_of(mends: tuple[Callable[[bytes], bytes], ...], data: bytes) -> bytes:
    for mend in mends:
        data = mend(data)
    return data


def _choices(data: bytes, edit: Callable[[Fields], bool]) -> bytes:
    """Return ``data`` with ``edit`` done to each choice."""
    try:
        top = _FIELDS(data)
        choices = _LIST(top["choices"])
        if not sum(edit(choice) for choice in choices):
            return data
    except (KeyError, *BAD_JSON):
        return data
    top["choices"] = Raw(_ENCODE(choices))
    return _ENCODE(top)


def _messages(data: bytes, edit: Callable[[Fields], bool]) -> bytes:
    """Return ``data`` with ``edit`` done to the message or the delta of each choice."""

    def within(choice: Fields) -> bool:
        changed = False
        for key in ("message", "delta"):
            raw = choice.get(key)
            if raw is not None and bytes(raw)[:1] == b"{":
                message = _FIELDS(raw)
                if edit(message):
                    choice[key] = Raw(_ENCODE(message))
                    changed = True
        return changed

    return _choices(data, within)


def _absent(fields: Fields, key: str) -> bool:
    return key not in fields or fields[key] == _NULL


# reasoning ----------------------------------------------------------------------------------------------------------


def reasoning_named(data: bytes) -> bytes:
    """Repeat ``reasoning`` (Groq, OpenRouter, Together) as ``reasoning_content``, LiteLLM's name for it."""
    return _messages(data, _named) if b'"reasoning"' in data else data


def _named(message: Fields) -> bool:
    told = message.get("reasoning")
    if told is None or bytes(told)[:1] != b'"' or not _absent(message, "reasoning_content"):
        return False
    message["reasoning_content"] = told
    return True


def thinking_parts(data: bytes) -> bytes:
    """Make a ``content`` that is a list of thinking and text parts (Mistral's reasoning models) a string, and
    ``reasoning_content``. A list with parts of other types (references) is left as it is.

    https://docs.mistral.ai/capabilities/reasoning
    """
    return _messages(data, _split) if _PARTS.search(data) else data


def _split(message: Fields) -> bool:
    content = message.get("content")
    if content is None or bytes(content)[:1] != b"[":
        return False
    text: list[str] = []
    thoughts: list[str] = []
    for part in _LIST(content):
        kind = _ANY(part.get("type", _NULL))
        if kind == "text":
            text.append(_STRING(part["text"]))
        elif kind == "thinking":
            thoughts.append(_thought(part["thinking"]))
        else:
            return False
    message["content"] = Raw(_ENCODE("".join(text)))
    if any(thoughts):
        message["reasoning_content"] = Raw(_ENCODE("".join(thoughts)))
    return True


def _thought(raw: Raw) -> str:
    told = _ANY(raw)
    if isinstance(told, list):
        return "".join(str(part.get("text") or "") for part in told if isinstance(part, dict))
    return told if isinstance(told, str) else ""


# usage, errors ------------------------------------------------------------------------------------------------------


def groq_stream(data: bytes) -> bytes:
    """Move what ``x_groq`` of a stream's last chunk tells to where Chat has it: usage that stands nowhere else, and the
    reason why a stream was stopped.

    https://console.groq.com/docs/api-reference#chat-create , groq SDK, `ChatCompletionChunk.x_groq`
    """
    if b'"x_groq"' not in data:
        return data
    try:
        top = _FIELDS(data)
        own = _FIELDS(top["x_groq"])
        if not _absent(own, "error"):
            return _ENCODE({"error": {"message": _ANY(own["error"]), "type": "server_error"}})
        if not _absent(top, "usage") or _absent(own, "usage") or "prompt_tokens" not in _FIELDS(own["usage"]):
            return data
    except (KeyError, *BAD_JSON):
        return data
    top["usage"] = own["usage"]
    return _ENCODE(top)


def openrouter_errors(data: bytes) -> bytes:
    """Move an error to where it is seen: in the middle of a stream it comes in a chunk that looks like the answer's
    end, and in a whole answer in a choice.

    https://openrouter.ai/docs/api/reference/errors-and-debugging
    """
    if b'"error"' not in data:
        return data
    try:
        top = _FIELDS(data)
        if not _absent(top, "error"):
            return _ENCODE({"error": top["error"]})
        for choice in _LIST(top["choices"]):
            if not _absent(choice, "error"):
                return _ENCODE({"error": choice["error"]})
    except (KeyError, *BAD_JSON):
        pass
    return data


# finish reasons, log probabilities ----------------------------------------------------------------------------------


def together_words(data: bytes) -> bytes:
    """Translate Together's words: "eos" is "stop", and log probabilities are lists side by side, or one number in a
    chunk.

    https://docs.together.ai/reference/chat-completions-1 , together SDK, `LogProbs` and `ChatCompletionChunk`
    """
    if b'"eos"' in data:
        data = _EOS.sub(rb'\1"stop"', data)
    return _choices(data, _logprobs) if _LOGPROBS.search(data) else data


def _logprobs(choice: Fields) -> bool:
    told = _ANY(choice.get("logprobs", _NULL))
    if isinstance(told, dict):
        tokens, numbers = told.get("tokens"), told.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(numbers, list):
            return False  # OpenAI's form
    elif isinstance(told, (int, float)):
        delta = _FIELDS(choice.get("delta", Raw(b"{}")))
        tokens, numbers = [_STRING(delta.get("content", Raw(b'""')))], [told]
    else:
        return False
    content = [
        {"token": token, "logprob": number, "bytes": None, "top_logprobs": []}
        for token, number in zip(tokens, numbers, strict=False)
    ]
    choice["logprobs"] = Raw(_ENCODE({"content": content, "refusal": None}))
    return True


# citations ----------------------------------------------------------------------------------------------------------


def cited(data: bytes) -> bytes:
    """Repeat ``search_results`` or ``citations`` beside the choices (Perplexity, xAI) as OpenAI's ``annotations``: in
    the message, or in the chunk that ends the choice. In a whole answer each stands at its mark, ``[1]``, if there is
    one, else it is of the whole text.

    https://docs.perplexity.ai/api-reference/chat-completions-post , https://docs.x.ai/docs/guides/live-search
    """
    if b'"citations"' not in data and b'"search_results"' not in data:
        return data
    try:
        sources = _sources(_FIELDS(data))
    except BAD_JSON:
        return data
    return _choices(data, lambda choice: _cite(choice, sources)) if sources else data


def _sources(top: Fields) -> list[tuple[str, str]]:
    """Return URL and title of each source."""
    for key in ("search_results", "citations"):
        told = _ANY(top.get(key, _NULL))
        if isinstance(told, list) and told:
            pairs = [(s, "") if isinstance(s, str) else _source(s) for s in told]
            return [pair for pair in pairs if pair[0]]
    return []


def _source(told: Any) -> tuple[str, str]:
    return (str(told.get("url") or ""), str(told.get("title") or "")) if isinstance(told, dict) else ("", "")


def _cite(choice: Fields, sources: list[tuple[str, str]]) -> bool:
    whole = "delta" not in choice
    if not whole and _absent(choice, "finish_reason"):
        return False
    key = "message" if whole else "delta"
    message = _FIELDS(choice[key])
    if not _absent(message, "annotations"):
        return False
    text = _ANY(message.get("content", _NULL)) if whole else None
    marks = _marks(text) if isinstance(text, str) else {}
    told = [_annotation(url, title, text, marks.get(n)) for n, (url, title) in enumerate(sources, 1)]
    message["annotations"] = Raw(_ENCODE(told))
    choice[key] = Raw(_ENCODE(message))
    return True


_MARK = re.compile(r"\[([1-9][0-9]{0,5})\]")


def _marks(text: str) -> dict[int, tuple[int, int]]:
    """Find where each number in brackets stands first. In one go: a search for each of many sources would be one of the
    whole text each time."""
    found: dict[int, tuple[int, int]] = {}
    for match in _MARK.finditer(text):
        found.setdefault(int(match[1]), match.span())
    return found


def _annotation(url: str, title: str, text: object, mark: tuple[int, int] | None) -> dict[str, Any]:
    inner: dict[str, Any] = {"url": url, "title": title}
    if isinstance(text, str):
        inner["start_index"], inner["end_index"] = mark or (0, len(text))
    return {"type": "url_citation", "url_citation": inner}

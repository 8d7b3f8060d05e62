"""Chat in, Chat out: see ``penstock.core.same`` for the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects.endings import failure
from penstock.core.dialects.openai_chat.caching import mark_cache
from penstock.core.dialects.openai_chat.errors import error_in_answer, errors_in_stream, told_error
from penstock.core.dialects.openai_chat.names import WORDS
from penstock.core.dialects.openai_chat.same_calls import CallMender, mend_message
from penstock.core.dialects.openai_chat.usage import read_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.same import Editor, Incomplete, in_tier, open_answer

_DECODE = msgspec.json.Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
# What nearly all chunks are: a piece of the only choice's text and nothing else. There is nothing to see to in them.
_PLAIN = re.compile(
    rb'\[\{"index":0,"delta":\{"content":"[^"\\]*(?:\\.[^"\\]*)*"\}(?:,"logprobs":null)?,"finish_reason":null\}\]'
).fullmatch
_FINISHED = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"[^"]')
_SEVERAL = re.compile(rb'"index"[ \t]*:[ \t]*[1-9]')  # of a choice, or of a tool call: then one look too many
_STOPPED = b'"finish_reason":"stop"'
_CALLS = b'"tool_calls"'
_BEGUN = re.compile(rb'"tool_calls"[ \t]*:[ \t]*\[[ \t]*\{')
_NONE = Raw(b"[]")
_FIRST = b'[{"index":0'  # spares the usual chunk that search
_NULL = Raw(b"null")


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    finish_reason: str | None = None


_CHOICES = msgspec.json.Decoder(list[_Choice]).decode


def answer(body: bytes, model: Raw) -> tuple[bytes, Usage | None]:
    """Replace the ``model`` of a whole Chat answer, and read its usage. Raises ``broken_answer`` when it is not a JSON
    object, and the upstream's error when it carries one under status 200 (some servers do)."""
    fields = open_answer(body)
    if "error" in fields or "errors" in fields:
        _refuse(fields, body)
    choices = fields.get("choices", _NULL)
    if choices == _NULL or choices == _NONE:
        raise GatewayError("broken_answer", "The upstream's answer has no choice in its 'choices'.")
    fields["model"] = model
    calls = body.find(_CALLS) >= 0
    if calls or body.find(_STOPPED) < 0:  # what most answers are has nothing to mend
        _check(choices)
        fields["choices"] = mend_message(choices) if calls else choices
    usage = in_tier(read_usage(fields["usage"]), fields.get("service_tier")) if "usage" in fields else None
    return _ENCODE(fields), usage


class Stream:
    """Chat chunks. ``feed`` returns the client's bytes (b"" when the chunk is for the meter alone).

    ``want_usage``: the client asked for the usage chunk; we always ask the upstream for it and keep it to ourselves
    otherwise. ``started``: an answer's chunk was seen. A broken stream ends in ``Incomplete``, never in ``[DONE]``."""

    __slots__ = ("_calls", "done", "_ended", "_last", "_model", "_want_usage", "chunks", "started", "usage")

    def __init__(self, model: Raw, want_usage: bool) -> None:
        self._model = model
        self._want_usage = want_usage
        self.done = False
        self._calls: CallMender | None = None  # once there is a call
        self._ended: set[int] = set()  # choices that have their finish reason
        self._last = 0  # the highest index of a choice
        self.started = False
        self.chunks = 0  # of an answer: engines send about one a token, which counts where usage is never told
        self.usage: Usage | None = None

    def feed(self, event: sse.Event) -> bytes:
        data = event[1]
        if sse.LF in data:  # JSON over several data lines: between tokens a space is as good, and an event has one line
            data = data.replace(b"\n", b" ")
        if data == b"[DONE]":
            if not self.started:
                raise Incomplete("the upstream sent [DONE] and nothing before it")
            self.done = True
            return sse.DONE
        try:
            fields = _DECODE(data)
        except BAD_JSON:
            start = data[:80].decode("utf-8", "replace")
            raise GatewayError("broken_stream", f"The upstream sent an event that is not JSON: {start!r}.") from None
        choices = fields.get("choices")
        if "error" in fields or choices is None:
            _refuse(fields, data)
        self.started = True
        self.chunks += 1
        if "usage" in fields and not self._meter(fields, choices):
            return b""
        fields["model"] = self._model
        if choices is not None:
            raw = bytes(choices)
            if _PLAIN(raw) is None:
                self._look(fields, choices, raw)
        return b"data: " + _ENCODE(fields) + b"\n\n"

    def _meter(self, fields: dict[str, Raw], choices: Raw | None) -> bool:
        """Read ``usage``; False when the chunk carried nothing else and the client did not ask for it."""
        usage = in_tier(read_usage(fields["usage"]), fields.get("service_tier"))
        if usage is not None:
            self.usage = usage
        if self._want_usage:
            return True
        del fields["usage"]
        return not (usage is not None and (choices is None or not bytes(choices).strip(b"[ \t]")))

    def _look(self, fields: dict[str, Raw], choices: Raw, raw: bytes) -> None:
        """Mend the calls of a chunk that a client could not read as they came, and note which choices end."""
        ended = _FINISHED.search(raw)
        if (raw.find(_CALLS) >= 0 and _BEGUN.search(raw)) or (ended and self._calls is not None):
            if self._calls is None:
                self._calls = CallMender()
            fields["choices"] = choices = self._calls.feed(choices)
        if raw.find(b'"finish_reason"') < 0:
            fields["choices"] = _with_finish(choices)
        if ended or (not raw.startswith(_FIRST) and _SEVERAL.search(raw)):
            self._note(choices)

    def _note(self, choices: Raw) -> None:
        """Note which choices there are, and which of them are complete."""
        try:
            told = _CHOICES(choices)
        except msgspec.DecodeError:
            return  # not of this dialect, and nothing that could be complete
        for choice in told:
            self._last = max(self._last, choice.index)
            if choice.finish_reason:
                _fail(choice.finish_reason)
                self._ended.add(choice.index)

    def close(self) -> bytes:
        """Return the bytes still owed at the upstream's end. Some servers never send ``[DONE]``: a finish reason of
        every choice will do."""
        if self.done:
            return b""
        if len(self._ended) > self._last:
            return sse.DONE
        raise Incomplete()


def _check(choices: Raw) -> None:
    """Raise the error of a choice that failed."""
    try:
        told = _CHOICES(choices)
    except BAD_JSON:
        return  # not of this dialect: its client says what is wrong with it
    for choice in told:
        if choice.finish_reason:
            _fail(choice.finish_reason)


def _fail(word: str) -> None:
    """Raise the error that a finish reason is, if it is one of failure."""
    kind = WORDS.fails.get(word)
    if kind is not None:
        raise failure(WORDS.field, word, kind=kind)


def _refuse(fields: dict[str, Raw], data: bytes) -> None:
    """Raise the error that came in the place of an answer, or beside its choices: what broke off did not succeed."""
    if told_error(fields):
        raise error_in_answer(fields["error"])
    if "errors" in fields and "choices" not in fields:
        raise errors_in_stream(data)


def _with_finish(choices: Raw) -> Raw:
    """Add ``finish_reason: null`` where it is missing: OpenAI sends it until the end, and strict clients break without
    it."""
    try:
        told: Any = msgspec.json.decode(choices, type=list[dict[str, Raw]])
    except msgspec.ValidationError:
        return choices  # null, or nothing that this dialect knows: not ours to mend
    for choice in told:
        choice.setdefault("finish_reason", _NULL)
    return Raw(_ENCODE(told))


_ASK_USAGE = Raw(b'{"include_usage":true}')
_TRUE = Raw(b"true")


def prepare(fields: dict[str, Raw], stream: bool, ask_usage: bool) -> None:
    """Edit a Chat request for the wire: usage is always asked for in a stream, ``metadata`` stays here unless the
    client stores the answer at the vendor (the only use OpenAI has for it)."""
    if "metadata" in fields and fields.get("store") != _TRUE:
        del fields["metadata"]
    if not stream or not ask_usage:
        return
    options = fields.get("stream_options")
    if options is None or options == _NULL:
        fields["stream_options"] = _ASK_USAGE
        return
    try:
        told = msgspec.json.decode(options, type=dict[str, Raw])
    except msgspec.ValidationError:
        return  # the upstream says what is wrong with it
    told["include_usage"] = _TRUE
    fields["stream_options"] = Raw(_ENCODE(told))


def ask_usage(fields: dict[str, Raw]) -> None:
    """Ask for the usage chunk where a Chat client says nothing of it."""
    options = fields.get("stream_options")
    try:
        told = {} if options is None or options == _NULL else msgspec.json.decode(options, type=dict[str, Raw])
    except msgspec.ValidationError:
        return  # the upstream says what is wrong with it
    if "include_usage" not in told:
        fields["stream_options"] = Raw(_ENCODE({**told, "include_usage": _TRUE}))


def wants_usage(fields: Mapping[str, Raw]) -> bool:
    """Tell whether a Chat client asked for the usage chunk."""
    options = fields.get("stream_options")
    if options is None or options == _NULL:
        return False
    try:
        return msgspec.json.decode(options, type=dict[str, Raw]).get("include_usage") == _TRUE
    except msgspec.ValidationError:
        return False


EDITOR = Editor(
    answer=answer, Stream=Stream, prepare=prepare, wants_usage=wants_usage, mark_cache=mark_cache
)

"""Neutral events to a stream of ``generateContent`` chunks, as server-sent events.

Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. A call is one part and
therefore told when it is complete; the last chunk has every candidate's ``finishReason`` and the counts. There is no
end mark: a stream that fails ends in an error object, and its clients know it by that.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import encode

from penstock.core import sse
from penstock.core.dialects.base import View
from penstock.core.dialects.gemini import logprobs, usage, wire
from penstock.core.dialects.gemini.errors import error_body
from penstock.core.dialects.gemini.parts_out import AnswerWriter, cite_out, is_fields
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
    Loss,
    Opaque,
    Open,
    Other,
    Refusal,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
)
from penstock.core.ir.places import Places

_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_json = msgspec.json.Encoder().encode
_ROLE = Raw(b'"model"')


class _Shown:
    """An open block. ``base``: where its text begins in its candidate; ``length``: how much of it was told, in bytes;
    ``plain``: all of it was ASCII, so that bytes are characters."""

    __slots__ = ("base", "block", "choice", "lead", "length", "plain", "pieces", "seal", "tail")

    def __init__(self, block: Block, choice: int, base: int) -> None:
        self.block = block
        self.choice = choice
        self.base = base
        self.length = 0
        self.plain = True
        self.lead = b""
        self.tail = b""
        self.pieces: list[str] = []  # of a call's arguments
        self.seal: Seal | None = None


class ContentEncoder:
    """An encoder of Gemini's streams: see ``base.StreamEncoder``."""

    __slots__ = (
        "_beside", "_blocks", "_lengths", "_others", "_start", "_stops", "_tail", "_told", "_view", "_writer",
        "_places", "losses",
    )  # fmt: skip

    def __init__(self, view: View) -> None:
        self.losses: list[Loss] = []
        self._places = Places()
        self._told: set[Loss] = set()
        self._view = view
        self._writer = AnswerWriter(self.losses)
        self._start: Start | None = None
        self._tail = b""
        self._blocks: dict[int, _Shown] = {}
        self._lengths: dict[int, int] = {}  # of each candidate's text so far
        self._beside: Opaque | None = None
        self._stops: dict[int, Stop] = {}
        self._others: list[Opaque] = []

    def feed(self, event: Event) -> bytes:
        kind = type(event)
        if kind is Delta:
            shown = self._blocks.get(event.index)  # type: ignore[union-attr]
            return b"" if shown is None else self._delta(shown, event)  # type: ignore[arg-type]
        if kind is Open:
            return self._opened(event)  # type: ignore[arg-type]
        if kind is Close:
            return self._closed(event)  # type: ignore[arg-type]
        if isinstance(event, Start):
            self._begin(event)
            return b""
        if isinstance(event, Stop):
            self._stops[event.choice] = event
            return b""
        if isinstance(event, End):
            return self._finish(event)
        if isinstance(event, Logprobs):
            return self._logprobs(event)
        assert isinstance(event, Other)
        return self._other(event.opaque)

    def fail(self, error: GatewayError) -> bytes:
        """End the stream with an error object."""
        return sse.encode(error_body(error))

    def ping(self) -> bytes:
        """Return a blank line. Google's own clients take a comment for the beginning of an error, and fail on it."""
        return b"\n"

    def _begin(self, start: Start) -> None:
        self._start = start
        told = {"modelVersion": self._view.model, "responseId": start.id or self._view.mint("")}
        self._tail = b"," + encode(told)[1:]

    def _chunk(self, body: dict[str, Any]) -> bytes:
        if not self._tail:
            self._begin(Start("", ""))
        data = encode(body)
        if sse.LF in data or sse.CR in data:  # white space between the tokens of a model's own JSON
            data = msgspec.json.format(data, indent=-1)
        return b"data: " + data[:-1] + self._tail + b"\n\n"

    def _part(self, choice: int, part: Any, **more: Any) -> bytes:
        content = {"parts": [part] if part is not None else [], "role": _ROLE}
        return self._chunk({"candidates": [{"content": content, "index": choice, **more}]})

    # Blocks

    def _opened(self, event: Open) -> bytes:
        self._places.note(event)
        block, choice = event.block, event.choice
        if not self._tail:
            self._begin(Start("", ""))
        if is_fields(block):
            self._beside = block  # type: ignore[assignment]
            return b""
        shown = _Shown(block, choice, self._lengths.get(choice, 0))
        if isinstance(block, (Text, Thinking, Refusal)):
            if isinstance(block, Refusal):
                self._lose(self._places[event.index] + ".refusal", "a refusal is told as text")
            head = b'{"candidates":[{"content":{"parts":[{"text":'
            thought = b',"thought":true' if isinstance(block, Thinking) else b""
            shown.lead = b"data: " + head
            shown.tail = thought + b'}],"role":"model"},"index":%d}]' % choice + self._tail + b"\n\n"
            self._blocks[event.index] = shown
            if self._beside is not None:
                return self._part(choice, self._with_fields({"text": ""}))
            return b""
        if isinstance(block, ToolUse):
            self._blocks[event.index] = shown
            return b""
        written = self._writer.other(block, self._places[event.index])
        if written is None:
            self._beside = None
            return b""
        return self._part(choice, self._with_fields(written))

    def _with_fields(self, part: Any) -> Any:
        beside, self._beside = self._beside, None
        return part if beside is None or not isinstance(part, dict) else {**part, **_OBJECT(beside.raw)}

    def _delta(self, shown: _Shown, event: Delta) -> bytes:
        out = b""
        text = event.text
        if text:
            if shown.lead:
                out = shown.lead + _json(text) + shown.tail
                if text.isascii():
                    shown.length += len(text)
                else:
                    shown.length += len(text.encode("utf-8", "surrogatepass"))
                    shown.plain = False
            else:
                shown.pieces.append(text)
        if event.seal is not None:
            shown.seal = event.seal
        if event.citation is not None:
            out += self._cite(shown, event)
        return out

    def _cite(self, shown: _Shown, event: Delta) -> bytes:
        cited = event.citation
        assert cited is not None
        if not shown.plain:  # places are bytes here, and the text is gone
            cited = msgspec.structs.replace(cited, start=-1, end=-1)
        written = cite_out(cited, shown.base)
        if written is None:
            self._lose(self._places[event.index] + ".citations", "a citation without a URL")
            return b""
        return self._part(shown.choice, None, citationMetadata={"citations": [written]})

    def _closed(self, event: Close) -> bytes:
        shown = self._blocks.pop(event.index, None)
        if shown is None:
            return b""
        block, choice = shown.block, shown.choice
        if isinstance(block, ToolUse):
            whole = msgspec.structs.replace(block, args="".join(shown.pieces), seal=shown.seal or block.seal)
            part = self._writer.use(whole, self._places[event.index])
            return self._part(choice, self._with_fields(part))
        if isinstance(block, Thinking):
            if shown.seal is None:
                return b""
            sealed = wire.pack(shown.seal, block.redacted)
            return self._part(choice, {"text": "", "thought": True, "thoughtSignature": sealed})
        self._lengths[choice] = shown.base + shown.length
        return b""

    # Beside the blocks

    def _logprobs(self, event: Logprobs) -> bytes:
        told = logprobs.from_openai(event.raw)
        return b"" if told is None else self._part(event.choice, None, logprobsResult=told)

    def _other(self, opaque: Opaque) -> bytes:
        if opaque.dialect != wire.NAME:
            self._lose(f"events.{opaque.kind}", f"an event of {opaque.dialect} only")
        else:
            self._others.append(opaque)
        return b""

    def _finish(self, end: End) -> bytes:
        out = [self._closed(Close(index)) for index in list(self._blocks)]
        stops = self._stops or {0: Stop("stop")}
        blocked = any(opaque.kind == "promptFeedback" for opaque in self._others)
        body: dict[str, Any] = {"candidates": [_ended(number, stop) for number, stop in sorted(stops.items())]}
        if blocked:
            body = {}
        for opaque in self._others:
            put(body, opaque)
        used = end.usage or (self._start.usage if self._start is not None else None)
        if used is not None:
            body["usageMetadata"] = usage.write(used)
        out.append(self._chunk(body))
        return b"".join(out)

    def _lose(self, path: str, why: str) -> None:
        loss = Loss(path, why)
        if loss not in self._told:  # a list of them would be searched anew for every block
            self._told.add(loss)
            self.losses.append(loss)


def _ended(number: int, stop: Stop) -> dict[str, Any]:
    content = {"parts": [{"text": ""}], "role": _ROLE}
    return {"content": content, "finishReason": wire.finish_out(stop.reason), "index": number}


def put(body: dict[str, Any], opaque: Opaque) -> None:
    """Put a field of this dialect back to where it stood: at the top, or in "candidates.N.key"."""
    steps = opaque.kind.split(".")
    if len(steps) == 3 and steps[0] == "candidates":
        for candidate in body.get("candidates", ()):
            if str(candidate["index"]) == steps[1]:
                candidate[steps[2]] = Raw(opaque.raw)
        return
    body[opaque.kind] = Raw(opaque.raw)


def encoder(view: View) -> ContentEncoder:
    """Make an encoder for one client."""
    return ContentEncoder(view)

"""Neutral events to the chunks of /v1/completions. The vendor's order: texts, an empty text with the finish reason, the
usage where it was asked for, ``[DONE]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.json import Encoder as JsonEncoder

from penstock.core import sse
from penstock.core.dialects.base import View
from penstock.core.dialects.completions.words import plain_logprobs
from penstock.core.dialects.openai_chat.errors import error_fields
from penstock.core.dialects.openai_chat.names import finish_out
from penstock.core.dialects.openai_chat.usage import write_usage
from penstock.core.errors import GatewayError
from penstock.core.ir import Delta, End, Event, Logprobs, Loss, Open, Other, Refusal, Start, Stop, Text
from penstock.core.ir.places import Places

_JSON = JsonEncoder().encode


class Encoder:
    """An encoder of completions' streams: see ``base.StreamEncoder``. ``echo(choice)``: what is repeated before a
    choice's text."""

    __slots__ = ("_blocks", "_echo", "_head", "_offsets", "_tail", "_view", "_places", "losses")

    def __init__(self, view: View, echo: Callable[[int], str]) -> None:
        self._view = view
        self._echo = echo
        self._blocks: dict[int, int] = {}  # open texts: block -> choice
        self._offsets: dict[int, int] = {}  # choices that began -> characters up to the next token with logprobs
        self._head = b""
        self._tail = b',"usage":null}\n\n' if view.usage else b"}\n\n"
        self.losses: list[Loss] = []
        self._places = Places()

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            choice = self._blocks.get(event.index)
            return b"" if choice is None or not event.text else self._chunk(choice, event.text)
        if isinstance(event, Start):
            view = self._view
            top: dict[str, Any] = {"id": event.id or view.mint("cmpl-"), "object": "text_completion"}
            top |= {"created": event.created or view.now, "model": view.model}
            self._head = b"data: " + _JSON(top)[:-1] + b',"choices":'
        elif isinstance(event, Open):
            self._places.note(event)
            if isinstance(event.block, (Text, Refusal)):
                self._blocks[event.index] = event.choice
                return self._begin(event.choice)
            self.losses.append(Loss(self._places[event.index], "a completion is text and nothing else"))
        elif isinstance(event, Logprobs):
            begun = self._begin(event.choice)
            told, self._offsets[event.choice] = plain_logprobs(event.raw, self._offsets[event.choice])
            return begun + (self._chunk(event.choice, "", logprobs=_JSON(told)) if told is not None else b"")
        elif isinstance(event, Stop):
            finish = finish_out(event.reason, False, False)
            finish = "stop" if finish == "tool_calls" else finish
            return self._begin(event.choice) + self._chunk(event.choice, "", finish=_JSON(finish))
        elif isinstance(event, End):
            if event.usage is None or not self._view.usage:
                return sse.DONE
            return self._head + b'[],"usage":' + write_usage(event.usage) + b"}\n\n" + sse.DONE
        elif isinstance(event, Other):
            self.losses.append(Loss(f"events.{event.opaque.kind}", f"an event of {event.opaque.dialect} only"))
        return b""

    def fail(self, error: GatewayError) -> bytes:
        return sse.encode(_JSON({"error": error_fields(error)}))

    def ping(self) -> bytes:
        return sse.COMMENT

    def _begin(self, choice: int) -> bytes:
        if choice in self._offsets:
            return b""
        echo = self._echo(choice)
        self._offsets[choice] = len(echo)
        return self._chunk(choice, echo) if echo else b""

    def _chunk(self, choice: int, said: str, finish: bytes = b"null", logprobs: bytes = b"null") -> bytes:
        body = b'[{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b}]' % (_JSON(said), choice, logprobs, finish)
        return self._head + body + self._tail

"""The answer of OpenAI Responses: the response object, its items, and the event sequence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from penstock.mock import brain
from penstock.mock.brain import Answer, Call
from penstock.mock.openai_common import logprobs_of, usage_as_told
from penstock.mock.reply import Exchange, Frame

_INCOMPLETE = ("max_output_tokens", "content_filter")  # reasons, which a step may give as its finish reason

# request field -> what the response says when the request does not
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def as_item(exchange: Exchange, item: dict[str, Any]) -> dict[str, Any]:
    """Return an input item as `input_items` lists it: typed, with an id, message text as parts."""
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    made = {**item, "type": kind, "id": item.get("id") or exchange.new_id("msg_" if kind == "message" else "item_", 48)}
    if kind == "message":
        made.setdefault("status", "completed")
        if isinstance(item.get("content"), str):
            part = "output_text" if item.get("role") == "assistant" else "input_text"
            made["content"] = [{"type": part, "text": item["content"]}]
    return made


@dataclass(slots=True)
class Talk:
    """One answer on its way to the client. Build it, then take `whole()` or `frames()`."""

    exchange: Exchange
    body: dict[str, Any]
    answer: Answer
    prompt: int
    cached: int
    response_id: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0

    def __post_init__(self) -> None:
        self.response_id = self.exchange.new_id("resp_", 48)
        self.items = list(self._build_items())

    # -- the object

    def usage(self) -> dict[str, Any] | None:
        said = self.answer.tokens
        usage = {
            "input_tokens": self.prompt,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": self.answer.reasoning_tokens},
            "total_tokens": self.prompt + said,
        }
        return usage_as_told(self.exchange, usage)

    @property
    def status(self) -> str:
        told = self.exchange.step.finish_reason
        if told is not None:
            return "incomplete" if told in _INCOMPLETE else told
        return "incomplete" if self.answer.stop == "length" else "completed"

    def _object(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        body = self.body
        done = status in ("completed", "incomplete")
        text = body.get("text") or {}
        reasoning = body.get("reasoning") or {}
        told = self.exchange.step.finish_reason
        why = told if told in _INCOMPLETE else "max_output_tokens"
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self.exchange.created,
            "completed_at": self.exchange.created if done else None,
            "status": status,
            "error": {"code": "server_error", "message": "mock failure"} if status == "failed" else None,
            "incomplete_details": {"reason": why} if status == "incomplete" else None,
            "model": self.exchange.model(body["model"]),
            "output": output,
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
            "service_tier": "default",
            "usage": usage,
            **{name: body.get(name) if body.get(name) is not None else value for name, value in _ECHOED.items()},
            **(self.exchange.step.answer_fields or {}),
        }

    def whole(self) -> dict[str, Any]:
        """Return the finished response."""
        made = self._object(self.status, self.items, self.usage())
        if made["usage"] is None:
            del made["usage"]
        return made

    # -- the items

    def _build_items(self) -> Iterator[dict[str, Any]]:
        answer = self.answer
        for extra in self.exchange.step.extra_blocks or ():
            yield dict(extra)
        if answer.reasoning is not None:
            yield self._reasoning_item(answer.reasoning)
        if answer.text or answer.refusal is not None or not answer.calls:
            whole = "incomplete" if answer.stop == "length" else "completed"
            yield {
                "id": self.exchange.new_id("msg_", 48),
                "type": "message",
                "role": "assistant",
                "status": whole,
                "content": [self._part(answer.text, answer.refusal)],
            }
        for call in answer.calls:
            yield self._call_item(call)

    def _reasoning_item(self, text: str) -> dict[str, Any]:
        name = self.exchange.new_id("rs_", 48)
        reasoning = self.body.get("reasoning") or {}
        wants = reasoning.get("summary") or reasoning.get("generate_summary")
        item: dict[str, Any] = {"id": name, "type": "reasoning", "summary": []}
        if wants:
            item["summary"] = [{"type": "summary_text", "text": text}]
        if "reasoning.encrypted_content" in (self.body.get("include") or []):
            item["encrypted_content"] = brain.seal(self.exchange.script.seed, "reasoning", name) + "." + name
        return item

    def _part(self, text: str, refusal: str | None) -> dict[str, Any]:
        if refusal is not None:
            return {"type": "refusal", "refusal": refusal}
        wants = "message.output_text.logprobs" in (self.body.get("include") or [])
        rows = self._logprobs(text) if wants else []
        return {
            "type": "output_text",
            "text": text,
            "annotations": list(self.exchange.step.citations or ()),
            "logprobs": rows,
        }

    def _logprobs(self, text: str) -> list[dict[str, Any]]:
        return logprobs_of(brain.pieces(text), self.body.get("top_logprobs") or 0, self.exchange.script.seed)

    def _call_item(self, call: Call) -> dict[str, Any]:
        shared: dict[str, Any] = {"call_id": call.id, "name": call.name, "status": "completed"}
        if call.namespace:
            shared["namespace"] = call.namespace
        if call.custom:
            return {
                "id": self.exchange.new_id("ctc_", 48),
                "type": "custom_tool_call",
                "input": call.arguments,
                **shared,
            }
        return {"id": self.exchange.new_id("fc_", 48), "type": "function_call", "arguments": call.arguments, **shared}

    # -- the events

    def _frame(self, name: str, tokens: int = 0, **data: Any) -> Frame:
        event = {"type": name, "sequence_number": self._number, **data}
        self._number += 1
        return Frame(event, name, tokens)

    def frames(self) -> Iterator[Frame]:
        """Yield every event, in the order of the real API."""
        fresh = self._object("in_progress", [], None)
        yield self._frame("response.created", response=fresh)
        yield self._frame("response.in_progress", response=fresh)
        for index, item in enumerate(self.items):
            yield self._frame("response.output_item.added", output_index=index, item=_opened(item))
            kind = item["type"]
            if kind == "reasoning":
                yield from self._summary(index, item)
            elif kind == "message":
                yield from self._message(index, item)
            elif kind in ("function_call", "custom_tool_call"):
                yield from self._call(index, item)
            yield self._frame("response.output_item.done", output_index=index, item=item)
        name = self.status if self.status in ("incomplete", "failed") else "completed"
        yield self._frame(f"response.{name}", response=self.whole())

    def _deltas(self, name: str, text: str, **where: Any) -> Iterator[Frame]:
        if self.exchange.step.whole_arguments and name.endswith(("arguments.delta", "input.delta")):
            return  # only the closing events carry them
        for part in brain.cut(text, self.exchange.step.chunk_size):
            usage = {"usage": self.usage()} if self.exchange.step.usage == "every_chunk" else {}
            yield self._frame(name, brain.count(part), **where, delta=part, **usage)

    def _summary(self, index: int, item: dict[str, Any]) -> Iterator[Frame]:
        for at, part in enumerate(item["summary"]):
            where = {"item_id": item["id"], "output_index": index, "summary_index": at}
            yield self._frame("response.reasoning_summary_part.added", **where, part={**part, "text": ""})
            yield from self._deltas("response.reasoning_summary_text.delta", part["text"], **where)
            yield self._frame("response.reasoning_summary_text.done", **where, text=part["text"])
            yield self._frame("response.reasoning_summary_part.done", **where, part=part)

    def _message(self, index: int, item: dict[str, Any]) -> Iterator[Frame]:
        for at, part in enumerate(item["content"]):
            where = {"item_id": item["id"], "output_index": index, "content_index": at}
            key = "refusal" if part["type"] == "refusal" else "text"
            empty = {**part, key: "", **({"logprobs": [], "annotations": []} if key == "text" else {})}
            yield self._frame("response.content_part.added", **where, part=empty)
            if key == "refusal":
                yield from self._deltas("response.refusal.delta", part["refusal"], **where)
                yield self._frame("response.refusal.done", **where, refusal=part["refusal"])
            else:
                for frame in self._deltas("response.output_text.delta", part["text"], **where):
                    frame.data["logprobs"] = self._logprobs(frame.data["delta"]) if part["logprobs"] else []
                    yield frame
                for number, note in enumerate(part["annotations"]):
                    yield self._frame(
                        "response.output_text.annotation.added", **where, annotation_index=number, annotation=note
                    )
                yield self._frame("response.output_text.done", **where, text=part["text"], logprobs=part["logprobs"])
            yield self._frame("response.content_part.done", **where, part=part)

    def _call(self, index: int, item: dict[str, Any]) -> Iterator[Frame]:
        where: dict[str, Any] = {"item_id": item["id"], "output_index": index}
        if item["type"] == "custom_tool_call":
            yield from self._deltas("response.custom_tool_call_input.delta", item["input"], **where)
            yield self._frame("response.custom_tool_call_input.done", **where, input=item["input"])
        else:
            yield from self._deltas("response.function_call_arguments.delta", item["arguments"], **where)
            yield self._frame("response.function_call_arguments.done", **where, arguments=item["arguments"])


def _opened(item: dict[str, Any]) -> dict[str, Any]:
    """Return the item as it starts: nothing in it yet."""
    blanks: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
        "custom_tool_call": {"input": ""},
    }
    status = {"status": "in_progress"} if "status" in item else {}
    return {**item, **blanks.get(item["type"], {}), **status}

"""Strict readers of the three dialects' streams, written from the vendors' references and not from our decoders.

``messages``, ``responses`` and ``chat`` take all the bytes of a stream and assert every rule that clients were seen to
rely on; they know nothing of the neutral form. ``broken`` says what a stream must look like that ended in an error.
"""

from __future__ import annotations

import json
from typing import Any

Body = dict[str, Any]

# Sources: docs.anthropic.com/en/docs/build-with-claude/streaming; platform.openai.com/docs/api-reference/chat-streaming
# and /responses-streaming; the type packages of the vendors' Python clients.


def split(raw: bytes, named: bool) -> list[tuple[str, Any]]:
    """(event name, data) of a stream as we write it: one ``data`` line each; comments are left out."""
    assert raw == b"" or raw.endswith(b"\n\n"), "a half event at the end"
    assert b"\r" not in raw
    out: list[tuple[str, Any]] = []
    for block in raw.split(b"\n\n")[:-1]:
        lines = block.split(b"\n")
        if lines[0].startswith(b":"):
            assert len(lines) == 1
            continue
        name = ""
        if named:
            assert lines[0].startswith(b"event: "), lines[0]
            name = lines.pop(0)[7:].decode()
        assert len(lines) == 1 and lines[0].startswith(b"data: "), lines
        data = lines[0][6:]
        out.append((name, "[DONE]" if data == b"[DONE]" else json.loads(data)))
    return out


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# Messages -------------------------------------------------------------------------------------------------------------

_TAKES = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
}
_CONTENT = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class _Messages:
    def __init__(self, model: str) -> None:
        self.model = model
        self.events: list[str] = []
        self.count = 0
        self.open: Body | None = None
        self.pieces: list[str] = []
        self.signed = False

    def feed(self, name: str, body: Body) -> None:
        assert body["type"] == name
        if name == "ping":
            assert body == {"type": "ping"}
            return
        if name != "error":
            assert self.events or name == "message_start", f"{name} before message_start"
        assert not self.events or self.events[-1] not in ("message_stop", "error"), f"{name} after the end"
        getattr(self, name)(body)
        self.events.append(name)

    def message_start(self, body: Body) -> None:
        assert not self.events, "a second message_start"
        message = body["message"]
        assert message["id"].startswith("msg_") and message["model"] == self.model
        assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
        assert message["stop_reason"] is None and message["stop_sequence"] is None
        assert is_count(message["usage"]["input_tokens"]) and is_count(message["usage"]["output_tokens"])

    def content_block_start(self, body: Body) -> None:
        assert self.open is None, "a block inside a block"
        assert "message_delta" not in self.events
        assert body["index"] == self.count, "indexes are consecutive"
        self.open, self.pieces, self.signed = body["content_block"], [], False
        assert self.open is not None
        kind = self.open["type"]
        if kind == "text":
            assert self.open["text"] == ""
        elif kind == "thinking":
            assert (self.open["thinking"], self.open["signature"]) == ("", "")
        elif kind == "tool_use":
            assert self.open["id"] and self.open["name"] and self.open["input"] == {}
        elif kind == "redacted_thinking":
            assert self.open["data"]
        assert "cache_control" not in self.open

    def content_block_delta(self, body: Body) -> None:
        assert self.open is not None and body["index"] == self.count
        delta = body["delta"]
        kind = delta["type"]
        assert kind in _TAKES.get(self.open["type"], ()), f"{kind} in a block of type {self.open['type']}"
        if kind in _CONTENT:
            assert not self.signed, "a thought goes on after its signature"
            assert isinstance(delta[_CONTENT[kind]], str)
            self.pieces.append(delta[_CONTENT[kind]])
        elif kind == "signature_delta":
            assert delta["signature"] and not self.signed
            self.signed = True

    def content_block_stop(self, body: Body) -> None:
        assert self.open is not None and body["index"] == self.count
        if self.open["type"] == "tool_use" and self.pieces:
            assert isinstance(json.loads("".join(self.pieces)), dict)
        self.open = None
        self.count += 1

    def message_delta(self, body: Body) -> None:
        assert self.open is None and "message_delta" not in self.events
        reason, sequence = body["delta"]["stop_reason"], body["delta"]["stop_sequence"]
        assert isinstance(reason, str) and reason
        assert (reason == "stop_sequence") == (sequence is not None)
        assert is_count(body["usage"]["output_tokens"])

    def message_stop(self, body: Body) -> None:
        assert self.events[-1] == "message_delta" and body == {"type": "message_stop"}

    def error(self, body: Body) -> None:
        assert body["error"]["type"] and body["error"]["message"]


def messages(raw: bytes, model: str) -> None:
    state = _Messages(model)
    for name, body in split(raw, named=True):
        state.feed(name, body)
    assert state.events[-1] == "message_stop"


# Responses ------------------------------------------------------------------------------------------------------------

# Kind of part: the event's stem, where its text stands in the part, and where the part stands in its item.
_PARTS = {
    "output_text": ("output_text", "text", "content"),
    "refusal": ("refusal", "refusal", "content"),
    "reasoning_text": ("reasoning_text", "text", "content"),
    "summary_text": ("reasoning_summary_text", "text", "summary"),
}
_CALLS = {
    "function_call": ("function_call_arguments", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "input"),
}


class _Responses:
    def __init__(self, model: str) -> None:
        self.model = model
        self.number = 0
        self.done: list[Body] = []
        self.item: Body | None = None
        self.parts: dict[str, list[Body]] = {}
        self.part: Body | None = None
        self.pieces: list[str] = []
        self.notes: list[Any] = []
        self.closed = False
        self.last = ""

    def feed(self, name: str, body: Body) -> None:
        assert body["type"] == name and body["sequence_number"] == self.number
        assert self.last not in ("response.completed", "response.incomplete", "response.failed"), "after the end"
        if self.number < 2 and name != "error" and self.last != "error":
            assert name == ("response.created", "response.in_progress")[self.number], name
        self.number += 1
        self.last = name
        if "output_index" in body:
            assert body["output_index"] == len(self.done)
        if "item_id" in body:
            assert self.item is not None and body["item_id"] == self.item["id"]
        self.step(name.removeprefix("response."), body)

    def step(self, name: str, body: Body) -> None:
        if name in ("created", "in_progress"):
            self.frame(body["response"], "in_progress")
            assert body["response"]["output"] == [] and not self.done and self.item is None
        elif name == "output_item.added":
            assert self.item is None and self.part is None
            self.item, self.parts, self.closed, self.pieces = body["item"], {"content": [], "summary": []}, False, []
            assert self.item is not None and self.item.get("status", "in_progress") in ("in_progress", "completed")
        elif name == "output_item.done":
            self.item_done(body["item"])
        elif name in ("content_part.added", "reasoning_summary_part.added"):
            self.added(body)
        elif name in ("content_part.done", "reasoning_summary_part.done"):
            self.part_done(body)
        elif name == "output_text.annotation.added":
            assert self.part is not None and self.place(body)
            assert body["annotation_index"] == len(self.notes)
            self.notes.append(body["annotation"])
        elif name.endswith(".delta"):
            assert name.removesuffix(".delta") == self.stem() and self.place(body) and not self.closed
            assert isinstance(body["delta"], str)
            self.pieces.append(body["delta"])
        elif name.endswith(".done"):
            assert name.removesuffix(".done") == self.stem() and self.place(body) and not self.closed
            key = _PARTS[self.part["type"]][1] if self.part else _CALLS[(self.item or {})["type"]][1]
            assert body[key] == "".join(self.pieces)
            self.closed = True
        elif name in ("completed", "incomplete", "failed"):
            self.frame(body["response"], name)
            assert self.item is None or name == "failed"
            self.output(body["response"]["output"])
        else:
            assert name == "error" and body["message"], f"an event nobody knows: {name}"

    def frame(self, response: Body, status: str) -> None:
        assert response["status"] == status and response["model"] == self.model and response["object"] == "response"
        assert response["id"].startswith("resp_")
        if (usage := response["usage"]) is not None:
            assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
            inside = usage["input_tokens_details"]
            assert inside["cached_tokens"] + inside["cache_write_tokens"] <= usage["input_tokens"]
            assert usage["output_tokens_details"]["reasoning_tokens"] <= usage["output_tokens"]
        assert (response["incomplete_details"] is not None) == (status == "incomplete")
        assert (response["error"] is not None) == (status == "failed")

    def home(self) -> str:
        return _PARTS[(self.part or {})["type"]][2]

    def place(self, body: Body) -> bool:
        """The part is named by its index among its kind; a call has no parts."""
        if self.part is None:
            return "content_index" not in body and "summary_index" not in body
        home = self.home()
        return bool(body[f"{home}_index"] == len(self.parts[home]))

    def stem(self) -> str:
        if self.part is not None:
            return _PARTS[self.part["type"]][0]
        assert self.item is not None
        return _CALLS[self.item["type"]][0]

    def added(self, body: Body) -> None:
        assert self.part is None and self.item is not None
        self.part, self.pieces, self.notes, self.closed = body["part"], [], [], False
        assert self.part is not None and self.part[_PARTS[self.part["type"]][1]] == ""
        kinds = {"message": ("output_text", "refusal"), "reasoning": ("reasoning_text", "summary_text")}
        assert self.part["type"] in kinds[self.item["type"]]
        assert self.place(body)

    def part_done(self, body: Body) -> None:
        part = body["part"]
        assert self.part is not None and self.place(body) and self.closed, "a part ends after its text"
        assert part["type"] == self.part["type"]
        assert part[_PARTS[part["type"]][1]] == "".join(self.pieces)
        if part["type"] == "output_text":
            assert part["annotations"] == self.notes
        self.parts[self.home()].append(part)
        self.part = None

    def item_done(self, item: Body) -> None:
        assert self.item is not None and self.part is None
        assert (item.get("id"), item["type"]) == (self.item.get("id"), self.item["type"])
        if item["type"] in _CALLS:
            assert self.closed and item[_CALLS[item["type"]][1]] == "".join(self.pieces)
            assert item["call_id"] == self.item["call_id"] and item["name"] == self.item["name"]
            if item["type"] == "function_call":
                assert isinstance(json.loads(item["arguments"]), dict)
        elif item["type"] in ("message", "reasoning"):
            assert item.get("content", []) == self.parts["content"]
            assert item.get("summary", []) == self.parts["summary"]
        assert item.get("status") != "in_progress"
        self.done.append(item)
        self.item = None

    def output(self, output: list[Body]) -> None:
        """What was streamed, but for log probabilities that were known only at the very end."""
        assert [_bare(item) for item in output] == [_bare(item) for item in self.done]
        ids = [item["id"] for item in output if "id" in item and item["type"] not in ("web_search_call",)]
        assert all(ids)


def _bare(item: Body) -> Body:
    if item["type"] != "message":
        return item
    return {**item, "content": [{**part, "logprobs": []} for part in item["content"]]}


def responses(raw: bytes, model: str) -> None:
    state = _Responses(model)
    for name, body in split(raw, named=True):
        state.feed(name, body)
    assert state.last in ("response.completed", "response.incomplete")


# Chat -----------------------------------------------------------------------------------------------------------------


class _Choice:
    def __init__(self) -> None:
        self.pieces = 0
        self.finished = False
        self.calls: list[Body] = []
        self.args: list[list[str]] = []

    def feed(self, piece: Body) -> None:
        assert not self.finished, "a piece after the finish"
        delta = piece["delta"]
        if self.pieces == 0:
            assert delta == {"role": "assistant", "content": ""}
        else:
            assert "role" not in delta
        self.pieces += 1
        for call in delta.get("tool_calls", ()):
            self.call(call)
        if piece["finish_reason"] is not None:
            assert delta == {} and piece["finish_reason"] in ("stop", "length", "tool_calls", "content_filter")
            self.finished = True

    def call(self, call: Body) -> None:
        index = call["index"]
        if index == len(self.calls):
            assert call["id"] and call["type"] in ("function", "custom") and call[call["type"]]["name"]
            self.calls.append(call)
            self.args.append([])
        else:
            assert 0 <= index < len(self.calls), "indexes are consecutive"
            assert "id" not in call or call["id"] == self.calls[index]["id"]
        kind = self.calls[index]["type"]
        inner = call.get(kind)
        if inner is not None:
            self.args[index].append(inner["arguments" if kind == "function" else "input"])

    def end(self) -> None:
        assert self.finished
        for call, args in zip(self.calls, self.args, strict=True):
            assert call["type"] != "function" or isinstance(json.loads("".join(args)), dict)


def chat(raw: bytes, model: str) -> None:
    """A client that asked for usage."""
    events = [body for _, body in split(raw, named=False)]
    assert events[-1] == "[DONE]" and "[DONE]" not in events[:-1]
    chunks: list[Body] = events[:-1]
    choices: dict[int, _Choice] = {}
    _heads(chunks, model)
    for place, chunk in enumerate(chunks):
        if not chunk["choices"]:
            assert place == len(chunks) - 1, "usage comes last"
            used = chunk["usage"]
            assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]
            assert used["prompt_tokens_details"]["cached_tokens"] <= used["prompt_tokens"]
            continue
        assert chunk["usage"] is None
        for piece in chunk["choices"]:
            choices.setdefault(piece["index"], _Choice()).feed(piece)
    assert sorted(choices) == list(range(len(choices))) and choices
    for choice in choices.values():
        choice.end()


def _heads(chunks: list[Body], model: str) -> None:
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1 and chunks[0]["id"]
    assert all(chunk["model"] == model and chunk["object"] == "chat.completion.chunk" for chunk in chunks)


# Streams that ended in an error ---------------------------------------------------------------------------------------


def broken(name: str, raw: bytes, model: str) -> None:
    """The error comes last; until then the stream was a right beginning; nothing says that it was complete."""
    if name == "anthropic":
        events = split(raw, named=True)
        state = _Messages(model)
        for kind, body in events:
            state.feed(kind, body)
        assert state.events[-1] == "error" and not {"message_stop", "message_delta"} & set(state.events)
    elif name == "openai_responses":
        events = split(raw, named=True)
        state_ = _Responses(model)
        for kind, body in events:
            state_.feed(kind, body)
        assert [kind for kind, _ in events[-2:]] == ["error", "response.failed"]
        assert not {"response.completed", "response.incomplete"} & {kind for kind, _ in events}
    else:
        bodies = [body for _, body in split(raw, named=False)]
        assert "[DONE]" not in bodies and bodies[-1]["error"]["message"] and bodies[-1]["error"]["type"]
        assert all("error" not in body for body in bodies[:-1])
        _heads(bodies[:-1], model) if len(bodies) > 1 else None


VALIDATORS = {"anthropic": messages, "openai_responses": responses, "openai_chat": chat}

"""Cohere's `/v2/chat`, whole and streamed, `/v2/embed` and `/v2/rerank`.

Shapes: https://docs.cohere.com/reference/chat, https://docs.cohere.com/reference/chat-stream,
https://docs.cohere.com/reference/embed and the types of the `cohere` client (7.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.mock import brain, ops
from penstock.mock.brain import Answer, Ask, Result, Tool
from penstock.mock.cohere_check import bad, check
from penstock.mock.embeddings import vector
from penstock.mock.openai_common import logprobs_of, usage_as_told
from penstock.mock.reply import Exchange, Frame, Headers, Refused, Reply, encode

ERRORS: dict[int, str] = {
    401: "invalid api token",
    403: "your API key has no access to this resource (mock)",
    404: "the requested resource was not found (mock)",
    413: "request is too large (mock)",
    422: "unprocessable request (mock)",
    429: "You are using a Trial key, which is limited to 10 API calls / minute. (mock)",
    498: "invalid token (mock)",
    499: "request cancelled",
    500: "internal server error, this has been reported to our developers (mock)",
    503: "service unavailable (mock)",
    504: "gateway timeout (mock)",
}
FINISH = {"stop": "COMPLETE", "stop_sequence": "STOP_SEQUENCE", "length": "MAX_TOKENS", "tool": "TOOL_CALL"}
PREAMBLE = 100  # tokens of the vendor's own that are counted and not billed
TYPES = ("float", "int8", "uint8", "binary", "ubinary", "base64")
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
_EMBED = frozenset(
    "model input_type texts images inputs max_tokens output_dimension embedding_types truncate priority".split()
)


def handler(path: str) -> Callable[[Exchange], Reply] | None:
    """Find what answers a POST to this path; None for other people's paths."""
    return next((made for end, made in _PATHS.items() if path.endswith(end)), None)


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render an error as `{"id": ..., "message": ...}`."""
    headers = headers_of(exchange) + list(exc.headers.items())
    return Reply(exc.status, headers, encode({"id": exchange.new_id("", 36), "message": _words(exc)}))


def error_frame(exc: Refused) -> Frame:
    """Render the end of a stream that fails: as any end, with another reason."""
    return Frame(
        {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": _words(exc)}}, "message-end"
    )


def headers_of(exchange: Exchange) -> Headers:
    """Make the headers of every answer."""
    trace = brain.digest("trace", exchange.script.seed, exchange.number)[:32]
    return [("x-debug-trace-id", trace), ("x-endpoint-monthly-call-limit", "1000")]


def _words(exc: Refused) -> str:
    return exc.message or ERRORS.get(exc.status, "the request failed (mock)")


def _read(exchange: Exchange) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(exchange.raw)
    except msgspec.DecodeError as exc:
        raise Refused(400, f"invalid json syntax: {exc}") from exc
    if not isinstance(body, dict):
        raise Refused(400, "invalid type: the request body must be an object")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise bad("model is required.")
    if model.startswith("missing/"):
        raise Refused(404, f"model '{model}' not found, make sure the correct model ID was used.")
    return body


# ---- chat ------------------------------------------------------------------------------------------------------------


def reply(exchange: Exchange) -> Reply:
    """Answer `POST /v2/chat`. Raises Refused."""
    body = _read(exchange)
    check(exchange, body)
    prompt = _tokens(body)
    limit = exchange.script.context_tokens
    if prompt > limit:
        text = f"too many tokens: total number of tokens in the prompt cannot exceed {limit} - received {prompt}."
        raise Refused(400, text)
    answer = brain.answer(_ask(body), exchange.step, lambda _: exchange.new_id("", 12))
    for call in answer.calls:  # ids of this vendor are the tool's name with something behind it
        call.id = f"{call.name}_{call.id}"
    talk = _Talk(exchange, body, answer, prompt)
    if not body.get("stream"):
        return Reply(200, headers_of(exchange), encode(talk.whole()), tokens=answer.tokens)
    return Reply(200, headers_of(exchange), content_type="text/event-stream", frames=talk.frames())


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part["type"] == "text")


def _ask(body: Mapping[str, Any]) -> Ask:
    messages = body["messages"]
    ask = Ask(
        tools=[Tool(tool["function"]["name"], tool["function"]["parameters"]) for tool in body.get("tools") or ()],
        choice={"REQUIRED": "required", "NONE": "none"}.get(str(body.get("tool_choice")), "auto"),
        max_tokens=body.get("max_tokens"),
        stops=list(body.get("stop_sequences") or ()),
    )
    last = len(messages) - 1
    while messages[last]["role"] == "tool":
        last -= 1
    if last < len(messages) - 1:
        names = {call["id"]: call["function"]["name"] for call in messages[last].get("tool_calls") or ()}
        ask.results = [Result(names[m["tool_call_id"]], _result(m["content"])) for m in messages[last + 1 :]]
    else:
        content = messages[-1]["content"]
        ask.user = _texts(content)
        parts = content if isinstance(content, list) else []
        images = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        ask.media = [brain.url_label("image", url) for url in images]
    form = body.get("response_format") or {}
    if form.get("type") == "json_object":
        ask.schema = form.get("json_schema") or {"type": "object"}
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        ask.think = f"budget {thinking['token_budget']}" if thinking.get("token_budget") else "enabled"
    return ask


def _result(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] if part["type"] == "text" else encode(part["document"]).decode() for part in content)


def _tokens(body: Mapping[str, Any]) -> int:
    total = PREAMBLE + brain.MESSAGE_TOKENS * len(body["messages"])
    total += sum(brain.count(encode(tool).decode()) for tool in body.get("tools") or ())
    for message in body["messages"]:
        content = message.get("content") or ""
        total += brain.count(_texts(content))
        if isinstance(content, list):
            total += brain.MEDIA_TOKENS * sum(part["type"] == "image_url" for part in content)
    return total


@dataclass(slots=True)
class _Talk:
    exchange: Exchange
    body: dict[str, Any]
    answer: Answer
    prompt: int

    @property
    def id(self) -> str:
        return brain.digest("chat", self.exchange.script.seed, self.exchange.number)[:36]

    @property
    def finish(self) -> str:
        told = self.exchange.step.finish_reason
        return told if told is not None else FINISH.get(self.answer.stop, "COMPLETE")

    @property
    def text(self) -> str:
        return self.answer.text or self.answer.refusal or ""

    def usage(self) -> dict[str, Any] | None:
        said = self.answer.tokens
        usage = {
            "billed_units": {"input_tokens": self.prompt - PREAMBLE, "output_tokens": said},
            "tokens": {"input_tokens": self.prompt, "output_tokens": said + 3},
            "cached_tokens": PREAMBLE // 2,
        }
        return usage_as_told(self.exchange, usage)

    def plan(self) -> str:
        """Return what the model says before it calls tools; "" when it calls none, or thought about it."""
        if not self.answer.calls or self.answer.reasoning:
            return ""
        return f"I will call {', '.join(call.name for call in self.answer.calls)}."

    def citations(self) -> list[dict[str, Any]]:
        return [dict(one) for one in self.exchange.step.citations or ()]

    def whole(self) -> dict[str, Any]:
        answer = self.answer
        message: dict[str, Any] = {"role": "assistant"}
        if self.plan():
            message["tool_plan"] = self.plan()
        content = [{"type": "thinking", "thinking": answer.reasoning}] if answer.reasoning else []
        content += [{"type": "text", "text": self.text}] if self.text else []
        if content:
            message["content"] = content
        if answer.calls:
            message["tool_calls"] = [_call(call.id, call.name, call.arguments) for call in answer.calls]
        if self.citations():
            message["citations"] = self.citations()
        told: dict[str, Any] = {"id": self.id, "message": message, "finish_reason": self.finish}
        usage = self.usage()
        if usage is not None:
            told["usage"] = usage
        if self.body.get("logprobs"):
            told["logprobs"] = [self._logprob(piece) for piece in brain.pieces(self.text)]
        return {**told, **(self.exchange.step.answer_fields or {})}

    def _logprob(self, piece: str) -> dict[str, Any]:
        row = logprobs_of([piece], 0, self.exchange.script.seed)[0]
        return {"text": piece, "token_ids": [len(piece)], "logprobs": [row["logprob"]]}

    def frames(self) -> Iterator[Frame]:
        answer, size = self.answer, self.exchange.step.chunk_size
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        yield _frame("message-start", {"message": empty}, id=self.id)
        for piece in brain.cut(self.plan(), size):
            yield _frame("tool-plan-delta", {"message": {"tool_plan": piece}})
        number = 0
        for kind, body in (("thinking", answer.reasoning or ""), ("text", self.text)):
            if body:
                yield from self._content(kind, body, number)
                number += 1
        for at, call in enumerate(answer.calls):
            yield _frame("tool-call-start", {"message": {"tool_calls": _call(call.id, call.name, "")}}, index=at)
            for piece in brain.cut(call.arguments, size):
                inner = {"function": {"arguments": piece}}
                yield _frame("tool-call-delta", {"message": {"tool_calls": inner}}, brain.count(piece), index=at)
            yield _frame("tool-call-end", None, index=at)
        usage = self.usage()
        end: dict[str, Any] = {"finish_reason": self.finish} | ({} if usage is None else {"usage": usage})
        yield _frame("message-end", end)

    def _content(self, kind: str, body: str, number: int) -> Iterator[Frame]:
        yield _frame("content-start", {"message": {"content": {"type": kind, kind: ""}}}, index=number)
        for piece in brain.cut(body, self.exchange.step.chunk_size):
            more = {"logprobs": self._logprob(piece)} if self.body.get("logprobs") and kind == "text" else {}
            content = {"message": {"content": {kind: piece}}}
            yield _frame("content-delta", content, brain.count(piece), index=number, **more)
        for at, cited in enumerate(self.citations() if kind == "text" else ()):
            yield _frame("citation-start", {"message": {"citations": cited}}, index=at)
            yield _frame("citation-end", None, index=at)
        yield _frame("content-end", None, index=number)


def _frame(kind: str, delta: dict[str, Any] | None, tokens: int = 0, **more: Any) -> Frame:
    data: dict[str, Any] = {"type": kind, **more} | ({} if delta is None else {"delta": delta})
    return Frame(data, kind, tokens)


def _call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


# ---- embed and rerank ------------------------------------------------------------------------------------------------


def embed(exchange: Exchange) -> Reply:
    """Answer `POST /v2/embed`. Raises Refused."""
    body = _read(exchange)
    for name in body:
        if name not in _EMBED:
            raise Refused(400, f"unknown field: parameter '{name}' is not a valid field")
    if body.get("input_type") not in INPUT_TYPES:
        raise bad("valid input_type must be provided with the provided model")
    given = [name for name in ("texts", "images", "inputs") if body.get(name)]
    if len(given) != 1:
        raise bad("exactly one of texts, images and inputs must be provided.")
    rows = [one if isinstance(one, str) else encode(one).decode() for one in body[given[0]]]
    if len(rows) > (96 if given[0] != "images" else 1):
        raise bad(f"total number of {given[0]} must be at most {96 if given[0] != 'images' else 1}")
    if given[0] == "images" and not all(row.startswith("data:image/") for row in rows):
        raise bad("images must be data URIs.")
    types = body.get("embedding_types") or ["float"]
    if not set(types) <= set(TYPES):
        raise bad(f"embedding_types must be of {', '.join(TYPES)}.")
    size = body.get("output_dimension") or 8
    made = {kind: [_vector(row, size, kind) for row in rows] for kind in types}
    tokens = sum(map(brain.count, rows))
    billed: dict[str, Any] = {"images": len(rows)} if given[0] == "images" else {"input_tokens": tokens}
    told: dict[str, Any] = {"id": exchange.new_id("", 36), "embeddings": made, "texts": body.get("texts") or []}
    told |= {"response_type": "embeddings_by_type", "meta": {"api_version": {"version": "2"}, "billed_units": billed}}
    return Reply(200, headers_of(exchange), encode({**told, **(exchange.step.answer_fields or {})}), tokens=tokens)


def _vector(text: str, size: int, kind: str) -> Any:
    numbers = vector(text, size)
    if kind == "float":
        return numbers
    if kind == "base64":
        return brain.digest(text, size)
    return [int(number * 100) + (128 if kind.startswith("u") else 0) for number in numbers]


_PATHS: dict[str, Callable[[Exchange], Reply]] = {"/v2/chat": reply, "/v2/embed": embed, "/v2/rerank": ops.rerank}

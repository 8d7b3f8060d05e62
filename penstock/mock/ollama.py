"""Ollama's API: `/api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`, `/api/tags`, `/api/show`, `/api/ps` and
`/api/version`, whole and as lines of JSON.

Shapes: docs.ollama.com/api and ollama/ollama `api/types.go`; errors in the words of `server/routes.go` and of Go's
JSON decoder, which refuses content that is no string and arguments that are no object, and ignores unknown fields."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.mock import brain
from penstock.mock.brain import Answer, Ask, Call, Result, Tool
from penstock.mock.embeddings import vector
from penstock.mock.openai_common import logprobs_of, usage_as_told
from penstock.mock.reply import Exchange, Frame, Headers, MakeReply, Refused, Reply, encode

VERSION = "0.13.5"
FIELDS = frozenset(
    "model messages prompt suffix system template context raw images stream format keep_alive tools options think"
    " truncate shift logprobs top_logprobs input dimensions name verbose width height steps".split()
)
PATH = re.compile(r"/api/[a-z]+")  # no more of `/api/` is Ollama's
NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"
FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool": "stop", "refusal": "stop"}
ERRORS = {
    401: "unauthorized",
    404: "not found",
    503: "server busy, please try again.  maximum pending requests exceeded",
}
_GO_TYPES = {str: "string", dict: "object", list: "array", bool: "bool", int: "number", float: "number"}


def handler(method: str, path: str) -> MakeReply | None:
    """Find what answers `path` (`/api/...`, nothing before it); None: 404."""
    return _HANDLERS.get((method if method != "HEAD" else "GET", path))


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render an error as `{"error": "..."}`."""
    return Reply(exc.status, list(exc.headers.items()), encode({"error": _words(exc)}), JSON)


def error_frame(exc: Refused) -> Frame:
    """Render an error inside a stream: a line with nothing else in it."""
    return Frame({"error": _words(exc)})


def headers_of(exchange: Exchange) -> Headers:
    """Return no headers: Ollama sends none of its own."""
    return []


def _words(exc: Refused) -> str:
    return exc.message or ERRORS.get(exc.status, "an error was encountered while running the model (mock)")


# ---- reading the request ---------------------------------------------------------------------------------------------


def _read(exchange: Exchange) -> dict[str, Any]:
    if not exchange.raw:
        raise Refused(400, "missing request body")
    try:
        body = msgspec.json.decode(exchange.raw)
    except msgspec.DecodeError as exc:
        raise Refused(400, f"invalid character in JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise Refused(400, f"json: cannot unmarshal {_go(body)} into Go value of type api.ChatRequest")
    if exchange.rejects_unknown(by_default=False) and (unknown := sorted(set(body) - FIELDS)):
        raise Refused(400, f'json: unknown field "{unknown[0]}"')
    model = body.get("model") or body.get("name")
    if not isinstance(model, str) or not model:
        raise Refused(400, "model is required")
    if model.startswith("missing/"):
        raise Refused(404, f"model '{model}' not found")
    for name, kind in (("options", dict), ("stream", bool), ("messages", list), ("tools", list), ("prompt", str)):
        _typed(body, name, kind)
    _check_think(body.get("think"))
    return {**body, "model": model}


def _go(value: Any) -> str:
    return "null" if value is None else _GO_TYPES.get(type(value), "value")


def _typed(holder: Mapping[str, Any], name: str, kind: type, where: str = "ChatRequest") -> Any:
    """Read a field as Go's decoder does: null is absent, another type an error."""
    value = holder.get(name)
    if value is not None and (not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))):
        wanted = {dict: "map[string]interface {}", list: "[]api.Message", str: "string", bool: "bool"}[kind]
        raise Refused(400, f"json: cannot unmarshal {_go(value)} into Go struct field {where}.{name} of type {wanted}")
    return value


def _check_think(think: Any) -> None:
    if think is not None and think not in (True, False, "high", "medium", "low"):
        raise Refused(400, f'invalid think value: {think!r} (must be "high", "medium", "low", true, or false)')


def _images(holder: Mapping[str, Any], where: str) -> list[str]:
    found = []
    for data in _typed(holder, "images", list, where) or ():
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError) as exc:
            raise Refused(400, "illegal base64 data at input byte 0") from exc
        kinds = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"))
        mime = next((kind for magic, kind in kinds if raw.startswith(magic)), "")
        found.append(brain.media_label("image", mime, data))
    return found


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages") or []
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Refused(400, f"json: cannot unmarshal {_go(message)} into Go struct field ChatRequest.messages")
        if message.get("role") not in ("system", "user", "assistant", "tool"):
            raise Refused(400, f"invalid role: {message.get('role')!r} of message {at}")
        _typed(message, "content", str, "ChatRequest.messages")
        for call in _typed(message, "tool_calls", list, "ChatRequest.messages") or ():
            inner = call.get("function") or {}
            if not isinstance(inner.get("arguments", {}), dict):
                field = "ChatRequest.messages.tool_calls.function.arguments of type api.ToolCallFunctionArguments"
                raise Refused(400, f"json: cannot unmarshal {_go(inner['arguments'])} into Go struct field {field}")
    return messages


def _ask(body: Mapping[str, Any], messages: list[dict[str, Any]]) -> Ask:
    options = body.get("options") or {}
    limit = options.get("num_predict")
    ask = Ask(max_tokens=limit if isinstance(limit, int) and limit >= 0 else None)
    stop = options.get("stop") or []
    ask.stops = [stop] if isinstance(stop, str) else list(stop)
    for raw in body.get("tools") or ():
        inner = raw.get("function") or {}
        if not inner.get("name"):
            raise Refused(400, "tool function name is required")
        ask.tools.append(Tool(inner["name"], inner.get("parameters")))
    last = max((at for at, m in enumerate(messages) if m["role"] in ("user", "assistant")), default=-1)
    if last >= 0 and messages[last]["role"] == "assistant":
        ask.results = _results(messages[last], [m for m in messages[last + 1 :] if m["role"] == "tool"])
        ask.prefill = "" if ask.results else str(messages[last].get("content") or "")
        ask.media = [label for m in messages[last + 1 :] for label in _images(m, "Message")]
    if not ask.results:
        users = [m for m in messages if m["role"] == "user"]
        ask.user = str(users[-1].get("content") or "") if users else ""
        ask.media = _images(users[-1], "Message") if users else []
    ask.schema = _schema(body.get("format"))
    think = body.get("think")
    ask.think = think if isinstance(think, str) else "medium" if think else None
    return ask


def _results(turn: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[Result]:
    """Put each result under its tool's name: by `tool_name`, else by the id of its call."""
    names = {call.get("id"): (call.get("function") or {}).get("name", "?") for call in turn.get("tool_calls") or ()}
    told = [(row.get("tool_name") or names.get(row.get("tool_call_id")) or "?", row) for row in rows]
    return [Result(name, str(row.get("content") or "")) for name, row in told]


def _schema(form: Any) -> Any:
    if form is None or form == "":
        return None
    if form == "json":
        return {"type": "object", "properties": {"mock": {"const": True}}, "required": ["mock"]}
    if not isinstance(form, dict):
        raise Refused(400, f'invalid format: {form!r}; expected "json" or a valid JSON Schema object')
    return form


def _prompt_tokens(messages: list[dict[str, Any]], tools: Any) -> int:
    total = brain.count(encode(tools).decode()) if tools else 0
    for message in messages:
        total += brain.MESSAGE_TOKENS + brain.count(str(message.get("content") or ""))
        total += brain.MEDIA_TOKENS * len(message.get("images") or ())
        if message.get("tool_calls"):
            total += brain.count(encode(message["tool_calls"]).decode())
    return total


# ---- chat and generate -----------------------------------------------------------------------------------------------


def chat_reply(exchange: Exchange) -> Reply:
    """Answer `/api/chat`. Raises Refused."""
    body = _read(exchange)
    return _reply(exchange, body, _messages(body), generate=False)


def generate_reply(exchange: Exchange) -> Reply:
    """Answer `/api/generate`. Raises Refused."""
    body = _read(exchange)
    for name in ("suffix", "system", "template"):
        _typed(body, name, str, "GenerateRequest")
    if body.get("raw") and (body.get("template") or body.get("system") or body.get("context")):
        raise Refused(400, "raw mode does not support template, system, or context")
    messages = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    if body.get("prompt") or body.get("images"):
        messages.append({"role": "user", "content": body.get("prompt") or "", "images": body.get("images")})
    return _reply(exchange, body, messages, generate=True)


def _reply(exchange: Exchange, body: dict[str, Any], messages: list[dict[str, Any]], generate: bool) -> Reply:
    talk = _Talk(exchange, body, Answer(), 0, generate)
    if not messages:  # a request without a prompt loads the model, or unloads it
        reason = "unload" if body.get("keep_alive") in (0, "0", "0s") else "load"
        return Reply(200, [], encode(talk.line() | {"done": True, "done_reason": reason}), JSON)
    talk.prompt = _prompt_tokens(messages, body.get("tools"))
    if talk.prompt > exchange.script.context_tokens and body.get("truncate") is False:
        raise Refused(400, "the input length exceeds the context length")
    talk.answer = brain.answer(_ask(body, messages), exchange.step, lambda prefix: exchange.new_id(prefix, 8))
    if body.get("stream", True) is False:
        return Reply(200, [], encode(talk.whole()), JSON, tokens=talk.answer.tokens)
    return Reply(200, [], content_type=NDJSON, frames=talk.frames())


@dataclass(slots=True)
class _Talk:
    exchange: Exchange
    body: dict[str, Any]
    answer: Answer
    prompt: int
    generate: bool

    def line(self, content: str = "", **more: Any) -> dict[str, Any]:
        """Make one object of the answer, not the last."""
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.exchange.created))
        told: dict[str, Any] = {"model": self.exchange.model(self.body["model"]), "created_at": created + ".123456789Z"}
        if self.generate:
            told |= {"response": content} | more
        else:
            told["message"] = {"role": "assistant", "content": content} | more
        return {**told, "done": False, **(self.exchange.step.answer_fields or {})}

    def closing(self) -> dict[str, Any]:
        told = self.exchange.step.finish_reason
        counts = {"prompt_eval_count": self.prompt, "eval_count": self.answer.tokens}
        durations = {"total_duration": 5_191_566_416, "load_duration": 2_154_458, "prompt_eval_duration": 383_809_000}
        usage = usage_as_told(self.exchange, counts) or {}
        eval_duration = {"eval_duration": 4_799_921_000}
        context = {"context": [1, 2, 3]} if self.generate and not self.body.get("raw") else {}
        reason = told if told is not None else FINISH[self.answer.stop]
        return {"done": True, "done_reason": reason} | context | durations | usage | eval_duration

    def calls(self) -> list[dict[str, Any]]:
        return [_call(at, call) for at, call in enumerate(self.answer.calls)]

    def logprobs(self, parts: list[str]) -> dict[str, Any]:
        if not self.body.get("logprobs"):
            return {}
        rows = logprobs_of(parts, self.body.get("top_logprobs") or 0, self.exchange.script.seed)
        for row in rows:
            if not row["top_logprobs"]:
                del row["top_logprobs"]
        return {"logprobs": rows}

    def whole(self) -> dict[str, Any]:
        answer = self.answer
        more: dict[str, Any] = {"thinking": answer.reasoning} if answer.reasoning else {}
        if answer.calls and not self.generate:
            more["tool_calls"] = self.calls()
        text = answer.text or answer.refusal or ""
        return self.line(text, **more) | self.closing() | self.logprobs(brain.pieces(text))

    def frames(self) -> Iterator[Frame]:
        size = self.exchange.step.chunk_size
        for part in brain.cut(self.answer.reasoning or "", size):
            yield Frame(self.line(thinking=part), None, brain.count(part))
        for part in brain.cut(self.answer.text or self.answer.refusal or "", size):
            yield Frame(self.line(part) | self.logprobs([part]), None, brain.count(part))
        if self.answer.calls and not self.generate:
            for call in self.calls():  # each comes whole, as soon as it has been read
                yield Frame(self.line(tool_calls=[call]), None, 4)
        yield Frame(self.line() | self.closing())


def _call(at: int, call: Call) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        arguments = {"mock_invalid_json": call.arguments}
    return {"id": call.id, "function": {"index": at, "name": call.name, "arguments": arguments}}


# ---- the rest --------------------------------------------------------------------------------------------------------


def embed_reply(exchange: Exchange) -> Reply:
    """Answer `/api/embed`. Raises Refused."""
    body = _read(exchange)
    given = body.get("input")
    inputs = [given] if isinstance(given, str) else given if given is not None else []
    if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
        raise Refused(400, "invalid input type")
    size = body.get("dimensions") or 8
    told = {
        "model": exchange.model(body["model"]),
        "embeddings": [vector(text, size) for text in inputs],
        "total_duration": 14_143_917,
        "load_duration": 1_019_500,
        "prompt_eval_count": sum(brain.count(text) for text in inputs),
    }
    return Reply(200, [], encode(told), JSON)


def embeddings_reply(exchange: Exchange) -> Reply:
    """Answer `/api/embeddings`, the older form. Raises Refused."""
    body = _read(exchange)
    return Reply(200, [], encode({"embedding": vector(body.get("prompt") or "", 8)}), JSON)


_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "mock",
    "families": ["mock"],
    "parameter_size": "1B",
    "quantization_level": "Q4_K_M",
}


def _row(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-01-01T00:00:00.123456789Z",
        "size": 1_321_098_329,
        "digest": brain.digest(name),
        "details": _DETAILS,
    }


def tags_reply(exchange: Exchange) -> Reply:
    """Answer `/api/tags`."""
    return Reply(200, [], encode({"models": [_row(name) for name in exchange.script.models]}), JSON)


def running_reply(exchange: Exchange) -> Reply:
    """Answer `/api/ps`: every model is loaded."""
    loaded = {"expires_at": "2026-01-01T00:05:00Z", "size_vram": 1_321_098_329, "context_length": 4096}
    return Reply(200, [], encode({"models": [_row(name) | loaded for name in exchange.script.models]}), JSON)


def show_reply(exchange: Exchange) -> Reply:
    """Answer `/api/show`. Raises Refused."""
    body = _read(exchange)
    told = {
        "modelfile": f"FROM {body['model']}\n",
        "parameters": 'stop "<|eot_id|>"',
        "template": "{{ .Prompt }}",
        "details": _DETAILS,
        "model_info": {"general.architecture": "mock", "mock.context_length": exchange.script.context_tokens},
        "capabilities": ["completion", "tools", "vision", "thinking"],
        "modified_at": "2026-01-01T00:00:00.123456789Z",
    }
    return Reply(200, [], encode(told), JSON)


def version_reply(exchange: Exchange) -> Reply:
    """Answer `/api/version`."""
    return Reply(200, [], encode({"version": VERSION}), JSON)


_HANDLERS: dict[tuple[str, str], MakeReply] = {
    ("POST", "/api/chat"): chat_reply,
    ("POST", "/api/generate"): generate_reply,
    ("POST", "/api/embed"): embed_reply,
    ("POST", "/api/embeddings"): embeddings_reply,
    ("GET", "/api/tags"): tags_reply,
    ("GET", "/api/ps"): running_reply,
    ("POST", "/api/show"): show_reply,
    ("GET", "/api/version"): version_reply,
}

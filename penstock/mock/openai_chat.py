"""OpenAI Chat Completions: `POST /v1/chat/completions`, whole and streamed.

Shapes: the `openai` Python package's `types/chat` (3.51); chunk order as api.openai.com sends it (role first, an empty
delta with the finish reason last, then the usage chunk if `stream_options.include_usage`, then `[DONE]`).
`reasoning_content` is what DeepSeek and vLLM send."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from penstock.mock import brain
from penstock.mock.brain import Answer, Ask, Call, Result, Tool
from penstock.mock.openai_common import (
    LONGEST_ID,
    MOST_STOPS,
    MOST_TOOLS,
    check_context,
    check_count,
    check_length,
    check_model,
    check_name,
    check_types,
    check_unknown,
    error_object,
    headers_of,
    logprobs_of,
    read_body,
    require,
    usage_as_told,
)
from penstock.mock.reply import Exchange, Frame, Refused, Reply, encode

FIELDS = frozenset(
    "messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens"
    " max_tokens metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key"
    " prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier"
    " stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity"
    " web_search_options".split()
)
TYPES: dict[str, tuple[type, ...]] = {
    "stream": (bool,),
    "stream_options": (dict,),
    "logprobs": (bool,),
    "top_logprobs": (int,),
    "max_tokens": (int,),
    "max_completion_tokens": (int,),
    "n": (int,),
    "stop": (str, list),
    "tools": (list,),
    "tool_choice": (str, dict),
    "parallel_tool_calls": (bool,),
    "response_format": (dict,),
    "reasoning_effort": (str,),
}
ROLES = ("developer", "system", "user", "assistant", "tool", "function")
FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool": "tool_calls", "refusal": "stop"}


def reply(exchange: Exchange) -> Reply:
    """Answer `POST /v1/chat/completions`. Raises Refused."""
    body = read_body(exchange)
    model = require(body, "model", str)
    messages = require(body, "messages", list)
    check_types(body, TYPES)
    check_unknown(exchange, body, FIELDS)
    check_model(model)
    _check_limits(body)
    _check_messages(messages, model)
    ask = _ask(body, messages)
    prompt = _prompt_tokens(body, messages)
    check_context(exchange, prompt, "messages")
    cached = _cached_tokens(exchange, model, messages)
    n = body.get("n") or 1
    if not 1 <= n <= 128:
        raise _bad(f"Invalid 'n': {n}. Expected an integer from 1 to 128.", "n", "integer_above_max_value")
    answers = [brain.answer(ask, exchange.step, _ids(exchange), index) for index in range(n)]
    talk = _Talk(exchange, body, exchange.model(model), answers, prompt, cached)
    if body.get("stream"):
        return Reply(200, headers_of(exchange), content_type="text/event-stream; charset=utf-8", frames=talk.frames())
    tokens = sum(answer.tokens for answer in answers)
    return Reply(200, headers_of(exchange), encode(talk.whole()), tokens=tokens)


def error_frame(exc: Refused) -> Frame:
    """Render an error inside a stream."""
    return Frame({"error": error_object(exc)})


def _ids(exchange: Exchange) -> brain.MakeId:
    return lambda prefix: exchange.new_id(prefix)


# ---- reading the request ---------------------------------------------------------------------------------------------


def _bad(message: str, param: str, code: str | None = "invalid_value") -> Refused:
    return Refused(400, message, "invalid_request_error", code, param)


def _check_limits(body: dict[str, Any]) -> None:
    check_count(body.get("stop"), MOST_STOPS, "stop")
    check_count(body.get("tools"), MOST_TOOLS, "tools")
    for at, tool in enumerate(body.get("tools") or []):
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
            check_name(tool["function"].get("name"), f"tools[{at}].function.name")


# https://docs.mistral.ai/capabilities/function_calling: its models' templates insist on it, at every server.
_MISTRALS = re.compile(r"(?:^|/)(?:open-)?(?:mi[sx]tral|ministral|magistral|codestral|devstral|pixtral)", re.IGNORECASE)
_MISTRALS_ID = re.compile(r"[a-zA-Z0-9]{9}")


def _check_calls(message: dict[str, Any], at: int, model: str) -> None:
    for place, call in enumerate(message.get("tool_calls") or []):
        param = f"messages[{at}].tool_calls[{place}]"
        if not isinstance(call, dict):
            continue
        check_length(call.get("id"), LONGEST_ID, f"{param}.id")
        if isinstance(call.get("function"), dict):
            check_name(call["function"].get("name"), f"{param}.function.name")
        id = call.get("id")
        if _MISTRALS.search(model) and isinstance(id, str) and not _MISTRALS_ID.fullmatch(id):
            text = f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9."
            raise _bad(text, f"{param}.id", "invalid_value")


def _check_messages(messages: list[Any], model: str) -> None:
    if not messages:
        raise _bad(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    open_calls: set[str] = set()
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _bad(f"Invalid type for 'messages[{at}]': expected an object.", f"messages[{at}]", "invalid_type")
        role = message.get("role")
        if role not in ROLES:
            allowed = ", ".join(f"'{name}'" for name in ROLES)
            raise _bad(f"Invalid value: '{role}'. Supported values are: {allowed}.", f"messages[{at}].role")
        if role != "tool" and open_calls:
            missing = ", ".join(sorted(open_calls))
            raise _bad(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
                f" 'tool_call_id'. The following tool_call_ids did not have response messages: {missing}",
                f"messages[{at}].role",
                None,
            )
        if role == "assistant":
            _check_calls(message, at, model)
            open_calls = {str(call.get("id")) for call in message.get("tool_calls") or []}
        elif role == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise _bad(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message"
                    " with 'tool_calls'.",
                    f"messages[{at}].role",
                    None,
                )
            open_calls.discard(message["tool_call_id"])
        if message.get("content") is None and role in ("user", "system", "developer", "tool"):
            raise _bad("Invalid value for 'content': expected a string, got null.", f"messages[{at}].content", None)


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part.get("text") or "" for part in parts if isinstance(part, dict) and part.get("type") == "text")


def _media_of(content: Any) -> list[str]:
    found = []
    for part in content if isinstance(content, list) else []:
        kind = part.get("type")
        if kind == "image_url":
            image = part.get("image_url")
            found.append(brain.url_label("image", image.get("url", "") if isinstance(image, dict) else str(image)))
        elif kind == "input_audio":
            sound = part.get("input_audio") or {}
            found.append(brain.media_label("audio", f"audio/{sound.get('format')}", sound.get("data", "")))
        elif kind == "file":
            file = part.get("file") or {}
            data = file.get("file_data")
            found.append(brain.url_label("file", data) if data else f"file ({file.get('file_id')})")
    return found


def _tools(body: dict[str, Any]) -> list[Tool]:
    made = []
    for at, raw in enumerate(body.get("tools") or []):
        kind = raw.get("type", "function")
        inner = raw.get(kind)
        if not isinstance(inner, dict) or not inner.get("name"):
            raise _bad(
                f"Missing required parameter: 'tools[{at}].{kind}'.",
                f"tools[{at}].{kind}",
                "missing_required_parameter",
            )
        made.append(Tool(inner["name"], inner.get("parameters"), kind == "custom"))
    return made


def _choose(ask: Ask, raw: Any) -> None:
    if isinstance(raw, str):
        ask.choice = raw
    elif isinstance(raw, dict) and raw.get("type") == "allowed_tools":
        allowed = raw.get("allowed_tools") or {}
        ask.choice = allowed.get("mode", "auto")
        names = [(tool.get(tool.get("type", "function")) or {}).get("name") for tool in allowed.get("tools", [])]
        ask.only = frozenset(name for name in names if name)
    elif isinstance(raw, dict):
        name = (raw.get(raw.get("type", "function")) or {}).get("name")
        ask.choice, ask.only = "required", frozenset([str(name)])
    if ask.choice not in ("auto", "none", "required"):
        raise _bad(
            f"Invalid value: '{ask.choice}'. Supported values are: 'none', 'auto', and 'required'.", "tool_choice"
        )
    if ask.choice == "required" and not any(ask.only is None or tool.name in ask.only for tool in ask.tools):
        raise _bad("Invalid value for 'tool_choice': the tool is not in 'tools'.", "tool_choice", None)


def _ask(body: dict[str, Any], messages: list[Any]) -> Ask:
    ask = Ask(tools=_tools(body), parallel=body.get("parallel_tool_calls") is not False)
    _choose(ask, body.get("tool_choice"))
    last = max((at for at, m in enumerate(messages) if m["role"] in ("user", "assistant")), default=-1)
    tail = messages[last + 1 :]
    if last >= 0 and messages[last]["role"] == "assistant":
        names = {
            call.get("id"): (call.get("function") or call.get("custom") or {}).get("name", "?")
            for call in messages[last].get("tool_calls") or []
        }
        ask.results = [
            Result(names.get(m.get("tool_call_id"), "?"), _text_of(m["content"])) for m in tail if m["role"] == "tool"
        ]
    if not ask.results:
        users = [m for m in messages if m["role"] == "user"] or messages
        ask.user, ask.media = _text_of(users[-1].get("content")), _media_of(users[-1].get("content"))
    else:
        ask.user = ""
    ask.schema = _schema(body.get("response_format"))
    ask.max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop")
    ask.stops = [stop] if isinstance(stop, str) else list(stop or [])
    effort = body.get("reasoning_effort")
    ask.think = effort if effort and effort != "none" else None
    return ask


def _schema(raw: Any) -> Any:
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind == "json_object":
        return {"type": "object", "properties": {"mock": {"const": True}}, "required": ["mock"]}
    if kind == "json_schema":
        inner = raw.get("json_schema")
        if not isinstance(inner, dict) or not inner.get("name"):
            raise _bad(
                "Missing required parameter: 'response_format.json_schema.name'.",
                "response_format.json_schema.name",
                "missing_required_parameter",
            )
        return inner.get("schema") or {}
    if kind not in (None, "text"):
        raise _bad(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            "response_format.type",
        )
    return None


def _prompt_tokens(body: dict[str, Any], messages: list[Any]) -> int:
    total = 0
    for message in messages:
        content = message.get("content")
        total += brain.MESSAGE_TOKENS + brain.count(_text_of(content)) + brain.MEDIA_TOKENS * len(_media_of(content))
        if message.get("tool_calls"):
            total += brain.count(encode(message["tool_calls"]).decode())
    if body.get("tools"):
        total += brain.count(encode(body["tools"]).decode())
    return total


def _cached_tokens(exchange: Exchange, model: str, messages: list[Any]) -> int:
    """Count the cached tokens by OpenAI's rule: prefixes from 1,024 tokens on, in steps of 128. Each message ends a
    prefix."""
    least = exchange.script.cache_min_tokens
    least, grain = (1024, 128) if least is None else (least, 1)
    cached = total = 0
    key = model
    for message in messages:
        key = brain.digest(key, encode(message).decode())
        total += brain.MESSAGE_TOKENS + brain.count(_text_of(message.get("content")))
        if total >= least and exchange.memory.seen(f"chat:{key}"):
            cached = total // grain * grain
    return cached


# ---- writing the answer ----------------------------------------------------------------------------------------------


Delta = tuple[dict[str, Any], list[str], str | None]  # delta, its texts, finish reason


@dataclass(slots=True)
class _Talk:
    exchange: Exchange
    body: dict[str, Any]
    model: str
    answers: list[Answer]
    prompt: int
    cached: int

    def usage(self) -> dict[str, Any] | None:
        said = sum(answer.tokens for answer in self.answers)
        usage = {
            "prompt_tokens": self.prompt,
            "completion_tokens": said,
            "total_tokens": self.prompt + said,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": sum(answer.reasoning_tokens for answer in self.answers),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        return usage_as_told(self.exchange, usage)

    @property
    def reasoning_field(self) -> str:
        return self.exchange.step.reasoning_field or "reasoning_content"

    def finish(self, answer: Answer) -> str:
        told = self.exchange.step.finish_reason
        return told if told is not None else FINISH[answer.stop]

    def logprobs(self, parts: list[str]) -> Any:
        if not self.body.get("logprobs"):
            return None
        rows = logprobs_of(parts, self.body.get("top_logprobs") or 0, self.exchange.script.seed)
        return {"content": rows, "refusal": None}

    def whole(self) -> dict[str, Any]:
        choices = []
        for index, answer in enumerate(self.answers):
            message: dict[str, Any] = {
                "role": "assistant",
                "content": answer.text if answer.text or answer.stop not in ("tool", "refusal") else None,
                "refusal": answer.refusal,
                "annotations": list(self.exchange.step.citations or ()),
            }
            if answer.reasoning is not None:
                message[self.reasoning_field] = answer.reasoning
            if answer.calls:
                message["tool_calls"] = [_whole_call(call) for call in answer.calls]
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": self.logprobs(brain.pieces(answer.text)),
                    "finish_reason": self.finish(answer),
                }
            )
        made = {
            "id": self.exchange.new_id("chatcmpl-", 29),
            "object": "chat.completion",
            "created": self.exchange.created,
            "model": self.model,
            "choices": choices,
            "usage": self.usage(),
            "service_tier": "default",
            "system_fingerprint": "fp_penstock_mock",
        }
        if made["usage"] is None:
            del made["usage"]
        return {**made, **(self.exchange.step.answer_fields or {})}

    def frames(self) -> Iterator[Frame]:
        head = {
            "id": self.exchange.new_id("chatcmpl-", 29),
            "object": "chat.completion.chunk",
            "created": self.exchange.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_penstock_mock",
        }
        head.update(self.exchange.step.answer_fields or {})
        usage = self.usage()
        every = self.exchange.step.usage == "every_chunk"
        asked = bool((self.body.get("stream_options") or {}).get("include_usage")) and usage is not None
        extra: dict[str, Any] = {"usage": usage if every else None} if asked or every else {}
        for index, answer in enumerate(self.answers):
            for delta, parts, finish in self._deltas(answer):
                choice = {
                    "index": index,
                    "delta": delta,
                    "logprobs": self.logprobs(parts) if parts else None,
                    "finish_reason": finish,
                }
                tokens = sum(brain.count(part) for part in parts) if parts else 0
                yield Frame({**head, "choices": [choice], **extra}, None, tokens)
        if asked:
            yield Frame({**head, "choices": [], "usage": usage})
        yield Frame(b"[DONE]")

    def _deltas(self, answer: Answer) -> Iterator[Delta]:
        size = self.exchange.step.chunk_size
        first: dict[str, Any] = {"role": "assistant", "content": None if answer.calls and not answer.text else ""}
        yield {**first, "refusal": None}, [], None
        for part in brain.cut(answer.reasoning or "", size):
            yield {self.reasoning_field: part}, [part], None
        for part in brain.cut(answer.refusal or "", size):
            yield {"refusal": part}, [part], None
        for part in brain.cut(answer.text, size):
            yield {"content": part}, [part], None
        if self.exchange.step.citations and answer.text:
            yield {"annotations": list(self.exchange.step.citations)}, [], None
        streams = [self._call_deltas(at, call) for at, call in enumerate(answer.calls)]
        if self.exchange.step.interleave_calls:
            for row in itertools.zip_longest(*streams):
                yield from (step for step in row if step is not None)
        else:
            for stream in streams:
                yield from stream
        yield {}, [], self.finish(answer)

    def _call_deltas(self, at: int, call: Call) -> Iterator[Delta]:
        if self.exchange.step.whole_arguments:
            yield {"tool_calls": [{"index": at, **_whole_call(call)}]}, [call.arguments], None
            return
        yield {"tool_calls": [{"index": at, **_whole_call(call, "")}]}, [], None
        key, inner = ("custom", "input") if call.custom else ("function", "arguments")
        for part in brain.cut(call.arguments, self.exchange.step.chunk_size):
            yield {"tool_calls": [{"index": at, key: {inner: part}}]}, [part], None


def _whole_call(call: Call, arguments: str | None = None) -> dict[str, Any]:
    text = call.arguments if arguments is None else arguments
    if call.custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": text}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": text}}

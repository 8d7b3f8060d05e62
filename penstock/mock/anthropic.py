"""Anthropic Messages: `POST /v1/messages`, whole and streamed, `/v1/messages/count_tokens`, `/v1/models`.

Shapes: the `anthropic` Python package's types (2.10). Event order: message_start, ping, per block
content_block_start / deltas / stop, message_delta with stop reason and usage, message_stop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.mock import brain, threads
from penstock.mock.anthropic_check import bad, blocks_of, cached_blocks, check, turns
from penstock.mock.brain import Answer, Ask, Result, Tool
from penstock.mock.openai_common import overlay, usage_as_told
from penstock.mock.reply import Exchange, Frame, Headers, Refused, Reply, encode

ERRORS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is not right. (mock)"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low. (mock)"),
    403: ("permission_error", "Your API key does not have permission to use this resource. (mock)"),
    404: ("not_found_error", "Not found"),
    409: ("conflict_error", "Conflict. (mock)"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit. (mock)"),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out. (mock)"),
    529: ("overloaded_error", "Overloaded"),
}
STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}
MEDIA = ("image", "document")


def error_object(exc: Refused) -> dict[str, Any]:
    """Make `{type, message}`, with the table's words where the exception says nothing."""
    kind, message = ERRORS.get(exc.status, ERRORS[500 if exc.status >= 500 else 400])
    details = {} if exc.details is None else {"details": exc.details}
    return {"type": kind, "message": exc.message or message, **details}


def error_reply(exchange: Exchange, exc: Refused) -> Reply:
    """Render the error as Anthropic sends it."""
    headers = headers_of(exchange) + list(exc.headers.items())
    return Reply(exc.status, headers, encode({**_error(exc), "request_id": _request_id(exchange)}))


def _error(exc: Refused) -> dict[str, Any]:
    return {"type": "error", "error": error_object(exc)}


def error_frame(exc: Refused) -> Frame:
    """Render an error inside a stream."""
    return Frame(_error(exc), "error")


def _request_id(exchange: Exchange) -> str:
    return "req_" + brain.digest("request", exchange.script.seed, exchange.number)[:24]


def headers_of(exchange: Exchange) -> Headers:
    """Make the headers of every Anthropic answer."""
    rows = [("request-id", _request_id(exchange)), ("anthropic-organization-id", "penstock-mock")]
    for name, limit in (("requests", 4000), ("tokens", 500_000), ("input-tokens", 400_000), ("output-tokens", 80_000)):
        rows.append((f"anthropic-ratelimit-{name}-limit", str(limit)))
        rows.append((f"anthropic-ratelimit-{name}-remaining", str(max(0, limit - exchange.number))))
        rows.append((f"anthropic-ratelimit-{name}-reset", "2026-01-01T00:01:00Z"))
    return rows


def models_reply(exchange: Exchange, model: str | None) -> Reply:
    """Answer `GET /v1/models` in Anthropic's shape, with all models or one of them. Raises Refused 404."""
    rows = [_model(name) for name in exchange.script.models]
    if model is None:
        told = {
            "data": rows,
            "has_more": False,
            "first_id": rows[0]["id"] if rows else None,
            "last_id": rows[-1]["id"] if rows else None,
        }
        return Reply(200, headers_of(exchange), encode(told))
    for row in rows:
        if row["id"] == model:
            return Reply(200, headers_of(exchange), encode(row))
    raise Refused(404, f"model: {model}")


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": f"{name} (mock)",
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def _read(exchange: Exchange, counting: bool) -> dict[str, Any]:
    if "anthropic-version" not in exchange.headers:
        raise bad("anthropic-version: header is required")
    try:
        body = msgspec.json.decode(exchange.raw)
    except msgspec.DecodeError as exc:
        raise bad(f"The request body is not valid JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise bad("Input should be a valid dictionary")
    if not counting:
        body = threads.resume(exchange, body, "/projects/" not in exchange.path)
    check(exchange, body, counting)
    if body["model"].startswith("missing/"):
        raise Refused(404, f"model: {body['model']}")
    return body


def count_reply(exchange: Exchange) -> Reply:
    """Answer `POST /v1/messages/count_tokens`. Raises Refused."""
    body = _read(exchange, counting=True)
    return Reply(200, headers_of(exchange), encode({"input_tokens": _prompt(body).total}))


def reply(exchange: Exchange) -> Reply:
    """Answer `POST /v1/messages`. Raises Refused."""
    body = _read(exchange, counting=False)
    prompt = _prompt(body)
    limit = exchange.script.context_tokens
    if prompt.total > limit:
        raise bad(f"prompt is too long: {prompt.total} tokens > {limit} maximum")
    answer = brain.answer(_ask(body), exchange.step, lambda _: exchange.new_id("toolu_01", 22))
    talk = _Talk(exchange, body, answer, _cache(exchange, body, prompt))
    threads.keep(exchange, body, talk.id, talk.blocks())
    if body.get("stream"):
        return Reply(200, headers_of(exchange), content_type="text/event-stream; charset=utf-8", frames=talk.frames())
    return Reply(200, headers_of(exchange), encode(talk.whole()), tokens=answer.tokens)


# ---- reading the request ---------------------------------------------------------------------------------------------


def _texts(blocks: list[dict[str, Any]]) -> str:
    return "\n".join(block.get("text", "") for block in blocks if block.get("type") == "text")


def _media(blocks: list[dict[str, Any]]) -> list[str]:
    found = []
    for block in blocks:
        kind = block.get("type")
        if kind in MEDIA:
            source = block.get("source") or {}
            if source.get("type") == "base64":
                found.append(brain.media_label(str(kind), source.get("media_type", ""), source.get("data", "")))
            else:
                found.append(f"{kind} ({source.get('url') or source.get('file_id') or source.get('type')})")
        elif kind == "tool_result":
            found += _media(blocks_of(block.get("content")))
    return found


def _ask(body: dict[str, Any]) -> Ask:
    choice = body.get("tool_choice") or {}
    kind = choice.get("type", "auto")
    ask = Ask(
        tools=[Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools") or [] if "input_schema" in tool],
        choice="required" if kind in ("any", "tool") else kind,
        only=frozenset([choice["name"]]) if kind == "tool" else None,
        parallel=not choice.get("disable_parallel_tool_use"),
        max_tokens=body["max_tokens"],
        stops=list(body.get("stop_sequences") or []),
    )
    spoken = [turn for turn in turns(body["messages"]) if turn[1] != "system"]
    if spoken[-1][1] == "assistant":
        ask.prefill = _texts(spoken[-1][2])
        spoken = spoken[:-1]
    last = spoken[-1][2]
    names = {
        block["id"]: block.get("name", "?") for turn in spoken for block in turn[2] if block.get("type") == "tool_use"
    }
    ask.results = [
        Result(
            names.get(block["tool_use_id"], "?"), _texts(blocks_of(block.get("content"))), bool(block.get("is_error"))
        )
        for block in last
        if block.get("type") == "tool_result"
    ]
    ask.user, ask.media = _texts(last), _media(last)
    thinking = body.get("thinking") or {}
    config = body.get("output_config") or {}
    if thinking.get("type") in ("enabled", "adaptive"):
        ask.think = config.get("effort") or str(thinking["type"])
    form = config.get("format") or body.get("output_format")
    ask.schema = (form.get("schema") or {}) if isinstance(form, Mapping) else None
    return ask


@dataclass(slots=True)
class _Prompt:
    """Tokens of the prompt: all, and of each prefix that a cache mark ends (key, tokens, ttl)."""

    total: int = 0
    marks: list[tuple[str, int, str]] = field(default_factory=list)


def _prompt(body: dict[str, Any]) -> _Prompt:
    prompt = _Prompt(brain.MESSAGE_TOKENS * len(body["messages"]))
    key = brain.digest(body["model"])
    blocks = list(cached_blocks(body))
    for block in blocks:
        bare = {name: value for name, value in block.items() if name != "cache_control"}
        key = brain.digest(key, encode(bare).decode())
        prompt.total += _weight(bare)
        if block.get("cache_control"):
            prompt.marks.append((key, prompt.total, block["cache_control"].get("ttl", "5m")))
    whole = body.get("cache_control")  # the top-level mark falls on the last block
    if isinstance(whole, Mapping) and blocks:
        prompt.marks.append((key, prompt.total, whole.get("ttl", "5m")))
    return prompt


def _weight(block: dict[str, Any]) -> int:
    if block.get("type") in MEDIA:
        return brain.MEDIA_TOKENS
    if block.get("type") == "text":
        return brain.count(block.get("text", ""))
    return brain.count(encode(block).decode())


def _cache(exchange: Exchange, body: dict[str, Any], prompt: _Prompt) -> dict[str, Any]:
    """Count the prompt's usage: the longest marked prefix seen before is read, what later marks add is written."""
    least = exchange.script.cache_min_tokens or 1
    read, written = 0, {"5m": 0, "1h": 0}
    at = 0
    for key, tokens, ttl in prompt.marks:
        if tokens < least:
            continue
        if exchange.memory.seen(f"anthropic:{key}"):
            read = at = tokens
            written = {"5m": 0, "1h": 0}
        else:
            written[ttl] += tokens - at
            at = tokens
    return {
        "input_tokens": prompt.total - read - sum(written.values()),
        "cache_creation_input_tokens": sum(written.values()),
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written["5m"], "ephemeral_1h_input_tokens": written["1h"]},
        "service_tier": "standard",
    }


# ---- writing the answer ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Talk:
    exchange: Exchange
    body: dict[str, Any]
    answer: Answer
    prompt_usage: dict[str, Any]
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = self.exchange.new_id("msg_01", 22)

    def usage(self) -> dict[str, Any] | None:
        usage = {**self.prompt_usage, "output_tokens": self.answer.tokens}
        if self.answer.reasoning is not None:
            usage["output_tokens_details"] = {"thinking_tokens": self.answer.reasoning_tokens}
        return usage_as_told(self.exchange, usage)

    def blocks(self) -> list[dict[str, Any]]:
        answer, seed = self.answer, self.exchange.script.seed
        made: list[dict[str, Any]] = []
        if self.exchange.step.redacted:
            made.append({"type": "redacted_thinking", "data": brain.seal(seed, "redacted", "")})
        if answer.reasoning is not None:
            # display "omitted": the text is empty, the signature still comes
            hidden = (self.body.get("thinking") or {}).get("display") == "omitted"
            shown = "" if hidden else answer.reasoning
            made.append({"type": "thinking", "thinking": shown, "signature": brain.seal(seed, "thinking", shown)})
        made += [dict(block) for block in self.exchange.step.extra_blocks or ()]
        if answer.refusal or answer.text:
            made.append({"type": "text", "text": answer.refusal or answer.text})
            if self.exchange.step.citations:
                made[-1]["citations"] = list(self.exchange.step.citations)
        for call in answer.calls:
            made.append({"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)})
        return made

    def ending(self) -> dict[str, Any]:
        told = self.exchange.step.finish_reason
        reason = told if told is not None else STOP[self.answer.stop]
        ending: dict[str, Any] = {"stop_reason": reason, "stop_sequence": self.answer.matched}
        if reason == "refusal":
            ending["stop_details"] = {
                "type": "refusal",
                "category": "general_harms",
                "explanation": self.answer.refusal,
            }
        return ending

    def whole(self) -> dict[str, Any]:
        usage = self.usage()
        made = {**self._message(self.blocks()), **self.ending(), "usage": usage}
        if usage is None:
            del made["usage"]
        return made

    def _message(self, content: list[Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.exchange.model(self.body["model"]),
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            **(self.exchange.step.answer_fields or {}),
        }

    def frames(self) -> Iterator[Frame]:
        usage = self.usage()
        start = self._message([])
        if usage is not None:
            start["usage"] = overlay(
                {**usage}, {"output_tokens": min(1, usage.get("output_tokens", 0)), "output_tokens_details": None}
            )
        yield Frame({"type": "message_start", "message": start}, "message_start")
        yield Frame({"type": "ping"}, "ping")
        arguments = {call.id: call.arguments for call in self.answer.calls}
        for index, block in enumerate(self.blocks()):
            text = arguments.get(block.get("id", ""), "")
            for name, data, tokens in self._block(block, text):
                if self.exchange.step.usage == "every_chunk" and name == "content_block_delta":
                    data["usage"] = usage
                yield Frame({"type": name, "index": index, **data}, name, tokens)
        ending = {"type": "message_delta", "delta": self.ending()}
        if usage is not None:
            ending["usage"] = {
                name: value for name, value in usage.items() if name not in ("service_tier", "cache_creation")
            }
        yield Frame(ending, "message_delta")
        yield Frame({"type": "message_stop"}, "message_stop")

    def _block(self, block: dict[str, Any], arguments: str) -> Iterator[tuple[str, dict[str, Any], int]]:
        kind = block["type"]
        pieces = bool(arguments) and not self.exchange.step.whole_arguments
        empty: dict[str, Any] = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}.get(kind, {})
        if kind == "tool_use" and pieces:
            empty = {"input": {}}
        if "citations" in block:
            empty["citations"] = []
        yield "content_block_start", {"content_block": {**block, **empty}}, 0
        for delta, tokens in self._deltas(block, arguments if pieces else ""):
            yield "content_block_delta", {"delta": delta}, tokens
        yield "content_block_stop", {}, 0

    def _deltas(self, block: dict[str, Any], arguments: str) -> Iterator[tuple[dict[str, Any], int]]:
        kind = block["type"]
        size = self.exchange.step.chunk_size
        if kind in ("text", "thinking"):
            for part in brain.cut(block[kind], size):
                yield {"type": f"{kind}_delta", kind: part}, brain.count(part)
        for citation in block.get("citations") or ():
            yield {"type": "citations_delta", "citation": citation}, 0
        if kind == "thinking":
            yield {"type": "signature_delta", "signature": block["signature"]}, 0
        if arguments:
            yield {"type": "input_json_delta", "partial_json": ""}, 0
            for part in brain.cut(arguments, size):
                yield {"type": "input_json_delta", "partial_json": part}, brain.count(part)


def _input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {"mock_invalid_json": arguments}

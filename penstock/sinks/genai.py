"""Spans of a request, in the words of OpenTelemetry's conventions for generative AI: one of the server for the request,
and below it one of a client for each attempt at an upstream.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (1.37 and newer: ``gen_ai.provider.name``; what is read
by the older ``gen_ai.system`` stands beside it). What was asked and said is only in it where that is wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.providers.names import TRACED_AS
from penstock.sinks import otlp
from penstock.sinks.payload import TRACE

if TYPE_CHECKING:
    from penstock.sinks.base import Payload

# Words in the type of a call -> the convention's name of the operation; others keep their own.
_OPERATIONS = (
    ("text_completion", "text_completion"), ("embedding", "embeddings"), ("generate_content", "generate_content"),
    ("completion", "chat"), ("responses", "chat"), ("anthropic_messages", "chat"),
)  # fmt: skip
_PARAMETERS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens", "seed": "seed",
    "max_completion_tokens": "max_tokens", "max_output_tokens": "max_tokens", "n": "choice.count",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty", "stream": "stream",
}  # fmt: skip
_LONGEST = 2000  # characters of an error's message


def spans_of(payload: Payload, content: bool) -> list[otlp.Span]:
    """Make the spans of a request, its own first. ``content``: what was asked and said stands in them. Without
    ``TRACE`` (of the SDK) there is one span, which asks itself."""
    trace = payload.get(TRACE)
    if trace is None:
        digest = hashlib.sha256(str(payload["litellm_call_id"]).encode()).digest()
        return [_attempt(payload, {"trace_id": digest[:16]}, _alone(payload, digest[16:24]), content)]
    return [_request(payload, trace), *(_attempt(payload, trace, one, content) for one in trace["attempts"])]


def _alone(payload: Payload, span_id: bytes) -> dict[str, Any]:
    return {
        "span_id": span_id,
        "start": payload["startTime"],
        "end": payload["endTime"],
        "first_byte": payload["completionStartTime"] if payload.get("stream") else None,
        "provider": payload.get("custom_llm_provider"),
        "model": payload.get("model"),
        "won": payload["status"] == "success",
    }


def operation_of(payload: Payload) -> str:
    """Name what was asked for as the convention has it."""
    kind = str(payload["call_type"])
    return next((name for word, name in _OPERATIONS if word in kind), kind.removeprefix("a"))


def _request(payload: Payload, trace: Mapping[str, Any]) -> otlp.Span:
    """Make the span of the whole request, as the gateway's client sees it."""
    metadata = payload.get("metadata") or {}
    status, failed = int(trace["status"]), payload["status"] == "failure"
    attributes = {
        "http.request.method": trace["method"],
        "url.path": trace["path"],
        "http.response.status_code": status or None,
        "client.address": payload.get("requester_ip_address"),
        "user_agent.original": payload.get("user_agent"),
        "error.type": _error_type(payload) if failed else None,
        "gen_ai.conversation.id": payload.get("session_id"),
        "session.id": payload.get("session_id"),
        "user.id": payload.get("end_user") or metadata.get("user_api_key_user_id"),
        "penstock.call_id": payload["litellm_call_id"],
        "penstock.model_group": payload.get("model_group"),
        "penstock.attempts": len(trace["attempts"]),
        "penstock.cache_hit": payload.get("cache_hit"),
        "penstock.cost_usd": payload.get("response_cost"),
        "penstock.key_alias": metadata.get("user_api_key_alias"),
        "penstock.team_id": metadata.get("user_api_key_team_id"),
        "penstock.tags": list(payload.get("request_tags") or ()) or None,
    }
    return otlp.Span(
        trace["trace_id"],
        trace["span_id"],
        f"{trace['method']} {trace['path']}",
        _nanoseconds(payload["startTime"]),
        _nanoseconds(payload["endTime"]),
        _set(attributes),
        # Of a server's span only its own faults are errors: what a client did wrong is in the status code.
        otlp.ERROR if failed and not 400 <= status < 500 else otlp.UNSET,
        str(payload.get("error_str") or "")[:_LONGEST] if failed else "",
        trace["parent_id"],
        otlp.SERVER,
        tuple(_events(payload, trace)),
        trace["state"],
    )


def _events(payload: Payload, trace: Mapping[str, Any]) -> Iterator[otlp.Event]:
    for name, moment, attributes in trace["events"]:
        yield otlp.Event(name, _nanoseconds(moment), attributes)
    if payload.get("cache_hit"):
        yield otlp.Event("answered from the cache", _nanoseconds(payload["endTime"]))
    for finding in payload.get("guardrail_information") or ():
        if isinstance(finding, Mapping):
            told = {
                f"penstock.guard.{name.removeprefix('guardrail_')}": value
                for name, value in finding.items()
                if isinstance(value, str | int | float | bool) and name in _OF_GUARDS
            }
            moment = finding.get("end_time")
            at = moment if isinstance(moment, int | float) else payload["endTime"]
            yield otlp.Event("guard", _nanoseconds(at), told)


_OF_GUARDS = ("guardrail_name", "guardrail_provider", "guardrail_mode", "guardrail_status", "duration")


def _attempt(payload: Payload, trace: Mapping[str, Any], attempt: Mapping[str, Any], content: bool) -> otlp.Span:
    """Make the span of one attempt. The one that answered has what the answer used."""
    operation, model = operation_of(payload), str(attempt.get("model") or payload.get("model") or "")
    error, won = attempt.get("error"), bool(attempt.get("won"))
    origin, provider = attempt.get("origin"), str(attempt.get("provider") or "")
    failed = not attempt.get("let_go") and (bool(error) or payload["status"] == "failure")
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": TRACED_AS.get(provider, provider) or None,
        "gen_ai.system": provider or None,
        "gen_ai.request.model": model or None,
        "gen_ai.conversation.id": payload.get("session_id"),
        "server.address": None if origin is None else origin.host,
        "server.port": None if origin is None else origin.port,
        "error.type": (error or _error_type(payload)) if failed else None,
        "http.response.status_code": attempt.get("status"),
        "penstock.call_id": payload["litellm_call_id"],
        "penstock.attempt": attempt.get("number"),
        "penstock.deployment": attempt.get("deployment"),
        "penstock.model_group": attempt.get("group") or payload.get("model_group"),
        "penstock.lane": attempt.get("lane") or None,
        "penstock.let_go": attempt.get("let_go"),
    }
    for name, value in (payload.get("model_parameters") or {}).items():
        if name in _PARAMETERS and isinstance(value, int | float | bool):
            attributes[f"gen_ai.request.{_PARAMETERS[name]}"] = value
    if won:
        attributes |= _answer(payload, attempt)
        if content:
            attributes |= _content(payload)
    message = str(attempt.get("message") or payload.get("error_str") or "")[:_LONGEST] if failed else ""
    first = attempt.get("first_byte")
    return otlp.Span(
        trace["trace_id"],
        attempt["span_id"],
        f"{operation} {model}" if model else operation,
        _nanoseconds(attempt["start"]),
        _nanoseconds(max(attempt["end"], attempt["start"])),
        _set(attributes),
        otlp.ERROR if failed else otlp.UNSET,
        message,
        trace.get("span_id", b""),
        otlp.CLIENT,
        () if first is None else (otlp.Event("the answer begins", _nanoseconds(first)),),
        str(trace.get("state") or ""),
    )


def _answer(payload: Payload, attempt: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what an answer was and used."""
    said = payload.get("response")
    said = said if isinstance(said, Mapping) else {}
    usage = (payload.get("metadata") or {}).get("usage_object")
    first = attempt.get("first_byte")
    found: dict[str, Any] = {
        "gen_ai.response.id": said.get("id"),
        "gen_ai.response.model": said.get("model") or attempt.get("model"),
        "gen_ai.response.finish_reasons": _reasons(said) or None,
        "penstock.cost_usd": payload.get("response_cost"),
    }
    if payload.get("stream") and first is not None:
        found["gen_ai.response.time_to_first_chunk"] = round(max(first - attempt["start"], 0.0), 6)
    if usage is not None:
        asked, written = usage["prompt_tokens_details"], usage["completion_tokens_details"]
        found |= {
            "gen_ai.usage.input_tokens": usage["prompt_tokens"],
            "gen_ai.usage.output_tokens": usage["completion_tokens"],
            "gen_ai.usage.cache_read.input_tokens": asked["cached_tokens"] or None,
            "gen_ai.usage.cache_creation.input_tokens": asked["cache_creation_tokens"] or None,
            "gen_ai.usage.reasoning.output_tokens": written["reasoning_tokens"] or None,
        }
    return found


def _reasons(said: Mapping[str, Any]) -> list[str]:
    choices = said.get("choices")
    rows = choices if isinstance(choices, list) else [said]
    found = [row.get("finish_reason") or row.get("stop_reason") for row in rows if isinstance(row, Mapping)]
    return [reason for reason in found if isinstance(reason, str)]


# What was asked and said: messages with parts, as JSON in one attribute each. -----------------------------------------


def _content(payload: Payload) -> dict[str, Any]:
    asked, said = payload.get("messages"), payload.get("response")
    found: dict[str, Any] = {}
    if asked is not None:
        rows = asked if isinstance(asked, list) else [asked]
        found["gen_ai.input.messages"] = _json([_message(row) for row in rows])
    if isinstance(said, Mapping):
        found["gen_ai.output.messages"] = _json(_answers(said))
    return found


def _answers(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = said.get("choices")
    if isinstance(choices, list):
        found = []
        for choice in choices:
            row = choice if isinstance(choice, Mapping) else {}
            message = row.get("message") or {"role": "assistant", "content": row.get("text")}
            found.append(_message(message) | {"finish_reason": row.get("finish_reason") or "stop"})
        return found
    body = said.get("content") or said.get("output") or said.get("text") or said.get("candidates")
    return [_message({"role": "assistant", "content": body}) | {"finish_reason": said.get("stop_reason") or "stop"}]


def _message(row: Any) -> dict[str, Any]:
    """Turn a message of any dialect into a role and parts. What has no form of its own there goes as it is."""
    if not isinstance(row, Mapping):
        return {"role": "user", "parts": [_part(row)]}
    content = row.get("content", row.get("parts"))
    rows = content if isinstance(content, list) else [] if content is None else [content]
    parts = [_part(one) for one in rows]
    for call in row.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            told = {"name": function.get("name"), "arguments": function.get("arguments")}
            parts.append({"type": "tool_call", "id": call.get("id"), **told})
    if row.get("role") == "tool":
        answer = {"type": "tool_call_response", "id": row.get("tool_call_id"), "response": content}
        return {"role": "tool", "parts": [answer]}
    return {"role": str(row.get("role") or "user"), "parts": parts}


def _part(one: Any) -> dict[str, Any]:
    if isinstance(one, str):
        return {"type": "text", "content": one}
    if isinstance(one, Mapping) and isinstance(one.get("text"), str):
        return {"type": "text", "content": one["text"]}
    return {"type": "other", "content": one} if not isinstance(one, Mapping) else {"type": "other", **one}


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _error_type(payload: Payload) -> str:
    return str((payload.get("error_information") or {}).get("error_class") or "_OTHER")


def _set(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


def openinference(spans: Sequence[otlp.Span]) -> list[otlp.Span]:
    """Add the names that Phoenix reads (https://arize-ai.github.io/openinference/spec/): its own convention's."""
    found = []
    for span in spans:
        given = span.attributes
        asks = "gen_ai.operation.name" in given
        more = {"openinference.span.kind": "LLM" if asks else "CHAIN"}
        used = {
            "llm.model_name": given.get("gen_ai.request.model"),
            "llm.provider": given.get("gen_ai.system"),
            "llm.token_count.prompt": given.get("gen_ai.usage.input_tokens"),
            "llm.token_count.completion": given.get("gen_ai.usage.output_tokens"),
            "input.value": given.get("gen_ai.input.messages"),
            "output.value": given.get("gen_ai.output.messages"),
        }
        found.append(span._replace(attributes={**given, **more, **_set(used)}))
    return found

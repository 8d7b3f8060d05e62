"""LiteLLM's standard logging payload, and the ``kwargs`` of its callbacks: what every sink gets of a request.

Keys of deployments, and their addresses beyond the host, are not in it. One place makes it, for gateway and SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from penstock.core.errors import TABLE

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.core.record import Record
    from penstock.sinks.base import Payload

REDACTED = "redacted-by-litellm"
"""What stands in the place of messages that are kept out; LiteLLM's word."""
CONTENT = ("messages", "prompt", "input", "contents", "query")
"""Fields of a request with what is asked, in the order in which they are looked for."""
TRACE = "trace"
"""What a sink of spans finds beside these: where the request stands in its trace, and each of its tries."""
_KEYS = ("user_api_key_hash", "user_api_key_alias", "user_api_key_user_id", "user_api_key_team_id",
         "user_api_key_team_alias", "user_api_key_org_id", "user_api_key_user_email")  # fmt: skip


class Told(Struct, kw_only=True):
    """What is known of a request that is over. ``asked``: its fields without those that are for the gateway; ``said``:
    its answer. ``start``, ``end``: unix time. ``error``: its class, status and message."""

    call_type: str
    call_id: str
    model: str
    start: float
    end: float
    asked: Mapping[str, Any] = {}
    parameters: Mapping[str, Any] = {}
    said: Any = None
    stream: bool = False
    metadata: Mapping[str, Any] = {}
    tags: Sequence[str] = ()
    end_user: str = ""
    session: str = ""
    trace: str = ""
    record: Record | None = None
    caller: Caller | None = None
    team_alias: str = ""
    user_agent: str = ""
    api_base: str = ""
    error: tuple[str, str, str] | None = None


def error_of(record: Record) -> tuple[str, str, str] | None:
    """Return class, status and message of the error that a record tells of; None for a good answer."""
    if not record.error and record.status < 400:
        return None
    row = TABLE.get(record.error)
    return row.litellm if row is not None else "APIError", str(record.status), record.message or record.error


def payload_of(told: Told) -> dict[str, Any]:
    """Make the payload of a request."""
    record, error = told.record, told.error
    cost = None if record is None or record.cost is None else float(record.cost)
    provider = record.provider if record is not None else ""
    hit = record.cache_hit if record is not None else None
    ttft = None if record is None or record.ttft_ms is None else told.start + record.ttft_ms / 1000
    usage = _usage(record)
    tokens = usage or {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    said = told.said
    if usage is not None and isinstance(said, Mapping) and "choices" in said and not said.get("usage"):
        said = {**said, "usage": usage}  # a stream tells it only where its client asked
    return {
        "id": (said.get("id") if isinstance(said, Mapping) else None) or told.call_id,
        "trace_id": told.trace or told.call_id,
        "session_id": told.session or None,
        "litellm_call_id": told.call_id,
        "call_type": told.call_type,
        "stream": told.stream,
        "status": "success" if error is None else "failure",
        "model": _model(record) or told.model,
        "model_group": record.model if record is not None and record.model else told.model,
        "model_id": record.target_id or None if record is not None else None,
        "custom_llm_provider": provider,
        "api_base": told.api_base,
        "response_cost": cost,
        "cost_breakdown": None,
        "response_cost_failure_debug_info": None,
        "model_map_information": None,
        **{name: tokens[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "startTime": told.start,
        "endTime": told.end,
        "completionStartTime": ttft if ttft is not None else told.end,
        "response_time": round((ttft if told.stream and ttft is not None else told.end) - told.start, 6),
        "metadata": _metadata(told, usage),
        "cache_hit": hit,
        "cache_key": None,
        "saved_cache_cost": 0.0,
        "request_tags": list(told.tags),
        "end_user": told.end_user,
        "requester_ip_address": record.client if record is not None else None,
        "user_agent": told.user_agent or None,
        "messages": content_of(told.asked),
        "response": said,
        "error_str": None if error is None else error[2],
        "error_information": None if error is None else _error(error, provider),
        "model_parameters": dict(told.parameters),
        "hidden_params": {
            "model_id": record.target_id or None if record is not None else None,
            "cache_key": None,
            "api_base": told.api_base or None,
            "response_cost": cost,
            "litellm_overhead_time_ms": round(record.overhead_ms, 3) if record is not None else None,
            "additional_headers": None,
            "batch_models": None,
        },
        "guardrail_information": _guards(record) or None,
    }


def content_of(asked: Mapping[str, Any]) -> Any:
    """Return what a request asks, in its own form; what stands beside messages as a system prompt goes before them."""
    found = next((asked[name] for name in CONTENT if asked.get(name) is not None), None)
    system = asked.get("system") or asked.get("instructions")
    if system is not None and isinstance(found, list):
        return [{"role": "system", "content": system}, *found]
    return found


def content_field(payload: Payload) -> str:
    """Name the field that a payload's messages came from."""
    found, kind = payload.get("messages"), str(payload["call_type"])
    if isinstance(found, list) and found and isinstance(found[0], Mapping) and "role" in found[0]:
        return "messages"
    words = {"text_completion": "prompt", "image": "prompt", "rerank": "query", "completion": "messages"}
    return next((field for word, field in words.items() if word in kind), "input")


def redact(payload: Payload) -> dict[str, Any]:
    """Return a payload without what was asked and said."""
    gone: dict[str, Any] = {"messages": [{"role": "user", "content": REDACTED}] if payload.get("messages") else None}
    if payload.get("response") is not None:
        gone["response"] = {"text": REDACTED}
    return {**payload, **gone, "model_parameters": _without_texts(payload.get("model_parameters") or {})}


def hide_keys(payload: Payload) -> dict[str, Any]:
    """Return a payload without whose key it was (``redact_user_api_key_info``)."""
    metadata = {name: value for name, value in payload["metadata"].items() if not name.startswith("user_api_key")}
    return {**payload, "metadata": metadata}


def kwargs_of(payload: Payload, exception: object = None) -> dict[str, Any]:
    """Make of a payload what LiteLLM's callbacks get first."""
    metadata = payload["metadata"].get("requester_metadata") or {}
    start, end = (datetime.fromtimestamp(payload[name]) for name in ("startTime", "endTime"))
    names = ("call_type", "litellm_call_id", "stream", "response_cost", "cache_hit", "custom_llm_provider", "model")
    messages = payload["messages"] if content_field(payload) == "messages" else None
    return {
        **{name: payload[name] for name in names},
        "messages": messages,
        "input": payload["messages"],
        "litellm_params": {"metadata": {**payload["metadata"], **metadata}, "api_base": payload["api_base"]},
        "optional_params": payload["model_parameters"],
        "user": payload["end_user"] or None,
        "exception": exception,
        "start_time": start,
        "end_time": end,
        "standard_logging_object": payload,
    }


def _model(record: Record | None) -> str:
    """Return the model as its provider calls it."""
    if record is None:
        return ""
    return record.target.removeprefix(f"{record.provider}/") if record.provider else record.target


def _usage(record: Record | None) -> dict[str, Any] | None:
    usage = record.usage if record is not None else None
    if usage is None:
        return None
    written = usage.cache_write + usage.cache_write_1h
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_creation_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _guards(record: Record | None) -> list[dict[str, Any]]:
    """Tell which guards ran, in LiteLLM's names. What they found is told by its kind, and never by its words."""
    return [
        {
            "guardrail_name": ran.name,
            "guardrail_mode": ran.mode,
            "guardrail_status": _VERDICTS.get(ran.verdict, "success"),
            "duration": ran.ms / 1000,
            "masked_entity_count": dict(ran.kinds),
        }
        for ran in (record.guards if record is not None else ())
    ]


_VERDICTS = dict.fromkeys(("masked", "blocked"), "guardrail_intervened") | {"failed": "guardrail_failed_to_respond"}


def _metadata(told: Told, usage: Mapping[str, Any] | None) -> dict[str, Any]:
    caller, record = told.caller, told.record
    whose: dict[str, Any] = dict.fromkeys(_KEYS)
    if caller is not None:
        whose |= {
            "user_api_key_hash": caller.key or None,
            "user_api_key_alias": caller.alias or None,
            "user_api_key_user_id": caller.user or None,
            "user_api_key_team_id": caller.team or None,
            "user_api_key_team_alias": told.team_alias or None,
            "user_api_key_org_id": caller.organization or None,
        }
    return {
        **whose,
        "user_api_key_end_user_id": told.end_user or None,
        "user_api_key_request_route": record.path if record is not None else None,
        "spend_logs_metadata": told.metadata.get("spend_logs_metadata"),
        "requester_ip_address": record.client if record is not None else None,
        "requester_metadata": dict(told.metadata),
        "requester_custom_headers": None,
        "applied_guardrails": [ran["guardrail_name"] for ran in _guards(record)] or None,
        "usage_object": usage,
    }


def _error(error: tuple[str, str, str], provider: str) -> dict[str, Any]:
    return {
        "error_class": error[0],
        "error_code": error[1],
        "error_message": error[2],
        "llm_provider": provider,
        "traceback": "",
    }


def _without_texts(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are no texts: a list of tools or a schema may say what is asked."""
    return {name: value for name, value in parameters.items() if isinstance(value, str | int | float | bool | None)}

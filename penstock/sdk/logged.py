"""What callbacks are told of a call: LiteLLM's `kwargs`, and in them its `standard_logging_object`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.sdk.arguments import is_param

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.sdk.arguments import Asked

_CONTENT = ("messages", "prompt", "input", "query")
# Of a request, and no parameter of the model.
_BESIDE = frozenset((*_CONTENT, "model", "documents", "file", "metadata"))


def kwargs_of(
    call_type: str,
    asked: Asked,
    answer: Any,
    error: Exception | None,
    record: Record | None,
    times: tuple[datetime, datetime],
) -> dict[str, Any]:
    """Write down a call as LiteLLM's callbacks get it. Keys and addresses of the deployment are not in it."""
    given = asked.given
    content = next((given[name] for name in _CONTENT if name in given), None)
    optional = {name: value for name, value in given.items() if name not in _BESIDE and not is_param(name)}
    call_id = record.call_id if record is not None else None
    cost = None if record is None or record.cost is None else float(record.cost)
    provider = record.provider if record is not None else ""
    start, end = times
    shown: dict[str, Any] = {
        "id": answer.get("id") if isinstance(answer, dict) else None,
        "litellm_call_id": call_id,
        "call_type": call_type,
        "stream": asked.stream,
        "status": "success" if error is None else "failure",
        "model": asked.model,
        "model_group": record.model if record is not None else asked.model,
        "model_id": record.target_id if record is not None else None,
        "custom_llm_provider": provider,
        "response_cost": cost,
        "startTime": start.timestamp(),
        "endTime": end.timestamp(),
        "response_time": (end - start).total_seconds(),
        "completionStartTime": _first_at(start, record),
        "metadata": asked.metadata,
        "request_tags": asked.fields.get("tags") or [],
        "end_user": given.get("user"),
        "messages": content,
        "response": answer.model_dump() if hasattr(answer, "model_dump") else None,
        "model_parameters": optional,
        "cache_hit": record.cache_hit if record is not None else None,
        "error_str": None if error is None else str(error),
        "error_information": None if error is None else _told(error, provider),
        **_tokens(record),
    }
    told = {name: shown[name] for name in ("call_type", "litellm_call_id", "stream", "response_cost", "cache_hit")}
    return {
        **told,
        "model": asked.model,
        "messages": given.get("messages"),
        "input": content,
        "litellm_params": {"metadata": asked.metadata},
        "optional_params": optional,
        "user": given.get("user"),
        "custom_llm_provider": provider,
        "exception": error,
        "start_time": start,
        "end_time": end,
        "standard_logging_object": shown,
    }


def _tokens(record: Record | None) -> dict[str, int]:
    usage = record.usage if record is not None else None
    asked, said = (0, 0) if usage is None else (usage.input, usage.output)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _first_at(start: datetime, record: Record | None) -> float | None:
    return None if record is None or record.ttft_ms is None else start.timestamp() + record.ttft_ms / 1000


def _told(error: Exception, provider: str) -> dict[str, Any]:
    return {
        "error_class": type(error).__name__,
        "error_code": str(getattr(error, "status_code", "")),
        "error_message": str(error),
        "llm_provider": provider,
    }

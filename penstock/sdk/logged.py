"""What callbacks are told of a call of the SDK: LiteLLM's `kwargs`, and in them its `standard_logging_object`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.sdk.answers import Fields
from penstock.sdk.arguments import is_param
from penstock.sinks.payload import CONTENT, REDACTED, Told, kwargs_of, payload_of, redact

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.sdk.arguments import Asked

_TOLD = frozenset("id object created model usage".split())  # of an answer, and nothing that was said
# Of a request, and no parameter of the model.
_BESIDE = frozenset((*CONTENT, "model", "documents", "file", "metadata"))


def log_call(
    call_type: str,
    asked: Asked,
    answer: Any,
    error: Exception | None,
    record: Record | None,
    times: tuple[datetime, datetime],
    call_id: str,
) -> dict[str, Any]:
    """Write down a call as LiteLLM's callbacks get it. Keys and addresses of the deployment are not in it."""
    given = asked.given
    start, end = times
    told = Told(
        call_type=call_type,
        call_id=record.call_id if record is not None else call_id,
        model=asked.model,
        start=start.timestamp(),
        end=end.timestamp(),
        asked=given,
        parameters={name: value for name, value in given.items() if name not in _BESIDE and not is_param(name)},
        said=answer.model_dump() if hasattr(answer, "model_dump") else None,
        stream=asked.stream,
        metadata=asked.metadata,
        tags=asked.fields.get("tags") or [],
        end_user=str(given.get("user") or ""),
        session=str(asked.metadata.get("session_id") or ""),
        trace=str(asked.metadata.get("trace_id") or ""),
        record=record,
        error=None if error is None else (type(error).__name__, str(getattr(error, "status_code", "")), str(error)),
    )
    kwargs = kwargs_of(payload_of(told), error)
    return kwargs | {"model": asked.model, "messages": given.get("messages"), "start_time": start, "end_time": end}


def keep_out(kwargs: dict[str, Any], answer: Any) -> tuple[dict[str, Any], Any]:
    """Return what callbacks get of a call without what was asked and said (`turn_off_message_logging`)."""
    payload = redact(kwargs["standard_logging_object"])
    asked = payload["messages"]
    kept = {"messages": asked, "input": asked, "optional_params": payload["model_parameters"]}
    bare = answer
    if isinstance(answer, Fields):
        fields = {name: value for name, value in answer.model_dump().items() if name in _TOLD}
        if "choices" in answer:
            fields["choices"] = [{"message": {"role": "assistant", "content": REDACTED}} for _ in answer["choices"]]
        bare = type(answer)(fields)
    return {**kwargs, **kept, "standard_logging_object": payload}, bare

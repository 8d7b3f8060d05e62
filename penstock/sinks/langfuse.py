"""Langfuse: its ingestion API, a trace and a generation for each request.

Every event has an id that follows from the request's, so that a batch which is sent twice counts once. The answer is
207: what the service says of single events is counted, and never sent again.
https://api.reference.langfuse.com (POST /api/public/ingestion).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.mask import Mask
from penstock.sinks.base import Refused, Unavailable, check

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Settings

NAME = "langfuse"
CLOUD = "https://cloud.langfuse.com"
_MOST = 3_000_000  # bytes of a batch; the API takes 3.5 MB
# What of a request's metadata has a place of its own in a trace or a generation (LiteLLM's names).
_PLACES = frozenset(
    """trace_id existing_trace_id trace_name trace_user_id trace_metadata trace_version trace_release session_id
    generation_id generation_name parent_observation_id version tags mask_input mask_output update_trace_keys
    debug_langfuse""".split()
)


class Langfuse:
    """Writes to one project of Langfuse."""

    def __init__(self, settings: Settings) -> None:
        variables = settings.variables
        public = variables.need("LANGFUSE_PUBLIC_KEY")
        secret = variables.need("LANGFUSE_SECRET_KEY", "LANGFUSE_SECRET")
        host = variables.address("LANGFUSE_HOST", "LANGFUSE_BASE_URL", default=CLOUD)
        self._url = f"{host}/api/public/ingestion"
        token = base64.b64encode(f"{public}:{secret}".encode()).decode()
        self._headers = {"content-type": "application/json", "authorization": f"Basic {token}"}
        self._post = settings.post
        self._secrets = Mask((secret, token))
        self._tags = settings.tags
        self._release = variables.get("LANGFUSE_RELEASE")
        self._environment = variables.get("LANGFUSE_TRACING_ENVIRONMENT")

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send a batch in as many requests as its size takes."""
        refused, written, part, size = 0, 0, list[bytes](), 0
        for at, payload in enumerate(batch):
            events = [msgspec.json.encode(event, enc_hook=str) for event in self.events(payload)]
            more = sum(map(len, events))
            if part and size + more > _MOST:
                refused += await self._send(part, written)
                written, part, size = at, [], 0
            part += events
            size += more
        return refused + await self._send(part, written)

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""

    async def _send(self, events: list[bytes], written: int) -> int:
        body = b'{"batch":[%b],"metadata":{"sdk_integration":"penstock"}}' % b",".join(events)
        reply = await self._post(self._url, self._headers, body)
        check(reply, NAME, self._secrets, written)
        try:
            told = msgspec.json.decode(reply.body, type=_Answer)
        except msgspec.DecodeError:
            return 0  # the status says that it has them
        if any(error.status >= 500 or error.status == 429 for error in told.errors):
            raise Unavailable(f"{NAME} answered {told.errors[0].status} for {len(told.errors)} events", None, written)
        if told.errors and not told.successes:
            first = told.errors[0]
            raise Refused(f"{NAME} answered {first.status}: {self._secrets.text(first.message)[:200]!r}", written)
        return len({error.id.rpartition("-")[0] for error in told.errors})

    def events(self, payload: Payload) -> list[dict[str, Any]]:
        """Make the two events of a request."""
        metadata = payload.get("metadata") or {}
        asked: Mapping[str, Any] = metadata.get("requester_metadata") or {}
        call = str(payload["litellm_call_id"])
        given = asked.get("existing_trace_id") or asked.get("trace_id") or payload.get("trace_id")
        trace_id = str(given or call)
        name = asked.get("trace_name") or f"litellm-{payload['call_type']}"
        content = {
            "input": "redacted" if asked.get("mask_input") else payload.get("messages"),
            "output": payload.get("error_str") or ("redacted" if asked.get("mask_output") else _said(payload)),
        }
        trace: dict[str, Any] = {
            "id": trace_id,
            "timestamp": _time(payload["startTime"]),
            "name": None if asked.get("existing_trace_id") else name,
            "userId": asked.get("trace_user_id") or payload.get("end_user"),
            "sessionId": asked.get("session_id") or payload.get("session_id"),
            "release": asked.get("trace_release") or self._release,
            "version": asked.get("trace_version") or asked.get("version"),
            "metadata": asked.get("trace_metadata"),
            "tags": self._labels(payload, metadata),
            "environment": self._environment,
        }
        if not asked.get("existing_trace_id"):  # its own input is the first request's
            trace |= content
        failed = payload["status"] == "failure"
        generation: dict[str, Any] = {
            "id": str(asked.get("generation_id") or f"{call}-generation"),
            "traceId": trace_id,
            "parentObservationId": asked.get("parent_observation_id"),
            "name": asked.get("generation_name") or f"litellm-{payload['call_type']}",
            "startTime": _time(payload["startTime"]),
            "endTime": _time(payload["endTime"]),
            "completionStartTime": _time(payload.get("completionStartTime")),
            "model": payload.get("model"),
            "modelParameters": _plain(payload.get("model_parameters") or {}),
            **content,
            **_used(payload),
            "level": "ERROR" if failed else "DEFAULT",
            "statusMessage": payload.get("error_str") if failed else None,
            "version": asked.get("version"),
            "environment": self._environment,
            "metadata": _beside(payload, metadata, asked),
        }
        return [self._event(call, "trace", trace, payload), self._event(call, "generation", generation, payload)]

    def _event(self, call: str, kind: str, body: dict[str, Any], payload: Payload) -> dict[str, Any]:
        body = {name: value for name, value in body.items() if value is not None and value != ""}
        return {"id": f"{call}-{kind}", "type": f"{kind}-create", "timestamp": _time(payload["endTime"]), "body": body}

    def _labels(self, payload: Payload, metadata: Mapping[str, Any]) -> list[str]:
        found = [str(tag) for tag in payload.get("request_tags") or ()]
        found += [f"{name}:{metadata[name]}" for name in self._tags if metadata.get(name)]
        if "cache_hit" in self._tags:
            found.append(f"cache_hit:{bool(payload.get('cache_hit'))}")
        return found


class _Error(msgspec.Struct):
    id: str = ""
    status: int = 0
    message: str = ""


class _Answer(msgspec.Struct):
    successes: list[Any] = []
    errors: list[_Error] = []


def _time(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _said(payload: Payload) -> Any:
    """Return the message of a chat's answer, and all of any other."""
    response = payload.get("response")
    choices = response.get("choices") if isinstance(response, dict) else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0].get("message") or choices[0].get("text") or response
    return response


def _used(payload: Payload) -> dict[str, Any]:
    usage = (payload.get("metadata") or {}).get("usage_object")
    if usage is None:
        return {}
    asked, said = payload["prompt_tokens"], payload["completion_tokens"]
    details = usage.get("prompt_tokens_details") or {}
    read, written = details.get("cached_tokens") or 0, details.get("cache_creation_tokens") or 0
    counts = {"input": asked - read - written, "output": said, "total": asked + said}
    parts = {"cache_read_input_tokens": read, "cache_creation_input_tokens": written}
    counts |= {name: count for name, count in parts.items() if count}
    cost = payload.get("response_cost")
    used: dict[str, Any] = {
        "usage": {"input": asked, "output": said, "total": asked + said, "unit": "TOKENS", "totalCost": cost},
        "usageDetails": counts,
    }
    return used if cost is None else used | {"costDetails": {"total": cost}}


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters in the kinds of values that Langfuse takes: a schema or a list of tools as text."""
    return {
        name: value if isinstance(value, str | int | float | bool) or value is None else _text(value)
        for name, value in parameters.items()
    }


def _text(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _beside(payload: Payload, metadata: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what has no place of its own."""
    kept = {name: value for name, value in asked.items() if name not in _PLACES}
    kept |= {
        name: value
        for name, value in metadata.items()
        if value is not None and name.startswith(("user_api_key_", "requester_ip"))
    }
    for name in ("litellm_call_id", "model_group", "model_id", "custom_llm_provider", "cache_hit", "api_base"):
        if payload.get(name) not in (None, ""):
            kept[name] = payload[name]
    return kept

"""Datadog: a log line for each request (logs intake v2), or a span of its view of LLMs.

https://docs.datadoghq.com/api/latest/logs/#send-logs: at most 1,000 entries and 5 MB at once, answered by 202.
https://docs.datadoghq.com/llm_observability/setup/api/: spans below ``data.attributes.spans``, times in nanoseconds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.mask import Mask
from penstock.sinks.base import check
from penstock.sinks.genai import operation_of

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Settings, Variables

SITE = "datadoghq.com"
_AGENT_PORT = "10518"  # where LiteLLM looks for an agent's HTTP input
_LONGEST = 900_000  # bytes of an entry: Datadog cuts off behind 1 MB, and what is cut is no JSON any more


class Datadog:
    """Writes log lines. With ``DD_AGENT_HOST`` to an agent, which has the key itself."""

    name = "datadog"

    def __init__(self, settings: Settings) -> None:
        variables = settings.variables
        self._post = settings.post
        agent = variables.get("DD_AGENT_HOST")
        key = variables.get("DD_API_KEY") if agent else variables.need("DD_API_KEY")
        self._url = self.where(variables, agent)
        self._headers = {"content-type": "application/json"} | ({"dd-api-key": key} if key else {})
        self._secrets = Mask((key,))
        self._service = variables.get("DD_SERVICE", default="penstock")
        self._source = variables.get("DD_SOURCE", default="penstock")
        self._app = variables.get("DD_LLMOBS_ML_APP", default=self._service)
        self._host = variables.get("HOSTNAME") or os.uname().nodename
        named = {"env": "DD_ENV", "service": "DD_SERVICE", "version": "DD_VERSION", "pod_name": "POD_NAME"}
        found = {tag: variables.get(name) for tag, name in named.items()}
        self._tags = [f"{tag}:{value}" for tag, value in found.items() if value]

    def where(self, variables: Variables, agent: str) -> str:
        """Return the address of the intake. Raises ``Unset``."""
        if agent:
            port = variables.get("LITELLM_DD_AGENT_PORT", default=_AGENT_PORT)
            given = type(variables)({}, {"DD_AGENT_HOST": f"http://{agent}:{port}"})
            return f"{given.address('DD_AGENT_HOST')}/api/v2/logs"
        site = variables.get("DD_SITE", default=SITE)
        default = f"https://http-intake.logs.{site}"
        return f"{variables.address('DD_BASE_URL', 'DATADOG_BASE_URL', default=default)}/api/v2/logs"

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send a batch as one request."""
        body = msgspec.json.encode(self.body(batch), enc_hook=str)
        check(await self._post(self._url, self._headers, body), self.name, self._secrets)
        return 0

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""

    def body(self, batch: Sequence[Payload]) -> Any:
        """Make the entries of a batch."""
        return [self._entry(payload) for payload in batch]

    def _entry(self, payload: Payload) -> dict[str, Any]:
        text = msgspec.json.encode(payload, enc_hook=str)
        if len(text) > _LONGEST:
            size = f"left out: {len(text)} bytes are more than Datadog takes"
            text = msgspec.json.encode({**payload, "messages": size, "response": None}, enc_hook=str)
        return {
            "ddsource": self._source,
            "ddtags": ",".join([*self._tags, *self._of(payload)]),
            "hostname": self._host,
            "service": self._service,
            "status": "error" if payload["status"] == "failure" else "info",
            "message": text.decode(),
        }

    def _of(self, payload: Payload) -> list[str]:
        team = (payload.get("metadata") or {}).get("user_api_key_team_alias")
        tags = {"team": team, "model": payload.get("model_group"), "provider": payload.get("custom_llm_provider")}
        named = [f"{name}:{value}" for name, value in tags.items() if value]
        return [tag.replace(",", "_") for tag in (*named, *(f"request_tag:{one}" for one in payload["request_tags"]))]


class DatadogLLM(Datadog):
    """Writes spans of Datadog's LLM Observability."""

    name = "datadog_llm_observability"

    def where(self, variables: Variables, agent: str) -> str:
        """Return the address of the intake. Raises ``Unset``."""
        default = f"https://api.{variables.get('DD_SITE', default=SITE)}"
        path = "/api/intake/llm-obs/v1/trace/spans"
        if agent:  # an agent passes it on below its own path
            port = variables.get("LITELLM_DD_LLM_OBS_PORT", default="8126")
            given = type(variables)({}, {"DD_AGENT_HOST": f"http://{agent}:{port}"})
            return f"{given.address('DD_AGENT_HOST')}/evp_proxy/v2{path}"
        return variables.address("DD_BASE_URL", "DATADOG_BASE_URL", default=default) + path

    def body(self, batch: Sequence[Payload]) -> Any:
        """Make the spans of a batch."""
        spans = [self._span(payload) for payload in batch]
        attributes = {"ml_app": self._app, "tags": self._tags, "spans": spans}
        return {"data": {"type": "span", "attributes": attributes}}

    def _span(self, payload: Payload) -> dict[str, Any]:
        digest = hashlib.sha256(str(payload["litellm_call_id"]).encode()).digest()
        operation, failed = operation_of(payload), payload["status"] == "failure"
        meta: dict[str, Any] = {
            "kind": "embedding" if operation == "embeddings" else "llm",
            "input": {"messages": _messages(payload.get("messages"))},
            "output": {"messages": _answers(payload.get("response"))},
            "metadata": {
                "model_name": payload.get("model"),
                "model_provider": payload.get("custom_llm_provider"),
                "call_id": payload["litellm_call_id"],
                **(payload.get("model_parameters") or {}),
            },
        }
        if failed:
            error = payload.get("error_information") or {}
            meta["error"] = {"message": payload.get("error_str") or "", "type": error.get("error_class") or "Error"}
        metrics = {
            "input_tokens": payload["prompt_tokens"],
            "output_tokens": payload["completion_tokens"],
            "total_tokens": payload["total_tokens"],
            "total_cost": payload.get("response_cost"),
        }
        return {
            "parent_id": "undefined",
            "trace_id": str(int.from_bytes(digest[:8])),
            "span_id": str(int.from_bytes(digest[8:16])),
            "name": f"{operation} {payload.get('model_group') or ''}".strip(),
            "session_id": payload.get("session_id") or "",
            "tags": self._of(payload),
            "status": "error" if failed else "ok",
            "start_ns": int(payload["startTime"] * 1_000_000_000),
            "duration": max(int((payload["endTime"] - payload["startTime"]) * 1_000_000_000), 0),
            "meta": meta,
            "metrics": {name: value for name, value in metrics.items() if value is not None},
        }


def _messages(asked: Any) -> list[dict[str, str]]:
    rows = asked if isinstance(asked, list) else [] if asked is None else [asked]
    return [_message(row, "user") for row in rows]


def _answers(said: Any) -> list[dict[str, str]]:
    if not isinstance(said, Mapping):
        return []
    choices = said.get("choices")
    if not isinstance(choices, list):
        return [_message({"content": said.get("content") or said.get("output") or said.get("text")}, "assistant")]
    rows = [choice if isinstance(choice, Mapping) else {} for choice in choices]
    return [_message(row.get("message") or {"content": row.get("text")}, "assistant") for row in rows]


def _message(row: Any, role: str) -> dict[str, str]:
    """Make a message of a role and a text: what is no text is told as JSON."""
    content = row.get("content") if isinstance(row, Mapping) else row
    text = content if isinstance(content, str) else msgspec.json.encode(content, enc_hook=str).decode()
    return {"role": str(row.get("role") or role) if isinstance(row, Mapping) else role, "content": text}

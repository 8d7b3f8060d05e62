"""MLflow: a trace with one span for each request, over OpenTelemetry's protocol (MLflow 3.6 and newer).

https://mlflow.org/docs/latest/genai/tracing/opentelemetry/ingest: ``POST /v1/traces`` with the experiment's id in a
header. A trace's id follows from the request's: one that is sent twice, because nobody knew whether it had come, is
shown once (though MLflow then adds its tokens up twice). An experiment that
``MLFLOW_EXPERIMENT_NAME`` names is looked up, and made where there is none.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.mask import Mask
from penstock.sinks import otlp
from penstock.sinks.base import Refused, check
from penstock.sinks.payload import content_field

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Settings

NAME = "mlflow"
LOCAL = "http://localhost:5000"
_DEFAULT = "0"  # the id of the experiment that is always there
# Words in the type of a call -> what MLflow calls such a span; others are "LLM".
_KINDS = {"embedding": "EMBEDDING", "rerank": "RERANKER", "text_completion": "LLM"}
_KINDS |= dict.fromkeys(("completion", "responses", "anthropic_messages", "generate_content"), "CHAT_MODEL")


class MLflow:
    """Writes to one experiment of an MLflow server."""

    def __init__(self, settings: Settings) -> None:
        variables = settings.variables
        self._base = variables.address("MLFLOW_TRACKING_URI", default=LOCAL)
        self._experiment = variables.get("MLFLOW_EXPERIMENT_ID")
        self._named = variables.get("MLFLOW_EXPERIMENT_NAME")
        if not self._experiment and not self._named:
            self._experiment = _DEFAULT
        user, password = variables.get("MLFLOW_TRACKING_USERNAME"), variables.get("MLFLOW_TRACKING_PASSWORD")
        token = variables.get("MLFLOW_TRACKING_TOKEN")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        credential = f"Basic {basic}" if basic else f"Bearer {token}" if token else ""
        self._headers = {"authorization": credential} if credential else {}
        self._secrets = Mask((password, token, basic))
        self._post = settings.post

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send a batch as one request."""
        experiment = self._experiment or await self._find()
        body = otlp.request_of([self.span(payload) for payload in batch], {"service.name": "penstock"}, "penstock")
        headers = {"content-type": "application/x-protobuf", "x-mlflow-experiment-id": experiment} | self._headers
        reply = await self._post(f"{self._base}/v1/traces", headers, body)
        if reply.status == 404 and self._named:  # it was deleted: looked up again, for the next batch
            self._experiment = ""
        check(reply, NAME, self._secrets)
        return 0

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""

    async def _find(self) -> str:
        """Return the id of the experiment that is named; make it where there is none."""
        quoted = self._named.replace("'", "''")
        found = await self._ask("search", {"filter": f"name = '{quoted}'", "max_results": 1})
        experiments = found.get("experiments") or [await self._ask("create", {"name": self._named})]
        self._experiment = str(experiments[0].get("experiment_id") or "")
        if not self._experiment:
            raise Refused(f"{NAME} told no id of the experiment {self._named[:80]!r}")
        return self._experiment

    async def _ask(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        url = f"{self._base}/api/2.0/mlflow/experiments/{what}"
        headers = {"content-type": "application/json"} | self._headers
        reply = await self._post(url, headers, msgspec.json.encode(body))
        check(reply, NAME, self._secrets)
        try:
            return msgspec.json.decode(reply.body, type=dict[str, Any])
        except msgspec.DecodeError:
            raise Refused(f"{NAME} answered {reply.status}, and no JSON: is this an MLflow server?") from None

    def span(self, payload: Payload) -> otlp.Span:
        """Make the span of a request."""
        digest = hashlib.sha256(str(payload["litellm_call_id"]).encode()).digest()
        failed = payload["status"] == "failure"
        return otlp.Span(
            digest[:16],
            digest[16:24],
            f"litellm-{payload['call_type']}",
            int(payload["startTime"] * 1_000_000_000),
            int(payload["endTime"] * 1_000_000_000),
            {name: value for name, value in self._attributes(payload).items() if value is not None},
            otlp.ERROR if failed else otlp.OK,
            str(payload.get("error_str") or "") if failed else "",
        )

    def _attributes(self, payload: Payload) -> dict[str, Any]:
        metadata = payload.get("metadata") or {}
        asked: Mapping[str, Any] = metadata.get("requester_metadata") or {}
        kind = str(payload["call_type"])
        parameters = dict(payload.get("model_parameters") or {})
        cost = payload.get("response_cost")
        return {
            "mlflow.spanType": next((name for word, name in _KINDS.items() if word in kind), "LLM"),
            "mlflow.spanInputs": {"model": payload.get("model"), content_field(payload): payload.get("messages")}
            | parameters,
            "mlflow.spanOutputs": payload.get("response"),
            "mlflow.chat.tokenUsage": _used(payload),
            "mlflow.llm.cost": None if cost is None else {"total_cost": cost},
            "mlflow.llm.model": payload.get("model"),
            "mlflow.llm.provider": payload.get("custom_llm_provider") or None,
            "session.id": asked.get("session_id") or payload.get("session_id"),
            "user.id": payload.get("end_user") or metadata.get("user_api_key_user_id"),
            "litellm_call_id": payload["litellm_call_id"],
            "model_group": payload.get("model_group"),
            "cache_hit": payload.get("cache_hit"),
            "user_api_key_alias": metadata.get("user_api_key_alias"),
            "user_api_key_team_id": metadata.get("user_api_key_team_id"),
            "request_tags": list(payload.get("request_tags") or ()) or None,
            **{f"metadata.{name}": value for name, value in asked.items()},
        }


def _used(payload: Payload) -> dict[str, int] | None:
    usage = (payload.get("metadata") or {}).get("usage_object")
    if usage is None:
        return None
    asked, said = payload["prompt_tokens"], payload["completion_tokens"]
    found = {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}
    details = usage.get("prompt_tokens_details") or {}
    for ours, theirs in (("cached_tokens", "cache_read"), ("cache_creation_tokens", "cache_creation")):
        if details.get(ours):
            found[f"{theirs}_input_tokens"] = details[ours]
    return found

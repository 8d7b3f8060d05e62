"""Helicone: its log for what did not pass through it, a call for each request.

https://docs.helicone.ai/getting-started/integration-method/manual-logger-curl: which request was made, what came back,
and when. Requests in the dialects of two vendors have URLs of their own there; all others are "custom".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.mask import Mask
from penstock.sinks.base import Unavailable, check
from penstock.sinks.payload import content_field

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Settings

NAME = "helicone"
CLOUD = "https://api.worker.helicone.ai"
_CUSTOM = ("/custom/v1/log", "custom-model-nopath")
_BY_TYPE = {
    "anthropic_messages": ("/anthropic/v1/log", "https://api.anthropic.com/v1/messages"),
    "acompletion": ("/oai/v1/log", "https://api.openai.com/v1/chat/completions"),
    "aembedding": ("/oai/v1/log", "https://api.openai.com/v1/embeddings"),
    "atext_completion": ("/oai/v1/log", "https://api.openai.com/v1/completions"),
    "aresponses": ("/oai/v1/log", "https://api.openai.com/v1/responses"),
}
for _name in ("completion", "embedding", "text_completion", "responses"):  # what LiteLLM's SDK calls them
    _BY_TYPE[_name] = _BY_TYPE[f"a{_name}"]


class Helicone:
    """Writes to one account of Helicone."""

    def __init__(self, settings: Settings) -> None:
        key = settings.variables.need("HELICONE_API_KEY")
        self._base = settings.variables.address("HELICONE_API_BASE", default=CLOUD)
        self._key = key
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        self._post = settings.post
        self._secrets = Mask((key,))

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send each of a batch."""
        for at, payload in enumerate(batch):
            path, body = self.entry(payload)
            data = msgspec.json.encode(body, enc_hook=str)
            try:
                reply = await self._post(self._base + path, self._headers, data)
            except Unavailable as error:
                error.written = at
                raise
            check(reply, NAME, self._secrets, at, 1)
        return 0

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""

    def entry(self, payload: Payload) -> tuple[str, dict[str, Any]]:
        """Return where the log of a request goes, and its body."""
        path, url = _BY_TYPE.get(payload["call_type"], _CUSTOM)
        error = payload.get("error_information") or {}
        failed = payload["status"] == "failure"
        code = str(error.get("error_code") or "")
        answer = payload.get("response")
        if failed:
            answer = {"error": {"message": payload.get("error_str"), "type": error.get("error_class")}}
        elif not isinstance(answer, dict):
            answer = {"model": payload.get("model"), "text": answer}
        if not failed and payload.get("total_tokens") and "usage" not in answer:
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            answer = {**answer, "usage": {name: payload[name] for name in names}}
        asked = {"model": payload.get("model"), content_field(payload): payload.get("messages")}
        body: dict[str, dict[str, Any]] = {
            "providerRequest": {
                "url": url,
                "json": asked | dict(payload.get("model_parameters") or {}),
                "meta": self._meta(payload),
            },
            "providerResponse": {
                "json": answer,
                "headers": {},
                "status": int(code) if failed and code.isdigit() else 500 if failed else 200,
            },
            "timing": {"startTime": _moment(payload["startTime"]), "endTime": _moment(payload["endTime"])},
        }
        first = payload.get("completionStartTime")
        if first is not None and payload.get("stream"):
            body["timing"]["timeToFirstToken"] = round((first - payload["startTime"]) * 1000)
        return path, body

    def _meta(self, payload: Payload) -> dict[str, str]:
        """Collect headers as Helicone's proxy would have got them. All are texts."""
        metadata = payload.get("metadata") or {}
        asked = metadata.get("requester_metadata") or {}
        found: dict[str, Any] = {
            "Helicone-Auth": f"Bearer {self._key}",
            "Helicone-Request-Id": payload.get("litellm_call_id"),
            "Helicone-User-Id": payload.get("end_user") or metadata.get("user_api_key_user_id"),
            "Helicone-Session-Id": payload.get("session_id"),
            "Helicone-Property-Provider": payload.get("custom_llm_provider"),
            "Helicone-Property-Key": metadata.get("user_api_key_alias"),
            "Helicone-Property-Team": metadata.get("user_api_key_team_alias") or metadata.get("user_api_key_team_id"),
        }
        if tags := payload.get("request_tags"):
            found["Helicone-Property-Tags"] = ",".join(map(str, tags))
        found |= {name: value for name, value in asked.items() if str(name).lower().startswith("helicone-")}
        found["Helicone-Auth"] = f"Bearer {self._key}"  # whatever a request says
        return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _moment(at: float) -> dict[str, int]:
    seconds = int(at)
    return {"seconds": seconds, "milliseconds": int((at - seconds) * 1000)}

"""What is done with models over HTTP, as the tests of it do it."""

from __future__ import annotations

from typing import Any

from tests.door import HELLO
from tests.served import MASTER, ServedDoor

CONFIG = f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/real-model, api_base: "{{mock}}/v1", api_key: sk-of-the-file-11}}
    model_info: {{id: of-the-file}}
credential_list:
  - {{credential_name: shared, credential_values: {{api_key: sk-of-the-list-22}}}}
router_settings: {{num_retries: 0}}
general_settings: {{master_key: {MASTER}}}
"""
SECRET = "sk-of-the-sender-8c51d7"


def entry(door: ServedDoor | None = None, name: str = "new", id: str | None = "i1", **params: Any) -> dict[str, Any]:
    base = f"{door.mock.url}/v1" if door is not None else "http://127.0.0.1:9/v1"
    params = {"model": "openai/other-model", "api_base": base, "api_key": SECRET, **params}
    made: dict[str, Any] = {"model_name": name, "litellm_params": params}
    return made | ({"model_info": {"id": id}} if id else {})


async def chat(door: ServedDoor, model: str) -> int:
    return (await door.call("/v1/chat/completions", {**HELLO, "model": model}))[0]


def sent_key(door: ServedDoor, at: int = -1) -> str:
    """The key that the upstream was sent."""
    return dict(door.mock.received[at].headers)["authorization"].removeprefix("Bearer ")


async def names(door: ServedDoor) -> list[str]:
    return [row["id"] for row in (await door.call("/v1/models"))[1]["data"]]


async def rows(door: ServedDoor) -> dict[str, dict[str, Any]]:
    return {row["model_info"]["id"]: row for row in (await door.call("/model/info"))[1]["data"]}

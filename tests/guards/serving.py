"""A gateway with guards before the mock, and what it answers."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.served import MASTER, ServedDoor, open_service

MODELS = """
model_list:
  - model_name: m
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-upstream}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream}
general_settings: {master_key: MASTER}
""".replace("MASTER", MASTER)


def guards_yaml(*entries: dict[str, Any], more: str = "") -> str:
    """Write a config with guards."""
    return MODELS + more + "guardrails: " + json.dumps(list(entries)) + "\n"


def entry(name: str, guardrail: str, mode: Any = "pre_call", **params: Any) -> dict[str, Any]:
    """Write an entry of ``guardrails``."""
    return {
        "guardrail_name": name,
        "litellm_params": {"guardrail": guardrail, "mode": mode, "default_on": True, **params},
    }


@asynccontextmanager
async def guarded(tmp_path: Path, *entries: dict[str, Any], more: str = "", **options: Any):
    async with open_service(tmp_path, guards_yaml(*entries, more=more), **options) as door:
        yield door


async def chat(door: ServedDoor, text: str, stream: bool = False, **fields: Any) -> tuple[int, dict[str, str], str]:
    """Ask a chat; status, headers and the body as text."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream, **fields}
    headers = {"content-type": "application/json", "authorization": f"Bearer {MASTER}"}
    data = json.dumps(body).encode()
    status, head, answer = await door.ask(
        "POST", "/v1/chat/completions", data, headers | {"content-length": str(len(data))}
    )
    return status, {k.lower(): v for k, v in head.items()}, answer.decode()

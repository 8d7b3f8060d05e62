"""Upstreams that speak one dialect each, and what a test asks about the requests that arrived there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.mock import Mock, Script, Step
from penstock.mock.server import Received

UPSTREAM_KEY = "sk-upstream-clients-51c0"
MODELS: Mapping[str, str] = {
    "openai_chat": "qwen3-32b",
    "anthropic": "claude-sonnet-4-5",
    "openai_responses": "gpt-5.1",
}
GUIDE_MODEL = "qwen3:14b-q4_K_M"
"""The model of seed S0-20: its colon is no tag of a provider's."""
SEEDS: Mapping[str, int] = {"openai_chat": 11, "anthropic": 12, "openai_responses": 13}
"""Different seeds: to the mocks, a seal of another is forged."""


@dataclass
class Upstream:
    """A mock that speaks ``dialect`` alone. ``alias``: the gateway's name for its model."""

    dialect: str
    mock: Mock

    @property
    def alias(self) -> str:
        return f"via-{self.dialect}"

    @property
    def model(self) -> str:
        return MODELS[self.dialect]

    def reset(self) -> None:
        self.mock.reset()
        self.mock.script = self.script()

    def script(self, **more: Any) -> Script:
        return Script(dialects=frozenset({self.dialect}), seed=SEEDS[self.dialect], **more)

    def always(self, **step: Any) -> None:
        self.mock.script = self.script(default=Step(**step))

    @property
    def last(self) -> Received:
        return self.mock.received[-1]

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = self.last.json
        return found

    def system(self) -> str:
        """The system prompt that arrived."""
        body = self.body
        if self.dialect == "anthropic":
            return text_of(body.get("system"))
        told = [body["instructions"]] if body.get("instructions") else []
        rows = body["messages" if self.dialect == "openai_chat" else "input"]
        for row in rows if isinstance(rows, list) else []:
            if row.get("role") in ("system", "developer"):
                told.append(text_of(row["content"]))
        return "\n".join(told)

    def tool_names(self) -> list[str]:
        """The names of the tools that arrived."""
        tools = self.body.get("tools") or []
        return [tool["function"]["name"] if "function" in tool else tool.get("name") or tool["type"] for tool in tools]

    def effort(self) -> str | None:
        """The reasoning effort that arrived."""
        body = self.body
        if self.dialect == "openai_chat":
            return body.get("reasoning_effort")
        if self.dialect == "openai_responses":
            return (body.get("reasoning") or {}).get("effort")
        budget = (body.get("thinking") or {}).get("budget_tokens")
        return None if budget is None else "high" if budget >= 16384 else "medium" if budget >= 4096 else "low"


def text_of(content: Any) -> str:
    """Content of any dialect as text."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or [])


def config(urls: Mapping[str, str], llama: str | None, key: str) -> str:
    """The gateway's config: one model per upstream, aliased; num_retries 0, so that retries are the clients' own."""
    rows = [
        ("via-openai_chat", f"openai/{MODELS['openai_chat']}", f"{urls['openai_chat']}/v1", UPSTREAM_KEY),
        ("via-anthropic", f"anthropic/{MODELS['anthropic']}", urls["anthropic"], UPSTREAM_KEY),
        # A base that ends in /responses says that nothing else is spoken there.
        (
            "via-openai_responses",
            f"openai/{MODELS['openai_responses']}",
            f"{urls['openai_responses']}/v1/responses",
            UPSTREAM_KEY,
        ),
    ]
    if llama is not None:
        rows.append(("llama", "openai/tiny", f"{llama}/v1", key))
        rows.append(("llama-native", "llamacpp/tiny", llama, key))
    models: list[dict[str, Any]] = [
        {"model_name": name, "litellm_params": {"model": model, "api_base": base, "api_key": upstream_key}}
        for name, model, base, upstream_key in rows
    ]
    for row in models[3:]:  # random words: the same in every run, and not without an end
        row["litellm_params"] |= {"max_tokens": 600, "seed": 1}
    models += [
        {
            "model_name": f"strict-{row['model_name'].removeprefix('via-')}",
            "litellm_params": {**row["litellm_params"], "on_unsupported": "reject"},
        }
        for row in models[:3]
    ]
    chat = models[0]["litellm_params"]
    models[0]["model_info"] = {"input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6}  # no price list knows it
    models.append({"model_name": GUIDE_MODEL, "litellm_params": {**chat, "model": f"openai/{GUIDE_MODEL}"}})
    return json.dumps({"model_list": models, "router_settings": {"num_retries": 0}})


def mocks() -> Iterator[dict[str, Upstream]]:
    """The three upstreams, running."""
    with (
        Mock.thread(api_key=UPSTREAM_KEY) as chat,
        Mock.thread(api_key=UPSTREAM_KEY) as messages,
        Mock.thread(api_key=UPSTREAM_KEY) as responses,
    ):
        found = {"openai_chat": chat, "anthropic": messages, "openai_responses": responses}
        yield {dialect: Upstream(dialect, mock) for dialect, mock in found.items()}

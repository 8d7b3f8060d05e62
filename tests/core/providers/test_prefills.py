"""Who goes on with an answer that has begun, by provider and model."""

from __future__ import annotations

import pytest

from penstock.core.ir import Reasoning
from penstock.core.models import facts
from penstock.core.providers import PROVIDERS
from penstock.core.providers.prefills import prefill_of, thinks

VLLM = b'{"continue_final_message":true,"add_generation_prompt":false,'
ROWS = [
    ("anthropic", "claude-sonnet-4-5", "anthropic", "https://api.anthropic.com/v1/messages", b"{"),
    ("anthropic", "claude-opus-4-6", "anthropic", "https://api.anthropic.com/v1/messages", None),
    ("anthropic", "my-own-name", "anthropic", "https://api.anthropic.com/v1/messages", None),
    ("mistral", "mistral-large-latest", "openai_chat", "https://api.mistral.ai/v1/chat/completions", b"{"),
    ("deepseek", "deepseek-chat", "openai_chat", "https://api.deepseek.com/chat/completions", None),
    ("deepseek", "deepseek-chat", "openai_chat", "https://api.deepseek.com/beta/chat/completions", b"{"),
    ("hosted_vllm", "llama", "openai_chat", "http://127.0.0.1:8000/v1/chat/completions", VLLM),
    ("hosted_vllm", "llama", "openai_responses", "http://127.0.0.1:8000/v1/responses", None),
    ("ollama_chat", "llama3", "ollama", "http://127.0.0.1:11434/api/chat", b"{"),
    ("openai", "gpt-4o", "openai_chat", "https://api.openai.com/v1/chat/completions", None),
    ("openai", "gpt-4o", "openai_responses", "https://api.openai.com/v1/responses", None),
    ("openai", "gpt-3.5-turbo-instruct", "completions", "https://api.openai.com/v1/completions", b"{"),
    ("gemini", "gemini-2.5-flash", "gemini", "https://generativelanguage.googleapis.com/v1beta/models/x", None),
    ("cohere", "command-r", "cohere", "https://api.cohere.com/v2/chat", None),
]


@pytest.mark.parametrize(("provider", "model", "dialect", "url", "head"), ROWS)
def test_who_goes_on_by_itself(provider, model, dialect, url, head):
    row = PROVIDERS[provider]
    assert prefill_of(dialect, facts(model), row.quirks_for(model, dialect), row.guides, url) == head


@pytest.mark.parametrize(
    ("reasoning", "asked"),
    [
        (None, False),
        (Reasoning(), False),
        (Reasoning(effort="none"), False),
        (Reasoning(mode="disabled"), False),
        (Reasoning(effort="low"), True),
        (Reasoning(mode="enabled", budget=1024), True),
        (Reasoning(mode="adaptive"), True),
    ],
)
def test_whether_thoughts_are_asked_for(reasoning, asked):
    assert thinks(reasoning) is asked

"""The question to a provider that costs nothing: its list of models, or the page of one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# The path of a dialect's requests -> the path of a page behind the same key that runs no model. Sources: the APIs' own
# references ("List models", "models.get", Ollama's "List Local Models").
_PAGES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("openai_chat", re.compile(r"/deployments/[^/]+/chat/completions$"), "/models"),
    ("openai_chat", re.compile(r"/chat/completions$"), "/models"),
    ("openai_responses", re.compile(r"/responses$"), "/models"),
    ("completions", re.compile(r"/completions$"), "/models"),
    ("anthropic", re.compile(r"/v1/messages$"), "/v1/models"),
    ("ollama", re.compile(r"/api/chat$"), "/api/tags"),
    ("gemini", re.compile(r":generateContent$"), ""),
    ("cohere", re.compile(r"/v2/chat$"), "/v1/models"),
)


def free_path(dialect: str, url: str) -> str | None:
    """Return path and query of the free page beside the URL of a dialect's requests; None where none is known."""
    parts = urlsplit(url)
    for name, pattern, page in _PAGES:
        if name == dialect and pattern.search(parts.path):
            path = pattern.sub(page, parts.path)
            return f"{path}?{parts.query}" if parts.query else path
    return None

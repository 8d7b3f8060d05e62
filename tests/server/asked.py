"""One question in every dialect that a chat client may speak, and the answer to it, read back."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.core.dialects import DIALECTS
from penstock.core.ir import Response, Text
from penstock.runtime.cross import collect_stream


class Asked(NamedTuple):
    """A request: its path and body, and in which dialect its answer comes."""

    dialect: str
    path: str
    body: dict[str, Any]

    def read(self, answer: bytes, stream: bool) -> Response:
        dialect = DIALECTS[self.dialect]
        return collect_stream(answer, dialect) if stream else dialect.parse_response(answer)


CLIENTS = ("openai_chat", "anthropic", "openai_responses", "gemini", "ollama", "ollama_generate")


def ask(dialect: str, text: str, stream: bool = False, model: str = "m") -> Asked:
    """The question ``text``, with a limit that every dialect has."""
    turns = [{"role": "user", "content": text}]
    flag = {"stream": True} if stream else {}
    if dialect == "openai_chat":
        return Asked(dialect, "/v1/chat/completions", {"model": model, "messages": turns, "max_tokens": 50, **flag})
    if dialect == "anthropic":
        return Asked(dialect, "/v1/messages", {"model": model, "messages": turns, "max_tokens": 50, **flag})
    if dialect == "openai_responses":
        return Asked(dialect, "/v1/responses", {"model": model, "input": text, "max_output_tokens": 50, **flag})
    if dialect == "gemini":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        contents = [{"role": "user", "parts": [{"text": text}]}]
        body = {"contents": contents, "generationConfig": {"maxOutputTokens": 50}}
        return Asked(dialect, f"/v1beta/models/{model}:{method}", body)
    body = {"model": model, "stream": stream, "options": {"num_predict": 50}}
    if dialect == "ollama":
        return Asked(dialect, "/api/chat", {**body, "messages": turns})
    return Asked(dialect, "/api/generate", {**body, "prompt": text})


def said(response: Response) -> str:
    """The text of an answer."""
    return "".join(block.text for choice in response.choices for block in choice.blocks if isinstance(block, Text))

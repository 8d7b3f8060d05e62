"""What cannot be carried is told in `x-penstock-dropped`; in its own dialect nothing is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.clients.faces import PDF, PNG, Face
from tests.e2e.clients.upstreams import Upstream

SHELL = {"type": "custom", "name": "shell", "description": "runs", "format": {"type": "text"}}
SEARCH = {"type": "web_search"}
OPEN = {"type": "function", "name": "open", "parameters": {"type": "object", "properties": {}}, "strict": False}
GROUP = {"type": "namespace", "name": "files", "description": "Files", "tools": [OPEN]}
WAV = {"data": PNG, "format": "wav"}

# (client dialect, fields) -> per upstream dialect what is told: a path, or "" for nothing; behind "=" the name of the
# tool that arrives in its place.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "logit_bias": (
        "openai_chat",
        {"logit_bias": {"50": 1}},
        {"openai_chat": "", "openai_responses": "logit_bias", "anthropic": "logit_bias"},
    ),
    "n": ("openai_chat", {"n": 2}, {"openai_chat": "", "openai_responses": "n", "anthropic": "n"}),
    "seed": ("openai_chat", {"seed": 7}, {"openai_chat": "", "openai_responses": "seed", "anthropic": "seed"}),
    "web search": (
        "openai_responses",
        {"tools": [SEARCH]},
        {"openai_responses": "", "openai_chat": "tools.0", "anthropic": "=web_search"},
    ),
    "namespace": (
        "openai_responses",
        {"tools": [GROUP]},
        {"openai_responses": "", "openai_chat": "=files__open", "anthropic": "=files__open"},
    ),
    "custom tool": (
        "openai_responses",
        {"tools": [SHELL]},
        {"openai_responses": "", "openai_chat": "=shell", "anthropic": "=shell"},
    ),
    "truncation": (
        "openai_responses",
        {"truncation": "auto"},
        {"openai_responses": "", "openai_chat": "extra.truncation", "anthropic": "extra.truncation"},
    ),
    "server tool": (
        "anthropic",
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"anthropic": "", "openai_chat": "tools.0", "openai_responses": "=web_search"},
    ),
    "geography": (
        "anthropic",
        {"inference_geo": "eu"},
        {"anthropic": "", "openai_chat": "extra.inference_geo", "openai_responses": "extra.inference_geo"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_field_passes_or_is_told(face_of: Callable[..., Face], upstream: Upstream, name: str) -> None:
    dialect, fields, told = CASES[name]
    face = face_of(dialect)
    got = face.ask("hello", model=upstream.alias, native=fields)
    expected = told[upstream.dialect]
    lost = [path for path in got.dropped if path != "extra.system_fingerprint"]
    if expected.startswith("="):
        assert lost == [] and upstream.tool_names() == [expected[1:]]
    elif expected:
        assert expected in lost
    else:
        assert lost == []
        for key, value in fields.items():
            assert upstream.body[key] == value


def test_a_document_by_url(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("anthropic")
    source = {"type": "url", "url": "https://example.com/paper.pdf"}
    turn = {"role": "user", "content": [{"type": "document", "source": source}, {"type": "text", "text": "read"}]}
    got = face.ask([turn], model=upstream.alias)
    if upstream.dialect == "openai_chat":
        assert any(path.startswith("messages.0.blocks.0") for path in got.dropped)
    else:
        assert "https://example.com/paper.pdf" in got.text


def test_sound(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("openai_chat")
    turn = {"role": "user", "content": [{"type": "input_audio", "input_audio": WAV}, {"type": "text", "text": "hear"}]}
    got = face.ask([turn], model=upstream.alias)
    if upstream.dialect == "anthropic":
        assert any(path.startswith("messages.0.blocks.0") for path in got.dropped)
    else:
        assert "saw 1 audio (audio/wav" in got.text


def test_cache_marks(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("anthropic")
    marked = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    got = face.ask([{"role": "user", "content": [marked]}], model=upstream.alias)
    if upstream.dialect == "anthropic":
        assert upstream.body["messages"][0]["content"][0] == marked and got.dropped == []
    else:
        assert b"cache_control" not in upstream.last.body
        assert "messages.0.blocks.0.cache" in got.dropped


def test_pictures_and_papers_in_a_tool_result(face_of: Callable[..., Face], upstream: Upstream) -> None:
    face = face_of("anthropic")
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    paper = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "here"}, image, paper]}
    turns = [
        face.user("look"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}]},
        {"role": "user", "content": [result]},
    ]
    tool = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    got = face.ask(turns, model=upstream.alias, native={"tools": [tool]})
    assert PNG.encode() in upstream.last.body and PDF.encode() in upstream.last.body, "moved at worst, never lost"
    if upstream.dialect == "anthropic":
        assert got.dropped == []


def test_a_prompt_cache_key_and_a_user_pass_between_openais_dialects(
    face_of: Callable[..., Face], upstreams: dict[str, Upstream]
) -> None:
    for dialect, other in (("openai_chat", "openai_responses"), ("openai_responses", "openai_chat")):
        upstream = upstreams[other]
        face_of(dialect).ask("hello", model=upstream.alias, native={"prompt_cache_key": "k1", "user": "u1"})
        assert upstream.body["prompt_cache_key"] == "k1" and upstream.body["user"] == "u1"

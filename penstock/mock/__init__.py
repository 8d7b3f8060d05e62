"""A mock LLM upstream that keeps to the wire formats, and breaks them on request. Never a real model.

    async with Mock(script=Script.always(ttft_ms=50)) as mock:
        ...  # point a client at mock.url (Anthropic) or mock.url + "/v1" (OpenAI); look at mock.received

See docs/mock.md."""

from __future__ import annotations

from penstock.mock.launch import MockProcess, ThreadMock, spawn
from penstock.mock.script import Mix, Rule, Script, ScriptError, Step, load_script, parse_script, parse_step
from penstock.mock.server import Mock, Received

__all__ = [
    "Mix",
    "Mock",
    "MockProcess",
    "Received",
    "Rule",
    "Script",
    "ScriptError",
    "Step",
    "ThreadMock",
    "load_script",
    "parse_script",
    "parse_step",
    "spawn",
]

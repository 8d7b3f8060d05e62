"""Tools of one API's own form at upstreams of every other, whole and streamed, and replayed: the mock checks each body."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Script, Step
from tests.door import Door, open_door
from tests.server.test_compaction import ELSEWHERE, YAML
from tests.server.test_gemini_upstream import events

PATCH = '*** Begin Patch\n+é \U0001f600 "quoted" \\ back\n*** End'
OBJECT = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
JS = {"type": "function", "name": "js", "description": "run", "parameters": OBJECT}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
TOOLS = [
    {"type": "namespace", "name": "mcp__node_repl", "description": "d", "tools": [JS]},
    {"type": "custom", "name": "apply_patch", "description": "p", "format": GRAMMAR},
    {"type": "local_shell"},
]
CALLS = (
    {"name": "mcp__node_repl__js", "arguments": {"code": "1"}},
    {"name": "apply_patch", "arguments": {"input": PATCH}},
    {"name": "local_shell", "arguments": {"command": ["ls"]}},
)
HI = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML) as opened:
        yield opened


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("brought", [False, True])
@pytest.mark.parametrize("model", ELSEWHERE)
async def test_codexs_tools_are_called_and_answered(door: Door, model: str, brought: bool, stream: bool) -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": TOOLS}
    asked: dict[str, Any] = {"model": model, "store": False, "stream": stream}
    asked |= {"input": [item, HI]} if brought else {"input": [HI], "tools": TOOLS}
    door.mock.script = Script(default=Step(tool_calls=CALLS))
    status, headers, answer = await door.post(asked, "/v1/responses")
    assert status == 200, answer
    if stream:
        told = events(answer)
        pieces = [event["delta"] for event in told if event["type"] == "response.custom_tool_call_input.delta"]
        assert "".join(pieces) == PATCH and (len(pieces) > 1 or model in ("gemini", "ollama"))
        (added,) = [e for e in told if e["type"] == "response.output_item.added" and e["item"].get("name") == "js"]
        assert added["item"]["namespace"] == "mcp__node_repl"
        output = next(event for event in told if event["type"] == "response.completed")["response"]["output"]
    else:
        output = json.loads(answer)["output"]
        assert "tools.1.format" in headers["x-penstock-dropped"], (
            "the grammar is not enforced, and nothing else is lost"
        )
    js, patch, shell = [one for one in output if one["type"].endswith("call")]
    assert (js["type"], js["name"], js["namespace"]) == ("function_call", "js", "mcp__node_repl")
    assert json.loads(js["arguments"]) == {"code": "1"}
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "apply_patch", PATCH)
    assert (shell["type"], shell["action"]["command"]) == ("local_shell_call", ["ls"])

    door.mock.script = Script()
    results = [
        {"type": "function_call_output", "call_id": js["call_id"], "output": "one"},
        {"type": "custom_tool_call_output", "call_id": patch["call_id"], "output": "two"},
        {"type": "local_shell_call_output", "id": shell["call_id"], "output": "three"},
    ]
    asked["input"] = [*asked["input"], *output, *results]
    status, _, answer = await door.post(asked, "/v1/responses")
    assert status == 200, answer
    for word in ("one", "two", "three"):
        assert f"said: {word}".encode() in answer or word.encode() in answer
    sent = json.dumps(door.mock.received[-1].json)
    assert "mcp__node_repl__js" in sent and "Begin Patch" in sent and "custom_tool_call" not in sent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [name for name in ELSEWHERE if name != "chat"])
async def test_chats_custom_tools_are_called_and_answered(door: Door, model: str, stream: bool) -> None:
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}
    tool = {"type": "custom", "custom": {"name": "apply_patch", "description": "p", "format": form}}
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "x"}], "tools": [tool]}
    body |= {"stream": stream, "tool_choice": {"type": "custom", "custom": {"name": "apply_patch"}}}
    door.mock.script = Script(default=Step(tool_calls=(CALLS[1],)))
    status, _, answer = await door.post(body)
    assert status == 200, answer
    if stream:
        deltas = [piece for e in events(answer) for c in e["choices"] for piece in c["delta"].get("tool_calls", ())]
        call = {**deltas[0], "custom": {**deltas[0]["custom"]}}
        call["custom"]["input"] = "".join(piece["custom"].get("input", "") for piece in deltas)
    else:
        (call,) = json.loads(answer)["choices"][0]["message"]["tool_calls"]
    assert call["type"] == "custom" and call["custom"] == {"name": "apply_patch", "input": PATCH}
    call.pop("index", None)
    door.mock.script = Script()
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "applied"},
    ]
    status, _, answer = await door.post({**body, "tool_choice": "auto", "stream": False})
    assert status == 200 and "applied" in json.loads(answer)["choices"][0]["message"]["content"], answer


async def test_an_engine_that_follows_responses_is_asked_in_chat(tmp_path: Path) -> None:
    """For what it would not know there; all else goes in the client's own dialect."""
    yaml = """
model_list:
  - model_name: engine
    litellm_params: {model: lm_studio/qwen3, api_base: "{mock}/v1", api_key: k}
"""
    async with open_door(tmp_path, yaml) as door:
        target = door.gateway.state.targets[0]
        door.live(target).dialects = ("openai_responses",)
        for body, path in (
            ({"input": [HI], "tools": TOOLS[:1]}, "/chat/completions"),
            ({"input": [HI, {"type": "compaction_trigger"}]}, "/chat/completions"),
            ({"input": [HI], "tools": [JS]}, "/responses"),
        ):
            status, _, answer = await door.post({"model": "engine", "store": False, **body}, "/v1/responses")
            assert status == 200, answer
            assert door.mock.received[-1].path.endswith(path)

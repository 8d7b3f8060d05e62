"""Chat messages: one example per form of the reference, and what each becomes in the neutral form and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects.base import Wire
from penstock.core.ir import (
    Audio,
    Base64,
    CacheMark,
    Document,
    FileId,
    Image,
    Message,
    Opaque,
    PlainText,
    Reasoning,
    Refusal,
    Seal,
    Text,
    Thinking,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
)
from tests.core.dialects.chat_helpers import COMPATIBLE, HI, OFFICIAL, asking, losses, read, sent, turns

# Messages ------------------------------------------------------------------------------------------------------------


def test_every_role() -> None:
    assert turns(
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}], "name": "dev"},
        {"role": "user", "content": "u", "name": "bob"},
        {"role": "assistant", "content": "a"},
    ) == (
        Message("system", (Text("s"),)),
        Message("developer", (Text("d"),), "dev"),
        Message("user", (Text("u"),), "bob"),
        Message("assistant", (Text("a"),)),
    )


def test_a_developer_stays_one_for_the_vendor_and_is_a_system_turn_elsewhere() -> None:
    request = asking(Message("developer", (Text("d"),)))
    assert sent(request)["messages"][0]["role"] == "developer" and losses(request) == []
    assert sent(request, COMPATIBLE)["messages"][0]["role"] == "system"
    assert losses(request, COMPATIBLE) == ["messages.0.role"]


def test_user_parts() -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": "https://x.test/bare.png"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "JVBE", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    pdf = Document(Base64("application/pdf", "JVBE"), "a.pdf")
    assert turns({"role": "user", "content": parts})[0].blocks == (
        Text("look"),
        Image(Url("https://x.test/a.png"), "high"),
        Image(Base64("image/png", "AAAA")),
        Image(Url("https://x.test/bare.png")),
        Audio("UklGRg==", "wav"),
        pdf,
        pdf,
        Document(FileId("openai", "file-1")),
    )


def test_unknown_parts_and_fields_go_back_where_they_stood() -> None:
    message = {
        "role": "user",
        "content": [
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
            {"type": "video_url", "video_url": {"url": "https://x.test/v.mp4"}},
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "format": "image/png"}},
        ],
        "weight": 1.50,
    }
    request = read(messages=[message])
    assert sent(request)["messages"] == [message]
    kinds = [block.kind for block in request.messages[0].blocks if isinstance(block, Opaque)]
    assert kinds == ["message.weight", "part.prompt_cache_breakpoint", "video_url", "part.image_url"]


def test_foreign_blocks_are_reported() -> None:
    block = Opaque("anthropic", "server_tool_use", b'{"type":"server_tool_use"}')
    request = asking(Message("user", (Text("x"),)), Message("assistant", (Text("y"), block)))
    assert losses(request) == ["messages.1.blocks.1"]


def test_assistant_with_everything() -> None:
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "no"}],
        "reasoning_content": "hm",
        "audio": {"id": "audio_1"},
        "refusal": None,
        "function_call": None,
        "annotations": [],
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{ "a" : 1.0 }'}},
            {"id": "2", "type": "custom", "custom": {"name": "g", "input": "free\ntext"}},
        ],
    }
    assert turns(HI, message)[1].blocks == (
        Opaque("openai_chat", "message.audio", b'{"id": "audio_1"}'),
        Thinking("hm"),
        Text("t"),
        Refusal("no"),
        ToolUse("1", "f", '{ "a" : 1.0 }'),
        ToolUse("2", "g", "free\ntext", "custom"),
    )


def test_a_refusal_alone_is_the_refusal_field() -> None:
    request = asking(Message("assistant", (Refusal("no"),)))
    assert sent(request)["messages"] == [{"role": "assistant", "content": None, "refusal": "no"}]
    assert chat.parse_request(chat.render_request(request, OFFICIAL).fields).messages == request.messages


def test_the_functions_of_2023() -> None:
    request = read(
        messages=[
            HI,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "42"},
        ],
        functions=[{"name": "f", "description": "d", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    assert request.messages[1].blocks == (ToolUse("call_legacy_1", "f", "{}"),)
    assert request.messages[2].blocks == (ToolResult("call_legacy_1", (Text("42"),)),)
    assert (request.tools[0].name, request.tools[0].description) == ("f", "d")
    assert request.tool_choice == ToolChoice("named", ("f",))
    body = sent(request)
    assert body["tools"][0]["function"]["name"] == "f" and "functions" not in body
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "call_legacy_1", "content": "42"}


def test_results_take_the_kind_of_their_calls() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "g", "input": ""}}]}
    result = turns(HI, call, {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "r"}]})[2]
    assert result.blocks == (ToolResult("1", (Text("r"),), kind="custom"),)


def test_late_and_shuffled_results_are_brought_to_their_call() -> None:
    request = asking(
        Message("user", (Text("q"),)),
        Message("assistant", (ToolUse("1", "f", "{}"), ToolUse("2", "f", "{}"))),
        Message("user", (Text("meanwhile"), ToolResult("2", (Text("two"),)))),
        Message("user", (ToolResult("1", (Text("one"),)),)),
    )
    roles = [(m["role"], m.get("tool_call_id"), m["content"]) for m in sent(request)["messages"]]
    assert roles[2:] == [("tool", "2", "two"), ("tool", "1", "one"), ("user", None, "meanwhile")]
    assert losses(request) == []


def test_ids_counted_anew_in_every_turn_belong_to_the_latest_call() -> None:
    turn = (
        Message("assistant", (ToolUse("call_0", "f", "{}"),)),
        Message("user", (ToolResult("call_0", (Text("r"),)),)),
    )
    body = sent(asking(Message("user", (Text("q"),)), *turn, *turn))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "assistant", "tool"]


def test_an_orphan_result_is_told_as_text_and_reported() -> None:
    request = asking(Message("user", (ToolResult("gone", (Text("42"),)), Text("so?"))))
    assert sent(request)["messages"][0]["content"] == [
        {"type": "text", "text": "[tool result gone] 42"},
        {"type": "text", "text": "so?"},
    ]
    assert losses(request) == ["messages.0.blocks.0"]


def test_media_of_a_result_moves_behind_all_results() -> None:
    image = Image(Base64("image/png", "AAAA"))
    request = asking(
        Message("assistant", (ToolUse("1", "f", "{}"), ToolUse("2", "f", "{}"))),
        Message("user", (ToolResult("1", (Text("see"), image), is_error=True), ToolResult("2", (Text("r"),)))),
    )
    messages = sent(request)["messages"]
    assert [m["role"] for m in messages] == ["assistant", "tool", "tool", "user"]
    assert messages[1]["content"] == "see"
    assert [part["type"] for part in messages[3]["content"]] == ["text", "image_url"]
    assert "1" in messages[3]["content"][0]["text"]
    assert losses(request) == ["messages.1.blocks.0.is_error", "messages.1.blocks.0.content.1"]


def test_documents_that_have_no_form_here() -> None:
    request = asking(
        Message(
            "user",
            (
                Document(Url("https://x.test/a.pdf")),
                Document(FileId("anthropic", "file_1")),
                Document(PlainText("body"), "n.txt"),
                Document(Base64("application/pdf", "AA"), "n.pdf", "side note", True),
            ),
        )
    )
    assert [part["type"] for part in sent(request)["messages"][0]["content"]] == ["text", "file"]
    place = "messages.0.blocks"
    assert losses(request) == [f"{place}.{n}" for n in ("0", "1", "2", "3.context", "3.citations")]


def test_cache_marks_go_only_to_servers_that_are_known_to_take_them() -> None:
    request = read(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": "u", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ]
    )
    assert request.messages[0].blocks == (Text("s", CacheMark()),)
    assert request.messages[1].blocks == (Text("u", CacheMark("1h")),)
    part = sent(request, Wire(model="m", official=False, cache_marks=True))["messages"][1]["content"][0]
    assert part == {"type": "text", "text": "u", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert "cache_control" not in json.dumps([sent(request), sent(request, COMPATIBLE)])
    assert losses(request) == ["messages.0.blocks.0.cache", "messages.1.blocks.0.cache"]


# Reasoning -----------------------------------------------------------------------------------------------------------


def test_thoughts_of_litellm_come_with_their_seals() -> None:
    message = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "hm",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "thinking", "thinking": "", "signature": "penstock.seal.openai.ZW5j"},
            {"type": "redacted_thinking", "data": "cmVk"},
        ],
    }
    assert turns(HI, message)[1].blocks == (
        Thinking("hm", Seal("anthropic", "c2ln")),
        Thinking("", Seal("openai", "ZW5j")),
        Thinking("", Seal("anthropic", "cmVk"), redacted=True),
        Text("a"),
    )


def test_reasoning_is_replayed_only_where_it_is_wanted() -> None:
    request = asking(Message("assistant", (Thinking("hm", Seal("anthropic", "s")), Text("a"))))
    assert "hm" not in json.dumps(sent(request)) and losses(request) == ["messages.0.blocks.0"]
    wanted = Wire(model="deepseek", official=False, replay_reasoning=True)
    assert sent(request, wanted)["messages"][0]["reasoning_content"] == "hm"
    assert losses(request, wanted) == ["messages.0.blocks.0.seal"]


def test_a_seal_returns_to_its_own_family_only() -> None:
    blocks = (Thinking("hm", Seal("anthropic", "s")), ToolUse("1", "f", "{}", seal=Seal("gemini", "sig")))
    request = asking(Message("assistant", blocks))
    for family in ("anthropic", "gemini", "openai", ""):
        wire = Wire(model="m", family=family, official=False, replay_reasoning=True)
        message = sent(request, wire)["messages"][0]
        assert ("thinking_blocks" in message) == (family == "anthropic")
        assert ("extra_content" in message["tool_calls"][0]) == (family == "gemini")
        assert ("messages.0.blocks.0.seal" in losses(request, wire)) == (family != "anthropic")
        assert ("messages.0.blocks.1.seal" in losses(request, wire)) == (family != "gemini")


def test_a_call_signature_of_gemini_is_read() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    call["extra_content"] = {"google": {"thought_signature": "sig"}}
    assert turns(HI, {"role": "assistant", "tool_calls": [call]})[1].blocks == (
        ToolUse("1", "f", "{}", seal=Seal("gemini", "sig")),
    )


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"reasoning_effort": "high"}, Reasoning("high")),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, Reasoning("low", summary="auto")),
        ({"reasoning": {"max_tokens": 2000, "exclude": True}}, Reasoning(budget=2000, display="omitted")),
        ({"reasoning": {"enabled": False}}, Reasoning(mode="disabled")),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, Reasoning(budget=4096, mode="enabled")),
        ({"reasoning_effort": "max", "thinking": {"type": "adaptive"}}, Reasoning("max", mode="adaptive")),
    ],
)
def test_every_way_to_ask_for_reasoning(fields: dict[str, Any], wanted: Reasoning) -> None:
    assert read(**fields).reasoning == wanted


@pytest.mark.parametrize(
    ("reasoning", "effort", "lost"),
    [
        (Reasoning("xhigh"), "xhigh", []),
        (Reasoning(budget=20000, mode="enabled"), "high", []),
        (Reasoning(budget=4096), "medium", []),
        (Reasoning(budget=1024), "low", []),
        (Reasoning(budget=100), "minimal", []),
        (Reasoning(mode="disabled"), "none", []),
        (Reasoning("low", 20000), "low", ["reasoning.budget"]),
        (Reasoning(mode="adaptive"), None, ["reasoning.mode"]),
        (
            Reasoning("high", mode="adaptive", summary="auto", display="omitted"),
            "high",
            ["reasoning.summary", "reasoning.display"],
        ),
    ],
)
def test_reasoning_is_effort_here(reasoning: Reasoning, effort: str | None, lost: list[str]) -> None:
    request = asking(Message("user", (Text("x"),)), reasoning=reasoning)
    assert sent(request).get("reasoning_effort") == effort
    assert losses(request) == lost


def test_a_refusal_before_a_part_of_unknown_type() -> None:
    """It was an AttributeError, hence a 500."""
    parts = [{"type": "refusal", "refusal": "no"}, {"type": "sketch", "data": "x"}]
    request = read(messages=[HI, {"role": "assistant", "content": parts}])
    assert sent(request)["messages"][1]["content"] == parts

"""The laws of web search, of client tools and of words in foreign blocks, over all pairs of dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.fit import Takes, fit, limits_of
from penstock.core.fit.words import fit_words
from penstock.core.ir import Message, Opaque, Request, Text, ToolResult
from penstock.core.models import facts
from tests.laws.opaques import OPAQUE_BLOCKS

SEARCHES = {"openai_chat": "gpt-4o-search-preview", "openai_responses": "gpt-5.1", "anthropic": "claude-opus-4-6"}
SEARCHES["gemini"] = "gemini-2.5-flash"
NONE = {
    "openai_chat": "gpt-4o",
    "anthropic": "qwen3",
    "bedrock": "claude-opus-4-6",
    "cohere": "command-a",
    "ollama": "m",
}


def takes_of(dialect: str, model: str) -> Takes:
    return Takes(dialect=dialect, wire=Wire(model=model), model=facts(model), limits=limits_of(dialect))


def parse(dialect: str, **body: Any) -> Request:
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 99}
    if dialect == "openai_responses":
        asked = {"model": "m", "input": "x"}
    elif dialect == "gemini":
        asked = {"model": "m", "contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    fields = {key: Raw(json.dumps(value).encode()) for key, value in {**asked, **body}.items()}
    return DIALECTS[dialect].parse_request(fields)


_place = st.fixed_dictionaries(
    {}, optional={"city": st.just("Bonn"), "country": st.just("DE"), "timezone": st.just("UTC")}
)
_settings = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from(["low", "high"]),
        "place": _place.filter(bool),
        "allowed": st.just(["a.org"]),
        "blocked": st.just(["b.org", "c.org"]),
        "most": st.integers(1, 5),
    },
)


def asked(dialect: str, told: dict[str, Any]) -> tuple[Request, dict[str, Any]]:
    """A request for a search with as much of the settings as the dialect can say, and what that is."""
    has = {"openai_chat": ("size", "place"), "openai_responses": ("size", "place", "allowed", "blocked"), "gemini": ()}
    said = {
        key: value for key, value in told.items() if key in has.get(dialect, ("place", "allowed", "blocked", "most"))
    }
    place = {"type": "approximate", **said.get("place", {})}
    if dialect == "gemini":
        return parse(dialect, tools=[{"googleSearch": {}}]), said
    if dialect == "openai_chat":
        options: dict[str, Any] = {"search_context_size": said["size"]} if "size" in said else {}
        if "place" in said:
            options["user_location"] = {"type": "approximate", "approximate": said["place"]}
        return parse(dialect, web_search_options=options), said
    tool: dict[str, Any] = {"type": "web_search", **({"user_location": place} if "place" in said else {})}
    if dialect == "openai_responses":
        tool |= {"search_context_size": said["size"]} if "size" in said else {}
        filters = {f"{key}_domains": said[key] for key in ("allowed", "blocked") if key in said}
        tool |= {"filters": filters} if filters else {}
    else:
        tool |= {"type": "web_search_20250305", "name": "web_search"}
        tool |= {f"{key}_domains": said[key] for key in ("allowed", "blocked") if key in said}
        tool |= {"max_uses": said["most"]} if "most" in said else {}
    return parse(dialect, tools=[tool]), said


WORDS = {
    "size": "search_context_size",
    "place": "user_location",
    "allowed": "allowed_domains",
    "blocked": "blocked_domains",
    "most": "max_uses",
}
PAIRS = [(one, other) for one in SEARCHES for other in SEARCHES if one != other]


def sent(request: Request, takes: Takes) -> tuple[str, list[str]]:
    """The body that the target gets, and what is told as lost."""
    fitted = fit(request, takes)
    rendered = DIALECTS[takes.dialect].render_request(fitted.request, takes.wire)
    body = {key: json.loads(bytes(raw)) for key, raw in rendered.fields.items()}
    return json.dumps(body), [loss.path for loss in fitted.losses + rendered.losses]


@pytest.mark.parametrize(("client", "target"), PAIRS)
@given(told=_settings)
def test_a_search_is_asked_for_with_all_that_the_target_knows(client: str, target: str, told: dict[str, Any]) -> None:
    request, said = asked(client, told)
    body, lost = sent(request, takes_of(target, SEARCHES[target]))
    assert any(word in body for word in ("web_search", "googleSearch"))
    for name, value in said.items():
        carried = f'"{WORDS[name]}"' in body and all(
            word in body for word in json.dumps(value).strip('[]{}"').split('"')
        )
        assert carried != any(path.endswith(WORDS[name]) for path in lost), (name, body, lost)


@pytest.mark.parametrize("client", SEARCHES)
@pytest.mark.parametrize(("target", "model"), NONE.items())
def test_a_target_without_a_search_is_told_as_a_loss(client: str, target: str, model: str) -> None:
    if client == target:
        pytest.skip("the same dialect")
    body, lost = sent(asked(client, {})[0], takes_of(target, model))
    assert "web_search" not in body and "googleSearch" not in body
    assert any(path.startswith(("tools.0", "extra.web_search_options")) for path in lost)


@pytest.mark.parametrize("spelled", ["web_search", "web_search_preview", "web_search_preview_2025_03_11"])
@pytest.mark.parametrize("target", ["anthropic", "gemini"])
def test_a_search_in_any_spelling_and_beside_functions(spelled: str, target: str) -> None:
    function = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    request = parse("openai_responses", tools=[function, {"type": spelled, "external_web_access": False}])
    body, lost = sent(request, takes_of(target, SEARCHES[target]))
    if target == "gemini":  # which refuses both at once
        assert "googleSearch" not in body and lost == ["tools.1"], "told once"
    else:
        assert "web_search_20250305" in body and lost == ["tools.1.external_web_access"]


GOOGLES = [
    {"googleSearch": {}},
    {"google_search": {}},
    {"googleSearchRetrieval": {"dynamicRetrievalConfig": {"mode": "M"}}},
]
IN_CHAT = [{"type": "web_search_20260209", "name": "web_search", "max_uses": 3}, {"type": "web_search"}, *GOOGLES]


@pytest.mark.parametrize("tool", IN_CHAT, ids=lambda tool: next(iter(tool.values()), "") or next(iter(tool)))
@pytest.mark.parametrize(("target", "word"), [("anthropic", "web_search_20"), ("gemini", "googleSearch")])
def test_a_search_in_another_vendors_words_in_chat(tool: dict[str, Any], target: str, word: str) -> None:
    """LiteLLM's callers send the vendors' own tools in Chat."""
    body, lost = sent(parse("openai_chat", tools=[tool]), takes_of(target, SEARCHES[target]))
    assert word in body or next(iter(tool)) in body
    assert not [path for path in lost if "max_uses" not in path and "Retrieval" not in path and "dynamic" not in path]


VENDORS_OWN = [
    ("anthropic", {"type": "web_search_20260209", "name": "web_search", "max_uses": 3}, {}),
    ("anthropic", {"type": "bash_20250124", "name": "bash"}, {}),
    ("anthropic", {"type": "web_fetch_20250910", "name": "web_fetch"}, {}),
    (
        "anthropic",
        {"type": "computer_20250124", "name": "c", "display_width_px": 9, "display_height_px": 8},
        {"name": "c"},
    ),
    ("gemini", {"urlContext": {}}, {}),
    ("gemini", {"googleSearch": {"timeRangeFilter": {}}}, {}),
    ("openai_responses", {"type": "mcp", "server_label": "s", "server_url": "https://s"}, {}),
    ("openai_responses", {"type": "web_search", "search_context_size": "low"}, {}),
]


@pytest.mark.parametrize(("target", "tool", "nested"), VENDORS_OWN, ids=lambda part: str(part)[:24])
def test_a_vendors_own_tool_in_chat_is_its_own_again(target: str, tool: dict[str, Any], nested: dict[str, Any]) -> None:
    """``nested``: LiteLLM's form, with the settings in the parameters of a function."""
    asked = tool
    if nested:
        settings = {key: value for key, value in tool.items() if key not in ("type", *nested)}
        asked = {"type": tool["type"], "function": {**nested, "parameters": settings}}
    body, lost = sent(parse("openai_chat", tools=[asked]), takes_of(target, SEARCHES[target]))
    assert json.loads(body)["tools"] == [tool] and not lost


def test_one_search_is_asked_for() -> None:
    tools = [{"type": "web_search"}, {"type": "web_search_preview"}]
    body, lost = sent(parse("openai_responses", tools=tools), takes_of("anthropic", "claude-opus-4-6"))
    assert body.count("web_search_20250305") == 1 and lost == ["tools.1"]


def test_the_oldest_geminis_have_a_search_of_another_name() -> None:
    assert "googleSearchRetrieval" in sent(asked("anthropic", {})[0], takes_of("gemini", "gemini-1.5-pro"))[0]


def test_a_forced_search_is_forced() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    request = parse("anthropic", tools=[tool], tool_choice={"type": "tool", "name": "web_search"})
    body, lost = sent(request, takes_of("openai_responses", "gpt-5.1"))
    assert json.loads(body)["tool_choice"] == {"type": "web_search"} and not lost
    native = parse("openai_responses", tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})
    body, lost = sent(native, takes_of("anthropic", "claude-opus-4-6"))
    assert json.loads(body)["tool_choice"] == {"type": "tool", "name": "web_search"} and not lost
    body, lost = sent(request, takes_of("gemini", "gemini-2.5-flash"))
    assert lost == ["tool_choice"]


CLIENTS_OWN = [
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250124", "name": "str_replace_editor"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
    {"type": "computer_20241022", "name": "computer", "display_width_px": 800, "display_height_px": 600},
    {
        "type": "computer_20251124",
        "name": "computer",
        "display_width_px": 8,
        "display_height_px": 6,
        "enable_zoom": True,
    },
    {"type": "memory_20250818", "name": "memory"},
]


@pytest.mark.parametrize("tool", CLIENTS_OWN, ids=lambda tool: tool["type"])
@pytest.mark.parametrize(
    "target", [name for name in DIALECTS if name not in ("anthropic", "completions", "ollama_generate")]
)
def test_a_client_tool_of_anthropics_is_a_function_elsewhere(tool: dict[str, Any], target: str) -> None:
    fitted = fit(parse("anthropic", tools=[tool]), takes_of(target, "m"))
    (made,) = fitted.request.tools
    schema = json.loads(made.schema)
    assert made.kind == "function" and made.name == tool["name"] and made.description and not fitted.losses
    assert set(schema["required"]) <= set(schema["properties"])
    body, lost = sent(parse("anthropic", tools=[tool]), takes_of(target, "m"))
    assert f'"{tool["name"]}"' in body and not lost


SPOKEN = [
    (
        "anthropic",
        {"type": "search_result", "source": "s.org", "title": "T", "content": [{"type": "text", "text": "W"}]},
        "T",
    ),
    ("anthropic", {"type": "tool_reference", "tool_name": "get_weather"}, "get_weather"),
    ("anthropic", {"type": "mcp_tool_result", "tool_use_id": "i", "content": [{"type": "text", "text": "W"}]}, "W"),
    ("openai_responses", {"type": "mcp_call", "name": "n", "arguments": "{}", "output": "W", "id": "i"}, "W"),
    ("gemini", {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "W"}}, "W"),
]


@pytest.mark.parametrize(("dialect", "block", "word"), SPOKEN, ids=lambda part: str(part)[:30])
@pytest.mark.parametrize("target", [name for name in DIALECTS if name not in ("completions", "ollama_generate")])
def test_words_in_a_foreign_block_arrive_as_text(dialect: str, block: dict[str, Any], word: str, target: str) -> None:
    kind = block.get("type") or next(iter(block))
    opaque = Opaque(dialect, kind, json.dumps(block).encode())
    turns = (Message("user", (opaque,)), Message("user", (ToolResult("c", (opaque,)),)))
    fitted = fit(Request(model="m", messages=turns, dialect=dialect), takes_of(target, "m"))
    if target == dialect:
        assert fitted.request.messages == turns and not fitted.losses
        return
    said = [fitted.request.messages[0].blocks[0], fitted.request.messages[1].blocks[0].content[0]]
    assert all(isinstance(text, Text) and word in text.text for text in said)
    assert [loss.path for loss in fitted.losses] == ["messages.0.blocks.0", "messages.1.blocks.0.content.0"]


def test_what_holds_no_words_stays_as_it_is() -> None:
    silent = tuple(
        Opaque(dialect, kind, json.dumps(row).encode())
        for dialect, rows in OPAQUE_BLOCKS.items()
        for kind, row in rows.items()
        if kind.startswith(("server_tool_use", "web_search_call", "image_generation"))
    )
    assert silent
    request = Request(model="m", messages=(Message("assistant", silent),))
    assert fit_words(request, takes_of("cohere", "m"), []) == (request, None)

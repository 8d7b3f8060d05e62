"""The laws of the fit: what goes out is what the API takes, what comes back is the client's own.

Every drawn request goes to every dialect and to models of every maker. Two judges that share nothing with the fit look
at what is sent: the mock upstream's own checks, and ``rules_broken`` below, which knows the rules that no mock has.
``answered`` says of a fitted request what a target answers to it: calls by the names that it was told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, note
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.errors import GatewayError
from penstock.core.fit import Takes, fit, limits_of
from penstock.core.fit.steps import STEPS, marks_of
from penstock.core.fit.undo import chain
from penstock.core.ir import (
    Base64,
    Block,
    Choice,
    Image,
    Loss,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Response,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    collect,
    explode,
)
from penstock.core.models import facts
from penstock.core.providers.apply import apply_quirks
from penstock.core.providers.vendors import MISTRAL_TURNS
from penstock.mock import anthropic_check, bedrock_check, brain, cohere_check, gemini_check, openai_chat
from penstock.mock import ollama as ollama_mock
from penstock.mock import openai_responses as responses_mock
from penstock.mock.reply import Exchange, Memory, Refused
from penstock.mock.script import Script, Step
from tests.laws.strategies import requests

MODELS = {
    "anthropic": (
        "claude-3-5-sonnet-20241022",
        "claude-sonnet-4-5",
        "claude-opus-4-6",
        "claude-opus-4-8",
        "claude-latest",
    ),
    "bedrock": (
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-opus-4-8-v1",
        "us.amazon.nova-2-lite-v1:0",
        "us.meta.llama3-3-70b-instruct-v1:0",
    ),
    "gemini": ("gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-pro-preview"),
    "openai_chat": ("gpt-4o", "gpt-5", "o3", "mistral-large", "deepseek-chat", "anthropic/claude-sonnet-4.5", "m"),
    "openai_responses": ("gpt-4o", "gpt-5.1", "o4-mini", "m"),
    "cohere": ("command-a-03-2025", "command-a-reasoning-08-2025"),
    "ollama": ("llama3",),
}
FAMILIES = {"openai_chat": "openai", "openai_responses": "openai"}


def takes_of(dialect: str, model: str, **fields: Any) -> Takes:
    made = facts(model)
    family = "anthropic" if made.is_claude else FAMILIES.get(dialect, dialect)
    native = dialect != "anthropic" or bool(made.native_schema)
    wire = Wire(model=model, family=family, adaptive=made.adaptive, native_schema=native)
    limits, forced = limits_of(dialect, made), DIALECTS[dialect].forced
    return Takes(dialect=dialect, wire=wire, model=made, limits=limits, forced=forced, **fields)


TARGETS = {(name, model): takes_of(name, model, drop_params=True) for name in MODELS for model in MODELS[name]}
TAKES = {name: takes_of(name, "m") for name in DIALECTS}
EMPTY = b'{"type":"object","properties":{}}'  # Gemini before 2.5 takes no object without properties
LONG = "mcp__plugin_chrome-devtools-mcp_chrome-devtools__get_console_message_text"
names = st.sampled_from(
    [LONG, LONG + "_2", "mcp.server.tool", "mcp_server_tool", "größe", "f", "9lives", "a" * 200, "工具"]
)
prefixes = st.sampled_from(["", "functions.f:", "call|" + "x" * 70, "é", "call_"])
blank_texts = st.sampled_from([" ", "\n", "\t \n", ""])
JPEG = "/9j/4AAQSkZJRg=="
pictures = st.sampled_from(
    [
        Image(Base64(kind, data))
        for kind in ("image/jpg", "IMAGE/PNG", "image/png; charset=utf-8", "", "application/octet-stream")
        for data in (JPEG, "iVBORw0KGgo=")
    ]
)


# Requests -------------------------------------------------------------------------------------------------------------


@st.composite
def with_foreign_names(draw: st.DrawFn) -> Request:
    """A request whose tools and calls have names that some API refuses."""
    request = draw(requests())
    chosen = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    called = draw(names)
    turn = Message("assistant", (ToolUse("call_9", called, "{}"),))
    return replace(
        request,
        tools=tuple(Tool(name, "d", b'{"type":"object"}') for name in chosen),
        tool_choice=draw(st.none() | st.just(ToolChoice("named", (chosen[0],)))),
        messages=(*request.messages, turn),
    )


@st.composite
def awkward(draw: st.DrawFn) -> Request:
    """A request that some API refuses as it is, by what this gateway mends: spellings, blanks, order, ranges. It is
    whole where nobody could mend it: its calls have results, and its choice is one of its tools."""
    request = draw(requests(opaque=()))
    chosen = draw(st.lists(names, max_size=3, unique=True))
    tools = tuple(Tool(name, "d", b'{"type":"object","properties":{}}') for name in chosen)
    prefix, repeats = draw(prefixes), draw(st.booleans())
    messages = tuple(_plain(message, prefix, repeats) for message in _answered_only(request.messages))
    added = [
        Message("assistant", (Text(draw(blank_texts)),)),
        Message("user", (draw(pictures), Text(draw(blank_texts)))),
    ]
    if draw(st.booleans()):
        added = added[::-1]
    place = draw(st.sampled_from([0, len(messages)]))
    choice = request.tool_choice
    if choice is not None and (not tools or choice.names):
        choice = replace(choice, names=tuple(chosen[:1])) if tools else None
    return replace(
        request,
        messages=(*messages[:place], *added, *messages[place:]) if draw(st.booleans()) else messages,
        tools=tools,
        tool_choice=choice,
        output=None if request.output is not None and request.output.schema == EMPTY else request.output,
        previous_id="",
        cache_key=request.cache_key * 20,
        stop=(*request.stop, *draw(st.sampled_from([(), (" ", "\n"), tuple("abcdefg")]))),
    )


def _answered_only(messages: tuple[Message, ...]) -> Iterator[Message]:
    answered = {block.id for message in messages for block in message.blocks if isinstance(block, ToolResult)}
    for message in messages:
        blocks = (block for block in message.blocks if not isinstance(block, ToolUse) or block.id in answered)
        yield replace(message, blocks=tuple(blocks))


def _plain(message: Message, prefix: str, repeats: bool) -> Message:
    """The turn with other ids, the mock's own seals, and no marks of caches."""
    return replace(message, blocks=tuple(_one(block, prefix, repeats) for block in message.blocks))


def _one(block: Block, prefix: str, repeats: bool) -> Block:
    if isinstance(block, Thinking) and block.seal is not None:
        kind = "redacted" if block.redacted else "thinking"
        data = brain.seal(0, kind, "" if block.redacted else block.text)
        return replace(block, seal=Seal("anthropic", data) if block.seal.family == "anthropic" else None)
    if isinstance(block, ToolUse):
        block = replace(block, seal=None)
    if isinstance(block, (ToolUse, ToolResult)) and prefix:
        block = replace(block, id=prefix + block.id[-1])
    if isinstance(block, ToolResult):
        block = replace(block, content=tuple(_one(part, prefix, repeats) for part in block.content))
    return replace(block, cache=None) if hasattr(block, "cache") else block


# Judges ---------------------------------------------------------------------------------------------------------------


def witness(dialect: str, model: str, body: dict[str, Any]) -> str:
    """What the mock upstream of a dialect says against a body; "" when it takes it."""
    if dialect == "openai_chat" and not facts(model).is_openais:  # whose counts are not OpenAI's
        body = {key: value[:4] if key == "stop" and isinstance(value, list) else value for key, value in body.items()}
    raw = json.dumps(body).encode()
    path = f"/v1beta/models/{model}:generateContent"
    asked = Exchange("POST", path, "", {}, raw, Step(), Script(), Memory(), 1)
    try:
        if dialect == "anthropic":
            anthropic_check.check(asked, body, False)
        elif dialect == "bedrock":
            bedrock_check.check(asked, body, model)
        elif dialect == "gemini":
            gemini_check.check(asked, gemini_check.normal(body), model)
        elif dialect == "cohere":
            cohere_check.check(asked, body)
        elif dialect == "openai_chat":
            openai_chat.reply(asked)
        elif dialect == "openai_responses":
            responses_mock.reply(asked)
        else:
            made = ollama_mock.handler("POST", "/api/chat")
            assert made is not None
            made(asked)
    except Refused as error:
        return error.message
    return ""


def strings(value: Any, key: str) -> Iterator[str]:
    """Every text under ``key`` anywhere in a body."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reasoningText":
                continue  # a thought may be anything
            if name == key and isinstance(inner, str):
                yield inner
            yield from strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, key)


def rules_broken(dialect: str, model: str, body: dict[str, Any]) -> list[str]:
    """The rules of the vendors that no mock knows, told from a body alone."""
    config = body.get("inferenceConfig") or body.get("generationConfig") or body
    stops = config.get("stop_sequences") or config.get("stopSequences") or config.get("stop") or []
    more = body.get("additionalModelRequestFields") or {}
    thinks = (body.get("thinking") or more.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    turns = body.get("messages") or []
    claude = "claude" in model
    found = {
        "a name of a tool": dialect.startswith("openai")
        and any(not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in _tool_names(body)),
        "an id of a call": any(len(id) > 40 for id in (*strings(turns, "tool_call_id"), *strings(turns, "id")))
        if dialect == "openai_chat"
        else any(len(id) > 64 for id in strings(body.get("input"), "call_id")),
        "stops": len(stops) > {"openai_chat": 4 if "gpt" in model else 99}.get(dialect, 99),
        "stops of a model without": bool(stops) and model in ("gpt-5", "o3"),
        "a blank stop": claude and any(not stop.strip() for stop in stops),
        "a blank text": claude
        and any(text.isspace() for text in (*strings(turns, "text"), *strings(turns, "content"))),
        "a prefill": bool(re.search(r"opus-4-[68]", model)) and turns[-1]["role"] == "assistant",
        "sampling": "opus-4-8" in model and bool({"temperature", "top_p", "topP", "top_k"} & {*config, *more}),
        "both samplers": "sonnet-4-5" in model and bool(config.get("temperature")) and ("top_p" in body),
        "temperature beside thinking": claude and thinks and config.get("temperature", 1) != 1,
        "top_p beside thinking": claude and thinks and config.get("top_p", config.get("topP", 1)) < 0.95,
        "a temperature": claude and config.get("temperature", 0) > 1,
        "reasoning": model in ("gpt-5", "o3", "gpt-5.1", "o4-mini")
        and config.get("temperature", 1) != 1
        and body.get("reasoning", {}).get("effort") != "none",
        "an effort": model == "gpt-4o" and ("reasoning_effort" in body or "reasoning" in body),
        "thinking of one that does not": "3-5" in model and thinks,
        "a budget": "opus-4-8" in model and "budget_tokens" in json.dumps(body),
        "a user": dialect.startswith("openai") and len(body.get("user") or "") > 64,
        "a key": dialect.startswith("openai") and len(body.get("prompt_cache_key") or "") > 64,
        "a type": '"image/jpg"' in json.dumps(body) or "data:image/jpg;" in json.dumps(body),
    }
    return [rule for rule, broken in found.items() if broken]


def _tool_names(body: dict[str, Any]) -> Iterator[str]:
    for tool in body.get("tools") or []:
        yield tool.get("function", tool)["name"]


def answered(request: Request) -> Response:
    """An answer that calls every tool of the request."""
    calls = tuple(ToolUse(f"c{n}", tool.name, "{}") for n, tool in enumerate(request.tools))
    return Response(id="r", model="m", choices=(Choice(calls, "tool_use"),))


# Laws -----------------------------------------------------------------------------------------------------------------


# The system speaks between calls and results, and turns that say nothing stand behind both (found 2026-11-30).
CALL, RESULT = ToolUse("call_0", "get_weather", ""), ToolResult("call_0", ())
NOTHING_LAST = (
    Message("user", (Text(""),)),
    Message("assistant", (CALL,)),
    Message("system", (Text("a\u2028b"), Text("[DONE]")), "al_1"),
    Message("user", (RESULT,)),
    Message("user", (Text(""),)),
    Message("assistant", ()),
)


@given(awkward())
@example(Request(model="m", messages=NOTHING_LAST))
def test_what_is_sent_is_what_the_target_takes(request: Request) -> None:
    for (dialect, model), takes in TARGETS.items():
        note(f"{dialect}, {model}")
        done = fit(request, takes)
        rendered = DIALECTS[dialect].render_request(done.request, takes.wire)
        fields = dict(rendered.fields)
        if "mistral" in model:  # ids of nine characters are its row's, which holds in the same lane, too
            apply_quirks(fields, MISTRAL_TURNS, False)
        body = json.loads(envelope.seal(fields))
        if not _asks(done.request) or body.get("messages", body.get("contents", body.get("input"))) in ([], ""):
            continue  # nothing was said that the API has a place for
        # A turn of which the API has no place for anything is gone, and the loss says so.
        gone = any(map(_WHOLE.fullmatch, (loss.path for loss in rendered.losses)))
        assert set(rules_broken(dialect, model, body)) <= ({"a prefill"} if gone else set())
        assert gone or witness(dialect, model, body) == ""


_WHOLE = re.compile(r"messages\.\d+\.blocks\.\d+")


def _asks(request: Request) -> bool:
    """Whether the user says anything: a text, or what a call returned."""
    said = (block for message in request.messages if message.role == "user" for block in message.blocks)
    return any(isinstance(block, ToolResult) or (isinstance(block, Text) and block.text) for block in said)


@given(awkward(), st.sampled_from(sorted(TARGETS)))
def test_what_is_taken_away_is_told(request: Request, target: tuple[str, str]) -> None:
    done = fit(request, TARGETS[target])
    paths = {loss.path for loss in done.losses}
    after = done.request
    for name in ("temperature", "top_p", "top_k", "user", "reasoning", "presence_penalty", "logprobs", "logit_bias"):
        before, now = getattr(request, name), getattr(after, name)
        changed = name == "reasoning" and (now is not None or is_off(request.reasoning))  # said in another form
        says_nothing = before in (0, 1, False, None, b"", b"{}")
        assert before == now or changed or name in paths or says_nothing, name
    gone = len(request.stop) if "stop" in paths else sum(path.startswith("stop.") for path in paths)
    assert len(request.stop) - len(after.stop) == gone
    said = [block for message in request.messages for block in _said(message)]
    still = [block for message in after.messages for block in _said(message)]
    lost = [path for path in paths if path.startswith("messages.") and not path.endswith(".name")]
    missing = len([text for text in said if text not in still])
    assert missing <= len(lost)


def is_off(reasoning: Reasoning | None) -> bool:
    """Whether no thinking is asked for."""
    if reasoning is None or reasoning.mode == "disabled":
        return True
    return not reasoning.mode and reasoning.budget is None and reasoning.effort in ("", "none")


def _said(message: Message) -> Iterator[str]:
    for block in message.blocks:
        if isinstance(block, (Text, Refusal)) and block.text:
            yield block.text


@given(awkward(), requests(), st.sampled_from(sorted(TARGETS)))
def test_a_step_that_is_not_asked_had_nothing_to_do(odd: Request, plain: Request, target: tuple[str, str]) -> None:
    for request in (odd, plain):
        takes, marks = TARGETS[target], marks_of(request)
        for step, about in STEPS:
            if about is not None and about.isdisjoint(marks):
                losses: list[Loss] = []
                assert step(request, takes, losses) == (request, None), step
                assert losses == []


@given(awkward())
def test_what_is_fitted_is_left_alone(request: Request) -> None:
    for target, takes in TARGETS.items():
        note(str(target))
        once = fit(request, takes).request
        again = fit(once, takes)
        assert again.request == once
        assert not again.losses


@given(with_foreign_names())
def test_the_client_gets_its_own_names_back(request: Request) -> None:
    for takes in TAKES.values():
        fitted = fit(request, takes)
        undo = chain(fitted.undo)
        spelling = takes.limits.tool_names
        if spelling is not None:
            assert all(spelling.accepted.fullmatch(tool.name) for tool in fitted.request.tools)
        assert len({tool.name for tool in fitted.request.tools}) == len(request.tools)
        answer, wanted = answered(fitted.request), answered(request)
        whole = answer if undo is None else undo.response(answer)
        assert whole == wanted
        filter_ = None if undo is None else undo.filter()
        events = [told for event in explode(answer) for told in ((event,) if filter_ is None else filter_.feed(event))]
        assert collect(events).choices == wanted.choices


@given(awkward())
def test_every_result_stays_with_its_call(request: Request) -> None:
    """By the order of calls and results alone, which no id can change."""
    for takes in TAKES.values():
        after = fit(request, takes).request
        ids = [block.id for block in _calls(after) if isinstance(block, ToolUse)]
        if takes.limits.call_ids is None:
            continue
        assert len(set(ids)) == len(ids) and all(map(takes.limits.call_ids.accepted.fullmatch, ids))
        orphans = {block.id for block in _calls(after) if isinstance(block, ToolResult)} - set(ids)
        given_ids = {block.id for block in _calls(request) if isinstance(block, ToolUse)}
        assert orphans <= {block.id for block in _calls(request) if isinstance(block, ToolResult)}
        assert all(orphan not in given_ids or orphan in _too_many(request) for orphan in orphans)


def _calls(request: Request) -> Iterator[ToolUse | ToolResult]:
    for message in request.messages:
        for block in message.blocks:
            if isinstance(block, (ToolUse, ToolResult)):
                yield block


def _too_many(request: Request) -> set[str]:
    """Ids of which there are more results than calls in some turn."""
    return {block.id for block in _calls(request) if isinstance(block, ToolResult)}


def test_the_same_name_is_the_same_in_every_turn() -> None:
    one = Request(model="m", messages=(), tools=(Tool(LONG),))
    more = replace(one, tools=(Tool("first"), Tool(LONG)))
    takes = TAKES["openai_chat"]
    assert fit(one, takes).request.tools[0].name == fit(more, takes).request.tools[1].name


@given(awkward(), st.sampled_from(["claude-opus-4-8", "us.anthropic.claude-opus-4-8-v1"]))
def test_without_leave_nothing_of_sampling_is_dropped_from_models_that_take_none(request: Request, model: str) -> None:
    takes = takes_of("bedrock" if "us." in model else "anthropic", model)
    wished = [name for name in ("temperature", "top_p") if getattr(request, name) not in (None, 1)]
    wished += ["top_k"] if request.top_k is not None else []
    if wished:
        with pytest.raises(GatewayError) as caught:
            fit(request, takes)
        assert caught.value.param in wished and caught.value.param in caught.value.message
    else:
        assert not {loss.path for loss in fit(request, takes).losses} & {"temperature", "top_p", "top_k"}


def test_losses_of_a_renderer_are_named_by_the_clients_own_places() -> None:
    request = Request(
        model="m", messages=(Message("assistant", (Text("hi"),)), Message("user", (Opaque("x", "y", b"1"),)))
    )
    done = fit(request, TAKES["anthropic"])
    assert [message.role for message in done.request.messages] == ["user", "assistant", "user"]
    told = done.told((Loss("messages.2.blocks.0", "a"), Loss("messages.1", "b"), Loss("tools.3", "c"), Loss("n", "d")))
    assert [loss.path for loss in told] == ["messages.1.blocks.0", "messages.0", "tools.3", "n"]

"""What each step of the fit does, told once for each rule: what goes out, what is reported, what stays as it was.

The laws are in tests/laws/test_fit_laws.py.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import DIALECTS, structured
from penstock.core.dialects.base import Wire
from penstock.core.errors import GatewayError
from penstock.core.fit import Takes, fit, limits_of
from penstock.core.fit.ids import Ids
from penstock.core.fit.limits import Spelling
from penstock.core.ir import (
    Audio,
    Base64,
    Document,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Request,
    Role,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
)
from penstock.core.models import facts

SONNET, OPUS46, OPUS47, SONNET5 = "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-7", "claude-sonnet-5"
CLAUDES = [("anthropic", SONNET), ("bedrock", f"us.anthropic.{SONNET}-v1:0"), ("openai_chat", f"anthropic/{SONNET}")]
ALL_CLAUDES = pytest.mark.parametrize(("dialect", "model"), CLAUDES, ids=[name for name, _ in CLAUDES])


def takes(dialect: str, model: str = "m", **fields: Any) -> Takes:
    made = facts(model)
    wire = Wire(model=model, family=made.maker, official=False, replay_reasoning=True, adaptive=made.adaptive)
    wire = replace(wire, native_schema=fields.pop("native_schema", True))
    limits = limits_of(dialect, made)
    return Takes(dialect=dialect, wire=wire, model=made, limits=limits, forced=DIALECTS[dialect].forced, **fields)


def asked(*messages: Message, **fields: Any) -> Request:
    return Request(model="m", messages=messages or (user("q"),), **fields)


def said(role: Role, *blocks: Any) -> Message:
    return Message(role, tuple(Text(block) if isinstance(block, str) else block for block in blocks))


def user(*blocks: Any) -> Message:
    return said("user", *blocks)


def assistant(*blocks: Any) -> Message:
    return said("assistant", *blocks)


def fitted(request: Request, to: Takes) -> tuple[Request, list[str]]:
    """The fitted request, and the paths of what was lost."""
    done = fit(request, to)
    return done.request, [loss.path for loss in done.losses]


def sent(request: Request, to: Takes) -> tuple[dict[str, Any], list[str]]:
    """The body that is sent, and the paths of what was lost, by the places of the client's own turns."""
    done = fit(request, to)
    rendered = DIALECTS[to.dialect].render_request(done.request, to.wire)
    losses = done.losses + done.told(rendered.losses)
    return json.loads(envelope.seal(rendered.fields)), [loss.path for loss in losses]


LOOP = (user("q"), assistant(ToolUse("a", "f", "{}")), user(ToolResult("a", (Text("1"),))))
FORCED = {"tools": (Tool("f"),), "tool_choice": ToolChoice("required")}
SCHEMA = OutputFormat("json_schema", "x", b'{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}')


# Thinking -------------------------------------------------------------------------------------------------------------


@ALL_CLAUDES
def test_claude_does_not_think_where_it_would_refuse_to(dialect: str, model: str) -> None:
    to, low = takes(dialect, model), Reasoning(effort="low")
    kept = assistant(Thinking("t", Seal("anthropic", "s")), ToolUse("a", "f", "{}"))
    foreign = assistant(Thinking("t", Seal("openai", "s")), ToolUse("a", "f", "{}"))
    for request, lost in (
        (asked(reasoning=low), False),
        (asked(reasoning=low, **FORCED), True),
        (asked(reasoning=low, tools=(Tool("f"),), tool_choice=ToolChoice("named", ("f",))), True),
        (asked(reasoning=low, tools=(Tool("f"),), tool_choice=ToolChoice("allowed", ("f",), True)), True),
        (asked(reasoning=low, tools=(Tool("f"),), tool_choice=ToolChoice("allowed", ("f",))), False),
        (asked(*LOOP, reasoning=low), True),
        (asked(LOOP[0], kept, LOOP[2], reasoning=low), False),
        (asked(LOOP[0], foreign, LOOP[2], reasoning=low), True),
        (asked(LOOP[0], assistant("  "), kept, LOOP[2], reasoning=low), False),
        (asked(*LOOP, assistant("so"), user("and?"), reasoning=low), False),
        (asked(user("q"), assistant("So"), reasoning=low), True),
        (asked(*LOOP, reasoning=Reasoning(mode="disabled")), False),
    ):
        done, losses = fitted(request, to)
        assert ("reasoning" in losses) == lost and (done.reasoning is None) == lost


def test_a_thought_that_the_door_does_not_carry_is_none() -> None:
    kept = assistant(Thinking("t", Seal("anthropic", "s")), ToolUse("a", "f", "{}"))
    request = asked(LOOP[0], kept, LOOP[2], reasoning=Reasoning(effort="low"))
    to = takes("openai_chat", SONNET)
    assert fitted(request, to)[1] == []
    assert fitted(request, replace(to, wire=replace(to.wire, replay_reasoning=False)))[1] == ["reasoning"]


def test_adaptive_thinking_needs_no_thought_before() -> None:
    for dialect in ("anthropic", "bedrock"):
        to = takes(dialect, OPUS46)
        assert fitted(asked(*LOOP, reasoning=Reasoning(effort="low")), to)[1] == []
        assert fitted(asked(reasoning=Reasoning(effort="low"), **FORCED), to)[1] == ["reasoning"]


@pytest.mark.parametrize("model", [SONNET, OPUS46])
@pytest.mark.parametrize("dialect", ["anthropic", "bedrock"])
def test_the_tool_that_stands_in_for_a_schema_is_forced_too(dialect: str, model: str) -> None:
    to = takes(dialect, model, native_schema=False)
    for output in (SCHEMA, OutputFormat("json_object")):
        for own in ("openai_chat", dialect):
            body, losses = sent(asked(reasoning=Reasoning(effort="high"), output=output, dialect=own), to)
            assert losses == ["reasoning"] and "thinking" not in json.dumps(body)
            assert structured.TOOL_NAME in json.dumps(body)
    assert fitted(asked(reasoning=Reasoning(effort="high"), output=SCHEMA), takes("anthropic", model))[1] == []


def test_a_claude_that_thinks_unasked_is_told_not_to_where_a_call_is_forced() -> None:
    to = takes("anthropic", SONNET5)
    assert sent(asked(**FORCED), to)[0]["thinking"] == {"type": "disabled"}
    assert "thinking" not in sent(asked(), to)[0]
    body, losses = sent(asked(reasoning=Reasoning(effort="high"), **FORCED), to)
    assert body["thinking"] == {"type": "disabled"} and losses == ["reasoning"]
    assert "thinking" not in sent(asked(**FORCED), takes("anthropic", OPUS46))[0]


@pytest.mark.parametrize(
    ("model", "asked_for", "thinking", "effort"),
    [
        (OPUS47, Reasoning(mode="enabled", budget=20000), {"type": "adaptive"}, "high"),
        (OPUS47, Reasoning(mode="enabled", budget=1024), {"type": "adaptive"}, "low"),
        (OPUS46, Reasoning(mode="enabled", budget=2000), {"type": "enabled", "budget_tokens": 2000}, None),
        (SONNET, Reasoning(mode="adaptive", effort="high"), {"type": "enabled", "budget_tokens": 16384}, None),
        (SONNET, Reasoning(mode="enabled", budget=2000), {"type": "enabled", "budget_tokens": 2000}, None),
        ("claude-latest", Reasoning(mode="adaptive"), {"type": "adaptive"}, None),
    ],
)
def test_thinking_is_sized_as_the_model_takes_it(
    model: str, asked_for: Reasoning, thinking: dict[str, Any], effort: str | None
) -> None:
    body, losses = sent(asked(reasoning=asked_for, max_tokens=30000), takes("anthropic", model))
    assert body["thinking"] == thinking and losses == []
    assert body.get("output_config", {}).get("effort") == effort


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-35-turbo", "gpt-5-chat-latest", "claude-3-5-sonnet-20241022"])
def test_a_model_that_does_not_think_is_not_asked_to(model: str) -> None:
    assert fitted(asked(reasoning=Reasoning(effort="low")), takes("openai_chat", model))[1] == ["reasoning"]


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_ollamas_think_is_an_effort(dialect: str) -> None:
    ask = DIALECTS["ollama"].parse_request
    body = b'{"model":"m","messages":[{"role":"user","content":"q"}],"think":%s}'
    for told, effort in ((b"true", "medium"), (b'"low"', "low"), (b'"high"', "high"), (b"false", "none")):
        made, losses = sent(ask(envelope.open_body(body % told)), takes(dialect, "gpt-5"))
        assert (made.get("reasoning_effort") or made["reasoning"]["effort"]) == effort and losses == []


# Sampling -------------------------------------------------------------------------------------------------------------


@ALL_CLAUDES
def test_what_claude_refuses_beside_thinking_is_left_out(dialect: str, model: str) -> None:
    request = asked(reasoning=Reasoning(effort="low"), temperature=0.2, top_k=3, top_p=0.5)
    done, losses = fitted(request, takes(dialect, model))
    assert (done.temperature, done.top_p, done.top_k) == (None, None, None)
    assert losses == ["temperature", "top_p", "top_k"]
    assert fitted(asked(reasoning=Reasoning(effort="low"), temperature=1.0, top_p=0.95), takes(dialect, model))[1] == []
    assert fitted(replace(request, reasoning=Reasoning(effort="none"), top_p=None), takes(dialect, model))[1] == []


@pytest.mark.parametrize("model", [OPUS47, "claude-opus-4-8", SONNET5, "us.anthropic.claude-haiku-5-v1:0"])
@pytest.mark.parametrize("dialect", ["anthropic", "bedrock", "openai_chat"])
@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_models_that_take_no_sampling_get_none(name: str, dialect: str, model: str) -> None:
    value = 3 if name == "top_k" else 0.5
    with pytest.raises(GatewayError) as caught:
        fit(asked(**{name: value}), takes(dialect, model))
    assert caught.value.kind == "unsupported" and caught.value.param == name and "drop_params" in caught.value.message
    done, losses = fitted(asked(**{name: value}), takes(dialect, model, drop_params=True))
    assert getattr(done, name) is None and losses == [name]
    done, losses = fitted(asked(temperature=1.0, top_p=1.0), takes(dialect, model))
    assert done.temperature is None and done.top_p is None and losses == []
    assert fitted(asked(**{name: value}), takes(dialect, model, allowed=frozenset((name,))))[1] == []


def test_the_two_samplers_of_newer_claudes_exclude_each_other() -> None:
    both = asked(temperature=0.2, top_p=0.5)
    assert fitted(both, takes("anthropic", "claude-opus-4-1"))[1] == ["top_p"]
    assert fitted(both, takes("anthropic", "claude-sonnet-4-20250514"))[1] == []
    assert fitted(both, takes("anthropic", "a-tuned-model"))[1] == []


@pytest.mark.parametrize("model", ["gpt-5", "o3", "openai/o4-mini"])
@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "sap"])
def test_what_reasoning_models_refuse_is_left_out(dialect: str, model: str) -> None:
    given = {"temperature": 0.2, "top_p": 0.5, "presence_penalty": 0.1, "logprobs": True, "logit_bias": b'{"1":2}'}
    done, losses = fitted(asked(**given, stop=("a",)), takes(dialect, model))
    assert losses == [*given, "stop"] and not done.stop
    assert not any(getattr(done, name) for name in given)
    assert fitted(asked(temperature=1.0, presence_penalty=0.0), takes(dialect, model))[1] == []


def test_a_gpt_that_does_not_reason_this_once_takes_them() -> None:
    request = asked(temperature=0.2, presence_penalty=0.1, reasoning=Reasoning(effort="none"))
    assert fitted(request, takes("openai_responses", "gpt-5.2"))[1] == ["presence_penalty"]
    assert fitted(request, takes("openai_responses", "gpt-5"))[1] == ["temperature", "presence_penalty"]


def test_numbers_come_into_the_range_of_the_target() -> None:
    hot = asked(temperature=1.7)
    for dialect, model, want in (
        ("anthropic", SONNET, 1.0),
        ("openai_chat", SONNET, 1.0),
        ("bedrock", "us.meta.llama3-3-70b-instruct-v1:0", 1.0),
        ("openai_chat", "gpt-4o", 1.7),
        ("anthropic", "a-tuned-model", 1.7),
    ):
        done, losses = fitted(hot, takes(dialect, model))
        assert done.temperature == want and losses == (["temperature"] if want == 1 else [])


@pytest.mark.parametrize(
    ("dialect", "model", "kept"),
    [
        ("openai_chat", "gpt-4o", "abcd"),
        ("openai_chat", "a-tuned-model", "abcdefg"),
        ("gemini", "gemini-2.5-pro", "abcde"),
        ("cohere", "command-a", "abcde"),
        ("anthropic", SONNET, "abcdefg"),
    ],
)
def test_more_stop_sequences_than_are_taken(dialect: str, model: str, kept: str) -> None:
    done, losses = fitted(asked(stop=tuple("abcdefg")), takes(dialect, model))
    assert "".join(done.stop) == kept and losses == [f"stop.{n}" for n in range(len(kept), 7)]


@ALL_CLAUDES
def test_stop_sequences_of_white_space(dialect: str, model: str) -> None:
    done, losses = fitted(asked(stop=("\n", "END", " ")), takes(dialect, model))
    assert done.stop == ("END",) and losses == ["stop.0", "stop.2"]


# Texts and turns ------------------------------------------------------------------------------------------------------


@ALL_CLAUDES
def test_blank_texts_are_left_out(dialect: str, model: str) -> None:
    turns = (
        said("system", "  "),
        user("\n", "q"),
        assistant(" ", Refusal("\t")),
        user("r", ToolResult("x")),
        assistant(ToolUse("a", "f", "{}")),
        user(ToolResult("a", (Text(" "),))),
    )
    body, losses = sent(asked(*turns), takes(dialect, model))
    for place in ("0.blocks.0", "1.blocks.0", "2.blocks.0", "2.blocks.1", "5.blocks.0.content.0"):
        assert f"messages.{place}" in losses
    told = json.dumps(body)
    assert not any(f'"{blank}"' in told for blank in ("  ", " ", "\\n", "\\t")) and "system" not in body
    roles = [message["role"] for message in body["messages"] if message["role"] != "tool"]
    assert "assistant" not in roles[: roles.index("assistant")] and roles.count("assistant") == 1


def test_nothing_is_said_of_empty_texts() -> None:
    body, losses = sent(asked(user("q"), assistant("", "so")), takes("anthropic", SONNET))
    assert body["messages"][1]["content"] == "so" and losses == []


@ALL_CLAUDES
def test_white_space_at_the_end_of_a_begun_answer(dialect: str, model: str) -> None:
    turns = (user("q"), assistant("Sure, \n", "\n"))
    done, losses = fitted(asked(*turns), takes(dialect, model))
    assert done.messages[1].blocks[0] == Text("Sure,")
    assert losses == ["messages.1.blocks.1", "messages.1.blocks.0.text"]
    assert fitted(asked(user("q"), assistant("Sure, "), user("go on")), takes(dialect, model))[1] == []


@pytest.mark.parametrize("dialect", ["anthropic", "bedrock", "openai_chat"])
def test_a_begun_answer_is_closed_where_it_is_not_taken(dialect: str) -> None:
    done, losses = fitted(asked(user("q"), assistant("Sure, ")), takes(dialect, OPUS46))
    assert [message.role for message in done.messages] == ["user", "assistant", "user"] and losses == ["messages.1"]
    assert fitted(asked(*LOOP[:2]), takes(dialect, OPUS46))[1] == []


def test_the_user_speaks_last_to_cohere() -> None:
    for turn in (assistant("Sure"), said("system", "be brief")):
        done, losses = fitted(asked(user("q"), turn), takes("cohere"))
        assert done.messages[-1].role == "user" and losses == ["messages.1"]
    assert fitted(asked(said("system", "s")), takes("cohere"))[1] == []


@pytest.mark.parametrize("silent", [user(""), assistant(), assistant(""), said("system", "")])
def test_turns_that_say_nothing_hide_no_question_from_cohere(silent: Message) -> None:
    for turns, lost in (
        ((user("q"), said("system", "s")), ["messages.1"]),
        ((user("q"), silent, said("system", "s")), ["messages.2"]),
        ((*LOOP[:2], said("system", "s"), silent, LOOP[2]), ["messages.2"]),
    ):
        body, losses = sent(asked(*turns, silent), takes("cohere"))
        assert body["messages"][-1]["role"] in ("user", "tool") and losses == lost
        assert fitted(asked(*(turn for turn in turns if turn.role != "system"), silent), takes("cohere"))[1] == []


@pytest.mark.parametrize("dialect", ["anthropic", "bedrock", "gemini"])
def test_the_user_speaks_first(dialect: str) -> None:
    image = Image(Url("http://h/x.png"), "low")
    turns = (said("system", "s"), assistant("Hello!"), user("q", image))
    body, losses = sent(asked(*turns), takes(dialect))
    said_first = (body.get("messages") or body["contents"])[0]
    assert said_first["role"] == "user" and "." in json.dumps(said_first)
    assert "messages.1" in losses and not any(path.startswith("messages.3") for path in losses)
    assert any(path.startswith("messages.2.blocks.1") for path in losses)  # the client's own places
    done, losses = fitted(asked(user(" "), assistant("Hello!")), takes("anthropic", SONNET))
    assert [message.role for message in done.messages if message.blocks] == ["user", "assistant"]
    assert "messages.1" in losses
    assert fitted(asked(said("system", "s")), takes(dialect))[1] == []


# Ids, media, labels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "id", "longest"),
    [
        ("anthropic", "functions.f:0", 256),
        ("bedrock", "call|" + "x" * 80, 64),
        ("openai_chat", "toolu_" + "y" * 60, 40),
        ("openai_responses", "z" * 116, 64),
    ],
)
def test_ids_are_respelled_alike_in_call_and_result(dialect: str, id: str, longest: int) -> None:
    turn = (assistant(ToolUse(id, "f", "{}")), user(ToolResult(id, (Text("r"),))))
    done, losses = fitted(asked(user("q"), *turn, *turn), takes(dialect))
    ids = [message.blocks[0].id for message in done.messages[1:]]  # type: ignore[union-attr]
    assert ids[0] == ids[1] != ids[2] == ids[3] and id not in ids and losses == []
    assert all(len(id) <= longest for id in ids)
    again, _ = fitted(asked(user("q"), *turn), takes(dialect))
    assert [message.blocks[0].id for message in again.messages[1:]] == ids[:2]  # type: ignore[union-attr]


def test_calls_of_one_id_keep_their_results_in_order() -> None:
    calls = assistant(*(ToolUse("call_0", name, "{}") for name in "abc"))
    results = user(*(ToolResult("call_0", (Text(name),)) for name in "abc"))
    done, _ = fitted(asked(user("q"), calls, results), takes("anthropic"))
    names = {block.id: block.name for block in done.messages[1].blocks}  # type: ignore[union-attr]
    assert len(names) == 3
    assert [names[block.id] for block in done.messages[2].blocks] == list("abc")  # type: ignore[union-attr]


SHORT = Spelling(re.compile(r"[a-z0-9_]{1,12}"), re.compile(r"[^a-z0-9_]"), 12)


def test_ids_are_respelled_once_each() -> None:
    ids = Ids(SHORT)
    told = [ids.spell(id) for id in ("a", "a", "a.b", "a_b", "", "x" * 20, "x" * 20)]
    assert told[:5] == ["a", "a_2", "a_b", "a_b_2", "call"]
    assert told[5].startswith("xxx_") and told[6].endswith("_2") and all(map(SHORT.accepted.fullmatch, told))


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "a.2", "", "call", "y" * 13, "z" * 13]), max_size=30))
def test_no_id_is_given_out_twice(given_ids: list[str]) -> None:
    ids = Ids(SHORT)
    told = [ids.spell(id) for id in given_ids]
    assert len(set(told)) == len(told) and all(map(SHORT.accepted.fullmatch, told))


def test_many_calls_of_one_id_take_one_step_each() -> None:
    """Small models count from ``call_0`` again in every turn: a search from the start would take a square of steps."""

    class Counted(set[str]):
        asked = 0

        def __contains__(self, id: object) -> bool:
            Counted.asked += 1
            return super().__contains__(id)

    ids = Ids(SHORT)
    ids._seen = Counted()
    for _ in range(2000):
        ids.spell("call_0")
    assert Counted.asked <= 2 * 2000


JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"\0" * 20).decode()
PDF = base64.b64encode(b"%PDF-1.7" + b"\0" * 20).decode()
TIFF = base64.b64encode(b"II*\0" + b"\0" * 20).decode()


@pytest.mark.parametrize(
    ("block", "want"),
    [
        (Image(Base64("image/jpg", "aGk=")), Image(Base64("image/jpeg", "aGk="))),
        (Image(Base64("Image/PNG;charset=utf-8", "aGk=")), Image(Base64("image/png", "aGk="))),
        (Image(Base64("", JPEG)), Image(Base64("image/jpeg", JPEG))),
        (Image(Base64("image/png", JPEG)), Image(Base64("image/jpeg", JPEG))),
        (Image(Base64("application/octet-stream", JPEG)), Image(Base64("image/jpeg", JPEG))),
        (Image(Base64("application/pdf", PDF)), Document(Base64("application/pdf", PDF))),
        (Image(Url(f"DATA:image/jpg;BASE64,{JPEG}")), Image(Base64("image/jpeg", JPEG))),
        (Document(Base64("application/octet-stream", PDF)), Document(Base64("application/pdf", PDF))),
        (Document(Base64("image/jpg", JPEG)), Image(Base64("image/jpeg", JPEG))),
        (Audio("aGk=", "audio/x-wav"), Audio("aGk=", "wav")),
        (Audio("aGk=", "MPEG"), Audio("aGk=", "mp3")),
        (Audio("aGk=", "opus"), Audio("aGk=", "opus")),
        (Image(Url("http://h/x.png")), Image(Url("http://h/x.png"))),
        (ToolResult("a", (Image(Base64("image/jpg", JPEG)),)), ToolResult("a", (Image(Base64("image/jpeg", JPEG)),))),
    ],
)
def test_the_types_of_media_in_one_spelling(block: Any, want: Any) -> None:
    for dialect in DIALECTS:
        done, losses = fitted(asked(user("q", block)), takes(dialect))
        assert done.messages[0].blocks[1] == want and losses == []


def test_an_image_that_is_not_taken_is_reported() -> None:
    request = asked(user("q", Image(Base64("image/tiff", TIFF))))
    done, losses = fitted(request, takes("anthropic"))
    assert losses == ["messages.0.blocks.1"] and not done.messages[0].blocks[1].text  # type: ignore[union-attr]
    assert fitted(request, takes("gemini"))[1] == []


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_labels_that_are_too_long(dialect: str) -> None:
    # Claude Code's metadata.user_id is a JSON text of 140 characters and more; OpenAI refuses more than 64.
    pairs = json.dumps({"k" * 65: "v", "a": "w" * 513, "n": 1, **{f"k{n}": "v" for n in range(17)}}).encode()
    output = replace(SCHEMA, name="eine Form für alle")
    request = asked(user="u" * 65, cache_key="c" * 80, metadata=pairs, output=output)
    done, losses = fitted(request, takes(dialect))
    assert done.user == "" and len(done.cache_key) == 64 and len(json.loads(done.metadata)) == 16
    assert done.output is not None and done.output.name.isascii() and " " not in done.output.name
    assert losses == ["user", f"metadata.{'k' * 65}", "metadata.a", "metadata.n", "metadata.k16"]
    assert fitted(request, takes(dialect))[0].cache_key == done.cache_key
    assert fitted(replace(request, dialect=dialect), takes(dialect))[1] == []


def test_more_tools_than_are_taken_is_an_error_that_says_so() -> None:
    tools = tuple(Tool(f"f{n}") for n in range(129))
    with pytest.raises(GatewayError, match="at most 128 tools in a request; this one has 129"):
        fit(asked(tools=tools), takes("openai_chat", "gpt-4o"))
    assert fitted(asked(tools=tools), takes("openai_chat"))[1] == []


def test_what_a_client_of_the_dialect_itself_says_is_left_alone() -> None:
    request = asked(
        assistant(" "),
        user(Image(Base64("image/jpg", JPEG))),
        assistant(ToolUse("a.b", "f", "{}"), ToolUse("a.b", "f", "{}")),
        reasoning=Reasoning(effort="low"),
        temperature=1.7,
        stop=("\n",),
    )
    for dialect in DIALECTS:
        own = replace(request, dialect=dialect)
        assert fitted(own, takes(dialect, SONNET)) == (own, [])

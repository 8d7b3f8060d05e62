"""Chat: recorded and published answers. A stream and the whole answer to the same request are the same answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects.base import View, Wire
from penstock.core.envelope import open_body, seal
from penstock.core.ir import Block, Message, Response, Text, ToolUse, Usage, collect
from tests.laws.strategies import chop, merge_texts, run_decoder

CORPUS = Path(__file__).parents[2] / "corpus" / "openai_chat"
RECORDED = sorted(path.name.removesuffix(".sse") for path in CORPUS.glob("llama_*.sse"))
REQUESTS = sorted(path.name for path in CORPUS.glob("*.request.json"))
ANSWERS = sorted(p.name for p in CORPUS.glob("*.json") if "request" not in p.name and "error" not in p.name)


def comparable(response: Response) -> Response:
    """Without what differs from call to call: ids, the time, what was cached of the prompt, and fields of the whole
    answer only. llama-server puts text that surrounds calls together when it answers whole."""
    choices = []
    for choice in response.choices:
        texts = merge_texts([block for block in choice.blocks if isinstance(block, Text)])
        calls: list[Block] = [replace(block, id="call") for block in choice.blocks if isinstance(block, ToolUse)]
        assert len(choice.blocks) == len([b for b in choice.blocks if isinstance(b, (Text, ToolUse))])
        choices.append(replace(choice, blocks=(*texts, *calls), logprobs=b""))
    usage = response.usage
    assert usage is not None
    return replace(
        response, id="", created=0, choices=tuple(choices), usage=Usage(usage.input, output=usage.output), extra=()
    )


def streamed(name: str) -> Response:
    return collect(run_decoder(chat.decoder(), [(CORPUS / f"{name}.sse").read_bytes()]))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_is_its_recorded_whole_answer(name: str) -> None:
    whole = chat.parse_response((CORPUS / f"{name}.json").read_bytes())
    got, wanted = comparable(streamed(name)), comparable(whole)
    if name == "llama_n2":  # its whole answer counts the tokens of one choice only
        assert got.usage is not None and wanted.usage is not None
        wanted = replace(wanted, usage=got.usage)
    assert got == wanted


def test_the_recorded_stop_reasons_are_told_apart() -> None:
    finishes = {name: streamed(name).choices[0].finish for name in RECORDED}
    assert finishes["llama_text"] == finishes["llama_stop"] == "stop"
    assert finishes["llama_length"] == finishes["llama_n2"] == "length"
    assert finishes["llama_tools_required"] == finishes["llama_tools_parallel"] == "tool_use"


def test_recorded_calls_have_whole_arguments_and_their_own_ids() -> None:
    calls = [block for block in streamed("llama_tools_parallel").choices[0].blocks if isinstance(block, ToolUse)]
    assert [call.name for call in calls] == ["get_time", "get_time"]
    assert all(isinstance(json.loads(call.args), dict) for call in calls)
    assert len({call.id for call in calls}) == 2


def test_recorded_logprobs_are_joined_over_chunks() -> None:
    whole = chat.parse_response((CORPUS / "llama_logprobs.json").read_bytes()).choices[0].logprobs
    tokens = [entry["token"] for entry in json.loads(streamed("llama_logprobs").choices[0].logprobs)["content"]]
    assert tokens == [entry["token"] for entry in json.loads(whole)["content"]] and len(tokens) >= 5


def test_a_recorded_schema_answer_is_json() -> None:
    text = streamed("llama_json_schema").choices[0].blocks[0]
    assert isinstance(text, Text) and set(json.loads(text.text)) == {"ok", "n"}


@pytest.mark.parametrize("name", RECORDED)
def test_every_cut_of_a_recorded_stream_gives_the_same_answer(name: str) -> None:
    raw = (CORPUS / f"{name}.sse").read_bytes()
    assert collect(run_decoder(chat.decoder(), chop(raw, list(range(0, len(raw), 7))))) == streamed(name)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_recorded_request_is_rendered_as_it_came(name: str) -> None:
    body = (CORPUS / name).read_bytes()
    fields = open_body(body)
    request = chat.parse_request(fields)
    assert request.extra == ()
    rendered = chat.render_request(request, Wire(model=request.model, official=False))
    assert rendered.losses == () or name == "openai_hello.request.json"  # its developer role
    assert unordered(json.loads(seal(rendered.fields))) == unordered(json.loads(body))


def unordered(value: Any) -> Any:
    """The two spellings that are read as one: a lone stop sequence, and roles that compatible servers do not know."""
    if isinstance(value.get("stop"), str):
        value["stop"] = [value["stop"]]
    for message in value["messages"]:
        if message["role"] == "developer":
            message["role"] = "system"
    return value


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_survives_being_read_and_written(name: str) -> None:
    response = chat.parse_response((CORPUS / name).read_bytes())
    rendered = chat.render_response(response, View(model=response.model))
    assert rendered.losses == ()
    assert chat.parse_response(rendered.body) == response


# Published examples, word for word (see SOURCES.md). ------------------------------------------------------------------


def test_the_published_hello() -> None:
    request = chat.parse_request(open_body((CORPUS / "openai_hello.request.json").read_bytes()))
    assert request.messages == (
        Message("developer", (Text("You are a helpful assistant."),)),
        Message("user", (Text("Hello!"),)),
    )
    response = chat.parse_response((CORPUS / "openai_hello.json").read_bytes())
    assert response.choices[0].blocks == (Text("Hello! How can I assist you today?"),)
    assert response.usage == Usage(fresh=19, output=10)
    assert (response.created, response.service_tier) == (1741569952, "default")


def test_the_published_function_call_keeps_its_spelling() -> None:
    choice = chat.parse_response((CORPUS / "openai_functions.json").read_bytes()).choices[0]
    assert choice.blocks == (ToolUse("call_abc123", "get_current_weather", '{\n"location": "Boston, MA"\n}'),)
    assert choice.finish == "tool_use"


def test_the_published_stream() -> None:
    response = streamed("openai_stream")
    assert response.choices[0].blocks == (Text("Hello"),)
    assert (response.id, response.created, response.usage) == ("chatcmpl-123", 1694268190, None)

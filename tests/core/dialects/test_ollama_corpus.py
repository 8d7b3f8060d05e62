"""Golden data of Ollama's dialect, written after the vendor's published examples; the URL stands in each file.

``doc_thinking_tools.ndjson`` follows docs.ollama.com/capabilities/streaming and /tool-calling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from penstock.core import envelope
from penstock.core.dialects import ollama as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.ollama import generate, same
from penstock.core.ir import (
    Message,
    Opaque,
    OutputFormat,
    Response,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
    collect,
)
from tests.laws.ollama_views import run_lines

HERE = Path(__file__).parents[2] / "corpus" / "ollama"
WHOLE = sorted(path.stem for path in HERE.glob("*.json"))
STREAMS = sorted(path.stem for path in HERE.glob("*.ndjson"))


def load(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def whole(name: str) -> Response:
    return dialect.parse_response(json.dumps(load(name)["body"]).encode())


def request(name: str) -> Any:
    asked = load(name)["request"]
    module = generate if "prompt" in asked else dialect
    return module.parse_request(envelope.open_body(json.dumps(asked).encode()))


def streamed(name: str, size: int = 1 << 20) -> Response:
    data = (HERE / f"{name}.ndjson").read_bytes()
    return collect(run_lines(dialect.decoder(), [data[at : at + size] for at in range(0, len(data), size)]))


def test_every_file_names_its_source() -> None:
    assert len(WHOLE) >= 6 and all(load(name)["source"].startswith("https://") for name in WHOLE)


def test_a_chat() -> None:
    answer = whole("doc_chat")
    assert answer.choices[0].blocks == (Text("Hello! How are you today?"),) and answer.choices[0].finish == "stop"
    assert answer.usage == Usage(fresh=26, output=298) and answer.created == 1702390423


def test_a_call_without_an_id_gets_one_and_its_finish_is_told() -> None:
    choice = whole("doc_tools").choices[0]
    assert choice.blocks == (
        ToolUse("call_0", "get_current_weather", '{"format": "celsius", "location": "Paris, FR"}'),
    )
    assert choice.finish == "tool_use"  # on the wire it is "stop"


def test_a_schema_comes_as_format_and_goes_as_format() -> None:
    asked = request("doc_format")
    schema = json.dumps(load("doc_format")["request"]["format"]).encode()
    assert asked.output == OutputFormat("json_schema", "", schema) and asked.stream is False
    sent = dialect.render_request(asked, Wire(model="m"))
    assert bytes(sent.fields["format"]) == schema and sent.losses == ()


def test_a_model_is_loaded() -> None:
    assert request("doc_load").messages == () and request("doc_load").stream is True
    assert whole("doc_load").choices[0].finish == "other:load"
    rendered = dialect.render_response(whole("doc_load"), View(model="m")).body
    assert json.loads(rendered)["done_reason"] == "load"


def test_every_option_is_understood_or_kept() -> None:
    asked = request("doc_options")
    options = load("doc_options")["request"]["options"]
    assert asked.messages == (Message("user", (Text("Why is the sky blue?"),)),)
    assert (asked.max_tokens, asked.seed, asked.top_k, asked.top_p, asked.temperature) == (100, 42, 20, 0.9, 0.8)
    assert asked.stop == ("\n", "user:") and asked.presence_penalty == 1.5 and asked.frequency_penalty == 1.0
    known = {"num_predict", "seed", "top_k", "top_p", "temperature", "presence_penalty", "frequency_penalty", "stop"}
    kept = {o.kind.removeprefix("options."): json.loads(o.raw) for o in asked.extra}
    assert kept == {key: value for key, value in options.items() if key not in known}
    again = generate.render_request(asked, Wire(model="m"))
    assert json.loads(bytes(again.fields["options"])) == options and again.losses == ()
    assert bytes(again.fields["prompt"]) == b'"Why is the sky blue?"' and bytes(again.fields["stream"]) == b"false"


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_any_cut_gives_the_same_answer(name: str, size: int) -> None:
    assert streamed(name, size) == streamed(name)


def test_a_streamed_chat_whose_last_line_has_no_message() -> None:
    answer = streamed("doc_chat")
    assert answer.choices[0].blocks == (Text("The"),) and answer.usage == Usage(fresh=26, output=282)
    assert streamed("doc_generate").choices[0].blocks == (Text("The"),)


def test_thoughts_text_and_two_calls() -> None:
    choice = streamed("doc_thinking_tools").choices[0]
    assert choice.blocks == (
        Thinking("First, look"),
        Text("I will ask."),
        ToolUse("call_8s1i8z4k", "get_temperature", '{"city": "New York"}'),
        ToolUse("call_x1x1x1x1", "get_conditions", '{"city": "London"}'),
    )
    assert choice.finish == "tool_use"


@pytest.mark.parametrize("name", WHOLE)
def test_the_same_lane_changes_the_model_and_nothing_else(name: str) -> None:
    body = json.dumps(load(name)["body"]).encode()
    out, usage = same.answer(body, Raw(b'"asked"'))
    assert json.loads(out) == load(name)["body"] | {"model": "asked"}
    assert usage == whole(name).usage


@pytest.mark.parametrize("name", STREAMS)
def test_the_same_lane_of_streams(name: str) -> None:
    data = (HERE / f"{name}.ndjson").read_bytes()
    stream = same.Stream(Raw(b'"asked"'), True)
    out = b"".join(stream.feed(event) for event in dialect.framer().feed(data)) + stream.close()
    expected = [json.loads(line) | {"model": "asked"} for line in data.splitlines()]
    assert [json.loads(line) for line in out.splitlines()] == expected
    assert stream.usage == streamed(name).usage and stream.chunks == len(expected)


def test_opaque_fields_of_generate_belong_to_it() -> None:
    fields = {"model": "m", "prompt": "p", "raw": True, "template": "{{ .Prompt }}", "context": [1, 2], "keep_alive": 0}
    asked = generate.parse_request(envelope.open_body(json.dumps(fields).encode()))
    assert {o.kind for o in asked.extra} == {"raw", "template", "context", "keep_alive"}
    assert all(o == Opaque("ollama_generate", o.kind, o.raw) for o in asked.extra)


def test_a_stop_reason_of_length_survives() -> None:
    line = b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"content":"a"},"done":true,"done_reason":"length"}'
    assert dialect.parse_response(line).choices[0].finish == "length"
    assert Stop("length") in run_lines(dialect.decoder(), [line])

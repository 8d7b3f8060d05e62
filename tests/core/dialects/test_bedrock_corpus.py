"""Golden data of the Bedrock dialect, written after AWS's published examples; the URL stands in each file. Streams are
kept as their events (``*.stream.json``) and framed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.core import envelope, eventstream
from penstock.core.dialects import bedrock as dialect
from penstock.core.dialects.base import Wire
from penstock.core.dialects.bedrock.errors import stream_error
from penstock.core.ir import (
    Base64,
    CacheMark,
    Citation,
    Document,
    Image,
    Opaque,
    OutputFormat,
    Response,
    Seal,
    Text,
    Thinking,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
    Usage,
    canon,
    collect,
)
from tests.laws.bedrock_views import run_decoder

HERE = Path(__file__).parents[2] / "corpus" / "bedrock"
PAIRS = sorted(path.name.removesuffix(".stream.json") for path in HERE.glob("*.stream.json"))


def load(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text())


def streamed(name: str, size: int = 1 << 20) -> Response:
    events = load(f"{name}.stream")["events"]
    data = b"".join(eventstream.event(kind, json.dumps(body).encode()) for kind, body in events)
    return collect(run_decoder(dialect.decoder(), [data[at : at + size] for at in range(0, len(data), size)]))


def respelled(response: Response) -> Response:
    """JSON in one spelling: whole answers and streams write it apart."""

    def one(block: Any) -> Any:
        if isinstance(block, ToolUse):
            return replace(block, args=json.dumps(json.loads(block.args)))
        if isinstance(block, Text):
            return replace(block, citations=tuple(replace(c, opaque=None) for c in block.citations))
        return block

    (choice,) = response.choices
    choice = replace(choice, blocks=tuple(map(one, choice.blocks)))
    return replace(response, choices=(choice,), extra=(), service_tier="")


def whole(name: str) -> Response:
    return dialect.parse_response(json.dumps(load(name)["body"]).encode())


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_a_stream_says_what_the_whole_answer_says(name: str, size: int) -> None:
    assert respelled(streamed(name, size)) == respelled(whole(name))


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.json")))
def test_every_file_names_its_source(name: str) -> None:
    assert load(name)["source"].startswith("https://docs.aws.amazon.com/")


def test_what_the_answers_say() -> None:
    (choice,) = whole("doc_tool").choices
    assert choice.finish == "tool_use" and choice.blocks == (
        Text("I will look it up."),
        ToolUse("tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "top_song", '{"sign": "WZPZ"}'),
    )
    (choice,) = whole("doc_thinking").choices
    assert choice.blocks == (
        Thinking("27 * 453: 20 * 453 = 9060.", Seal("bedrock", "EqoBCkgIARABGAIiQL2UoU0b1OHYi+yCHpBY7U6FQW8=")),
        Thinking("", Seal("bedrock", "RW1CaGFjdGVk"), redacted=True),
        Text("12231"),
    )
    assert whole("doc_thinking").extra == ()
    cached = whole("doc_cache")
    assert cached.usage == Usage(fresh=9, cache_read=1000, cache_write=6209, cache_write_1h=30000, output=357)
    assert cached.choices[0].finish == "length" and cached.service_tier == "default"
    cited = whole("doc_citations").choices[0].blocks[1]
    assert isinstance(cited, Text) and cited.text == "sales grew"
    assert [replace(c, opaque=None) for c in cited.citations] == [
        Citation(title="report", quote="Sales grew."),
        Citation("https://example.com/news", "News"),
    ]
    stopped = whole("doc_guardrail")
    assert stopped.choices[0].finish == "filter" and [opaque.kind for opaque in stopped.extra] == ["trace"]


def test_the_request_of_every_kind_of_block() -> None:
    body = load("doc_request")["body"]
    request = dialect.parse_request(envelope.open_body(json.dumps(body).encode()))
    system, first, second, third = request.messages
    assert system.blocks == (Text("You are an app that creates playlists.", CacheMark()),)
    assert second.blocks == (ToolUse("tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "top_song", '{"sign": "WZPZ"}'),)
    result, image, whole_document, document, video, guarded = third.blocks
    assert isinstance(result, ToolResult) and isinstance(result.content[0], Opaque)
    assert result.content[1] == Text('{"song": "Elemental Hotel", "artist": "8 Storey Hike"}')
    assert image == Image(Base64("image/png", "iVBORw0KGgo="))
    assert isinstance(whole_document, Opaque) and whole_document.kind == "=document"  # who owns the bucket
    assert document == Document(Url("s3://amzn-s3-demo-bucket/myDocument", "application/pdf"), "MyDocument")
    assert video == Document(Base64("video/mp4", "AAAAGGZ0eXA="))
    assert isinstance(guarded, Opaque) and guarded.kind == "guardContent"
    assert (request.max_tokens, request.temperature, request.top_p, request.top_k) == (512, 0.5, 0.9, 200)
    assert request.stop == ("END",) and request.tool_choice == ToolChoice("named", ("top_song",))
    assert request.tools[0].cache == CacheMark("5m") and request.tools[1].kind == "systemTool"
    assert isinstance(request.output, OutputFormat) and request.output.name == "song"
    assert request.service_tier == "priority"
    assert {opaque.kind for opaque in request.extra} == {
        "guardrailConfig",
        "additionalModelRequestFields.anthropic_beta",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
    }


def test_the_request_comes_back_whole() -> None:
    body = load("doc_request")["body"]
    request = dialect.parse_request(envelope.open_body(json.dumps(body).encode()))
    wire = Wire(model="anthropic.claude-sonnet-4-5-20250929-v1:0", family="anthropic")
    rendered = dialect.render_request(request, wire)
    assert rendered.losses == ()
    assert json.loads(envelope.seal(rendered.fields)) == body
    assert canon(dialect.parse_request(rendered.fields)) == canon(request)
    told = "\n".join(dialect.texts(rendered.fields))
    for words in ("playlists", "WZPZ", "Elemental Hotel", "heavy metal"):
        assert words in told
    assert "iVBOR" not in told and "tooluse_" not in told


@pytest.mark.parametrize(("status", "name", "message", "kind"), load("doc_errors")["errors"])
def test_errors(status: int, name: str, message: str, kind: str) -> None:
    headers = {"x-amzn-errortype": name} if name else {}
    error = dialect.parse_error(status, headers, json.dumps({"message": message}).encode())
    assert (error.kind, error.message) == (kind, message)
    again = dialect.parse_error(status, {}, json.dumps({"__type": f"com.amazon#{name}", "Message": message}).encode())
    assert (again.kind, again.message) == (kind, message)


def test_exceptions_inside_a_stream() -> None:
    told = {"message": "Model failed", "originalStatusCode": 503, "originalMessage": "overloaded"}
    error = stream_error("modelStreamErrorException", json.dumps(told).encode())
    assert (error.kind, error.message) == ("upstream_unavailable", "Model failed (overloaded)")
    assert stream_error("throttlingException", b"{}").kind == "upstream_rate_limit"
    assert stream_error("validationException", b'{"message":"bad"}').kind == "upstream_bad_request"
    assert stream_error("somethingNew", b"not json").kind == "upstream_error"


def test_an_error_that_is_no_json() -> None:
    error = dialect.parse_error(502, {}, b"<html>bad gateway</html>")
    assert error.kind == "upstream_bad_gateway" and "bad gateway" in error.message

"""Golden data of Cohere's dialect, written after the vendor's published examples; the source stands in each file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import cohere as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.cohere import same
from penstock.core.dialects.cohere.names import plan_seal, thinks
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Base64,
    Image,
    Opaque,
    Other,
    OutputFormat,
    Reasoning,
    Response,
    Text,
    Thinking,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
    collect,
)
from penstock.core.sse import Decoder
from tests.laws.strategies import run_decoder

HERE = Path(__file__).parents[2] / "corpus" / "cohere"
PAIRS = sorted(path.stem for path in HERE.glob("*.sse") if (HERE / f"{path.stem}.json").exists())
ERRORS = sorted(path.stem for path in HERE.glob("doc_error_*.json"))
VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")


def read(name: str) -> dict:
    return json.loads((HERE / f"{name}.json").read_text())


def whole(name: str) -> bytes:
    """Compact and in UTF-8, as the streams beside it: what is kept of the vendor's is compared byte by byte."""
    return json.dumps(read(name)["body"], separators=(",", ":"), ensure_ascii=False).encode()


def streamed(name: str, size: int = 1 << 20) -> Response:
    data = (HERE / f"{name}.sse").read_bytes()
    return collect(run_decoder(dialect.decoder(), [data[at : at + size] for at in range(0, len(data), size)]))


def parsed(name: str) -> Response:
    return replace(dialect.parse_response(whole(name)), extra=())


def test_all_of_it_is_read() -> None:
    assert len(PAIRS) == 7 and len(ERRORS) == 7
    assert all(read(path.stem)["source"].startswith("https://docs.cohere.com/") for path in HERE.glob("*.json"))


@pytest.mark.parametrize("name", PAIRS)
def test_a_stream_says_what_the_whole_answer_says(name: str) -> None:
    assert streamed(name) == parsed(name)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_any_cut_of_the_bytes_says_the_same(name: str, size: int) -> None:
    assert streamed(name, size) == streamed(name)


@pytest.mark.parametrize("name", PAIRS)
def test_an_answer_goes_back_as_it_came(name: str) -> None:
    body = json.loads(whole(name))
    told = json.loads(dialect.render_response(dialect.parse_response(whole(name)), VIEW).body)
    for call in body["message"].get("tool_calls", ()):
        call["function"]["arguments"] = call["function"]["arguments"].replace("null", "{}")
    for row in body.get("logprobs", ()):
        row |= {"token_ids": [], "logprobs": [sum(row["logprobs"])]}
    assert told == body


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_lane_passes_a_stream_as_it_came(name: str) -> None:
    lane, lines = same.Stream(Raw(b'"asked"'), True), Decoder()
    data = (HERE / f"{name}.sse").read_bytes()
    told = b"".join(lane.feed(event) for event in lines.feed(data) + lines.close()) + lane.close()
    assert told == data.partition(b"\n\n")[2] and lane.usage == parsed(name).usage
    body, usage = same.answer(whole(name), Raw(b'"asked"'))
    assert json.loads(body) == json.loads(whole(name)) and usage == lane.usage


def test_what_is_counted_and_what_is_billed() -> None:
    assert parsed("doc_text").usage == Usage(fresh=71, output=9, billed=(5, 9))
    cached = Usage(fresh=1445 - 992, cache_read=992, output=43, billed=(46, 14))
    assert parsed("doc_no_arguments").usage == cached


def test_a_plan_is_a_thought_that_knows_where_it_came_from() -> None:
    plan, first, second = parsed("doc_tools").choices[0].blocks
    assert plan == Thinking("I will search for the weather in Madrid and Brasilia.", plan_seal())
    assert first == ToolUse("get_weather_p1t92w7gfgq7", "get_weather", '{\n    "location": "Madrid"\n}')
    assert isinstance(second, ToolUse) and parsed("doc_tools").choices[0].finish == "tool_use"


def test_a_function_without_arguments_has_an_empty_object() -> None:
    assert parsed("doc_no_arguments").choices[0].blocks[1] == ToolUse("now_1", "now", "{}")


def test_reasoning_is_told_before_a_call() -> None:
    thought, call = parsed("doc_reasoning").choices[0].blocks
    assert thought == Thinking("The second largest city is Osaka.") and isinstance(call, ToolUse)


def test_sources_are_citations_in_characters_of_their_text() -> None:
    (text,) = parsed("doc_citations").choices[0].blocks
    assert isinstance(text, Text)
    assert [text.text[c.start : c.end] for c in text.citations] == ["24°C", "28°C"] == [c.quote for c in text.citations]
    assert [(c.url, c.title) for c in text.citations] == [("https://weather.example/madrid", "Madrid"), ("", "")]


def test_every_source_of_a_span_is_told_and_what_is_about_no_text_is_kept() -> None:
    thought, text = parsed("doc_documents").choices[0].blocks
    assert isinstance(thought, Thinking) and isinstance(text, Text)
    assert [(c.url, c.title, c.start, c.end) for c in text.citations] == [
        ("", "Tall penguins", 0, 16),
        ("https://penguins.example/h", "Habitats", 0, 16),
    ]
    (kept,) = dialect.parse_response(whole("doc_documents")).extra
    assert kept.kind == "citations" and b"THINKING_CONTENT" in kept.raw
    data = (HERE / "doc_documents.sse").read_bytes()
    (told,) = [event for event in run_decoder(dialect.decoder(), [data]) if isinstance(event, Other)]
    assert told.opaque.kind == "citation-start" and b"THINKING_CONTENT" in told.opaque.raw


def test_log_probabilities_are_openais_rows() -> None:
    choice = parsed("doc_logprobs").choices[0]
    rows = json.loads(choice.logprobs)["content"]
    assert [(row["token"], row["logprob"]) for row in rows] == [("Hi", -0.25), (" 🙂", -0.625)]
    assert choice.finish == "length"


def test_a_stream_that_failed_is_an_error_with_the_vendors_words() -> None:
    data = (HERE / "doc_failed.sse").read_bytes()
    with pytest.raises(GatewayError, match="generation failed") as caught:
        run_decoder(dialect.decoder(), [data])
    assert caught.value.kind == "upstream_error"
    lane, lines = same.Stream(Raw(b'"asked"'), True), Decoder()
    with pytest.raises(GatewayError, match="generation failed"):
        [lane.feed(event) for event in lines.feed(data) + lines.close()]


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT"])
def test_an_answer_that_failed_is_none(reason: str) -> None:
    body = json.dumps(read("doc_text")["body"] | {"finish_reason": reason}).encode()
    for parse in (dialect.parse_response, lambda data: same.answer(data, Raw(b'"asked"'))):
        with pytest.raises(GatewayError) as caught:
            parse(body)
        assert caught.value.row.retry == "target"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("too_long", "context_window"),
        ("max_tokens", "upstream_bad_request"),
        ("key", "upstream_auth"),
        ("model", "upstream_not_found"),
        ("trial", "upstream_rate_limit"),
        ("token", "upstream_auth"),
        ("cancelled", "upstream_unavailable"),
    ],
)
def test_errors(name: str, kind: str) -> None:
    told = read(f"doc_error_{name}")
    error = dialect.parse_error(told["status"], {"retry-after": "3"}, json.dumps(told["body"]).encode())
    assert (error.kind, error.message, error.retry_after) == (kind, told["body"]["message"], 3)
    assert error.upstream_code == "5f0bb1b7"
    status, body = dialect.render_error(error)
    assert status == error.status and json.loads(body) == {"message": error.message}


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (498, b'{"message":"blocked input: please adjust your prompt"}', "content_policy", "blocked input"),
        (500, b"<html>oops</html>", "upstream_error", "oops"),
        (503, b"", "upstream_unavailable", "status 503 and no message"),
        (302, b"", "upstream_bad_gateway", "instead of an answer"),
        (400, b'{"error":{"message":"a proxy\'s words"}}', "upstream_bad_request", "a proxy's words"),
        (400, b'{"data":"older words"}', "upstream_bad_request", "older words"),
        (422, b'{"detail":[{"msg":"bad"}]}', "upstream_unprocessable", '"msg":"bad"'),
        (400, b'"just a text"', "upstream_bad_request", "just a text"),
        (401, b'{"message":"invalid api token"}', "upstream_auth", "invalid api token"),
    ],
)
def test_errors_of_other_shapes(status: int, body: bytes, kind: str, says: str) -> None:
    error = dialect.parse_error(status, {}, body)
    assert error.kind == kind and says in error.message


def test_a_request_with_everything() -> None:
    request = dialect.parse_request(envelope.open_body(whole("doc_request")))
    system, user, said, result, cited, last = request.messages
    assert system.blocks == (Text("You respond concisely."),)
    assert user.blocks[1] == Image(Base64("image/png", "iVBORw0KGgo="), "auto")
    assert said.blocks[0] == Thinking("I will search for the weather in Toronto.", plan_seal())
    (back,) = result.blocks
    assert isinstance(back, ToolResult) and isinstance(back.content[0], Opaque)
    assert isinstance(cited.blocks[0], Text) and cited.blocks[0].citations[0].quote == "20°C"
    assert last.blocks == (Text("And tomorrow?"),)
    assert request.tools[0].strict is True and request.tool_choice == ToolChoice("required")
    assert (request.top_k, request.top_p, request.seed, request.stop) == (40, 0.75, 7, ("--",))
    assert [opaque.kind for opaque in request.extra] == ["documents", "citation_options", "safety_mode", "priority"]
    rendered = dialect.render_request(request, Wire(model=request.model, family="cohere"))
    assert rendered.losses == ()
    assert json.loads(envelope.seal(rendered.fields)) == json.loads(whole("doc_request"))
    texts = list(dialect.texts(rendered.fields))
    for text in ("I will search for the weather in Toronto.", '{"temperature": "20°C"}', "Tall penguins", "It is 20°C."):
        assert text in texts
    assert not any("base64" in text for text in texts)


def test_a_schema_and_a_budget_to_think() -> None:
    request = dialect.parse_request(envelope.open_body(whole("doc_request_json")))
    assert request.reasoning == Reasoning(mode="enabled", budget=500)
    assert isinstance(request.output, OutputFormat) and request.output.kind == "json_schema"
    assert request.messages[1].blocks == (Thinking("Someone simple."), Text("{}"))
    rendered = dialect.render_request(request, Wire(model=request.model, family="cohere"))
    assert rendered.losses == () and json.loads(envelope.seal(rendered.fields)) == json.loads(whole("doc_request_json"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"model": "m", "messages": [], "tool_choice": "auto"}, "tool_choice"),
        ({"model": "m", "messages": [], "thinking": {"type": "maybe"}}, "thinking.type"),
        ({"model": "m", "messages": [], "p": "high"}, "p"),
        ({"model": "m", "messages": [], "tools": [{"type": "function"}]}, "tools[0].function"),
    ],
)
def test_what_is_wrong_is_named(fields: dict, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        dialect.parse_request(envelope.open_body(json.dumps(fields).encode()))
    assert caught.value.kind == "bad_request" and (caught.value.param or "").startswith(param)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "broken_answer"),
        (b"[]", "broken_answer"),
        (b"{}", "broken_answer"),
        (b'{"message":{"content":7}}', "broken_answer"),
        (b'{"message":"no such thing"}', "upstream_error"),
    ],
)
def test_what_is_no_answer(body: bytes, kind: str) -> None:
    with pytest.raises(GatewayError) as caught:
        dialect.parse_response(body)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("model", "does"),
    [
        ("command-a-plus-05-2026", True),
        ("command-a-reasoning-08-2025", True),
        ("north-mini-1", True),
        ("command-r-08-2024", False),
        ("command-r7b-12-2024", False),
        ("command-r-plus", False),
        ("command-a-03-2025", False),
        ("command-a-vision-07-2025", False),
        ("c4ai-aya-expanse-32b", False),
        ("command", False),
    ],
)
def test_which_models_think(model: str, does: bool) -> None:
    assert thinks(model) is does

"""Golden data of the Gemini dialect. ``doc_*``: written after the vendor's published examples, the URL stands in each
file. ``seen_*``: recorded by others and published; the source stands in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import gemini as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.ir import (
    Base64,
    Citation,
    Image,
    OutputFormat,
    Reasoning,
    Response,
    Seal,
    Text,
    Thinking,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
    collect,
)
from tests.laws.streams import run_decoder

HERE = Path(__file__).parents[2] / "corpus" / "gemini"
PAIRS = sorted(path.stem for path in HERE.glob("*.sse") if (HERE / f"{path.stem}.json").exists())
VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")


def whole(name: str) -> bytes:
    return json.dumps(json.loads((HERE / f"{name}.json").read_text())["body"]).encode()


def streamed(name: str, size: int = 1 << 20) -> Response:
    data = (HERE / f"{name}.sse").read_bytes()
    return collect(run_decoder(dialect.decoder(), [data[at : at + size] for at in range(0, len(data), size)]))


def parsed(name: str) -> Response:
    return replace(dialect.parse_response(whole(name)), extra=())


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
    told = json.loads(
        dialect.render_response(dialect.parse_response(whole(name)), View(model=body["modelVersion"])).body
    )
    for candidate in body.get("candidates", ()):
        for part in candidate["content"]["parts"]:
            part.pop("thoughtSignature", None) if "text" in part else None
    for candidate in told.get("candidates", ()):
        candidate.pop("citationMetadata", None)  # made of the grounding, which goes back beside it
        kept = [part for part in candidate["content"]["parts"] if part.get("text") != ""]
        candidate["content"]["parts"] = kept
    for one in (body, told):
        one.get("usageMetadata", {}).pop("promptTokensDetails", None)
        one.get("usageMetadata", {}).setdefault("candidatesTokenCount", 0)
    if "usageMetadata" not in told:
        body.pop("usageMetadata", None)
    assert told == body


def test_text() -> None:
    response = parsed("doc_text")
    assert response.choices[0].blocks == (Text("AI learns patterns from data and uses them to predict."),)
    assert response.choices[0].finish == "stop" and response.usage == Usage(fresh=4, output=11)
    assert (response.id, response.model) == ("mF0kaOfXAsCb1dkP0pjzsQE", "gemini-2.5-flash")


def test_thoughts_count_as_output_and_the_signature_of_a_text_is_kept_behind_it() -> None:
    response = parsed("doc_thinking")
    thought, text, mark = response.choices[0].blocks
    assert isinstance(thought, Thinking) and thought.seal is None and thought.text.startswith("**Counting**")
    assert text == Text("The sum is 5117.") and mark == Thinking("", Seal("gemini", "CiQBVKhc7nQ="))
    assert response.usage == Usage(fresh=11, output=49, reasoning=43)


def test_parallel_calls_and_the_signature_of_the_first() -> None:
    first, second = parsed("doc_calls").choices[0].blocks
    assert first == ToolUse(
        "fc-1", "get_current_temperature", '{"location": "Paris"}', seal=Seal("gemini", "EpYDCpMDAQ==")
    )
    assert isinstance(second, ToolUse) and (second.id, second.seal) == ("fc-2", None)
    assert parsed("doc_calls").choices[0].finish == "tool_use"


def test_results_of_calls_in_a_request() -> None:
    request = dialect.parse_request(envelope.open_body(whole("doc_calls.request")))
    results = request.messages[2].blocks
    assert results == (ToolResult("fc-1", (Text('{"temp": "15C"}'),)), ToolResult("fc-2", (Text('{"temp": "12C"}'),)))
    assert request.tool_choice == ToolChoice("auto") and b'"city name' not in request.tools[0].schema
    rendered = dialect.render_request(request, Wire(model="gemini-3-pro-preview", family="gemini"))
    told = json.loads(envelope.seal(rendered.fields))
    assert rendered.losses == () and told["contents"] == json.loads(whole("doc_calls.request"))["contents"]


def test_sources_of_a_search_become_citations() -> None:
    (text,) = parsed("doc_search").choices[0].blocks
    assert isinstance(text, Text)
    assert [(c.title, c.start, c.end) for c in text.citations] == [
        ("aljazeera.com", 0, 56),
        ("aljazeera.com", 57, 126),
        ("uefa.com", 57, 126),
    ]
    assert all(c.quote == text.text[c.start : c.end] for c in text.citations)
    assert isinstance(text.citations[0], Citation) and text.citations[0].url.startswith("https://vertexaisearch")
    extra = dialect.parse_response(whole("doc_search")).extra
    assert [opaque.kind for opaque in extra] == ["candidates.0.groundingMetadata"]


def test_a_blocked_prompt_is_an_answer_that_was_filtered() -> None:
    response = parsed("doc_blocked")
    assert response.choices[0].blocks == () and response.choices[0].finish == "filter"
    assert response.usage == Usage(fresh=7)


def test_code_that_the_vendor_ran_is_kept_as_it_is() -> None:
    kinds = [getattr(block, "kind", "text") for block in parsed("doc_code").choices[0].blocks]
    assert kinds == ["text", "executableCode", "codeExecutionResult", "text"]


def test_a_stream_as_vertex_ai_sends_it() -> None:
    response = streamed("seen_vertex")
    text, mark = response.choices[0].blocks
    assert text == Text("Hello! How can I help you today?")
    assert isinstance(mark, Thinking) and mark.seal is not None and mark.seal.data.startswith("AY89a18i")
    assert response.usage == Usage(fresh=1, output=9) and response.choices[0].finish == "stop"


def test_a_wrong_key_is_the_deployments_fault_and_not_the_clients() -> None:
    error = dialect.parse_error(400, {}, whole("doc_error_key"))
    assert (error.kind, error.status, error.upstream_code) == ("upstream_auth", 401, "API_KEY_INVALID")
    assert "API key not valid" in error.message


def test_a_quota_says_when_to_come_back() -> None:
    error = dialect.parse_error(429, {}, whole("doc_error_quota"))
    assert error.kind == "upstream_rate_limit" and error.retry_after == 34.074
    status, body = dialect.render_error(error)
    told = json.loads(body)["error"]
    assert status == 429 and (told["code"], told["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert told["details"][0]["retryDelay"] == "34s"


def test_both_spellings_of_a_request() -> None:
    body = json.loads(whole("doc_request"))
    request = dialect.parse_request(envelope.open_body(whole("doc_request")))
    assert request.messages[0].role == "system" and request.messages[0].blocks == (
        Text("You are a cat. Your name is Neko."),
    )
    assert request.messages[1].blocks == (Image(Base64("image/jpeg", "/9j/4AAQ")), Text("Caption this image."))
    assert request.reasoning == Reasoning(budget=1024, display="summarized")
    assert (request.top_k, request.max_tokens, request.stop) == (10, 800, ("Title",))
    assert isinstance(request.output, OutputFormat)
    schema = json.loads(request.output.schema)
    assert schema["items"]["properties"] == {"rating": {"type": ["integer", "null"]}, "recipeName": {"type": "string"}}
    assert list(schema["items"]["properties"]) == ["rating", "recipeName"]
    assert [opaque.kind for opaque in request.extra] == ["safetySettings", "cachedContent"]
    body["systemInstruction"] = body.pop("system_instruction")
    body["contents"][0]["parts"][0] = {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4AAQ"}}
    assert dialect.parse_request(envelope.open_body(json.dumps(body).encode())) == request

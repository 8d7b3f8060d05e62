"""Golden data of the Messages dialect.

``doc_*``: written after the vendor's published examples; the URL stands in each file. ``llama_*``: recorded from a real
llama-server, which speaks this dialect natively (``record.py`` beside them).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import anthropic as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Citation,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Response,
    Seal,
    Stop,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Usage,
    collect,
)
from tests.laws.anthropic_views import plain
from tests.laws.strategies import run_decoder

HERE = Path(__file__).parents[2] / "corpus" / "anthropic"
DOCS = sorted(path.stem for path in HERE.glob("doc_*.sse") if path.stem != "doc_overloaded")
LLAMA = sorted(path.stem for path in HERE.glob("llama_*.sse"))
VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")


def whole(name: str) -> bytes:
    return json.dumps(json.loads((HERE / f"{name}.json").read_text())["body"]).encode()


def streamed(name: str, size: int = 1 << 20) -> Response:
    data = (HERE / f"{name}.sse").read_bytes()
    return collect(run_decoder(dialect.decoder(), [data[at : at + size] for at in range(0, len(data), size)]))


def compact(response: Response) -> Response:
    """Arguments compared as values: a stream keeps the model's own spaces, a whole answer the server's."""
    blocks = tuple(
        replace(block, args=json.dumps(json.loads(block.args))) if isinstance(block, ToolUse) else block
        for block in response.choices[0].blocks
    )
    return replace(response, choices=(replace(response.choices[0], blocks=blocks),))


@pytest.mark.parametrize("name", DOCS)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_streamed_answer_is_the_whole_one(name: str, size: int) -> None:
    given = dialect.parse_response(whole(name))
    assert compact(plain(streamed(name, size))) == compact(replace(plain(given), service_tier=""))


@pytest.mark.parametrize("name", DOCS)
def test_a_whole_answer_goes_back_out_as_it_came(name: str) -> None:
    body = json.loads(whole(name))
    rendered = dialect.render_response(dialect.parse_response(whole(name)), replace(VIEW, model=body["model"]))
    assert rendered.losses == ()
    back = json.loads(rendered.body)
    for key in ("cache_creation_input_tokens", "cache_read_input_tokens"):
        body["usage"].setdefault(key, 0)
    assert back == body


def shape(response: Response) -> Any:
    """What llama.cpp's whole and streamed answers have in common where the words are random."""
    choice = response.choices[0]
    used = response.usage
    assert used is not None and used.input > 0 and used.output > 0
    kinds = [type(block).__name__ for block in choice.blocks]
    return sorted(set(kinds)), choice.finish, choice.stop_sequence, response.model, response.id[:9]


@pytest.mark.parametrize("name", LLAMA)
def test_llama_server_streamed_and_whole_have_one_shape(name: str) -> None:
    given = dialect.parse_response((HERE / f"{name}.json").read_bytes())
    assert shape(streamed(name, 100)) == shape(given)
    if '"temperature": 0' in (HERE / f"{name}.request.json").read_text():
        assert streamed(name).choices == given.choices


@pytest.mark.parametrize("name", [name for name in LLAMA if "tools" in name])
def test_llama_server_calls_arrive_whole(name: str) -> None:
    """It sends no ``input`` in the opening event and closes the text block only after the call's deltas."""
    for answer in (streamed(name), dialect.parse_response((HERE / f"{name}.json").read_bytes())):
        calls = [block for block in answer.choices[0].blocks if isinstance(block, ToolUse)]
        assert calls and all(call.id and call.name and isinstance(json.loads(call.args), dict) for call in calls)
        assert answer.choices[0].finish == "tool_use"


@pytest.mark.parametrize("name", LLAMA)
def test_llama_server_streams_go_to_a_client_block_by_block(name: str) -> None:
    """Its interleaved blocks leave in order: each is closed before the next opens."""
    encoder = dialect.encoder(VIEW)
    data = (HERE / f"{name}.sse").read_bytes()
    events = run_decoder(dialect.decoder(), [data])
    out = b"".join(encoder.feed(event) for event in events)
    opened: int | None = None
    for line in out.split(b"\n"):
        if not line.startswith(b"data: "):
            continue
        step = json.loads(line[6:])
        if step["type"] == "content_block_start":
            assert opened is None
            opened = step["index"]
        elif step["type"] == "content_block_delta":
            assert step["index"] == opened
        elif step["type"] == "content_block_stop":
            assert step["index"] == opened
            opened = None
    assert collect(run_decoder(dialect.decoder(), [out])).choices == collect(events).choices


@pytest.mark.parametrize("name", LLAMA)
def test_llama_server_requests_come_back(name: str) -> None:
    fields = envelope.open_body((HERE / f"{name}.request.json").read_bytes())
    request = dialect.parse_request(fields)
    rendered = dialect.render_request(request, Wire(model="tiny", family="", official=False))
    assert rendered.losses == ()
    assert dialect.parse_request(rendered.fields) == request


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("llama_error_401", "upstream_auth", "Invalid API Key"),
        ("llama_error_bad_request", "upstream_error", "'messages' is required"),
        ("llama_error_context", "context_window", "exceed"),
    ],
)
def test_llama_server_errors(name: str, kind: str, word: str) -> None:
    kept = json.loads((HERE / f"{name}.json").read_text())
    error = dialect.parse_error(kept["status"], kept["headers"], kept["body"].encode())
    assert error.kind == kind and word in error.message and error.status == kept["status"]


def test_thinking_redacted_and_signature_only() -> None:
    blocks = streamed("doc_thinking").choices[0].blocks
    assert blocks == (
        Thinking("First, 27 * 453.\n27 * 400 = 10,800", Seal("anthropic", "EqQBCgIYAhIM1gbc+/==")),
        Thinking("", Seal("anthropic", "EmwKAhgBEgy3va3pzix/"), redacted=True),
        Thinking("", Seal("anthropic", "EosnCkYICxIMMb3LzNrMu")),
        Text("27 * 453 = 12,231"),
    )


def test_server_tools_are_opaque_and_their_input_is_gathered() -> None:
    answer = streamed("doc_web_search")
    call, result, text = answer.choices[0].blocks
    assert isinstance(call, Opaque) and json.loads(call.raw)["input"] == {"query": "claude shannon birth date"}
    assert isinstance(result, Opaque) and result.kind == "web_search_tool_result"
    assert isinstance(text, Text) and text.citations[0].url == "https://en.wikipedia.org/wiki/Claude_Shannon"
    assert answer.choices[0].finish == "pause"


def test_cache_counters_are_disjoint() -> None:
    wanted = Usage(fresh=25, cache_read=1800, cache_write=148, cache_write_1h=100, output=3)
    assert streamed("doc_cache").usage == wanted
    assert dialect.parse_response(whole("doc_cache")).usage == wanted
    assert streamed("doc_cache").choices[0].stop_sequence == "END"


def test_an_error_in_the_stream_is_raised_with_its_kind() -> None:
    with pytest.raises(GatewayError) as caught:
        streamed("doc_overloaded")
    assert caught.value.kind == "upstream_overloaded" and caught.value.message == "Overloaded"


def test_fields_beside_the_answer_reach_a_client_of_the_same_dialect() -> None:
    """``stop_details``, ``context_management`` and ``server_tool_use`` come through a translated stream too."""
    for name, word in (("refusal", b"stop_details"), ("compaction", b"applied_edits"), ("web_search", b"server_tool")):
        encoder = dialect.encoder(VIEW)
        events = run_decoder(dialect.decoder(), [(HERE / f"doc_{name}.sse").read_bytes()])
        out = b"".join(encoder.feed(event) for event in events)
        assert word in out.split(b"event: message_delta")[1]
        assert any(isinstance(event, Stop) for event in events)


def test_a_request_with_everything_is_read() -> None:
    request = dialect.parse_request(envelope.open_body(whole("doc_request")))
    assert request.output == OutputFormat("json_schema", schema=request.output.schema) if request.output else False
    assert request.reasoning == Reasoning(effort="high", budget=10000, mode="enabled")
    assert (request.user, request.stop, request.top_k, request.parallel_tools) == ("13803d75", ("END",), 5, False)
    assert [tool.kind for tool in request.tools] == ["function", "function", "web_search_20250305", "mcp_toolset"]
    assert {opaque.kind for opaque in request.extra} == {
        "context_management",
        "container",
        "mcp_servers",
        "output_config.task_budget",
    }
    system, user, assistant, results, later = request.messages
    assert (system.role, later.role) == ("system", "system")
    kinds = [block.kind for message in request.messages for block in message.blocks if isinstance(block, Opaque)]
    assert kinds == [
        "+source",
        "search_result",
        "container_upload",
        "server_tool_use",
        "web_search_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
        "+caller",
        "+cache_control",
        "@clear_at",
    ]
    failed = [block for block in results.blocks if isinstance(block, ToolResult)][1]
    assert failed.is_error and [type(part).__name__ for part in failed.content] == [
        "Text",
        "Image",
        "Document",
        "Opaque",
    ]
    assert isinstance(user, Message) and isinstance(assistant, Message)


def test_a_request_with_everything_goes_back_as_it_came() -> None:
    body = json.loads(whole("doc_request"))
    request = dialect.parse_request(envelope.open_body(whole("doc_request")))
    rendered = dialect.render_request(request, Wire(model=body["model"], family="anthropic"))
    assert rendered.losses == ()
    assert json.loads(envelope.seal(rendered.fields)) == body


def test_citations_made_from_a_foreign_url_are_known_again() -> None:
    given = Response(id="msg_1", model="m", choices=(_cited(),))
    back = dialect.parse_response(dialect.render_response(given, VIEW).body)
    text = back.choices[0].blocks[0]
    assert isinstance(text, Text) and text.citations == (Citation(url="https://x.test", title="X", quote="q"),)


def _cited():  # type: ignore[no-untyped-def]
    from penstock.core.ir import Choice

    return Choice((Text("a", citations=(Citation(url="https://x.test", title="X", quote="q"),)),))

"""Golden data of the Responses dialect.

``doc_*``: written after the vendor's published examples; the URL stands in each file. ``llama_*``: recorded from a real
llama-server, which speaks this dialect natively (``record.py`` beside them). ``codex``: the shape of Codex CLI's body.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import envelope, sse
from penstock.core.dialects import anthropic, openai_chat
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.openai_responses import same
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Message,
    Opaque,
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
from penstock.core.mask import NO_SECRETS, hide
from tests.laws.responses_views import plain
from tests.laws.strategies import run_decoder

HERE = Path(__file__).parents[2] / "corpus" / "openai_responses"
BROKEN = ("doc_failed", "doc_error")
DOCS = sorted(path.stem for path in HERE.glob("doc_*.sse") if path.stem not in BROKEN)
LLAMA = sorted(path.stem for path in HERE.glob("llama_*.sse"))
VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
WIRE = Wire(model="real", family="openai")


def whole(name: str) -> bytes:
    return json.dumps(json.loads((HERE / f"{name}.json").read_text())["body"]).encode()


def codex() -> bytes:
    return json.dumps(json.loads((HERE / "codex.request.json").read_text())["body"]).encode()


def streamed(name: str, size: int = 1 << 20) -> Response:
    data = (HERE / f"{name}.sse").read_bytes()
    return collect(run_decoder(dialect.decoder(), [data[at : at + size] for at in range(0, len(data), size)]))


def values(response: Response) -> Response:
    """Opaque blocks compared as values: the files were written with other spaces."""
    blocks = tuple(
        replace(block, raw=json.dumps(json.loads(block.raw)).encode()) if isinstance(block, Opaque) else block
        for block in response.choices[0].blocks
    )
    cited = tuple(
        replace(block, citations=tuple(replace(c, opaque=None) for c in block.citations))
        if isinstance(block, Text)
        else block
        for block in blocks
    )
    return replace(response, choices=(replace(response.choices[0], blocks=cited),))


@pytest.mark.parametrize("name", DOCS)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_streamed_answer_is_the_whole_one(name: str, size: int) -> None:
    assert values(plain(streamed(name, size))) == values(plain(dialect.parse_response(whole(name))))


@pytest.mark.parametrize("name", DOCS)
def test_a_whole_answer_goes_back_out_as_it_came(name: str) -> None:
    """Items as they came, less the vendor's own ids and its thoughts without words."""
    body = json.loads(whole(name))
    rendered = dialect.render_response(dialect.parse_response(whole(name)), replace(VIEW, model=body["model"]))
    assert rendered.losses == ()
    back = json.loads(rendered.body)
    for key in ("id", "object", "created_at", "status", "model", "error", "incomplete_details"):
        assert back[key] == body[key]
    assert _items(back["output"]) == _items(body["output"])
    assert body["usage"].items() <= {**back["usage"], **_without_new(back["usage"], body["usage"])}.items()


def _without_new(back: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return {key: {k: v for k, v in back[key].items() if k in body[key]} for key in body if isinstance(body[key], dict)}


def _items(found: list[Any]) -> list[Any]:
    out = []
    for item in found:
        if item["type"] == "reasoning" and not item.get("summary") and not item.get("content"):
            continue
        if item["type"] not in ("reasoning", "web_search_call"):
            item = {key: value for key, value in item.items() if key != "id"}
        for part in item.get("content", ()):
            part.pop("logprobs", None)
        out.append(item)
    return out


def test_a_streamed_answer_with_everything() -> None:
    response = streamed("doc_reasoning")
    id = "rs_6876cf02e0bc8192b74af0fb64b715ff06fa2fcced15a5ac"
    first, second, phase, text, call = response.choices[0].blocks
    assert first == Thinking("**Planning the weather call**\n\nI need the city.", None, False, True, id)
    assert second == Thinking("**Answering**\n\nParis it is.", Seal("openai", "gAAAAABodvKx9c0"), False, True, id)
    assert isinstance(phase, Opaque) and phase.kind == "@phase"
    assert (text, call) == (Text("In Paris."), ToolUse("call_2", "get_weather", '{"city":"Paris"}'))
    assert response.choices[0].finish == "tool_use"
    assert response.usage == Usage(fresh=11, cache_read=64, output=1186, reasoning=1024)
    assert (response.id, response.created, response.model) == ("resp_6876cf00", 1752616706, "o4-mini-2025-04-16")


def test_a_cut_answer_says_why() -> None:
    assert streamed("doc_incomplete").choices[0].finish == "length"


def test_a_failed_response_is_an_error() -> None:
    with pytest.raises(GatewayError) as caught:
        dialect.parse_response(whole("doc_failed"))
    assert (caught.value.kind, caught.value.message) == ("upstream_error", "The model failed to generate a response.")
    with pytest.raises(GatewayError) as caught:
        streamed("doc_failed")
    assert caught.value.kind == "upstream_error"


def test_an_error_event_is_an_error_without_the_key_in_it() -> None:
    with pytest.raises(GatewayError) as caught:
        streamed("doc_error")
    assert caught.value.kind == "upstream_rate_limit"
    hide(caught.value, [NO_SECRETS])
    assert "sk-proj" not in caught.value.message


# llama-server ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LLAMA)
def test_llama_streams_what_it_answers(name: str) -> None:
    given = dialect.parse_response((HERE / f"{name}.json").read_bytes())
    told = streamed(name)
    kinds = [type(block) for block in told.choices[0].blocks]
    assert told.usage is not None and told.usage.output > 0
    if name in ("llama_tools_required", "llama_json_schema"):  # at random, with a temperature
        assert ToolUse in kinds or name == "llama_json_schema"
        assert any(isinstance(b, ToolUse) for b in given.choices[0].blocks) or name == "llama_json_schema"
        return
    assert told.choices == given.choices
    assert told.usage.output == (given.usage.output if given.usage else 0)


@pytest.mark.parametrize("name", LLAMA)
def test_llama_in_the_same_lane(name: str) -> None:
    raw = (HERE / f"{name}.sse").read_bytes()
    stream = same.Stream(Raw(b'"asked"'), True)
    out = b"".join(stream.feed(event) for event in sse.Decoder().feed(raw)) + stream.close()
    assert out.replace(b'"model":"asked"', b'"model":"tiny"').replace(b',"model":"tiny"}}', b"}}").split() == (
        raw.replace(b',"model":"tiny"}}', b"}}").split()
    )
    assert stream.usage is not None and stream.started and stream.chunks > 0


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("llama_error_401", "upstream_auth", 401),
        ("llama_error_bad_request", "upstream_bad_request", 400),
        ("llama_error_context", "context_window", 400),
    ],
)
def test_llama_errors(name: str, kind: str, status: int) -> None:
    kept = json.loads((HERE / f"{name}.json").read_text())
    error = dialect.parse_error(kept["status"], kept["headers"], kept["body"].encode())
    assert (error.kind, error.status) == (kind, status)


@pytest.mark.parametrize("name", LLAMA)
def test_requests_that_llama_took_come_back_whole(name: str) -> None:
    fields = envelope.open_body((HERE / f"{name}.request.json").read_bytes())
    request = dialect.parse_request(fields)
    rendered = dialect.render_request(request, replace(WIRE, model=request.model))
    assert rendered.losses == ()
    assert dialect.parse_request(rendered.fields) == request


# Codex ----------------------------------------------------------------------------------------------------------------


def test_codex_is_understood() -> None:
    request = dialect.parse_request(envelope.open_body(codex()))
    assert [message.role for message in request.messages] == [
        *("system", "developer", "user", "user", "assistant", "user", "assistant")
    ]
    assert request.messages[4].blocks[0] == Thinking("**Listing**", Seal("openai", "gAAAAABsealed"), summary=True)
    assert request.messages[5] == Message(
        "user",
        (
            ToolResult("call_a", (Text("a.txt\nb.txt"),)),
            ToolResult("call_b", (Text("Success."),), kind="custom"),
        ),
    )
    assert [tool.kind for tool in request.tools] == ["function", "custom", "namespace", "web_search"]
    assert request.store is False and request.cache_key == "019a-session" and request.verbosity == "low"
    assert [opaque.kind for opaque in request.extra] == ["client_metadata"]


def test_codex_comes_back_whole_in_its_own_dialect() -> None:
    body = json.loads(codex())
    rendered = dialect.render_request(dialect.parse_request(envelope.open_body(codex())), replace(WIRE, model="m"))
    assert rendered.losses == ()
    back = json.loads(envelope.seal(rendered.fields))
    assert {key: back[key] for key in body if key not in ("input", "model")} == {
        key: body[key] for key in body if key not in ("input", "model")
    }
    assert [item.get("type", "message") for item in back["input"]] == [item["type"] for item in body["input"]]
    assert back["input"][4]["phase"] == "commentary"


@pytest.mark.parametrize(("target", "family"), [(openai_chat, "openai"), (anthropic, "anthropic")])
def test_codex_crosses_with_its_losses_named(target: Any, family: str) -> None:
    request = dialect.parse_request(envelope.open_body(codex()))
    rendered = target.render_request(request, Wire(model="m", family=family))
    lost = {loss.path for loss in rendered.losses}
    assert {"tools.2", "tools.3", "extra.client_metadata", "messages.6.blocks.0"} <= lost
    body = json.loads(envelope.seal(rendered.fields))
    text = json.dumps(body)
    assert "List the files" in text and "exec_command" in text and "a.txt" in text
    assert "gAAAAABsealed" not in text
    assert not {path for path in lost if path in ("messages.4.blocks.2", "messages.5.blocks.0")}


def test_a_finish_is_told_once_for_all_of_them() -> None:
    for name in DOCS + LLAMA:
        data = (HERE / f"{name}.sse").read_bytes()
        events = run_decoder(dialect.decoder(), [data])
        assert sum(isinstance(event, Stop) for event in events) == 1

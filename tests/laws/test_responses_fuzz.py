"""Whatever bytes come, the Responses dialect answers with a ``GatewayError`` or with a value: never with a bug."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core import envelope, sse
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.openai_responses import same, stored
from penstock.core.errors import GatewayError
from tests.laws.test_anthropic_fuzz import bent

CORPUS = Path(__file__).parent.parent / "corpus" / "openai_responses"
REQUEST = json.loads((CORPUS / "codex.request.json").read_text())["body"]
ANSWERS = [json.loads(path.read_text())["body"] for path in sorted(CORPUS.glob("doc_*.json"))]
STREAMS = [sse.Decoder().feed(path.read_bytes()) for path in sorted(CORPUS.glob("doc_*.sse"))]
WIRE = Wire(model="m", family="openai")
VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")


@given(bent(REQUEST))
def test_a_bent_request_is_read_or_refused(body: dict[str, Any]) -> None:
    fields = envelope.open_body(json.dumps(body).encode())
    try:
        request = dialect.parse_request(fields)
    except GatewayError as error:
        assert error.kind == "bad_request" and error.param and error.param in error.message
        return
    rendered = dialect.render_request(request, WIRE)
    json.loads(envelope.seal(rendered.fields))
    list(dialect.texts(fields))
    view = View(model="m", request=request)
    json.loads(dialect.render_response(dialect.parse_response(json.dumps(ANSWERS[-1]).encode()), view).body)


@given(bent(REQUEST))
def test_a_bent_request_is_kept_or_refused(body: dict[str, Any]) -> None:
    fields = envelope.open_body(json.dumps(body).encode())
    try:
        items = stored.with_ids(stored.input_items(stored.expand_previous(fields, [])), lambda prefix: f"{prefix}1")
        assert json.loads(stored.input_items_page(items, {}))["object"] == "list"
    except GatewayError as error:
        assert error.kind == "bad_request"


@given(st.sampled_from(ANSWERS).flatmap(bent))
def test_a_bent_answer_is_read_or_broken(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    try:
        json.loads(dialect.render_response(dialect.parse_response(raw), VIEW).body)
        same.answer(raw, Raw(b'"m"'))
    except GatewayError as error:
        assert error.kind == "broken_answer" or body.get("error") or body.get("status") in ("failed", "cancelled")


@given(st.data())
def test_a_bent_stream_is_read_or_broken(data: st.DataObject) -> None:
    events = list(data.draw(st.sampled_from(STREAMS)))
    at = data.draw(st.integers(0, len(events) - 1))
    events[at] = events[at]._replace(data=json.dumps(data.draw(bent(json.loads(events[at].data)))).encode())
    for make in (dialect.decoder, lambda: same.Stream(Raw(b'"m"'), True)):
        reader: Any = make()
        told = []
        try:
            for event in events:
                out = reader.feed(event)
                told.extend([] if isinstance(out, bytes) else out)
            out = reader.close()
            told.extend([] if isinstance(out, bytes) else out)
        except GatewayError as error:
            assert error.kind == "broken_stream" or error.kind.startswith(("upstream", "content", "context"))
            continue
        encoder = dialect.encoder(VIEW)
        for event in told:
            encoder.feed(event)


@given(st.integers(400, 599), st.binary(max_size=40))
def test_any_error_body_is_an_error(status: int, body: bytes) -> None:
    error = dialect.parse_error(status, {}, body)
    assert error.message and error.status == status

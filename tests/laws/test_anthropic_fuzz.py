"""Whatever bytes come, the Messages dialect answers with a ``GatewayError`` or with a value: never with a bug."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.core import envelope, sse
from penstock.core.dialects import anthropic as dialect
from penstock.core.dialects.base import Wire
from penstock.core.errors import GatewayError

CORPUS = Path(__file__).parent.parent / "corpus" / "anthropic"
REQUEST = json.loads((CORPUS / "doc_request.json").read_text())["body"]
ANSWERS = [json.loads(path.read_text())["body"] for path in sorted(CORPUS.glob("doc_[!r]*.json"))]
STREAMS = [sse.Decoder().feed(path.read_bytes()) for path in sorted(CORPUS.glob("doc_*.sse"))]
WIRE = Wire(model="m", family="anthropic")

odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", [], [None], ["x"], {}, {"type": "x"}, {"type": 5}, {"type": "text"}, [[]], "DEL"]
)


@st.composite
def bent(draw: st.DrawFn, given_: Any) -> Any:
    """``given_`` with one value somewhere inside replaced or removed."""
    value = json.loads(json.dumps(given_))
    at = value
    while True:
        keys: list[Any] = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from(keys))
        inner = at[key]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.integers(0, 3)) == 0:
            break
        at = inner
    new = draw(odd)
    if new == "DEL":
        del at[key]
    else:
        at[key] = new
    return value


@given(bent(REQUEST))
def test_a_bent_request_is_read_or_refused(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    try:
        request = dialect.parse_request(envelope.open_body(raw))
    except GatewayError as error:
        assert error.kind == "bad_request" and error.param and f"`{error.param}`" in error.message
        return
    rendered = dialect.render_request(request, WIRE)
    json.loads(envelope.seal(rendered.fields))
    list(dialect.texts(envelope.open_body(raw)))


@given(st.sampled_from(ANSWERS).flatmap(bent))
def test_a_bent_answer_is_read_or_broken(body: dict[str, Any]) -> None:
    try:
        dialect.parse_response(json.dumps(body).encode())
    except GatewayError as error:
        assert error.kind == "broken_answer" or body.get("type") == "error"


@given(st.data())
def test_a_bent_stream_is_read_or_broken(data: st.DataObject) -> None:
    events = list(data.draw(st.sampled_from(STREAMS)))
    at = data.draw(st.integers(0, len(events) - 1))
    events[at] = events[at]._replace(data=json.dumps(data.draw(bent(json.loads(events[at].data)))).encode())
    decoder = dialect.decoder()
    try:
        for event in events:
            list(decoder.feed(event))
        list(decoder.close())
    except GatewayError as error:
        assert error.kind == "broken_stream" or error.kind.startswith("upstream")


@given(st.integers(100, 599), st.binary(max_size=40) | odd.map(lambda value: json.dumps({"error": value}).encode()))
def test_any_error_body_is_an_error(status: int, body: bytes) -> None:
    error = dialect.parse_error(status, {}, body)
    # What is no error's status by HTTP is an upstream that cannot be understood.
    assert error.message and error.status == (status if 400 <= status <= 599 else 502)

"""SAP's orchestration: a Chat request goes whole into its envelope, and a Chat answer comes whole out of it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects import sap
from penstock.core.dialects.base import View, Wire
from penstock.core.envelope import seal
from penstock.core.ir import Request, Response, explode
from penstock.core.providers.sap import MODULES, envelope
from tests.laws.strategies import chop, cuts, requests, responses, run_decoder, run_encoder

_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode


def inside(raw: Raw, *path: str) -> dict[str, Raw]:
    """The object at a path."""
    for name in path:
        raw = _FIELDS(raw)[name]
    return _FIELDS(raw)


def taken_out(fields: dict[str, Raw]) -> dict[str, Raw]:
    """The Chat request that an envelope holds, by the vendor's list of where each thing stands."""
    found = inside(fields["config"], "modules", "prompt_templating", "model", "params")
    model = inside(fields["config"], "modules", "prompt_templating", "model")
    prompt = inside(fields["config"], "modules", "prompt_templating", "prompt")
    found |= {"model": model["name"], "messages": prompt.pop("template")} | prompt
    modules = inside(fields["config"], "modules")
    found |= {name: modules[name] for name in MODULES if name in modules}
    if "stream" in inside(fields["config"]):
        found["stream"] = Raw(b"true")
    return found


@given(requests(), st.booleans())
def test_a_request_stands_whole_in_its_envelope(request: Request, stream: bool) -> None:
    fields = dict(chat.render_request(request, Wire(model="gpt-4o", family="sap")).fields)
    fields.pop("stream", None)
    if stream:
        fields["stream"] = Raw(b"true")
    wrapped = dict(fields)
    envelope(wrapped)
    wrapped = _FIELDS(seal(wrapped))
    assert {name: bytes(raw) for name, raw in taken_out(wrapped).items()} == {k: bytes(v) for k, v in fields.items()}


def wrap(body: bytes) -> bytes:
    return b'{"request_id":"r","intermediate_results":{"templating":[]},"final_result":%b}' % body


@given(responses())
def test_an_answer_is_chats_inside(response: Response) -> None:
    body = chat.render_response(response, View(model="m")).body
    assert sap.parse_response(wrap(body)) == chat.parse_response(body)


@given(responses(), cuts)
def test_a_stream_is_chats_inside_however_it_is_cut(response: Response, where: list[int]) -> None:
    stream = run_encoder(chat.encoder(View(model="m")), explode(response))
    lines = sse.Decoder()
    wrapped = b""
    for event in (*lines.feed(stream), *lines.close()):
        wrapped += b"data: %b\n\n" % (event.data if event.data == b"[DONE]" else wrap(event.data))
    events: list[Any] = run_decoder(sap.decoder(), chop(wrapped, where))
    assert events == run_decoder(chat.decoder(), [stream])

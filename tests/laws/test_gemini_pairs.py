"""Gemini and the three big dialects: answers and requests across, both ways, less what is written down per dialect."""

from __future__ import annotations

from hypothesis import given, note
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import gemini
from penstock.core.dialects.base import Wire
from penstock.core.ir import Request, Response, collect, explode
from tests.laws import gemini_views
from tests.laws.anthropic_views import differences
from tests.laws.strategies import chop, cuts, requests, responses, run_decoder, run_encoder
from tests.laws.test_pairs_laws import CLIENT, THREE, UPSTREAM, carried, shown
from tests.laws.test_pairs_requests import said


def of_google(answer: Response, streamed: bool) -> Response:
    """What Google's client gets of an answer of another dialect's."""
    fitted = gemini_views.fit(answer)
    return gemini_views.as_answer(replace(fitted, service_tier="", created=0), streamed)


@given(responses(), cuts)
def test_answers_of_every_dialect_reach_googles_client(response: Response, where: list[int]) -> None:
    for target in THREE.values():
        note(target.name)
        whole = gemini_views.fit(target.parse_response(target.render_response(response, UPSTREAM).body))
        told = gemini.render_response(whole, CLIENT).body
        assert gemini_views.plain(gemini.parse_response(told)) == of_google(whole, False) and b"upstream" not in told
        sent = run_encoder(target.encoder(UPSTREAM), explode(gemini_views.fit(response)))
        answer = gemini_views.fit(collect(run_decoder(target.decoder(), [sent])))
        stream = run_encoder(gemini.encoder(CLIENT), explode(answer))
        assert collect(run_decoder(gemini.decoder(), chop(stream, where))) == of_google(answer, True)


@given(responses(), cuts, st.integers(1, 9))
def test_googles_answers_reach_every_client(response: Response, where: list[int], cut: int) -> None:
    sent = run_encoder(gemini.encoder(UPSTREAM), explode(gemini_views.says(response), cut))
    events = run_decoder(gemini.decoder(), chop(sent, where))
    answer = collect(events)
    for client in THREE.values():
        note(client.name)
        told = run_encoder(client.encoder(CLIENT), events)
        assert shown(client, collect(run_decoder(client.decoder(), [told]))) == carried(client, answer, streamed=True)
        body = client.render_response(answer, CLIENT).body
        assert shown(client, client.parse_response(body)) == carried(client, answer, streamed=False)


WIRES = st.builds(Wire, model=st.sampled_from(["gemini-2.5-pro", "gemini-3-pro-preview"]), family=st.just("gemini"))


@given(requests(wild=False), WIRES)
def test_requests_of_every_dialect_reach_google(request: Request, wire: Wire) -> None:
    for client in THREE.values():
        note(client.name)
        asked = said(client, request)
        if asked is None:
            continue
        if gemini.forced(asked, wire) is not None:
            asked = replace(asked, output=None)
        rendered = gemini.render_request(asked, wire)
        back = gemini.parse_request(envelope.open_body(envelope.seal(rendered.fields)))
        assert differences(gemini_views.settle(back), gemini_views.minus(asked, rendered.losses)) == []


@given(requests(), WIRES)
def test_googles_requests_reach_every_dialect(request: Request, wire: Wire) -> None:
    """Nothing that another dialect lacks goes in silence: what it reads again has the same words."""
    asked = gemini.parse_request(gemini.render_request(replace(request, output=None), wire).fields)
    for target in THREE.values():
        note(target.name)
        rendered = target.render_request(asked, Wire(model="real", family=target.family))
        if bytes(rendered.fields.get("messages", b"")) == b"[]":
            continue
        sealed = envelope.seal(rendered.fields)
        spoken = "\n".join(target.texts(target_fields(sealed)))
        lost = {loss.path for loss in rendered.losses}
        for number, message in enumerate(asked.messages):
            for at, block in enumerate(message.blocks):
                text = getattr(block, "text", "")
                path = f"messages.{number}.blocks.{at}"
                assert not text.strip() or any(one.startswith(path) for one in lost) or text.strip() in spoken


def target_fields(sealed: bytes):  # type: ignore[no-untyped-def]
    return envelope.open_body(sealed)

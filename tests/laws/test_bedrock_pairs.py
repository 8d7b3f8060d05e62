"""Bedrock and the three big dialects: answers and requests across, less what is written down per dialect."""

from __future__ import annotations

from hypothesis import given, note
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import bedrock, structured
from penstock.core.dialects.base import Wire
from penstock.core.dialects.bedrock.wire import wire_of
from penstock.core.ir import Request, Response, collect, explode
from tests.laws import bedrock_views
from tests.laws.anthropic_views import differences
from tests.laws.strategies import chop, cuts, requests, responses, run_decoder, run_encoder
from tests.laws.test_bedrock_laws import MODELS
from tests.laws.test_pairs_laws import CLIENT, THREE, UPSTREAM, carried, shown
from tests.laws.test_pairs_requests import said


@given(responses(), cuts, st.integers(1, 9))
def test_bedrocks_answers_reach_every_client(response: Response, where: list[int], cut: int) -> None:
    sent = run_encoder(bedrock.encoder(UPSTREAM), explode(response, cut))
    events = bedrock_views.run_decoder(bedrock.decoder(), chop(sent, where))
    answer = bedrock_views.plain(collect(events))
    assert answer.usage is not None
    answer = replace(answer, usage=replace(answer.usage, tier=""))  # for the price: a stream tells it last
    for client in THREE.values():
        note(client.name)
        told = run_encoder(client.encoder(CLIENT), events)
        assert shown(client, collect(run_decoder(client.decoder(), [told]))) == carried(client, answer, streamed=True)
        body = client.render_response(answer, CLIENT).body
        assert shown(client, client.parse_response(body)) == carried(client, answer, streamed=False)


@given(responses(), cuts)
def test_answers_of_every_dialect_reach_a_converse_client(response: Response, where: list[int]) -> None:
    for target in THREE.values():
        note(target.name)
        answer = target.parse_response(target.render_response(response, UPSTREAM).body)
        told = bedrock.render_response(answer, CLIENT).body
        whole = bedrock_views.plain(bedrock.parse_response(told))
        assert whole == bedrock_views.as_answer(answer, False) and b"upstream" not in told
        stream = run_encoder(bedrock.encoder(CLIENT), explode(answer))
        back = collect(bedrock_views.run_decoder(bedrock.decoder(), chop(stream, where)))
        assert bedrock_views.plain(back) == bedrock_views.as_answer(answer, True)


@given(requests(wild=False), st.sampled_from(MODELS).map(wire_of))
def test_requests_of_every_dialect_reach_bedrock(request: Request, wire: Wire) -> None:
    """What a client can say, less exactly what the losses name; a schema that the model does not enforce is a tool."""
    for client in THREE.values():
        note(client.name)
        asked = said(client, request)
        if asked is None:
            continue
        rendered = bedrock.render_request(asked, wire)
        forced = bedrock.forced(asked, wire)
        if forced is not None:
            asked = replace(structured.force(asked, forced), parallel_tools=asked.parallel_tools)
        back = bedrock.parse_request(envelope.open_body(envelope.seal(rendered.fields)))
        assert differences(bedrock_views.settle(back), bedrock_views.minus(asked, rendered.losses)) == []
        for loss in rendered.losses:
            assert loss.path and loss.why

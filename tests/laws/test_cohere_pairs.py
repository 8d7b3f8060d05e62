"""Cohere and the three big dialects: answers and requests across, both ways, less what is written down per dialect."""

from __future__ import annotations

from hypothesis import given, note
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import cohere
from penstock.core.dialects.base import Wire
from penstock.core.dialects.cohere.names import plan_seal
from penstock.core.ir import Delta, End, Event, Request, Response, Text, Thinking, ToolUse, collect, explode
from tests.laws import cohere_views
from tests.laws.anthropic_views import differences
from tests.laws.strategies import chop, cuts, requests, responses, run_decoder, run_encoder
from tests.laws.test_cohere_laws import planned
from tests.laws.test_pairs_laws import CLIENT, THREE, UPSTREAM, carried, losses_of, paths, shown
from tests.laws.test_pairs_requests import said

WIRE = Wire(model="command-a-plus-05-2026", family="cohere")


def across(event: Event) -> Event:
    """Without what is between the vendor and itself (the form of a citation) or the ledger (the bill)."""
    if isinstance(event, Delta) and event.citation is not None:
        return replace(event, citation=replace(event.citation, opaque=None))
    if isinstance(event, End) and event.usage is not None:
        return replace(event, usage=replace(event.usage, billed=None))
    return event


def crossed(response: Response) -> Response:
    return replace(collect(map(across, explode(response))), extra=response.extra)


@given(responses(), cuts)
def test_answers_of_every_dialect_reach_coheres_client(response: Response, where: list[int]) -> None:
    for target in THREE.values():
        note(target.name)
        whole = target.parse_response(target.render_response(response, UPSTREAM).body)
        told = cohere.render_response(whole, CLIENT)
        expected = cohere_views.as_answer(replace(whole, id=whole.id or "new"), False)
        assert cohere_views.plain(cohere.parse_response(told.body)) == expected and b"upstream" not in told.body
        sent = run_encoder(target.encoder(UPSTREAM), explode(response))
        answer = collect(run_decoder(target.decoder(), [sent]))
        encoder = cohere.encoder(CLIENT)
        stream = run_encoder(encoder, explode(answer))
        back = collect(run_decoder(cohere.decoder(), chop(stream, where)))
        assert cohere_views.plain(back) == cohere_views.as_answer(replace(answer, id=answer.id or "new"), True)
        assert paths(encoder.losses) == answer_losses(answer) and b"upstream" not in stream
        beside = answer_losses(whole) | {f"extra.{opaque.kind}" for opaque in whole.extra}
        assert paths(told.losses) == beside


def answer_losses(response: Response) -> set[str]:
    """The paths of everything in an answer that Cohere's client does not get."""
    out = {f"choices.{number}" for number in range(1, len(response.choices))}
    choice = response.choices[0]
    for place, block in enumerate(choice.blocks):
        at = f"choices.0.blocks.{place}"
        if isinstance(block, Text):
            out |= {f"{at}.citations" for cited in block.citations if not cited.url and block.text}
        elif isinstance(block, Thinking):
            out |= {at} if block.redacted else {f"{at}.seal"} if block.seal is not None else set()
        elif isinstance(block, ToolUse):
            out |= {f"{at}.seal"} if block.seal is not None else set()
            out |= {f"{at}.kind"} if block.kind != "function" else set()
        elif type(block).__name__ == "Opaque":
            out.add(at)
    return out | ({"choices.0.stop_sequence"} if choice.stop_sequence else set())


@given(planned(), cuts, st.integers(1, 9))
def test_coheres_answers_reach_every_client(response: Response, where: list[int], cut: int) -> None:
    sent = run_encoder(cohere.encoder(UPSTREAM), explode(response, cut))
    events = run_decoder(cohere.decoder(), chop(sent, where))
    events = [across(event) for event in events]
    answer = collect(events)
    whole = crossed(cohere.parse_response(cohere.render_response(response, UPSTREAM).body))
    for client in THREE.values():
        note(client.name)
        encoder = client.encoder(CLIENT)
        told = run_encoder(encoder, events)
        assert shown(client, collect(run_decoder(client.decoder(), [told]))) == carried(client, answer, streamed=True)
        assert paths(encoder.losses) == losses_of(client, answer, streamed=True)
        rendered = client.render_response(whole, CLIENT)
        assert shown(client, client.parse_response(rendered.body)) == carried(client, whole, streamed=False)
        assert paths(rendered.losses) == losses_of(client, whole, streamed=False)


@given(requests())
def test_requests_of_every_dialect_reach_cohere(request: Request) -> None:
    for client in THREE.values():
        note(client.name)
        asked = said(client, request)
        if asked is None:
            continue
        if cohere.forced(asked, WIRE) is not None:
            asked = replace(asked, output=None)
        rendered = cohere.render_request(asked, WIRE)
        back = cohere.parse_request(envelope.open_body(envelope.seal(rendered.fields)))
        assert differences(cohere_views.settle(back), cohere_views.minus(asked, rendered.losses, WIRE.model)) == []


@given(requests())
def test_coheres_requests_reach_every_dialect(request: Request) -> None:
    """Nothing that another dialect lacks goes in silence: what it reads again has the same words."""
    asked = cohere.parse_request(cohere.render_request(replace(request, output=None), WIRE).fields)
    for target in THREE.values():
        note(target.name)
        rendered = target.render_request(asked, Wire(model="real", family=target.family))
        if bytes(rendered.fields.get("messages", b"")) == b"[]":
            continue
        spoken = "\n".join(target.texts(envelope.open_body(envelope.seal(rendered.fields))))
        lost = {loss.path for loss in rendered.losses}
        for number, message in enumerate(asked.messages):
            for at, block in enumerate(message.blocks):
                text = getattr(block, "text", "")
                path = f"messages.{number}.blocks.{at}"
                assert not text.strip() or any(one.startswith(path) for one in lost) or text.strip() in spoken


@given(planned())
def test_a_plan_comes_back_to_cohere_through_every_client(response: Response) -> None:
    """The seal goes along with the thought, packed with its owner's name, and is a plan again at the end."""
    whole = cohere.parse_response(cohere.render_response(response, UPSTREAM).body)
    plans = [b for b in whole.choices[0].blocks if isinstance(b, Thinking) and b.seal == plan_seal()]
    for client in THREE.values():
        note(client.name)
        body = client.render_response(whole, CLIENT).body
        back = [b for b in client.parse_response(body).choices[0].blocks if isinstance(b, Thinking)]
        assert [b.text for b in back if b.seal == plan_seal()] == [b.text for b in plans]

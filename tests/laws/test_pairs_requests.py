"""Requests of every client for every target, nine pairs: what the target's dialect reads of the request is what the
client's could say, less exactly what the losses name.

One drawn request goes through all pairs, because making it costs more than checking it.
"""

from __future__ import annotations

from hypothesis import example, given, note
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import DIALECTS, structured
from penstock.core.dialects.anthropic.wire import effort_of
from penstock.core.dialects.base import Dialect, Rendered, Wire
from penstock.core.ir import Message, Opaque, Request, Text, Tool, canon
from tests.laws import anthropic_views, responses_views
from tests.laws.anthropic_views import differences
from tests.laws.chat_views import Expected
from tests.laws.strategies import requests

THREE = {name: DIALECTS[name] for name in ("openai_chat", "openai_responses", "anthropic")}


@st.composite
def wires(draw: st.DrawFn) -> Wire:
    """A target, but for its family. A server that wants reasoning back is not the vendor's own."""
    bits = draw(st.integers(0, 63))
    official, replay, schema, usage, adaptive, marks = (bool(bits >> at & 1) for at in range(6))
    return Wire(
        model="real",
        official=official,
        replay_reasoning=replay and not official,
        native_schema=not schema,
        stream_usage=not usage,
        adaptive=adaptive,
        cache_marks=marks and not official,
    )


def at(wire: Wire, dialect: Dialect) -> Wire:
    return Wire(
        model=wire.model,
        family=dialect.family,
        native_schema=wire.native_schema,
        replay_reasoning=wire.replay_reasoning,
        stream_usage=wire.stream_usage,
        official=wire.official,
        adaptive=wire.adaptive,
        cache_marks=wire.cache_marks,
    )


def said(client: Dialect, request: Request) -> Request | None:
    """``request`` as far as a client of this dialect can say it; None when nothing is left."""
    wire = Wire(model="asked", family=client.family, official=False, replay_reasoning=True, cache_marks=True)
    fields = client.render_request(request, wire).fields
    if bytes(fields.get("messages", b"")) == b"[]":
        return None
    return client.parse_request(envelope.open_body(envelope.seal(fields)))


def forced(request: Request, target: Dialect, wire: Wire) -> Request:
    """The request with the tool that stands in for its format, where one does (which has laws of its own)."""
    if target.name == "openai_chat" and (request.output is None or not request.output.schema):
        return request
    if target.name != "anthropic" and wire.native_schema:
        return request
    plan = structured.plan(request, wire.native_schema)
    return request if plan is None else structured.force(request, plan)


def adaptive(request: Request, target: Dialect, wire: Wire) -> Request:
    """A model that sizes its thinking itself is told how hard to think, never how long."""
    had = request.reasoning
    if target.name != "anthropic" or not wire.adaptive or had is None or had.mode:
        return request
    if request.dialect == target.name and had.budget is None:
        return request
    effort = had.effort or ("" if had.budget is None else effort_of(had.budget))
    mode = "disabled" if effort == "none" else "adaptive"
    return replace(request, reasoning=replace(had, effort="" if effort == "none" else effort, mode=mode, budget=None))


def lacking(request: Request, rendered: Rendered, target: Dialect, wire: Wire) -> list[str]:
    """What differs between the request less its losses and what the target reads."""
    back = target.parse_request(envelope.open_body(envelope.seal(rendered.fields)))
    if target.name == "openai_chat":
        wanted = Expected(request, wire, {loss.path for loss in rendered.losses}).all()
        return differences(canon(back), canon(wanted))
    view = anthropic_views if target.name == "anthropic" else responses_views
    return differences(view.settle(back), view.minus(request, rendered.losses, "real"))


# Drawn too seldom to be left to chance: a function with a field that only its vendor knows keeps all of itself.
DEFERRED = Request(
    model="m",
    messages=(Message("user", (Text("hi"),)),),
    dialect="anthropic",
    tools=(
        Tool(
            "f",
            schema=b'{"type":"object"}',
            opaque=Opaque("anthropic", "function", b'{"name":"f","input_schema":{"type":"object"},"defer_loading":true}'),
        ),
    ),
)


@example(DEFERRED, Wire(model="real"))
@given(requests(), wires())
def test_every_pair_loses_exactly_what_it_says(request: Request, wire: Wire) -> None:
    for client in THREE.values():
        asked = said(client, request)
        if asked is None:
            continue
        for target in THREE.values():
            note(f"{client.name} -> {target.name}")
            own = at(wire, target)
            rendered = target.render_request(asked, own)
            if bytes(rendered.fields.get("messages", b"")) == b"[]":
                continue
            assert lacking(adaptive(forced(asked, target, own), target, own), rendered, target, own) == []
            every_opaque_is_carried_home_or_reported(asked, rendered, target)


def every_opaque_is_carried_home_or_reported(request: Request, rendered: Rendered, target: Dialect) -> None:
    paths = {loss.path for loss in rendered.losses}
    for number, message in enumerate(request.messages):
        for place, block in enumerate(message.blocks):
            foreign = isinstance(block, Opaque) and block.dialect != target.name
            assert not foreign or f"messages.{number}.blocks.{place}" in paths
    assert {f"extra.{opaque.kind}" for opaque in request.extra if opaque.dialect != target.name} <= paths


@given(requests(), wires())
def test_what_is_sent_does_not_depend_on_chance(request: Request, wire: Wire) -> None:
    """A second attempt sends the same bytes: nothing is minted, and nothing of the request was changed."""
    for target in THREE.values():
        own = at(wire, target)
        first = target.render_request(request, own)
        assert target.render_request(request, own) == first

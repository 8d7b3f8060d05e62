"""The laws of the fit: what goes out is what the API takes, what comes back is the client's own.

``answered`` says of a fitted request what a target answers to it: calls by the names that it was told.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.fit import Takes, fit, limits_of
from penstock.core.fit.undo import chain
from penstock.core.ir import Choice, Message, Request, Response, Tool, ToolChoice, ToolUse, collect, explode
from penstock.core.models import facts
from tests.laws.strategies import requests

TAKES = {
    name: Takes(dialect=name, wire=Wire(model="m"), model=facts("m"), limits=limits_of(name)) for name in DIALECTS
}
LONG = "mcp__plugin_chrome-devtools-mcp_chrome-devtools__get_console_message_text"
names = st.sampled_from([LONG, LONG + "_2", "mcp.server.tool", "mcp_server_tool", "größe", "f", "9lives", "a" * 200, "工具"])


@st.composite
def with_foreign_names(draw: st.DrawFn) -> Request:
    """A request whose tools and calls have names that some API refuses."""
    request = draw(requests())
    chosen = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    called = draw(names)
    turn = Message("assistant", (ToolUse("call_9", called, "{}"),))
    return replace(
        request,
        tools=tuple(Tool(name, "d", b'{"type":"object"}') for name in chosen),
        tool_choice=draw(st.none() | st.just(ToolChoice("named", (chosen[0],)))),
        messages=(*request.messages, turn),
    )


def answered(request: Request) -> Response:
    """An answer that calls every tool of the request."""
    calls = tuple(ToolUse(f"c{n}", tool.name, "{}") for n, tool in enumerate(request.tools))
    return Response(id="r", model="m", choices=(Choice(calls, "tool_use"),))


@given(with_foreign_names())
def test_the_client_gets_its_own_names_back(request: Request) -> None:
    for takes in TAKES.values():
        fitted = fit(request, takes)
        undo = chain(fitted.undo)
        spelling = takes.limits.tool_names
        if spelling is not None:
            assert all(spelling.accepted.fullmatch(tool.name) for tool in fitted.request.tools)
        assert len({tool.name for tool in fitted.request.tools}) == len(request.tools)
        answer, wanted = answered(fitted.request), answered(request)
        whole = answer if undo is None else undo.response(answer)
        assert whole == wanted
        filter_ = None if undo is None else undo.filter()
        events = [told for event in explode(answer) for told in ((event,) if filter_ is None else filter_.feed(event))]
        assert collect(events).choices == wanted.choices


@given(with_foreign_names())
def test_what_is_fitted_is_left_alone(request: Request) -> None:
    for takes in TAKES.values():
        once = fit(request, takes).request
        again = fit(once, takes)
        assert again.request == once
        assert not again.losses


def test_the_same_name_is_the_same_in_every_turn() -> None:
    one = Request(model="m", messages=(), tools=(Tool(LONG),))
    more = replace(one, tools=(Tool("first"), Tool(LONG)))
    takes = TAKES["openai_chat"]
    assert fit(one, takes).request.tools[0].name == fit(more, takes).request.tools[1].name

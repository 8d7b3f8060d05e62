"""No pure function over foreign data does more than n log n work for an input of size n.

Everything that takes what a client, a vendor or a config says is run here on adversarial inputs of growing size, and
its steps and its time are compared. The tables of dialects, providers and modules say what there is: a function that is
new in one of them and not measured here fails the last tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import count, models, sse
from penstock.core.budget import MOST_WRITTEN, VALUE
from penstock.core.caching import usual_points
from penstock.core.defaults import lay_in, read_said
from penstock.core.dialects import DIALECTS, EDITORS, guided
from penstock.core.dialects.base import Dialect, View, Wire
from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError
from penstock.core.fit import Takes, fit, limits_of
from penstock.core.fit.undo import chain
from penstock.core.ir import Choice, Request, Response, ToolUse, collect, explode
from tests.laws import work_shapes as shapes
from tests.laws.work import FAR, Found, Once, attempt, chosen, excess, no_collections, seconds, steps

NAMES = list(DIALECTS)
VIEW = View(model="m", request=shapes.request([shapes.user(shapes.HELLO)], shapes.tools(3)), now=7)
OLD = Wire(model="gemini-2.0-flash", family="gemini")  # whose schemas are written out
STRICT = Wire(model="claude-opus-4-5", family="anthropic", max_tokens=9)
LOOSE = Wire(
    model="gpt-4o", family="openai", native_schema=False, official=False, replay_reasoning=True, cache_marks=True,
    call_ids=False,
)  # fmt: skip


_SAID, _ = read_said({"temperature": Raw(b"0.5"), "stop": Raw(b'["X"]'), "seed": Raw(b"1")})
assert _SAID is not None


@pytest.fixture(autouse=True, scope="module")
def _no_walks() -> Iterator[None]:
    with no_collections():
        yield


def own_wire(dialect: Dialect) -> Wire:
    return replace(STRICT, model="gemini-2.5-pro" if dialect.name == "gemini" else "m", family=dialect.family)


# Requests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_requests(name: str) -> None:
    dialect, found = DIALECTS[name], Found()
    wires = [OLD, STRICT] if name == "gemini" else [STRICT, LOOSE]
    for shape, make in shapes.REQUESTS.items():
        asked = Once(make)
        for wire in wires:
            traced = wire is wires[0]
            found.look(f"render_request, {wire.model}, {shape}", lambda r, w=wire: dialect.render_request(r, w), asked, traced)
        for wire in (STRICT, LOOSE, OLD):
            found.look(f"fit, {wire.model}, {shape}", lambda r, w=wire: _fitted(r, dialect, w), asked, wire is STRICT)
        found.look(f"forced, {shape}", lambda r: dialect.forced(r, LOOSE), asked, False)

        def body(n: int, asked: Once = asked) -> bytes:
            return seal(dialect.render_request(replace(asked(n), dialect=name), own_wire(dialect)).fields)

        try:
            body(2)
        except GatewayError:
            continue  # the dialect has no words for it
        bodies = Once(body)
        found.look(f"parse_request, {shape}", lambda b: dialect.parse_request(open_body(b)), bodies, far=shape in FAR)
        found.look(f"texts, {shape}", lambda b: list(dialect.texts(open_body(b))), bodies)
        found.look(f"other reads, {shape}", lambda b: _other_reads(dialect, open_body(b)), bodies, False)
    assert not found, "\n".join(found)


def takes_of(dialect: Dialect, wire: Wire) -> Takes:
    known = models.facts(wire.model)
    return Takes(
        dialect=dialect.name, wire=wire, model=known, limits=limits_of(dialect.name, known), drop_params=True,
        forced=dialect.forced,
    )  # fmt: skip


def _fitted(request: Request, dialect: Dialect, wire: Wire) -> None:
    """Fit a request, and undo that in an answer that calls all of its tools."""
    fitted = fit(request, takes_of(dialect, wire))
    undo = chain(fitted.undo)
    if undo is None:
        return
    calls = tuple(ToolUse(f"c{n}", tool.name, '{"a":1}') for n, tool in enumerate(fitted.request.tools))
    answer = Response(id="r", model="m", choices=(Choice(calls, "tool_use"),))
    undo.response(answer)
    filter_ = undo.filter()
    for event in explode(answer):
        list(filter_.feed(event))


def _other_reads(dialect: Dialect, fields: dict[str, Raw]) -> None:
    """What else is done with a request of a dialect."""
    if dialect.parse_count_request is not None:
        attempt(dialect.parse_count_request, fields)
    dialect.count_request(dialect.count_fields(dict(fields)), STRICT)
    lay_in(dict(fields), _SAID, dialect, takes_of(dialect, STRICT))
    count.estimate(fields, 1)
    attempt(guided.read, fields)
    attempt(lambda given: guided.given(given, dialect.name), fields)
    if dialect.name in EDITORS:
        editor = EDITORS[dialect.name]
        editor.prepare(dict(fields), True, True)
        editor.wants_usage(fields)
        if editor.mark_cache is not None:
            editor.mark_cache(dict(fields), usual_points(""))


@pytest.mark.parametrize("name", NAMES)
def test_bodies_that_swell(name: str) -> None:
    dialect, found = DIALECTS[name], Found()
    made = shapes.rich(name, dialect.family or name)
    bare = replace(made, messages=(shapes.user(shapes.HELLO),), tools=(), tool_choice=None, output=None)
    for asked in (made, bare):
        try:
            body = msgspec.json.decode(seal(dialect.render_request(asked, own_wire(dialect)).fields))
        except GatewayError:
            body = {"model": "m", "prompt": ["hello"], "stop": ["a"], "stream_options": {"include_usage": True}}
        for place in shapes.places(body):
            for how, grow in shapes.swell(shapes.find(body, place)):
                if chosen(f"{name}{place}{how}"):
                    grown = Once(lambda n, b=body, p=place, g=grow: msgspec.json.encode(shapes.put(b, p, g(n))))
                    found.look(f"{place} {how}", lambda b: _all_reads(dialect, b), grown, False)
    assert not found, "\n".join(found)


def _all_reads(dialect: Dialect, body: bytes) -> None:
    fields = open_body(body)
    attempt(dialect.parse_request, fields)
    attempt(lambda given: list(dialect.texts(given)), fields)


@pytest.mark.parametrize("name", NAMES)
def test_definitions_that_use_each_other_have_a_budget(name: str) -> None:
    """What is written out is not bounded by the schema, so neither is the work: by the budget it is."""
    dialect = DIALECTS[name]
    most = 60 * MOST_WRITTEN // VALUE  # lines for each object that may be written
    for what, asked in shapes.expanding():
        for wire in (OLD, STRICT):
            assert steps(lambda r, w=wire: dialect.render_request(r, w), asked) < most, what
            schema = asked.tools[0].schema if asked.tools else asked.output.schema if asked.output else b""
            try:
                written = len(seal(dialect.render_request(asked, wire).fields))
            except GatewayError as error:
                named = error.kind == "bad_request" and "schema" in str(error.param)
                assert named or error.kind == "unsupported" or name in ("ollama_generate", "completions"), what
            else:
                assert written < 2 * MOST_WRITTEN + 4 * len(schema), what


def test_the_budget_is_of_all_schemas_of_a_request() -> None:
    schema = msgspec.json.encode(shapes.diamond(3))
    tool = shapes.tools(1)[0]
    few = shapes.request([shapes.user(shapes.HELLO)], (replace(tool, schema=schema),))
    many = replace(few, tools=tuple(replace(tool, name=f"f{i}", schema=schema) for i in range(200)))
    DIALECTS["gemini"].render_request(few, OLD)
    with pytest.raises(GatewayError, match=rf"tools\.\d+\.schema.*{MOST_WRITTEN} bytes") as told:
        DIALECTS["gemini"].render_request(many, OLD)
    assert told.value.status == 400 and str(told.value.param).startswith("tools.")
    assert DIALECTS["gemini"].render_request(many, replace(OLD, model="gemini-2.5-pro")).fields


# Answers --------------------------------------------------------------------------------------------------------------


def _encoded(dialect: Dialect, events: Any) -> bytes:
    encoder = dialect.encoder(VIEW)
    return b"".join([encoder.feed(event) for event in events])


def _decoded(dialect: Dialect, data: bytes, size: int) -> None:
    framer, decoder = dialect.framer(), dialect.decoder()
    for at in range(0, len(data), size):
        for event in framer.feed(data[at : at + size]):
            list(decoder.feed(event))
    for event in framer.close():
        list(decoder.feed(event))
    list(decoder.close())


def _relayed(dialect: Dialect, data: bytes) -> None:
    framer, stream = dialect.framer(), EDITORS[dialect.name].Stream(Raw(b'"m"'), True)
    for at in range(0, len(data), 50):
        for event in framer.feed(data[at : at + 50]):
            stream.feed(event)
    stream.close()


@pytest.mark.parametrize("name", NAMES)
def test_answers(name: str) -> None:
    dialect, found = DIALECTS[name], Found()
    for shape, make in shapes.RESPONSES.items():
        whole = Once(make)
        events = Once(lambda n, whole=whole: list(explode(whole(n))))
        found.look(f"render_response, {shape}", lambda r: dialect.render_response(r, VIEW), whole)
        _look_at_streams(found, dialect, shape, events)
        found.look(f"collect, {shape}", collect, events, False)
        body = Once(lambda n, whole=whole: dialect.render_response(whole(n), VIEW).body)
        try:
            body(2)
        except GatewayError:
            continue
        found.look(f"parse_response, {shape}", dialect.parse_response, body)
        found.look(f"decoder, one event, {shape}", lambda b: list(dialect.decoder().feed(sse.Event(b"", b))), body)
        if name in EDITORS:
            found.look(f"editor, {shape}", lambda b: EDITORS[name].answer(b, Raw(b'"m"')), body, False)
    for shape, told in shapes.EVENTS.items():
        _look_at_streams(found, dialect, shape, Once(told))
    assert not found, "\n".join(found)


def _look_at_streams(found: Found, dialect: Dialect, shape: str, events: Once) -> None:
    found.look(f"encoder, {shape}", lambda e: _encoded(dialect, e), events)
    data = Once(lambda n: _encoded(dialect, events(n)))
    try:
        data(2)
    except GatewayError:
        return
    found.look(f"decoder, {shape}", lambda b: _decoded(dialect, b, 40), data, False)
    if shape.startswith("long") or "log" in shape:  # where an event is long
        found.look(f"decoder, tiny pieces, {shape}", lambda b: _decoded(dialect, b, 3), data, False)
    found.look(f"resume, {shape}", lambda b: dialect.resume(dialect.encoder(VIEW), b), data, False)
    if dialect.name in EDITORS:
        found.look(f"editor, {shape}", lambda b: _relayed(dialect, b), data, False)


# Nothing is left out ---------------------------------------------------------------------------------------------------

# The fields of a dialect, and where above they are measured.
_MEASURED = {
    "parse_request", "render_request", "parse_response", "render_response", "decoder", "encoder", "parse_error",
    "render_error", "texts", "framer", "forced", "parse_count_request", "parse_count", "count_fields",
    "count_request", "resume",
}  # fmt: skip
_NO_WORK = {"name", "family", "stream_type", "stream_endpoint", "render_count", "sample", "caches", "comments"}


def test_every_function_of_a_dialect_is_measured() -> None:
    assert set(Dialect.__struct_fields__) == _MEASURED | _NO_WORK


def test_the_measure_sees_a_square() -> None:
    text = Once(lambda n: "eyJ-" * n)
    assert excess(lambda t: re.findall(r"\beyJ[A-Za-z0-9_-]{8,}\.", t), text, False, True)
    assert excess(lambda n: [1 for i in range(n) for _ in range(n)], lambda n: n)
    assert not excess(lambda n: sorted(range(n, 0, -1)), lambda n: n)
    assert seconds(sorted, [3, 1]) >= 0

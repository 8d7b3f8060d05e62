"""No pure function over foreign data does more than n log n work for an input of size n.

Everything that takes what a client, a vendor or a config says is run here on adversarial inputs of growing size, and
its steps and its time are compared. The tables of dialects, providers and modules say what there is: a function that is
new in one of them and not measured here fails the last tests.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any
from zlib import crc32

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import count, envelope, errors, eventstream, grammar, models, seen, sse
from penstock.core.budget import MOST_WRITTEN, VALUE
from penstock.core.dialects import DIALECTS, EDITORS, arguments, guided, redact, structured, wrapped
from penstock.core.dialects.base import Dialect, View, Wire
from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError
from penstock.core.ir import OutputFormat, collect, explode
from penstock.core.ops import audio, embeddings, forms, formstream, images, moderations, rerank, tei
from penstock.core.providers import PROVIDERS, constraints, mending, pass_through, replicate, turns
from penstock.core.providers.spec import Quirks
from tests.laws import work_shapes as shapes
from tests.laws.work import LONG, Once, attempt, excess, no_collections, seconds, steps

NAMES = list(DIALECTS)
VIEW = View(model="m", request=shapes.request([shapes.user(shapes.HELLO)], shapes.tools(3)), now=7)
OLD = Wire(model="gemini-2.0-flash", family="gemini")  # whose schemas are written out
STRICT = Wire(model="claude-opus-4-5", family="anthropic", max_tokens=9)
LOOSE = Wire(
    model="gpt-4o", family="openai", native_schema=False, official=False, replay_reasoning=True, cache_marks=True,
    call_ids=False,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _no_walks() -> Iterator[None]:
    with no_collections():
        yield


class Found(list[str]):
    """What grows too fast."""

    def look(
        self, what: str, run: Callable[[Any], object], make: Callable[[int], Any], traced: bool = True, far: bool = False
    ) -> None:
        told = excess(run, make, traced, far)
        if told:
            self.append(f"{what}: {told}")


def chosen(what: str) -> bool:
    """Take one in four of the cases that are many, the same ones in every run."""
    return LONG or crc32(what.encode()) % 4 == 0


def own_wire(dialect: Dialect) -> Wire:
    return replace(STRICT, model="gemini-2.5-pro" if dialect.name == "gemini" else "m", family=dialect.family)


# What is so quick for each element that its square shows only where there are thousands.
FAR = ("calls of one turn", "names", "one role, long texts")


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


def _other_reads(dialect: Dialect, fields: dict[str, Raw]) -> None:
    """What else is done with a request of a dialect."""
    if dialect.parse_count_request is not None:
        attempt(dialect.parse_count_request, fields)
    dialect.count_request(dialect.count_fields(dict(fields)), STRICT)
    dialect.adopt({"temperature": Raw(b"1"), **fields})
    count.estimate(fields, 1)
    attempt(guided.read, fields)
    attempt(lambda given: guided.given(given, dialect.name), fields)
    if dialect.name in EDITORS:
        editor = EDITORS[dialect.name]
        editor.prepare(dict(fields), True, True)
        editor.wants_usage(fields)


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
    if dialect.name in EDITORS:
        found.look(f"editor, {shape}", lambda b: _relayed(dialect, b), data, False)


# Texts ----------------------------------------------------------------------------------------------------------------

Reader = Callable[[str], object]


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _raw(value: Any) -> Raw:
    return Raw(_json(value))


def _cut(framer: Any, text: str) -> None:
    data = text.encode()
    for at in range(0, len(data), 7):
        framer.feed(data[at : at + 7])
    framer.close()


def _seen(kind: bytes) -> Reader:
    def read(text: str) -> None:
        told, data = seen.Seen(kind), text.encode()
        for at in range(0, len(data), 500):
            told.feed(data[at : at + 500])
        told.close()
        assert told.usage is None or told.usage

    return read


def _texts_of(dialect: Dialect) -> dict[str, Reader]:
    """What of a dialect reads a text that may be anything."""

    def refused(text: str) -> None:
        dialect.parse_error(400, {}, text.encode())
        inner = {"message": text, "type": text, "code": text, "param": text, "status": text, "details": [{"a": text}]}
        dialect.parse_error(429, {"retry-after": text[:200]}, _json({"error": inner, "message": text, "detail": text}))
        dialect.parse_error(404, {}, _json({"error": text}))

    readers: dict[str, Reader] = {
        "parse_error": refused,
        "render_error": lambda t: dialect.render_error(GatewayError("upstream_error", t, param=t)),
        "framer": lambda t: _cut(dialect.framer(), t),
        "decoder": lambda t: list(dialect.decoder().feed(sse.Event(b"", t.encode()))),
        "parse_response": lambda t: dialect.parse_response(t.encode()),
    }
    if (parse_count := dialect.parse_count) is not None:
        readers["parse_count"] = lambda t: parse_count(t.encode())
    if dialect.name in EDITORS:
        editor = EDITORS[dialect.name]
        readers["editor"] = lambda t: editor.answer(t.encode(), Raw(b'"m"'))
        readers["editor's stream"] = lambda t: editor.Stream(Raw(b'"m"'), True).feed(sse.Event(b"", t.encode()))
    return readers


def _mended(mend: Callable[[bytes], bytes]) -> Reader:
    def read(text: str) -> None:
        mend(text.encode())
        choice = {"message": {"content": text, "reasoning": text}, "logprobs": {"tokens": [text]}, "error": text}
        mend(_json({"choices": [choice], "x_groq": {"error": text}, "citations": [text]}))

    return read


_FORCED = structured.Forced("a", b"", "", True)
_DISPOSED = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
READERS: dict[str, Reader] = {
    "redact.scrub": redact.scrub,
    "wrapped.unwrap": lambda t: (wrapped.unwrap(t), wrapped.unwrap('{"value":"' + t)),
    "wrapped.wrap": wrapped.wrap,
    "wrapped.anchored": wrapped.anchored,
    "structured.text_of": lambda t: structured.text_of(t, _FORCED),
    "arguments.object_of": lambda t: (arguments.object_of(t), arguments.object_of('{"a":"' + t)),
    "grammar.choices_regex": lambda t: grammar.choices_regex([t]),
    "grammar.choices_gbnf": lambda t: grammar.choices_gbnf([t]),
    "grammar.literal": grammar.literal,
    "grammar.regex_gbnf": grammar.regex_gbnf,
    "guided.read": lambda t: [guided.read({key: _raw(t)}) for key in ("guided_regex", "guided_json", "guided_choice")],
    "count.text_size": lambda t: (count.text_size(t.encode()), count.text_size(b"base64" + t.encode())),
    "envelope.open_body": lambda t: [attempt(open_body, b) for b in (t.encode(), b'{"a" : "' + t.encode())],
    "envelope.open_body, spaced": lambda t: open_body(b'{"a" : 1, "b" : %b, "c":[ ]}' % _json(t)),
    "errors.kind_of_status": lambda t: errors.kind_of_status(400, t),
    "models.facts": lambda t: models.facts(t[:1024]),
    "sse.Decoder": lambda t: (_cut(sse.Decoder(), t), _cut(sse.Decoder(), "data: " + t)),
    "eventstream.Decoder": lambda t: _cut(eventstream.Decoder(), t),
    "eventstream.parse": lambda t: eventstream.parse(t.encode()),
    "turns.short_id": lambda t: turns.short_id(t, 9),
    "forms.boundary_of": lambda t: [
        attempt(forms.boundary_of, b"multipart/form-data;" + m + t.encode()) for m in (b"", b" boundary=x")
    ],
    "forms.parts": lambda t: forms.parts(_DISPOSED + t.encode() + b"\r\n--x--\r\n", b"x"),
    "forms.names": lambda t: [attempt(forms.names, m + t.encode()) for m in (b"", b"content-disposition: form-data;")],
    "forms.plain_fields": lambda t: forms.plain_fields([(t, None, t.encode())]),
    "formstream.Reader": lambda t: formstream.Reader(b"x").feed(_DISPOSED + t.encode()),
    "audio.heard": lambda t: [audio.heard(k, t.encode()) for k in (b"text/vtt", b"application/json", b"text/plain")],
    "audio.used": lambda t: audio.used(t.encode()),
    "moderations.answer": lambda t: moderations.answer(t.encode(), Raw(b'"m"')),
    "images.read": lambda t: images.read(t.encode(), {}),
    "tei.limit_in": lambda t: tei.limit_in(GatewayError("upstream_bad_request", t)),
    "rerank.read": lambda t: rerank.read(t.encode()),
    "embeddings.read": lambda t: embeddings.read(t.encode(), embeddings.PLAIN),
    "replicate.read_prediction": lambda t: replicate.read_prediction(t.encode()),
    "replicate.parse_error": lambda t: replicate.parse_error(400, t.encode(), None),
    "replicate.path_of": replicate.path_of,
    "pass_through.model_in": pass_through.model_in,
    "pass_through.rest_of": lambda t: pass_through.rest_of(b"/openai/" + t.encode()),
    "pass_through.query_for": lambda t: pass_through.query_for(None, t.encode()),
    **{f"seen.Seen, {kind.decode()}": _seen(kind) for kind in (b"application/json", b"text/event-stream", b"image/png")},
}


def _mends() -> dict[str, Callable[[bytes], bytes]]:
    return {
        name: made
        for name, made in vars(mending).items()
        if inspect.isfunction(made) and not name.startswith("_") and made.__module__ == mending.__name__ and name != "chain"
    }


def _readers() -> dict[str, Reader]:
    out = dict(READERS)
    for name, dialect in DIALECTS.items():
        out |= {f"{name}.{what}": read for what, read in _texts_of(dialect).items()}
    return out | {f"mending.{name}": _mended(mend) for name, mend in _mends().items()}


@pytest.mark.parametrize("what", _readers())
def test_texts(what: str) -> None:
    read, found = _readers()[what], Found()
    for bit in shapes.BITS:
        if what in READERS or chosen(what + bit):
            found.look(repr(bit[:20]), read, lambda n, bit=bit: bit * max(1, 4 * n // len(bit)), False, True)
    assert not found, "\n".join(found)


def test_regular_expressions() -> None:
    """Every expression of the core, on what its own parts say, repeated. Catches what nobody thought of a text for."""
    found = Found()
    for name, (pattern, uses) in sorted(_patterns().items()):
        short = name.startswith(_OF_NAMES)
        for pump in sorted(_pumps(pattern)):
            for tail in ("", "\x00"):

                text = pump * 3000
                if short:
                    least = seconds(lambda t, p=pattern, u=uses: u(p, t), _as(pattern, text[:1024] + tail), 2)
                    if least > 0.02:
                        found.append(f"{name}, {pump!r}: {least * 1000:.1f} ms for 1024 characters")
                    continue
                make = lambda n, t=tail, p=pattern, x=text: _as(p, x[: n * 2] + t)  # noqa: E731
                found.look(f"{name}, {pump!r}", lambda t, p=pattern, u=uses: u(p, t), make, False, True)
    assert not found, "\n".join(found)


# What these read is the name of a model, which is at most 1024 characters long, or an address in the config.
_OF_NAMES = ("penstock.core.models", "penstock.core.providers", "penstock.core.dialects.cohere.names")


def _as(pattern: re.Pattern[Any], text: str) -> Any:
    return text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text


def _modules() -> Iterator[ModuleType]:
    from pkgutil import walk_packages

    import penstock.core

    for one in walk_packages(penstock.core.__path__, "penstock.core."):
        yield import_module(one.name)


# Of the tables of prices and of what the config says: no stranger's text comes there.
_OWN_TEXTS = ("penstock.core.pricelist", "penstock.core.price")


_METHODS: dict[str, Callable[[re.Pattern[Any], Any], object]] = {
    "search": lambda p, t: p.search(t),
    "match": lambda p, t: p.match(t),
    "fullmatch": lambda p, t: p.fullmatch(t),
    "finditer": lambda p, t: list(p.finditer(t)),
    "findall": lambda p, t: p.findall(t),
    "sub": lambda p, t: p.sub(lambda _: t[:0], t),
}
Uses = Callable[[re.Pattern[Any], Any], object]


def _patterns() -> dict[str, tuple[re.Pattern[Any], Uses]]:
    """Every compiled expression, with what its module does with it; all that can be done, where that is not seen."""
    out: dict[str, tuple[re.Pattern[Any], Uses]] = {}
    for module in _modules():
        if module.__name__ in _OWN_TEXTS:
            continue
        source = inspect.getsource(module)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                named = [m for m in _METHODS if re.search(rf"\b{name}\.{m}\b", source)] or list(_METHODS)
                out[f"{module.__name__}.{name}"] = value, lambda p, t, n=named: [_METHODS[m](p, t) for m in n]
            elif isinstance(value, tuple) and value and all(isinstance(v, tuple) and isinstance(v[0], re.Pattern) for v in value):
                for at, inner in enumerate(value):
                    out[f"{module.__name__}.{name}.{at}"] = inner[0], _METHODS["search"]
    return out


def _pumps(pattern: re.Pattern[Any]) -> set[str]:
    """Texts that an expression reads far into: each of its repeated parts, and what stands before it, in short form."""
    parser = import_module("re._parser") if hasattr(re, "_parser") else import_module("sre_parse")
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    out: set[str] = set()
    whole = _sample(parser.parse(text, pattern.flags & ~re.UNICODE & ~re.DEBUG), out)
    out.add(whole)
    out |= {whole[:size] for size in range(1, min(len(whole), 16))}
    return {pump for pump in out if pump}


def _sample(parsed: Any, out: set[str]) -> str:
    """A text that the expression matches; adds a text for each repeated part, with what precedes it, to ``out``."""
    told = ""
    for op, value in parsed:
        name = str(op)
        if name == "LITERAL":
            told += chr(value)
        elif name == "NOT_LITERAL":
            told += "a" if value != ord("a") else "b"
        elif name == "ANY":
            told += "a"
        elif name == "IN":
            told += _member(value)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            inner = _sample(value[2], out)
            out |= {inner, told + inner, told + inner * 3}
            told += inner * max(1, min(value[0], 20))
        elif name == "SUBPATTERN":
            told += _sample(value[-1], out)
        elif name == "ATOMIC_GROUP":
            told += _sample(value, out)
        elif name == "BRANCH":
            samples = [_sample(branch, out) for branch in value[1]]
            out |= {told + sample for sample in samples}
            told += samples[0]
    return told


def _member(options: Any) -> str:
    if str(options[0][0]) == "NEGATE":
        kept = [chr(value) for op, value in options[1:] if str(op) == "LITERAL"]
        return next(char for char in 'a1-."{ ' if char not in kept)
    for op, value in options:
        if str(op) == "LITERAL":
            return chr(value)
        if str(op) == "RANGE":
            return chr(value[0])
    return "1" if "DIGIT" in str(options) else " " if "SPACE" in str(options) else "a"


# Providers, other operations ------------------------------------------------------------------------------------------

_EDITS = {
    "alternate": Quirks(alternate=True),
    "roles": Quirks(roles={"developer": "system"}),
    "rename_in_messages": Quirks(rename_in_messages={"reasoning_content": "reasoning"}),
    "drop_in_messages": Quirks(drop_in_messages=frozenset({"name", "refusal"})),
    "flat_text": Quirks(flat_text=True),
    "call_ids": Quirks(call_ids=9),
    "calls_think": Quirks(calls_think=True),
    "bridge": Quirks(bridge="ok"),
    "prefill": Quirks(prefill="partial"),
}


@pytest.mark.parametrize("what", _EDITS)
def test_edits_of_messages(what: str) -> None:
    found = Found()
    for shape, make in shapes.MESSAGES.items():
        fields = Once(
            lambda n, make=make: DIALECTS["openai_chat"].render_request(shapes.request(make(n)), LOOSE).fields
        )
        found.look(shape, lambda f: turns.edit_turns(dict(f), _EDITS[what]), fields, far=shape in FAR)
    assert not found, "\n".join(found)


def _chat(extra: Callable[[int], dict[str, Any]]) -> Callable[[int], dict[str, Raw]]:
    return lambda n: {key: _raw(value) for key, value in ({"messages": [], "model": "m"} | extra(n)).items()}


_GROWN = {
    "keys": _chat(lambda n: {f"k{i}": i for i in range(n)}),
    "tools": _chat(lambda n: {"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(n)]}),
    "messages": _chat(lambda n: {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}] * n}),
    "stop": _chat(lambda n: {"stop": ["a"] * n}),
    "deep format": _chat(lambda n: {"response_format": shapes.nest(min(n, 300), {}, lambda x: {"a": x})}),
}


@pytest.mark.parametrize("shape", _GROWN)
def test_fits_of_providers(shape: str) -> None:
    found = Found()
    fields = Once(_GROWN[shape])
    fits = {quirks.fit for provider in PROVIDERS.values() for quirks in _all_quirks(provider.quirks) if quirks.fit}
    assert fits
    for fit in fits:
        found.look(fit.__name__, lambda f, fit=fit: fit(dict(f), True), fields, False)
    assert not found, "\n".join(found)


def _all_quirks(quirks: Quirks) -> Iterator[Quirks]:
    yield quirks
    for _, inner in quirks.by_model:
        yield from _all_quirks(inner)


@pytest.mark.parametrize("guides", sorted({provider.guides for provider in PROVIDERS.values()}))
def test_constraints(guides: str) -> None:
    found = Found()
    outputs: dict[str, Callable[[int], OutputFormat]] = {
        "choices": lambda n: OutputFormat("choice", choices=tuple(f"c{i}(" for i in range(n))),
        "expression": lambda n: OutputFormat("regex", source="(a|[b-c])*.\\d{2}" * n),
        "grammar": lambda n: OutputFormat("grammar", source='root ::= "a"\n' * n),
        "schema": lambda n: OutputFormat("json_schema", schema=_json(shapes.SCHEMAS["wide"](n))),
        "deep schema": lambda n: OutputFormat("json_schema", schema=_json(shapes.SCHEMAS["deep"](n))),
    }
    for what, make in outputs.items():
        asked = Once(lambda n, make=make: replace(shapes.request([shapes.user(shapes.HELLO)]), output=make(n)))
        for dialect in ("openai_chat", "anthropic", "completions"):
            found.look(f"{what}, {dialect}", lambda r, d=dialect: constraints.lower(r, guides, d), asked)
    assert not found, "\n".join(found)


def _ranked(n: int) -> bytes:
    return _json({"results": [{"index": i, "relevance_score": i / n} for i in range(n)], "usage": {"total_tokens": 1}})


def _vectors(n: int) -> bytes:
    return _json({"data": [{"index": i, "embedding": [0.1] * 4} for i in range(n)], "usage": {"prompt_tokens": 1}})


def _embed(fields: dict[str, Raw]) -> None:
    embeddings.check(fields)
    for form in (embeddings.PLAIN, embeddings.OLLAMA, embeddings.COHERE):
        for batch in embeddings.batches(fields, form.limit or 7)[:50]:
            embeddings.request(fields, form, batch)


def _rank(fields: dict[str, Raw]) -> None:
    rerank.check(fields)
    for form in ("cohere", "jina", "voyage", "tei", "watsonx"):
        body, _ = rerank.request(fields, form)
        if form == "tei":
            rerank.pieces(body, 1000)


def _in_pieces(framer: Any, count: int) -> None:
    """Feed what never ends in pieces, as a slow upstream sends it."""
    piece = b"x" * 500
    begins = (1 << 23).to_bytes(4, "big") + bytes(4)  # a message of AWS's framing; to the others four bytes like any
    framer.feed(begins + crc32(begins).to_bytes(4, "big"))
    for _ in range(count):
        framer.feed(piece)
    framer.close()


OPERATIONS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    **{
        f"a long event in pieces, {name}": (lambda n, d=dialect: _in_pieces(d.framer(), n), lambda n: n)
        for name, dialect in DIALECTS.items()
    },
    "texts to embed": (_embed, _chat(lambda n: {"input": ["a"] * n})),
    "tokens to embed": (_embed, _chat(lambda n: {"input": [1] * n})),
    "lists to embed": (_embed, _chat(lambda n: {"input": [[1, 2]] * n})),
    "a nest to embed": (_embed, _chat(lambda n: {"input": shapes.nest(min(n, 300), 1, lambda x: [x])})),
    "vectors": (lambda b: embeddings.answer({}, [embeddings.read(b, embeddings.PLAIN)], Raw(b'"m"')), _vectors),
    "documents to rank": (_rank, _chat(lambda n: {"query": "q", "documents": ["a"] * n})),
    "objects to rank": (
        _rank,
        _chat(lambda n: {"query": "q", "documents": [{f"k{i}": "a" for i in range(n)}], "rank_fields": ["k1"] * n}),
    ),
    "ranks": (
        lambda b: rerank.answer({"documents": _raw(["a"] * 40_000)}, rerank.read(b), "m", str),
        _ranked,
    ),
    "results of moderation": (
        lambda b: moderations.answer(b, Raw(b'"m"')),
        lambda n: _json({"results": [{"flagged": False, "categories": {}}] * n}),
    ),
    "parts of a form": (
        lambda b: forms.fields_of(b, forms.parts(b, b"x")),
        lambda n: b"".join(b'--x\r\ncontent-disposition: form-data; name="k%d"\r\n\r\nv\r\n' % i for i in range(n))
        + b"--x--\r\n",
    ),
    "mends of many choices": (
        lambda b: [mend(b) for mend in _mends().values()],
        lambda n: _json({"choices": [{"message": {"content": [{"type": "text", "text": "a"}], "reasoning": "b"}}] * n}),
    ),
    "mends of many sources": (
        lambda b: [mend(b) for mend in _mends().values()],
        lambda n: _json({"citations": ["https://a"] * n, "choices": [{"message": {"content": "text " * n}}]}),
    ),
}


@pytest.mark.parametrize("what", OPERATIONS)
def test_operations(what: str) -> None:
    run, make = OPERATIONS[what]
    told = excess(run, Once(make), traced=False, far=True)
    assert not told, told


# Nothing is left out ---------------------------------------------------------------------------------------------------

# The fields of a dialect, and where above they are measured.
_MEASURED = {
    "parse_request", "render_request", "parse_response", "render_response", "decoder", "encoder", "parse_error",
    "render_error", "texts", "framer", "adopt", "forced", "parse_count_request", "parse_count", "count_fields",
    "count_request",
}  # fmt: skip
_NO_WORK = {"name", "family", "stream_type", "stream_endpoint", "render_count"}
# Modules whose public functions of one text or body are all in READERS or OPERATIONS, but for these.
_WATCHED: dict[ModuleType, set[str]] = {
    redact: set(),
    grammar: set(),
    wrapped: {"choice", "regex", "unwrap_response"},  # of values that the pairs of test_answers make
    structured: {"plan", "force", "unforce", "unforce_response"},
    arguments: set(),
    guided: {"named", "given", "lift"},  # of a body's top level
    forms: {"broken", "field", "fields_of", "file_of", "plan", "rewritten", "chunks"},
    audio: {"check_speech", "spoken", "wav_seconds"},
    eventstream: {"event_of", "encode", "event", "exception"},
    errors: {"shed"},
    envelope: {"seal"},
    count: {"tokens", "estimate"},
    pass_through: {"provider_at", "prefixes", "kin", "takes_key_in_query", "dialect_at", "request_headers", "answer_headers"},
}


def test_every_function_of_a_dialect_is_measured() -> None:
    assert set(Dialect.__struct_fields__) == _MEASURED | _NO_WORK


def test_every_reader_of_text_is_measured() -> None:
    for module, other in _WATCHED.items():
        short = module.__name__.rpartition(".")[2]
        there = {
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        }
        named = {key.removeprefix(f"{short}.").partition(",")[0] for key in READERS if key.startswith(f"{short}.")}
        assert there - other <= named, f"{module.__name__}: {sorted(there - other - named)} are not measured"
        assert other <= there, f"{module.__name__}: {sorted(other - there)} are not there any more"


def test_the_measure_sees_a_square() -> None:
    text = Once(lambda n: "eyJ-" * n)
    assert excess(lambda t: re.findall(r"\beyJ[A-Za-z0-9_-]{8,}\.", t), text, False, True)
    assert excess(lambda n: [1 for i in range(n) for _ in range(n)], lambda n: n)
    assert not excess(lambda n: sorted(range(n, 0, -1)), lambda n: n)
    assert seconds(sorted, [3, 1]) >= 0

"""Texts that may be anything, and every regular expression: no more than n log n work (see ``test_work``)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from penstock.core import count, envelope, errors, eventstream, grammar, mask, models, seen, sse
from penstock.core.dialects import DIALECTS, EDITORS, arguments, guided, redact, structured, wrapped
from penstock.core.dialects.base import Dialect
from penstock.core.envelope import open_body, read_as
from penstock.core.errors import GatewayError
from penstock.core.fit import freeform
from penstock.core.ops import audio, embeddings, forms, formstream, images, moderations, rerank, tei
from penstock.core.providers import pass_through, replicate, turns
from tests.laws import work_shapes as shapes
from tests.laws.work import Found, attempt, chosen, mends, no_collections, seconds

COMPILED, WHY = not str(envelope.__file__).endswith(".py"), "looks at sources, which compiled modules have not"


@pytest.fixture(autouse=True, scope="module")
def _no_walks() -> Iterator[None]:
    with no_collections():
        yield


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


def _through(reader: Any, text: str, kind: type = bytes) -> None:
    """Feed a text in pieces of 40."""
    given = text if kind is str else text.encode()
    for at in range(0, len(given), 40):
        reader.feed(given[at : at + 40])
    reader.close()


_MASK = mask.Mask(["qXw7LkPz93vTbN", "zzzzzzzzzz"], ["sk-model-of-ours-1234567890"])
_FORCED = structured.Forced("a", b"", "", True)
_DISPOSED = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
READERS: dict[str, Reader] = {
    "redact.scrub": redact.scrub,
    "wrapped.unwrap": lambda t: (wrapped.unwrap(t), wrapped.unwrap('{"value":"' + t)),
    "wrapped.wrap": wrapped.wrap,
    "wrapped.anchored": wrapped.anchored,
    "structured.text_of": lambda t: structured.text_of(t, _FORCED),
    "arguments.object_of": lambda t: (arguments.object_of(t), arguments.object_of('{"a":"' + t)),
    "arguments.settle": lambda t: (arguments.settle(t), arguments.settle('"' + t), arguments.settle(" " + t + " ")),
    "mask.text": lambda t: (_MASK.text(t), _MASK.clean(t), _MASK.data(t.encode())),
    "mask.Lines": lambda t: _through(mask.Lines(lambda: _MASK), t),
    "freeform.to_text": lambda t: (freeform.to_text(t), freeform.to_text('{"input":"' + t)),
    "freeform.InputReader": lambda t: _through(freeform.InputReader(), '{"input":"' + t, str),
    "grammar.choices_regex": lambda t: grammar.choices_regex([t]),
    "grammar.choices_gbnf": lambda t: grammar.choices_gbnf([t]),
    "grammar.literal": grammar.literal,
    "grammar.regex_gbnf": grammar.regex_gbnf,
    "guided.read": lambda t: [guided.read({key: _raw(t)}) for key in ("guided_regex", "guided_json", "guided_choice")],
    "count.text_size": lambda t: (count.text_size(t.encode()), count.text_size(b"base64" + t.encode())),
    "envelope.open_body": lambda t: [attempt(open_body, b) for b in (t.encode(), b'{"a" : "' + t.encode())],
    "envelope.read_as": lambda t: attempt(lambda b: read_as(b, dict[str, str]), b'{"a": %b}' % _json(t)),
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


def _readers() -> dict[str, Reader]:
    out = dict(READERS)
    for name, dialect in DIALECTS.items():
        out |= {f"{name}.{what}": read for what, read in _texts_of(dialect).items()}
    return out | {f"mending.{name}": _mended(mend) for name, mend in mends().items()}


@pytest.mark.parametrize("what", _readers())
def test_texts(what: str) -> None:
    read, found = _readers()[what], Found()
    for bit in shapes.BITS:
        if what in READERS or chosen(what + bit):
            found.look(repr(bit[:20]), read, lambda n, bit=bit: bit * max(1, 4 * n // len(bit)), False, True)
    assert not found, "\n".join(found)


@pytest.mark.skipif(COMPILED, reason=WHY)
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


# Nothing is left out ---------------------------------------------------------------------------------------------------

# Modules whose public functions of one text or body are all in READERS or OPERATIONS, but for these.
_WATCHED: dict[ModuleType, set[str]] = {
    redact: set(),
    grammar: set(),
    wrapped: {"choice", "regex", "unwrap_response"},  # of values that the pairs of test_answers make
    structured: {"plan", "force", "unforce", "unforce_response"},
    arguments: {"settle_calls"},  # of a whole answer
    guided: {"named", "given", "lift"},  # of a body's top level
    forms: {"broken", "field", "fields_of", "file_of", "plan", "rewritten", "chunks"},
    audio: {"check_speech", "spoken", "wav_seconds"},
    eventstream: {"event_of", "encode", "event", "exception"},
    errors: {"shed", "exception_name"},
    envelope: {"seal"},
    count: {"tokens", "estimate", "prompt_tokens"},
    pass_through: {"with_model", "provider_at", "prefixes", "kin", "takes_key_in_query", "dialect_at", "request_headers", "answer_headers"},
}


@pytest.mark.skipif(COMPILED, reason=WHY)
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

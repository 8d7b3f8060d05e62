"""What providers and the small operations do with foreign data: no more than n log n work (see ``test_work``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.ir import OutputFormat
from penstock.core.ops import embeddings, forms, moderations, rerank
from penstock.core.providers import PROVIDERS, constraints, turns
from penstock.core.providers.spec import Quirks
from tests.laws import work_shapes as shapes
from tests.laws.work import FAR, Found, Once, excess, mends, no_collections

LOOSE = Wire(model="gpt-4o", family="openai", native_schema=False, official=False, replay_reasoning=True, cache_marks=True)


@pytest.fixture(autouse=True, scope="module")
def _no_walks() -> Iterator[None]:
    with no_collections():
        yield


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
    return lambda n: {key: Raw(msgspec.json.encode(value)) for key, value in ({"messages": [], "model": "m"} | extra(n)).items()}


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
        "schema": lambda n: OutputFormat("json_schema", schema=msgspec.json.encode(shapes.SCHEMAS["wide"](n))),
        "deep schema": lambda n: OutputFormat("json_schema", schema=msgspec.json.encode(shapes.SCHEMAS["deep"](n))),
    }
    for what, make in outputs.items():
        asked = Once(lambda n, make=make: replace(shapes.request([shapes.user(shapes.HELLO)]), output=make(n)))
        for dialect in ("openai_chat", "anthropic", "completions"):
            found.look(f"{what}, {dialect}", lambda r, d=dialect: constraints.lower(r, guides, d), asked)
    assert not found, "\n".join(found)


def _ranked(n: int) -> bytes:
    return msgspec.json.encode({"results": [{"index": i, "relevance_score": i / n} for i in range(n)], "usage": {"total_tokens": 1}})


def _vectors(n: int) -> bytes:
    return msgspec.json.encode({"data": [{"index": i, "embedding": [0.1] * 4} for i in range(n)], "usage": {"prompt_tokens": 1}})


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
        lambda b: rerank.answer({"documents": Raw(msgspec.json.encode(["a"] * 40_000))}, rerank.read(b), "m", str),
        _ranked,
    ),
    "results of moderation": (
        lambda b: moderations.answer(b, Raw(b'"m"')),
        lambda n: msgspec.json.encode({"results": [{"flagged": False, "categories": {}}] * n}),
    ),
    "parts of a form": (
        lambda b: forms.fields_of(b, forms.parts(b, b"x")),
        lambda n: b"".join(b'--x\r\ncontent-disposition: form-data; name="k%d"\r\n\r\nv\r\n' % i for i in range(n))
        + b"--x--\r\n",
    ),
    "mends of many choices": (
        lambda b: [mend(b) for mend in mends().values()],
        lambda n: msgspec.json.encode({"choices": [{"message": {"content": [{"type": "text", "text": "a"}], "reasoning": "b"}}] * n}),
    ),
    "mends of many sources": (
        lambda b: [mend(b) for mend in mends().values()],
        lambda n: msgspec.json.encode({"citations": ["https://a"] * n, "choices": [{"message": {"content": "text " * n}}]}),
    ),
}


@pytest.mark.parametrize("what", OPERATIONS)
def test_operations(what: str) -> None:
    run, make = OPERATIONS[what]
    told = excess(run, Once(make), traced=False, far=True)
    assert not told, told



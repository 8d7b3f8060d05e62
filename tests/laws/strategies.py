"""Hypothesis strategies for the neutral form; with the helpers of ``streams`` all that a dialect's laws need.

Rich on purpose: U+2028, NEL and other characters that careless line splitting cuts at, empty strings, JSON whose
spelling must survive, seals of several families, opaque blocks of several dialects, results out of order. A law that
needs less filters or maps; the pair laws take everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    CacheMark,
    Choice,
    Citation,
    Document,
    FileId,
    Image,
    Message,
    Opaque,
    OutputFormat,
    PlainText,
    Reasoning,
    Refusal,
    Request,
    Response,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
    Usage,
)
from tests.laws.opaques import (
    OPAQUE_BLOCKS,
    OPAQUE_TOOLS,
    opaque_fields,
    opaque_tools,
)
from tests.laws.pools import AWKWARD, FULL_TEXTS, OBJECTS, SAMPLES, TEXTS, combine, mostly
from tests.laws.streams import chop as chop
from tests.laws.streams import merge_texts as merge_texts
from tests.laws.streams import run_decoder as run_decoder
from tests.laws.streams import run_encoder as run_encoder

FAMILIES = ("anthropic", "openai", "gemini")
REASONS = ("stop", "length", "tool_use", "filter", "refusal", "pause", "context")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


# Text and JSON -----------------------------------------------------------------------------------------------------

cuts = st.lists(st.integers(0, 10_000), max_size=12)
_pieces = st.sampled_from(AWKWARD) | st.text(max_size=6)
_free_text = st.lists(_pieces, max_size=4).map("".join)
rich_text: st.SearchStrategy[str] = mostly(TEXTS, _free_text)
full_text: st.SearchStrategy[str] = mostly(FULL_TEXTS, _free_text.map(lambda text: text or "0"))
idents = st.text("abcdefgh_123", min_size=1, max_size=6)
URLS = ["https://example.com/a.png", "http://x.test/é?q=1&r=2", "https://example.com/doc.pdf#p=3"]
urls = st.sampled_from(URLS)


def spell_string(text: str) -> st.SearchStrategy[str]:
    """The ways to write a string in JSON: as it is, all escaped, some letters escaped."""

    def escape_all(value: str) -> str:
        units = value.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)) + '"'

    plain = json.dumps(text, ensure_ascii=False)
    return st.sampled_from([plain, plain, json.dumps(text), escape_all(text)])


_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | rich_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(rich_text, inner, max_size=3),
    max_leaves=5,
)


def _spelled(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda value, ascii_, sep: json.dumps(value, ensure_ascii=ascii_, separators=sep),
        values,
        st.booleans(),
        st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]),
    )


json_text = _spelled(_values)
json_objects: st.SearchStrategy[str] = mostly(OBJECTS, _spelled(st.dictionaries(rich_text, _values, max_size=3)))
raw_objects = json_objects.map(str.encode)
# Blocks -------------------------------------------------------------------------------------------------------------

MARKS = [None, None, None, CacheMark(), CacheMark("5m"), CacheMark("1h")]
SEALS = [None, *combine(lambda family, data: Seal(family, family[:2] + data), FAMILIES, ["c2VhbA==", "0", "+/=.XYZ01"])]
cache_marks = st.sampled_from(MARKS)
seals = st.builds(Seal, st.sampled_from(FAMILIES), st.text("abcXYZ0189+/=.", min_size=1, max_size=12))
_NAMES = ["get_weather", "f", "search-web", "Read", "a_1", "mcp.größe", "mcp__" + "x" * 70]
tool_names = st.sampled_from(_NAMES)

web_citations = st.builds(Citation, url=urls, title=rich_text, start=st.integers(0, 20), end=st.integers(20, 40))


_PLAIN = combine(Text, TEXTS)
_MARKED = combine(Text, TEXTS, MARKS, most=200)
_REFUSALS = combine(Refusal, FULL_TEXTS)
texts: st.SearchStrategy[Text] = mostly(_MARKED, st.builds(Text, rich_text, cache_marks))
_IDS = ["", "rs_1"]
_fresh_thoughts = (
    st.builds(Thinking, rich_text, st.none() | seals)
    | st.builds(Thinking, full_text, st.none() | seals, summary=st.just(True), id=st.sampled_from(_IDS))
    | st.builds(Thinking, st.just(""), seals, redacted=st.just(True))
)
_THOUGHTS = [
    *combine(Thinking, TEXTS, SEALS, most=80),
    *combine(lambda text, seal, id: Thinking(text, seal, summary=True, id=id), FULL_TEXTS, SEALS, _IDS, most=60),
    *combine(lambda seal: Thinking("", seal, redacted=True), SEALS[1:]),
]
_BASE64 = ["aGk=", "iVBORw0KGgo=", "AAAA", "JVBERi0xLjQK"]
_URLS = [Url(url) for url in URLS]
_FILES = [FileId(family, "file_1") for family in FAMILIES]
_IMAGES = combine(
    Image,
    [*combine(Base64, ["image/png", "image/jpeg", "image/webp", "image/jpg"], _BASE64[:2]), *_URLS, *_FILES],
    ["", "", "low", "high", "auto"],
    MARKS,
    most=200,
)
_DOCUMENTS = combine(
    Document,
    [
        *combine(Base64, ["application/pdf", "text/plain"], _BASE64),
        *_URLS,
        *_FILES,
        *(PlainText(text) for text in SAMPLES[1:8]),
    ],
    ["", "a.pdf", "é \u2028.txt"],
    ["", "", "about it"],
    [None, None, True, False],
    MARKS,
    most=400,
)
_AUDIOS = combine(Audio, _BASE64[:2], ["wav", "mp3"])
# One draw a block: of a user's five blocks three are texts.
user_blocks: st.SearchStrategy[Block] = mostly([*_MARKED * 3, *_IMAGES, *_DOCUMENTS, *_AUDIOS * 10], texts)
result_blocks: st.SearchStrategy[Block] = mostly([*_MARKED * 3, *_IMAGES, *_DOCUMENTS], texts)
_SAID = [*_PLAIN, *_MARKED, *_THOUGHTS, *_REFUSALS]


_FUNCTIONS = combine(
    lambda args, name, cache, seal: ToolUse("", name, args, "function", cache, seal),
    ["", "", *OBJECTS],
    _NAMES,
    MARKS,
    [None, None, Seal("gemini", "c2ln")],
    most=400,
)
_CUSTOM = combine(lambda text, name, cache: ToolUse("", name, text, "custom", cache), TEXTS, _NAMES, MARKS)
# Calls without ids: mostly a function's, sometimes a custom tool's free text, sometimes without arguments.
_calls: st.SearchStrategy[ToolUse] = mostly(
    [*_FUNCTIONS, *_CUSTOM],
    st.builds(ToolUse, st.just(""), tool_names, json_objects, cache=cache_marks)
    | st.builds(ToolUse, st.just(""), tool_names, rich_text, st.just("custom"), cache_marks),
)


def called(id: str, call: ToolUse, cached: bool = True) -> ToolUse:
    """The call with this id."""
    return ToolUse(id, call.name, call.args, call.kind, call.cache if cached else None, call.seal)


# Requests ----------------------------------------------------------------------------------------------------------


_opaque_rows = [
    Opaque(d, kind, json.dumps(row).encode()) for d, rows in OPAQUE_BLOCKS.items() for kind, row in rows.items()
]
_fresh_said = st.one_of(texts, _fresh_thoughts, st.builds(Refusal, full_text))
_said: st.SearchStrategy[Block] = mostly([*_SAID, *_opaque_rows * 30], _fresh_said)
_saids = st.lists(_said, max_size=3)
_FIRST = st.integers(0, 2)  # of three calls one stands before what was said
_ONE_IN_FIVE = st.integers(0, 4)
_ONE_IN_TEN = st.integers(0, 9)
_CALLS = st.sampled_from([0, 0, 1, 2, 3])
_TURNS = st.integers(1, 3)
_SPELLED = st.sampled_from(["call_", "call_", "functions.f:", "call|" + "x" * 70])
_asked = st.lists(user_blocks, min_size=1, max_size=3)
_between = st.lists(user_blocks, max_size=1)
_returned = st.lists(result_blocks, max_size=2)
_empty = st.sampled_from([Message(role, ()) for role in ("system", "user", "assistant")])
_yes = st.booleans()
_systems = st.sampled_from(
    combine(
        lambda role, first, second, name: Message(role, (first, second) if second else (first,), name),
        ["system", "developer"],
        _MARKED,
        [None, None, *_MARKED[:20]],
        ["", "", "", "bob", "al_1"],
        most=400,
    )
)
_prompts = st.lists(_systems, max_size=2)


@st.composite
def _assistant(draw: st.DrawFn, ids: list[str]) -> Message:
    blocks: list[Block] = draw(_saids)
    for id in ids:
        blocks.insert(0 if draw(_FIRST) == 2 else len(blocks), called(id, draw(_calls)))
    return Message("assistant", tuple(blocks), draw(names))


names = st.sampled_from(["", "", "", "bob", "al_1"])


@st.composite
def conversations(draw: st.DrawFn, wild: bool = True) -> tuple[Message, ...]:
    """Turns as clients send them. ``wild``: also results out of order, late, missing or without a call, system turns
    in the middle, empty turns and a trailing assistant turn (a prefill)."""
    turns: list[Message] = []
    turns += draw(_prompts)
    serial = 0
    for _ in range(draw(_TURNS)):
        turns.append(Message("user", tuple(draw(_asked)), draw(names)))
        spelled = draw(_SPELLED)
        ids = [f"{spelled}{serial + i}" for i in range(draw(_CALLS))]
        serial += len(ids)
        if not ids and draw(_yes):
            continue
        assistant = draw(_assistant(ids))
        turns.append(assistant)
        uses = {block.id: block for block in assistant.blocks if isinstance(block, ToolUse)}
        if wild:
            ids = draw(st.permutations(ids)) if len(ids) > 1 else ids
            if draw(_ONE_IN_TEN) == 9:
                ids = ids[1:] + ["call_orphan"]
        results: list[Block] = [
            ToolResult(
                id,
                tuple(draw(_returned)),
                draw(_yes),
                uses[id].kind if id in uses else "function",
                draw(cache_marks),
            )
            for id in ids
        ]
        if wild:
            for block in draw(_between):
                results.insert(draw(st.integers(0, len(results))), block)
        if results:
            turns.append(Message("user", tuple(results)))
    if wild and draw(_ONE_IN_FIVE) == 4:
        turns.insert(draw(st.integers(0, len(turns))), draw(_empty))
    if wild and draw(_ONE_IN_FIVE) == 4:
        turns.insert(draw(st.integers(0, len(turns))), draw(_systems))
    if wild and draw(_ONE_IN_FIVE) == 4:
        turns.append(draw(_assistant([])))
    return tuple(turns)


SCHEMAS = [
    b"",
    b'{"type":"object","properties":{"q":{"type":"string"}},"required":["q"],"additionalProperties":false}',
    b'{"type":"object","properties":{}}',
    b'{ "type": "object", "properties": {"n": {"type": "number", "minimum": 0.10}}, "$defs": {"\xc3\xa9": {}} }',
]
schemas = st.sampled_from(SCHEMAS[1:])
tools = st.sampled_from(combine(Tool, _NAMES, TEXTS, SCHEMAS, [None, None, True, False], ["function"], MARKS, most=300))
tool_choices = st.sampled_from(
    [
        ToolChoice("auto"),
        ToolChoice("none"),
        ToolChoice("required"),
        ToolChoice("named", ("f",)),
        ToolChoice("allowed", ("f", "Read")),
        ToolChoice("allowed", ("f",), True),
    ]
)
reasonings = st.sampled_from(
    combine(
        Reasoning,
        ["", *EFFORTS],
        [None, None, 1024, 4096, 20000],
        ["", "", "enabled", "adaptive", "disabled"],
        ["", "", "auto", "concise", "detailed"],
        ["", "", "summarized", "omitted"],
        most=600,
    )
).filter(lambda reasoning: reasoning != Reasoning())
outputs = st.sampled_from(
    [
        OutputFormat("json_object"),
        OutputFormat("text"),
        *combine(
            lambda *row: OutputFormat("json_schema", *row),
            ["answer", "a-1"],
            SCHEMAS[1:],
            [None, True, False],
            ["", "what it is"],
        ),
    ]
)
_unit = st.sampled_from([0.0, 0.1, 0.5, 1.0])
_settings: dict[str, st.SearchStrategy[Any]] = {
    "tool_choice": tool_choices,
    "parallel_tools": st.booleans(),
    "max_tokens": st.integers(1, 100_000),
    "temperature": _unit | st.just(1.7),
    "top_p": _unit,
    "top_k": st.integers(1, 100),
    "presence_penalty": _unit,
    "frequency_penalty": _unit,
    "stop": st.lists(full_text, min_size=1, max_size=3).map(tuple) | st.sampled_from([(" ", "\n"), tuple("abcdefg")]),
    "seed": st.integers(0, 2**31),
    "n": st.integers(1, 4),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 20),
    "logit_bias": st.just(b'{"50256":-100}'),
    "reasoning": reasonings,
    "output": outputs,
    "verbosity": st.sampled_from(["low", "medium", "high"]),
    "user": full_text | st.just("u" * 140),
    "metadata": st.sampled_from([b'{"trace":"1"}', b'{"user_id": "u-1"}', b"{}"]),
    "service_tier": st.sampled_from(["auto", "default", "flex", "priority"]),
    "store": st.booleans(),
    "cache_key": idents | st.just("k" * 80),
    "previous_id": st.just("resp_1"),
    "include": st.just(("reasoning.encrypted_content",)),
    "stream_usage": st.booleans(),
}


_chosen = st.lists(st.sampled_from(sorted(_settings)), max_size=8, unique=True)
_offered = st.lists(tools, max_size=3, unique_by=lambda tool: tool.name)
_models = st.sampled_from(["m", "vendor/model-1", "é"])


@cache
def _extras(dialect: str) -> st.SearchStrategy[list[Opaque]]:
    return st.lists(opaque_fields((dialect,)), max_size=2, unique_by=lambda opaque: opaque.kind)


@st.composite
def requests(draw: st.DrawFn, wild: bool = True, opaque: Iterable[str] | None = None) -> Request:
    """A chat request with any mix of features. ``opaque``: the dialects whose own tools and fields may occur (default:
    all in the tables above)."""
    fields = {key: draw(_settings[key]) for key in draw(_chosen)}
    owners = tuple(OPAQUE_TOOLS if opaque is None else opaque)
    dialect = ("", *owners)[draw(st.integers(0, len(owners)))]
    offered = draw(_offered)
    if owners and draw(_ONE_IN_FIVE) == 4:
        offered = [*offered, draw(opaque_tools(owners))]
    extra = draw(_extras(dialect)) if dialect else []
    return Request(
        model=draw(_models),
        messages=draw(conversations(wild)),
        dialect=dialect,
        tools=tuple(offered),
        stream=draw(_yes),
        extra=tuple(extra),
        **fields,
    )


# Answers -----------------------------------------------------------------------------------------------------------


_COUNTS = [0, 0, 1, 7, 4999]
usages = st.sampled_from(
    [
        Usage(fresh, read, write, hour, output, min(reasoning, output), fresh // heard, output // heard)
        for fresh, read, write, hour, output, reasoning, heard in combine(
            lambda *row: row, *[_COUNTS] * 6, [100_000, 2], most=150
        )
    ]
)

LOGPROBS = (
    b"",
    b"",
    b'{"content":[{"token":"a","logprob":-0.10,"bytes":[97],"top_logprobs":[]}],"refusal":null}',
    b'{"content":[{"token":"\xc3\xa9","logprob":-1.5e-3,"bytes":null,"top_logprobs":[]},{"token":"b","logprob":0}]}',
)


_SITES = combine(lambda url, title, at: Citation(url, title, "", at, at + 20), URLS, TEXTS, [0, 3, 20], most=60)
_CITED = combine(
    lambda text, first, second: Text(text, citations=(first, second) if second else (first,)),
    FULL_TEXTS,
    _SITES,
    [None, *_SITES[:8]],
    most=120,
)
cited_texts = st.builds(Text, full_text, citations=st.lists(web_citations, min_size=1, max_size=2).map(tuple))


@cache
def _answered(opaque: tuple[str, ...]) -> st.SearchStrategy[list[Block]]:
    foreign = [row for row in _opaque_rows if row.dialect in opaque]
    pool: list[Any] = [*_PLAIN, *_CITED, *_THOUGHTS, *_REFUSALS, *foreign * 30]
    return st.lists(mostly(pool, st.one_of(cited_texts, _fresh_said.map(unmarked))), max_size=4)


def unmarked(block: Block) -> Block:
    """Answers hold no cache marks."""
    return replace(block, cache=None) if isinstance(block, Text) else block


_endings = st.sampled_from(
    [(reason, text) for reason in REASONS for text in (("", "END", "\u2028") if reason == "stop" else ("",))]
)
_logs = st.sampled_from(LOGPROBS)


@st.composite
def choices(draw: st.DrawFn, serial: int = 0, opaque: Iterable[str] = tuple(OPAQUE_BLOCKS)) -> Choice:
    """One answer: thoughts, texts (some cited), refusals, calls, server tools' blocks, in any order."""
    blocks = list(draw(_answered(tuple(opaque))))
    for number in range(draw(_CALLS)):
        at = 0 if draw(_FIRST) == 2 else len(blocks)
        blocks.insert(at, called(f"call_{serial}_{number}", draw(_calls), cached=False))
    finish, sequence = draw(_endings)
    return Choice(tuple(blocks), finish, sequence, draw(_logs))


_heads = st.sampled_from(
    combine(
        lambda id, model, created, tier: Response(id=id, model=model, choices=(), created=created, service_tier=tier),
        ["msg_1", "chatcmpl-2", "resp_3", "x"],
        ["m", "vendor/model-1"],
        [0, 1_700_000_000],
        ["", "", "default"],
    )
)
_told = st.none() | usages


@st.composite
def responses(draw: st.DrawFn, most: int = 3, opaque: Iterable[str] = tuple(OPAQUE_BLOCKS)) -> Response:
    """A whole answer without ``extra``. ``most``: the largest number of choices (1 for dialects that have one)."""
    count = max(1, draw(st.integers(-2, most)))
    owners = tuple(opaque)
    made = tuple(draw(choices(number, owners)) for number in range(count))
    return replace(draw(_heads), choices=made, usage=draw(_told))

"""Adversarial inputs of any size, once in the neutral form for all dialects, and once made of any body by swelling it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from penstock.core.ir import (
    Audio,
    Base64,
    Block,
    Choice,
    Citation,
    Close,
    Delta,
    Document,
    End,
    Event,
    Image,
    Logprobs,
    Message,
    Opaque,
    Open,
    OutputFormat,
    Refusal,
    Request,
    Response,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
    Usage,
)

HELLO = Text("hello")
CITED = Citation(url="https://a.b/c", title="t", quote="q", start=0, end=3)
PNG = Image(Base64("image/png", "aGVsbG8="))
AWKWARD = 'x\u2028"\\é \n'


def user(*blocks: Block) -> Message:
    return Message("user", blocks)


def bot(*blocks: Block) -> Message:
    return Message("assistant", blocks)


def request(messages: list[Message], tools: tuple[Tool, ...] = (), output: OutputFormat | None = None) -> Request:
    return Request(model="m", messages=tuple(messages), tools=tools, output=output, max_tokens=9)


def _answered(calls: list[ToolUse], results: list[ToolResult]) -> list[Message]:
    return [user(HELLO), bot(*calls), user(*results)]


def _calls(n: int, id: Callable[[int], str], name: Callable[[int], str] = lambda i: "f") -> list[Message]:
    calls = [ToolUse(id(i), name(i), "{}") for i in range(n)]
    return _answered(calls, [ToolResult(id(i), (HELLO,)) for i in range(n)])


MESSAGES: dict[str, Callable[[int], list[Message]]] = {
    "turns": lambda n: [m for i in range(n) for m in (user(Text(f"q{i}")), bot(Text("a")))],
    "one role": lambda n: [user(Text(f"q{i}")) for i in range(n)],
    "one role, long texts": lambda n: [user(Text("x" * 200))] * n,
    "systems": lambda n: [Message("system", (Text(f"s{i}"),)) for i in range(n)] + [user(HELLO)],
    "later systems": lambda n: [user(HELLO)] + [Message("system", (Text(f"s{i}"),)) for i in range(n)],
    "one id in all turns": lambda n: [
        m for _ in range(n) for m in (bot(ToolUse("call_0", "f", '{"a":1}')), user(ToolResult("call_0", (HELLO,))))
    ],
    "calls of one turn": lambda n: _calls(n, lambda i: f"c{i}"),
    "one id in one turn": lambda n: _calls(n, lambda i: "c"),
    "strange ids": lambda n: _calls(n, lambda i: f"functions.f:{i % 3}"),
    "names": lambda n: _calls(n, lambda i: f"c{i}", lambda i: f"f{i}"),
    "stray results": lambda n: [user(*[ToolResult(f"c{i}", (HELLO,)) for i in range(n)])],
    "results first": lambda n: _calls(n, lambda i: f"c{i}")[::-1],
    "blocks": lambda n: [user(*[Text(f"t{i}") for i in range(n)])],
    "cited": lambda n: [user(HELLO), bot(Text("hello there", None, (CITED,) * n))],
    "thoughts": lambda n: [user(HELLO), bot(*[Thinking(f"t{i}", Seal("anthropic", "c2ln")) for i in range(n)], HELLO)],
    "foreign thoughts": lambda n: [
        user(HELLO), bot(*[Thinking(f"t{i}", Seal("x", "c2ln"), redacted=i % 2 == 0) for i in range(n)], HELLO),
    ],
    "images": lambda n: [user(*[Image(Url(f"https://a.b/{i}.png")) for i in range(n)])],
    "inline": lambda n: [user(*[PNG] * n)],
    "documents": lambda n: [user(*[Document(Base64("application/pdf", "aGVsbG8="), name="a b.c/d" * 4)] * n)],
    "sounds": lambda n: [user(*[Audio("aGVsbG8=", "wav")] * n)],
    "rich results": lambda n: _answered([ToolUse("c", "f", "{}")], [ToolResult("c", (HELLO, PNG) * n)]),
    "long text": lambda n: [user(Text(AWKWARD * 20 * n))],
    "long id": lambda n: _calls(1, lambda i: "a:/" * 20 * n),
    "long arguments": lambda n: [user(HELLO), bot(ToolUse("a", "f", '{"a":"' + "\\u0041" * 10 * n + '"}'))],
    "bad arguments": lambda n: [user(HELLO), bot(ToolUse("a", "f", '{"a":' * min(n, 300) + " " * n))],
    "refusals": lambda n: [user(HELLO), bot(*[Refusal(f"n{i}") for i in range(n)])],
    "opaques": lambda n: [user(*[Opaque("anthropic", "x", b'{"type":"x","a":1}')] * n)],
}  # fmt: skip


def nest(times: int, inner: Any, around: Callable[[Any], Any]) -> Any:
    for _ in range(times):
        inner = around(inner)
    return inner


def diamond(levels: int, width: int = 8) -> dict[str, Any]:
    """A schema whose definitions use the next one ``width`` times each (BerriAI/litellm#34328)."""
    defs: dict[str, Any] = {
        f"N{i}": {"type": "object", "properties": {f"p{j}": {"$ref": f"#/$defs/N{i + 1}"} for j in range(width)}}
        for i in range(levels)
    }
    defs[f"N{levels}"] = {"type": "object", "properties": {"self": {"$ref": "#/$defs/N0"}, "v": {"type": "string"}}}
    return {"type": "object", "properties": {"root": {"$ref": "#/$defs/N0"}}, "$defs": defs}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


_ONE = {"type": "object", "properties": {"a": {"type": "string"}}}
SCHEMAS: dict[str, Callable[[int], Any]] = {
    "wide": lambda n: _object(
        {f"p{i}": {"type": ["string", "null"], "format": "x"} for i in range(n)}, required=[f"p{i}" for i in range(n)]
    ),
    "deep": lambda n: nest(min(n, 300), {"type": "string"}, lambda x: _object({"a": x})),
    "deep choice": lambda n: nest(min(n, 300), {"type": "string"}, lambda x: {"anyOf": [x]}),
    "enumeration": lambda n: _object({"a": {"enum": [f"v{i}" for i in range(n)]}}),
    "uses": lambda n: _object({f"p{i}": {"$ref": "#/$defs/A"} for i in range(n)}, **{"$defs": {"A": _ONE}}),
    "chain": lambda n: {
        "$ref": "#/$defs/d0",
        "$defs": {**{f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(n)}, f"d{n}": {"type": "string"}},
    },
    "long name": lambda n: _object({"x" * 20 * n: _object({f"p{i}": {"odd": "y"} for i in range(n)})}),
    "long reference": lambda n: _object({"a": {"$ref": "#" + "/a" * n}}),
    "order": lambda n: _object(
        {f"p{i}": {"type": "STRING", "nullable": True} for i in range(n)}, propertyOrdering=[f"p{n - i}" for i in range(n)]
    ),
}
# What is written out for these is not bounded by what they are: the budget is what ends it.
EXPANDING: dict[str, Callable[[int], Any]] = {
    "diamond": lambda n: diamond(max(2, min(n, 40))),
    "diamond with a long leaf": lambda n: {**diamond(3), "description": "x" * 100 * n, "items": {"$ref": "#"}},
    "all uses of itself": lambda n: _object({f"p{i}": {"$ref": "#"} for i in range(n)}),
    "long definition": lambda n: _object(
        {f"p{i}": {"$ref": "#/$defs/A"} for i in range(n)}, **{"$defs": {"A": {"enum": ["x" * 10] * n}}}
    ),
    "parts of itself": lambda n: {
        "$defs": {"A": nest(min(n, 200), _ONE, lambda x: _object({"a": x, "b": {"$ref": "#/$defs/A/properties/a"}}))},
        "$ref": "#/$defs/A",
    },
}


def _with_schema(schema: Any) -> Request:
    return request([user(HELLO)], (Tool("f", "d", json.dumps(schema).encode()),))


def _with_output(schema: Any) -> Request:
    return request([user(HELLO)], (), OutputFormat("json_schema", "n", json.dumps(schema).encode()))


def tools(n: int) -> tuple[Tool, ...]:
    return tuple(Tool(f"f{i}", "d", json.dumps(_ONE).encode()) for i in range(n))


def _requests() -> dict[str, Callable[[int], Request]]:
    out: dict[str, Callable[[int], Request]] = {}
    for name, messages in MESSAGES.items():
        out[name] = lambda n, messages=messages: request(messages(n))
    for name, schema in SCHEMAS.items():
        out[f"tool {name}"] = lambda n, schema=schema: _with_schema(schema(n))
        out[f"form {name}"] = lambda n, schema=schema: _with_output(schema(n))
    plain = request([user(HELLO)])
    out["tools"] = lambda n: request([user(HELLO)], tools(n))
    out["choices"] = lambda n: replace(plain, output=OutputFormat("choice", choices=tuple(f"c{i}" for i in range(n))))
    out["expression"] = lambda n: replace(plain, output=OutputFormat("regex", source="[a-z]." * n))
    out["stops"] = lambda n: replace(plain, stop=tuple(f"s{i}" for i in range(n)))
    out["unknown fields"] = lambda n: replace(plain, extra=tuple(Opaque("openai_chat", f"k{i}", b"1") for i in range(n)))
    out["allowed tools"] = lambda n: replace(
        request([user(HELLO)], tools(n)), tool_choice=ToolChoice("allowed", tuple(f"f{i}" for i in range(n)))
    )
    return out


REQUESTS = _requests()


def expanding() -> Iterator[tuple[str, Request]]:
    for name, schema in EXPANDING.items():
        for size in (4, 40, 400):
            yield f"{name} {size}", _with_schema(schema(size))
            yield f"{name} {size}, as a form", _with_output(schema(size))


def rich(dialect: str, family: str) -> Request:
    """A request that has a little of everything, to be swollen."""
    schema = b'{"type":"object","properties":{"a":{"type":["string","null"],"enum":["x"],"nullable":true}}}'
    messages = [
        Message("system", (Text("s"),)),
        user(Text("q"), Image(Url("https://a.b/c.png")), Document(Base64("application/pdf", "aGVsbG8="), name="d.pdf")),
        bot(Thinking("t", Seal(family, "c2ln")), Text("a", None, (CITED,)), ToolUse("c1", "f", '{"a":{"b":[1,"x"]}}')),
        user(ToolResult("c1", (HELLO,))),
        bot(HELLO),
        user(Text("go")),
    ]
    made = request(messages, (Tool("f", "d", schema),), OutputFormat("json_schema", "n", schema))
    return replace(made, dialect=dialect, stop=("x",), metadata=b'{"a":"b"}', tool_choice=ToolChoice("named", ("f",)))


# Answers --------------------------------------------------------------------------------------------------------------


def answer(*blocks: Block, **more: Any) -> Response:
    return Response(id="r", model="m", choices=(Choice(blocks, **more),), usage=Usage(fresh=3, output=5))


def _rows(n: int) -> bytes:
    row = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    return json.dumps({"content": [row] * n}).encode()


_OWN = replace(CITED, opaque=Opaque("anthropic", "x", b'{"type":"x"}'))
RESPONSES: dict[str, Callable[[int], Response]] = {
    "long text": lambda n: answer(Text(AWKWARD * 20 * n)),
    "texts": lambda n: answer(*[Text(f"t{i}") for i in range(n)]),
    "alternating": lambda n: answer(*[b for i in range(n) for b in (Text(f"t{i}"), Thinking("th"))]),
    "calls": lambda n: answer(*[ToolUse(f"c{i}", "f", '{"a":1}') for i in range(n)], finish="tool_use"),
    "calls with one id": lambda n: answer(*[ToolUse("c", "f", '{"a":1}')] * n, finish="tool_use"),
    "long call": lambda n: answer(ToolUse("c", "f", '{"a":"' + "ab\\n" * 20 * n + '"}'), finish="tool_use"),
    "bad call": lambda n: answer(ToolUse("c", "f", '{"a":"' + "ab\\n" * 20 * n), finish="tool_use"),
    "custom calls": lambda n: answer(*[ToolUse("c", "f", "hello", kind="custom")] * n, finish="tool_use"),
    "thoughts": lambda n: answer(*[Thinking(f"t{i}", Seal("anthropic", "c2ln")) for i in range(n)], HELLO),
    "cited": lambda n: answer(Text("hello there" * n, None, (CITED,) * n)),
    "cited in one vendor's form": lambda n: answer(Text("hello there" * n, None, (_OWN,) * n)),
    "choices": lambda n: Response(id="r", model="m", choices=(Choice((HELLO, ToolUse("c", "f", "{}"))),) * n),
    "refusals": lambda n: answer(*[Refusal("no")] * n, finish="refusal"),
    "log probabilities": lambda n: answer(HELLO, logprobs=_rows(n)),
    "opaques": lambda n: answer(*[Opaque("anthropic", "x", b'{"type":"x","a":1}')] * n),
    "unknown fields": lambda n: replace(
        answer(HELLO), extra=tuple(Opaque("openai_chat", f"k{i}", b"1") for i in range(n))
    ),
}


def _with_rows(n: int) -> list[Event]:
    told: list[Event] = [Start("r", "m"), Open(0, Text(""))]
    for _ in range(n):
        told += [Delta(0, "a"), Logprobs(_rows(1))]
    return [*told, Close(0), Stop("stop"), End(None)]


def _at_once(n: int) -> list[Event]:
    told: list[Event] = [Start("r", "m"), *[Open(i, ToolUse(f"c{i}", "f", "")) for i in range(n)]]
    told += [Delta(i, "{}") for i in range(n)]
    return [*told, *[Close(i) for i in range(n)], Stop("tool_use"), End(None)]


EVENTS: dict[str, Callable[[int], list[Event]]] = {"log probabilities one by one": _with_rows, "open at once": _at_once}

# Texts ----------------------------------------------------------------------------------------------------------------

# What regular expressions and readers of text look for, each repeated.
BITS = [
    *("a", "A9", " ", "\n", "\r\n", "\t", '"', "\\", "{", "[", "(", "}", "]", ")", "<", "-", "/", ":", ";", ",", ".", "="),
    *("*", "|", "^", "%", "é", "\u2028", "\x00", "_", "eyJ-", "eyJa.", "sk-", "hf_", "gsk_a-", "bearer ", "basic a"),
    *("api_key=", "&key=", "password: ", "authorization: ", "AIza", "ya29.", "AKIA", "(?:", "(a", "[a-", "a|", "a{1}"),
    *("\\x{", "\\d", "(?<a", "[^", '{"value":"', '"}', '"\n}', "data: ", "data:\n", "event: a\n", "00:00:01.000 --> "),
    *("model 'a' ", '"usage":{', '"finishReason" : "', '{"a":', "[[", '"content":[', "[1]", "not found", "\r\n--x"),
    *("us.", "v1/", "models/", "claude-", "gemini-1.", "claude-a-", "%2e%2e/", ';a="b"', "x;", "1s", "\\u0041"),
    *("a" * 1023 + " ", "base64," + "a" * 60 + "\\n"),
]

# Bodies ---------------------------------------------------------------------------------------------------------------

Path = tuple[str | int, ...]


def places(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value."""
    yield at
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*at, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from places(part, (*at, number))


def find(value: Any, at: Path) -> Any:
    for step in at:
        value = value[step]
    return value


def put(value: Any, at: Path, new: Any) -> Any:
    """The value with another one at a place."""
    if not at:
        return new
    value = copy.deepcopy(value)
    find(value, at[:-1])[at[-1]] = new
    return value


def swell(value: Any) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """The ways in which a value can grow."""
    if isinstance(value, list) and value:
        last = value[-1]
        yield "many", lambda n: value + [last] * n
        if isinstance(last, dict):
            yield "of unknown type", lambda n: value + [{**last, "type": "zzz"}] * n
            yield "with unknown keys", lambda n: value + [{**last, "zzz": 1}] * n
            yield "with nothing", lambda n: [*value, *[{}] * n]
            for key, part in last.items():
                if isinstance(part, (list, dict)) and part:
                    yield (
                        f"in its own {key}",
                        lambda n, key=key, part=part: [
                            nest(min(n, 200), last, lambda x: {**last, key: [x] if isinstance(part, list) else x})
                        ],
                    )
    elif isinstance(value, dict):
        yield "keys", lambda n: {**value, **{f"k{i}": 1 for i in range(n)}}
        yield "snake keys", lambda n: {**value, **{f"a_{i}": None for i in range(n)}}
        for key, part in value.items():
            if isinstance(part, dict):
                yield f"in its own {key}", lambda n, key=key: nest(min(n, 200), value, lambda x: {**value, key: x})
    elif isinstance(value, str):
        yield "long", lambda n: value + AWKWARD * n
    yield "deep", lambda n: nest(min(n, 300), value, lambda x: [x])
    yield "deep objects", lambda n: nest(min(n, 300), value, lambda x: {"content": x})

"""What two requests must have in common to share an answer, and what they need not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import cachekey
from penstock.core.dialects import DIALECTS
from penstock.core.envelope import open_body
from penstock.core.ir import (
    Base64,
    CacheMark,
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
    Seal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
)
from penstock.core.ir.request import Audio
from tests.laws.strategies import requests

SAID = (Message("user", (Text("hello"),)),)
PLAIN = Request(model="m", messages=SAID)
# Of each field that counts, another value. A field without one fails.
CHANGED: dict[str, Any] = {
    "messages": (Message("user", (Text("hello "),)),),
    "tools": (Tool("f", schema=b'{"type":"object"}'),),
    "tool_choice": ToolChoice("required"),
    "parallel_tools": False,
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "stop": ("x",),
    "seed": 5,
    "n": 2,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": b'{"5":1}',
    "reasoning": Reasoning("low"),
    "output": OutputFormat("json_object"),
    "verbosity": "low",
    "service_tier": "flex",
    "store": True,
    "cache_key": "k",
    "previous_id": "resp_1",
    "include": ("reasoning",),
    "extra": (Opaque("openai_chat", "min_p", b"0.1"),),
}
WHO = {"model": "n", "dialect": "anthropic", "user": "u", "metadata": b"{}", "stream": True, "stream_usage": True}


def test_every_field_of_a_request_is_decided_on() -> None:
    assert CHANGED.keys() | WHO.keys() == set(Request.__struct_fields__)
    assert WHO.keys() == cachekey.UNCOUNTED


@pytest.mark.parametrize("field", CHANGED)
def test_another_value_of_a_parameter_is_another_key(field: str) -> None:
    changed = replace(PLAIN, **{field: CHANGED[field]})
    assert cachekey.digest_request(changed) != cachekey.digest_request(PLAIN)


@pytest.mark.parametrize("field", WHO)
def test_who_asks_and_how_it_is_to_be_told_makes_none(field: str) -> None:
    assert cachekey.digest_request(replace(PLAIN, **{field: WHO[field]})) == cachekey.digest_request(PLAIN)


def test_no_two_parameters_share_a_value() -> None:
    digests = {cachekey.digest_request(replace(PLAIN, **{field: value})) for field, value in CHANGED.items()}
    assert len(digests) == len(CHANGED)


BLOCKS = [
    Text("x"), Text("x", CacheMark()), Text("x", citations=(Citation("u"),)), Refusal("x"), Thinking("x"),
    Thinking("x", Seal("a", "x")), Image(Url("x")), Image(Base64("x", "x")), Image(FileId("x", "x")),
    Image(PlainText("x")), Document(Url("x")), Audio("x", "x"), ToolUse("x", "x", "x"), ToolUse("x", "x", "x", "custom"),
    ToolResult("x"), ToolResult("x", (Text("x"),)), ToolResult("x", (), True), Opaque("x", "x", b"x"),
]  # fmt: skip


def test_blocks_of_different_kinds_never_look_alike() -> None:
    found = {cachekey.digest_request(replace(PLAIN, messages=(Message("user", (block,)),))) for block in BLOCKS}
    assert len(found) == len(BLOCKS)
    kinds = {type(block) for block in BLOCKS}
    assert len({frozenset(kind.__struct_fields__) for kind in kinds}) == len(kinds), "they are told apart by their fields"


def respelled(value: Any, draw: Any) -> str:
    """The same JSON, written otherwise: keys in another order, numbers in another spelling, white space."""
    space = draw(st.sampled_from(["", " ", "\n"]))
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return "{" + space + ",".join(f"{json.dumps(k)}:{space}{respelled(value[k], draw)}" for k in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(space + respelled(one, draw) for one in value) + space + "]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return draw(st.sampled_from([str(value), f"{value}.0", f"{value}e0", f"{value}.00E+0", f"{value or ''}0e-1"]))
    if isinstance(value, float):
        return draw(st.sampled_from([repr(value), f"{value:.17e}", f"{value!r}0" if "e" not in repr(value) else repr(value)]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.integers(-100, 100).map(lambda n: n / 8)
    | st.text("aé\u2028\"\\ ", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé", max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values, st.data())
def test_order_and_spelling_make_no_difference(value: Any, data: st.DataObject) -> None:
    written = respelled(value, data.draw).encode()
    assert json.loads(written) == value
    assert cachekey.canonical(written) == cachekey.canonical(json.dumps(value).encode())


@given(values, values)
def test_other_values_make_a_difference(one: Any, two: Any) -> None:
    a, b = json.dumps(one, sort_keys=True), json.dumps(two, sort_keys=True)
    alike = cachekey.canonical(a.encode()) == cachekey.canonical(b.encode())
    assert alike == (json.loads(a) == json.loads(b) and _kinds(one) == _kinds(two))


def _kinds(value: Any) -> Any:
    """Where booleans stand: to Python, True is 1."""
    if isinstance(value, dict):
        return {key: _kinds(inner) for key, inner in value.items()}
    return [_kinds(inner) for inner in value] if isinstance(value, list) else isinstance(value, bool)


@pytest.mark.parametrize(
    "spellings",
    [
        ["1", "1.0", "1e0", "10e-1", "1.000000000000000000000000000"],
        ["0", "0.0", "-0.0", "0e9"],
        ["100000000000000000", "1e17"],
        ["0.1", "1e-1", "0.10", "0.1000000000000000000000000"],
        ["0.30000000000000004", "3.0000000000000004e-1"],
        ["1e300", "1" + "0" * 300 + ".0"],
        ["9007199254740993"],
        ["9007199254740992", "9007199254740992.0"],
        ["123456789012345678901234567890"],
        ["123456789012345678901234567891"],
        ["-123456789012345678901234567891"],
        ["1e999"],
        ["1e998"],
    ],
)
def test_numbers_have_one_form(spellings: list[str], seen: dict[bytes, str] = {}) -> None:  # noqa: B006
    [form] = {cachekey.canonical(text.encode()) for text in spellings}
    assert seen.setdefault(form, spellings[0]) == spellings[0], "another number has it, too"


def test_what_is_no_json_is_taken_as_it_is() -> None:
    assert cachekey.canonical(b"") == b"" and cachekey.canonical(b"{a}") == b"{a}" != cachekey.canonical(b'{"a":1}')


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(requests(), st.data())
def test_a_request_has_the_key_of_its_respelled_self(request: Request, data: st.DataObject) -> None:
    def again(raw: bytes) -> bytes:
        try:
            return respelled(json.loads(raw), data.draw).encode()
        except ValueError:
            return raw

    tools = tuple(replace(tool, schema=again(tool.schema)) for tool in request.tools)
    extra = tuple(data.draw(st.permutations([replace(one, raw=again(one.raw)) for one in request.extra])))
    other = replace(request, tools=tools, extra=extra, user="someone", stream=not request.stream)
    assert cachekey.digest_request(other) == cachekey.digest_request(request)


# The same question in every dialect that has the words for it.
ALIKE: dict[str, str] = {
    "openai_chat": '{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"max_tokens":9,'
    '"temperature":1,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}]}',
    "anthropic": '{"tools":[{"name":"f","input_schema":{"properties":{},"type":"object"}}],"system":"s","max_tokens":9,'
    '"model":"m","temperature":1.0,"messages":[{"role":"user","content":[{"type":"text","text":"q"}]}]}',
    "openai_responses": '{"model":"m","instructions":"s","input":"q","max_output_tokens":9,"temperature":1e0,"tools":'
    '[{"type":"function","name":"f","parameters":{"type":"object","properties":{}}}]}',
    "gemini": '{"model":"m","systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"q"}]}],'
    '"generationConfig":{"maxOutputTokens":9,"temperature":1},"tools":[{"functionDeclarations":[{"name":"f",'
    '"parametersJsonSchema":{"type":"object","properties":{}}}]}]}',
    "ollama": '{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"options":'
    '{"num_predict":9,"temperature":1},"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object",'
    '"properties":{}}}}]}',
}


def test_a_question_has_one_key_in_every_dialect() -> None:
    found = {}
    for name, body in ALIKE.items():
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        found[name] = cachekey.digest_request(DIALECTS[name].parse_request(fields))
    assert len(set(found.values())) == 1, found


def fields(**given: Any) -> dict[str, Raw]:
    return {key: Raw(msgspec.json.encode(value)) for key, value in given.items()}


def test_fields_for_the_gateway_and_of_the_caller_do_not_count() -> None:
    plain = fields(query="q", documents=["a"], top_n=1)
    more = fields(top_n=1, documents=["a"], query="q", user="u", metadata={}, model="x", stream=True, tags=["t"])
    digest = cachekey.digest_fields("rerank", plain, {"tags"})
    assert cachekey.digest_fields("rerank", more, {"tags"}) == digest
    others = [fields(query="q", documents=["a"], top_n=2), fields(query="q", documents=["a"]), fields(query="q"), more]
    made = {cachekey.digest_fields("rerank", one) for one in others} | {cachekey.digest_fields("x", plain)}
    assert digest not in made and len(made) == 5
    assert cachekey.digest_fields("rerank", plain, (), b"beside") != digest


@given(st.dictionaries(st.sampled_from(["model", "user", "stream", "messages", "top_p", "tags", "x"]), values), st.data())
def test_a_body_digests_as_its_fields_do(value: dict[str, Any], data: st.DataObject) -> None:
    body = respelled(value, data.draw).encode()
    found = cachekey.digest_body("k", body, {"tags"}, b"beside")
    assert found == cachekey.digest_fields("k", fields(**value), {"tags"}, b"beside")


def test_parts_never_run_into_each_other() -> None:
    made = [
        cachekey.digest_fields("k", {"a": Raw(b'"b"')}, ()),
        cachekey.digest_fields("k", {}, (), b"a", b'"b"'),
        cachekey.digest_fields("k", {}, (), b'a"b"'),
        cachekey.digest_fields("ka", {}, (), b'"b"'),
    ]
    assert len(set(made)) == len(made)


def test_an_entry_is_its_tenants_its_groups_and_its_namespaces() -> None:
    names = {
        cachekey.name_entry(b"d", group, tenant, namespace)
        for group in ("g", "h")
        for tenant in ("", "key a", "key b")
        for namespace in ("", "n")
    }
    assert len(names) == 12
    assert cachekey.name_entry(b"d", "g", "", "n").startswith("n:")
    assert len(cachekey.name_entry(b"d", "g", "")) == 64


# At a glance ----------------------------------------------------------------------------------------------------------

texts = st.text("ab\u00e9\u2028\"\\ {}[]\n", max_size=5)
parts = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}, optional={"cache_control": values})
    | st.fixed_dictionaries({"type": st.just("tool_result"), "content": st.lists(st.fixed_dictionaries({"text": texts}))}),
    max_size=2,
)
turns = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant"])},
        optional={"content": texts | parts | st.none(), "parts": parts, "output": texts, "tool_calls": values},
    ),
    min_size=1,
    max_size=4,
)
bodies = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "messages": turns | texts | values,
        "input": turns | texts | values,
        "contents": turns,
        "temperature": st.sampled_from([0, 0.5, 1]),
    },
)


@given(bodies, st.data())
def test_what_is_named_alike_looks_alike_at_a_glance(body: Any, data: st.DataObject) -> None:
    fields = [open_body(respelled(body, data.draw).encode()) for _ in range(2)]
    digests = {cachekey.digest_body("openai_chat", json.dumps(body).encode()) for _ in fields}
    digests |= {cachekey.digest_fields("openai_chat", one) for one in fields}
    assert len(digests) == 1
    said = [cachekey.read_turns(one) for one in fields]
    assert said[0] == said[1] and hash(said[0]) == hash(said[1])
    assert (said[0] is None) == body.keys().isdisjoint(("messages", "input", "contents"))


@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts, min_size=1, max_size=4), st.sampled_from(["messages", "input"]))
def test_other_texts_look_different(one: list[str], other: list[str], key: str) -> None:
    said = [
        cachekey.read_turns({key: Raw(json.dumps([{"role": "user", "content": text} for text in turn]).encode())})
        for turn in (one, other)
    ]
    assert (said[0] == said[1]) == (one == other)


@pytest.mark.parametrize("raw", [b"5", b"null", b"{}", b"[1]", b'[{"content":1}]', b'[{"content":{"a":1.0}}]', b"[[]]"])
def test_turns_of_a_form_of_their_own_are_known_by_it(raw: bytes) -> None:
    assert cachekey.read_turns({"messages": Raw(raw)}) == cachekey.canonical(raw)


def test_a_body_that_is_nested_too_deeply_is_known_by_its_bytes() -> None:
    deep = b'[{"content":"x","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
    assert cachekey.read_turns({"messages": Raw(deep)}) in (deep, cachekey.read_turns({"messages": Raw(b'[{"content":"x"}]')}))

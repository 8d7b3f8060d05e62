"""A parameter in ``litellm_params`` is what the client would have said in Chat's words: for every parameter that Chat
has, every dialect that clients speak and every dialect that targets speak.

The counterexample: ``max_tokens: 50`` of a Claude entry was laid under the body after the renderer had put 8192 there,
and ``stop``, ``response_format``, ``reasoning_effort`` and twenty others made every request a 400.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from penstock.config.keys import params as table
from penstock.core.defaults import lay_in, lay_under, lay_words, read_said
from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.dialects.base import Wire
from penstock.core.dialects.cohere.names import TOP as COHERES
from penstock.core.dialects.guided import FIELDS as GUIDED
from penstock.core.dialects.ollama.names import OPTIONS
from penstock.core.dialects.ollama.names import TOP as OLLAMAS
from penstock.core.dialects.openai_chat.request_in import ATTRIBUTES
from penstock.core.fit import Takes, fit, limits_of
from penstock.core.ir import Request
from penstock.core.models import facts
from penstock.core.providers.sap import MODULES

CHAT = DIALECTS["openai_chat"]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
FORMAT = {"name": "n", "schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}
TWO: Mapping[str, tuple[Any, Any]] = {
    "temperature": (0.5, 0.25),
    "top_p": (0.5, 0.25),
    "top_k": (5, 6),
    "presence_penalty": (0.5, 0.25),
    "frequency_penalty": (0.5, 0.25),
    "seed": (3, 4),
    "n": (1, 2),
    "logprobs": (True, False),
    "top_logprobs": (2, 3),
    "logit_bias": ({"1": 2}, {"3": 4}),
    "stop": ("A", ["B", "C"]),
    "max_tokens": (5000, 6000),
    "max_completion_tokens": (5000, 6000),
    "reasoning_effort": ("low", "high"),
    "reasoning": ({"effort": "low"}, {"max_tokens": 2000}),
    "thinking": ({"type": "enabled", "budget_tokens": 2048}, {"type": "disabled"}),
    "response_format": ({"type": "json_object"}, {"type": "json_schema", "json_schema": FORMAT}),
    "guided_json": (FORMAT["schema"], {"type": "object"}),
    "guided_choice": (["a", "b"], ["c", "d"]),
    "tools": ([TOOL], [{**TOOL, "function": {"name": "g"}}]),
    "functions": ([{"name": "f"}], [{"name": "g"}]),
    "tool_choice": ("required", "none"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (False, True),
    "user": ("u", "v"),
    "service_tier": ("auto", "default"),
    "verbosity": ("low", "high"),
    "store": (True, False),
    "prompt_cache_key": ("k", "l"),
    "prompt_cache_retention": ("24h", "in_memory"),
    "safety_identifier": ("s", "t"),
    "modalities": (["text"], ["text", "audio"]),
    "web_search_options": ({}, {"search_context_size": "low"}),
    "chat_template_kwargs": ({"enable_thinking": False}, {"x": 1}),
    "min_p": (0.1, 0.2),
    "repetition_penalty": (1.5, 1.25),
    "num_ctx": (4096, 8192),
    "keep_alive": ("5m", "1h"),
    "safety_mode": ("STRICT", "OFF"),
    "safety_settings": ([{"category": "C", "threshold": "T"}], []),
    "guardrailConfig": ({"guardrailIdentifier": "g"}, {"guardrailIdentifier": "h"}),
    "context_management": ({"edits": []}, {"edits": [{}]}),
    "truncation": ("auto", "disabled"),
}
"""Parameter -> two values of it."""

TARGETS = sorted(DIALECTS)
CLIENTS = sorted(name for name in EDITORS if name not in ("sap", "completions"))
OWN = sorted(set(CLIENTS) - {"openai_chat"})
WIRE = Wire(model="m", max_tokens=4096)
FOREIGN = Wire(model="m", max_tokens=4096, official=False)
wires = st.sampled_from((WIRE, FOREIGN))
some = st.sets(st.sampled_from(sorted(TWO)), max_size=4).map(sorted)


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def words(names: list[str], which: int = 0) -> dict[str, Raw]:
    return {name: raw(TWO[name][which]) for name in names}


def plain(dialect: str) -> dict[str, Raw]:
    limit = {"max_tokens": raw(7000)} if dialect == "anthropic" else {}
    return {"model": raw("m"), **DIALECTS[dialect].sample, **limit}


def asked(names: list[str], which: int = 0) -> Request:
    return CHAT.parse_request({**plain("openai_chat"), **words(names, which)})


def takes(dialect: str, wire: Wire) -> Takes:
    model = facts(wire.model)
    return Takes(dialect=dialect, wire=wire, model=model, limits=limits_of(dialect, model), drop_params=True)


def body(request: Request, dialect: str, wire: Wire) -> dict[str, Any]:
    fitted = fit(request, takes(dialect, wire)).request
    rendered = DIALECTS[dialect].render_request(fitted, wire).fields
    return {key: json.loads(bytes(value)) for key, value in rendered.items()}


def readable(names: list[str]) -> bool:
    """One form for one answer: two that are not the same are refused, from a client as well."""
    return len({"guided_json", "guided_choice"} & set(names)) < 2


@given(some.filter(readable), st.sampled_from(TARGETS), wires)
def test_a_chat_client_gets_what_it_would_have_said(names: list[str], target: str, wire: Wire) -> None:
    said, wrong = read_said(words(names))
    assert not wrong
    request = asked([]) if said is None else lay_under(asked([]), said)
    assert body(request, target, wire) == body(asked(names), target, wire)


def expected(names: list[str], client: str, own: Request) -> Request:
    """What ``own`` would be with these parameters said in Chat's words. Anthropic's clients always say ``max_tokens``,
    so nothing is laid under that, and Ollama streams unless told not to."""
    if client == "anthropic":
        names = [name for name in names if ATTRIBUTES.get(name) != "max_tokens"]
    made = asked(names)
    limit = made.max_tokens if own.max_tokens is None else own.max_tokens
    return replace(made, messages=own.messages, max_tokens=limit, stream=own.stream)


@given(some.filter(readable), st.sampled_from(OWN), st.sampled_from(TARGETS), wires)
def test_so_does_every_other_client(names: list[str], client: str, target: str, wire: Wire) -> None:
    said, _ = read_said(words(names))
    own = replace(DIALECTS[client].parse_request(plain(client)), dialect="openai_chat")
    request = own if said is None else lay_under(own, said)
    assert body(request, target, wire) == body(expected(names, client, own), target, wire)


@given(some.filter(readable), st.sampled_from(OWN), wires)
def test_in_one_dialect_as_well(names: list[str], dialect: str, wire: Wire) -> None:
    """All but the form of the answer, which is asked for elsewhere."""
    names = [name for name in names if ATTRIBUTES.get(name) != "output"]
    said, _ = read_said(words(names))
    fields = {**plain(dialect), "own": raw(1)}
    if said is not None:
        lay_in(fields, said, DIALECTS[dialect], takes(dialect, wire))
    own = replace(DIALECTS[dialect].parse_request(plain(dialect)), dialect="openai_chat")
    before, after = body(own, dialect, wire), body(expected(names, dialect, own), dialect, wire)
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    assert told(fields) == {**told(plain(dialect)), "own": 1, **changed}


def told(fields: dict[str, Raw]) -> dict[str, Any]:
    return {key: json.loads(bytes(value)) for key, value in fields.items()}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", sorted(TWO))
def test_the_client_s_own_value_wins(name: str, target: str) -> None:
    said, _ = read_said(words([name], 1))
    assert said is not None
    own = asked([name])
    assert body(lay_under(own, said), target, FOREIGN) == body(own, target, FOREIGN)


@pytest.mark.parametrize("name", sorted(TWO))
def test_the_client_s_own_word_wins(name: str) -> None:
    fields = {**plain("openai_chat"), **words([name])}
    before = dict(fields)
    lay_words(fields, words([name], 1))
    assert fields == before
    empty = plain("openai_chat")
    lay_words(empty, words([name]))
    assert empty == before


def test_every_parameter_of_chat_s_is_in_the_table_and_in_the_law() -> None:
    known = {name for name, key in table.rows.items() if key.status == "sent"}
    assert ATTRIBUTES.keys() - known - {"metadata"} == set()  # of LiteLLM's own, for records
    assert (OPTIONS | OLLAMAS | COHERES | GUIDED | set(MODULES)) - known - {"metadata"} == set()
    missing = {attribute for name, attribute in ATTRIBUTES.items() if name not in TWO} - {
        attribute for name, attribute in ATTRIBUTES.items() if name in TWO
    }
    assert missing == {"metadata", "stream_usage"}

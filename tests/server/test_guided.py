"""Structured output on every surface and engine (seeds S0-10 to S0-15, C-10): what is sent, and what comes back."""

from __future__ import annotations

import json
import re

import pytest

from penstock.mock import Script, Step
from penstock.runtime.speaks import discover_dialects
from tests.door import HELLO, open_door

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TAG = {"structures": [{"begin": "<a>", "schema": {}, "end": "</a>"}], "triggers": ["<a>"]}
YAML = """
model_list:
  - model_name: m
    litellm_params: {model: PROVIDER/real, api_base: "{mock}/v1", api_key: sk-upstreamMORE}
router_settings: {num_retries: 0}
"""


def yaml(provider: str, more: str = "") -> str:
    text = YAML.replace("PROVIDER", provider).replace("MORE", more)
    return text.replace("{mock}/v1", "{mock}") if provider in ("anthropic", "gemini", "ollama") else text


def said(text: str) -> Script:
    return Script(default=Step(text=text))


async def sent(tmp_path, provider: str, more: str = "", path: str = "/v1/chat/completions", **fields):
    """What reaches the upstream for a request with ``fields``."""
    async with open_door(tmp_path, yaml(provider, more), script=said("x")) as door:
        await door.post({**HELLO, **fields}, path)
        return door.mock.received[-1].json


@pytest.mark.parametrize("text", [False, True])
async def test_other_providers_get_a_response_format(text, tmp_path):
    given = json.dumps(SCHEMA) if text else SCHEMA
    async with open_door(tmp_path, yaml("openai")) as door:
        assert (await door.post({**HELLO, "guided_json": given}))[0] == 200
        sent = door.mock.received[-1].json
        assert "guided_json" not in sent and sent["response_format"]["type"] == "json_schema"
        assert sent["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_the_clients_own_format_wins_and_that_is_said(tmp_path):
    async with open_door(tmp_path, yaml("openai")) as door:
        body = {**HELLO, "guided_json": SCHEMA, "response_format": {"type": "json_object"}}
        _, headers, _ = await door.post(body)
        assert door.mock.received[-1].json["response_format"] == {"type": "json_object"}
        assert headers["x-penstock-dropped"] == "guided_json"


VLLM = {
    "guided_json": (SCHEMA, {"guided_json": SCHEMA, "structured_outputs": {"json": SCHEMA}}),
    "guided_regex": ("a+", {"guided_regex": "a+", "structured_outputs": {"regex": "a+"}}),
    "guided_choice": (["a", "b"], {"guided_choice": ["a", "b"], "structured_outputs": {"choice": ["a", "b"]}}),
    "guided_grammar": ("root ::= x", {"guided_grammar": "root ::= x", "structured_outputs": {"grammar": "root ::= x"}}),
    "structural_tag": (TAG, {"structured_outputs": {"structural_tag": json.dumps(TAG, separators=(",", ":"))}}),
}


@pytest.mark.parametrize("provider", ["hosted_vllm", "vllm"])
@pytest.mark.parametrize("field", VLLM)
async def test_vllm_gets_both_spellings(tmp_path, provider, field):
    """Releases up to 0.11 read the first and ignore the second; from 0.12 on it is the other way round."""
    given, want = VLLM[field]
    if isinstance(given, dict) and field == "structural_tag":
        given = json.dumps(given, separators=(",", ":"))
    got = await sent(tmp_path, provider, **{field: given})
    assert {key: got.get(key) for key in want} == want and "response_format" not in got


@pytest.mark.parametrize("where", ["top", "extra_body"])
async def test_the_newer_spelling_reaches_older_releases_too(tmp_path, where):
    form = {"structured_outputs": {"regex": "a+", "whitespace_pattern": " ?"}}
    got = await sent(tmp_path, "hosted_vllm", **(form if where == "top" else {"extra_body": {**form, "top_k": 3}}))
    assert got["structured_outputs"] == form["structured_outputs"] and got["guided_regex"] == "a+"
    assert got["guided_whitespace_pattern"] == " ?" and "extra_body" not in got
    assert where == "top" or got["top_k"] == 3


async def test_a_deployment_can_leave_one_spelling_out(tmp_path):
    got = await sent(tmp_path, "hosted_vllm", ", additional_drop_params: [structured_outputs]", guided_regex="a+")
    assert got["guided_regex"] == "a+" and "structured_outputs" not in got


ENGINES = [
    ("sglang", {"guided_regex": "a+"}, {"regex": "a+"}),
    ("sglang", {"guided_choice": ["a.", "b"]}, {"regex": r"(a\.|b)"}),
    ("sglang", {"guided_grammar": "root ::= x"}, {"ebnf": "root ::= x"}),
    ("sglang", {"structural_tag": TAG}, {"response_format": {"type": "structural_tag", **TAG}}),
    ("sglang", {"guided_json": SCHEMA}, {"response_format": {"type": "json_schema"}}),
    ("trtllm", {"guided_regex": "a+"}, {"response_format": {"type": "regex", "regex": "a+"}}),
    ("trtllm", {"guided_choice": ["a", "b"]}, {"response_format": {"type": "regex", "regex": "(a|b)"}}),
    ("trtllm", {"guided_grammar": "root ::= x"}, {"response_format": {"type": "ebnf", "ebnf": "root ::= x"}}),
    ("trtllm", {"guided_json": SCHEMA}, {"response_format": {"type": "json_schema"}}),
    ("llama_cpp", {"guided_choice": ["a", 'b"']}, {"grammar": 'root ::= "a" | "b\\x22"'}),
    ("llama_cpp", {"guided_regex": "a+"}, {"grammar": 'root ::= "a"+'}),
    ("llama_cpp", {"guided_grammar": "root ::= x"}, {"grammar": "root ::= x"}),
    ("llama_cpp", {"guided_json": SCHEMA}, {"response_format": {"type": "json_schema"}}),
    ("lm_studio", {"guided_json": SCHEMA}, {"response_format": {"type": "json_schema"}}),
    ("lm_studio", {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_schema"}}),
    ("mistral", {"guided_json": SCHEMA}, {"response_format": {"type": "json_schema"}}),
    ("groq", {"guided_json": SCHEMA}, {"response_format": {"type": "json_schema"}}),
    ("ollama", {"guided_json": SCHEMA}, {"format": SCHEMA}),
    ("ollama", {"response_format": {"type": "json_object"}}, {"format": "json"}),
]


@pytest.mark.parametrize(("provider", "fields", "want"), ENGINES)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_each_engine_in_its_own_words(tmp_path, provider, fields, want, path):
    if path == "/v1/responses":
        if "response_format" in fields:
            fields = {"text": {"format": fields["response_format"]}}
        fields = {"input": "hi", **fields}
    elif path == "/v1/messages":
        if "response_format" in fields:
            pytest.skip("Messages has schemas only")
        fields = {"max_tokens": 99, **fields}
    async with open_door(tmp_path, yaml(provider), script=said("x")) as door:
        body = {"model": "m", **({} if "input" in fields else {"messages": HELLO["messages"]}), **fields}
        await door.post(body, path)
        got = door.mock.received[-1].json
    for key, value in want.items():
        if isinstance(value, dict) and value.get("type") == "json_schema":
            assert got[key]["type"] == "json_schema" and got[key]["json_schema"]["name"]
            assert "guided_json" not in fields or got[key]["json_schema"]["schema"] == SCHEMA
        else:
            assert got[key] == value
    assert not [key for key in got if key.startswith("guided") or key == "structured_outputs"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["openai", "mistral", "lm_studio", "anthropic", "ollama", "gemini", "openai_like"])
async def test_a_choice_comes_back_bare(tmp_path, provider, stream):
    """The mock answers with the schema's first value: what reaches the client is the choice and nothing around it."""
    choices = ['ye"s', "no\n"] if provider != "gemini" else ["yes", "no"]
    async with open_door(tmp_path, yaml(provider)) as door:
        body = {**HELLO, "guided_choice": choices, "stream": stream, "max_tokens": 99}
        status, headers, answer = await door.post(body)
        assert status == 200, answer
        got = door.mock.received[-1].json
    if stream:
        deltas = [json.loads(line) for line in re.findall(rb"data: (\{.*)", answer)]
        text = "".join(c["delta"].get("content") or "" for d in deltas for c in d["choices"])
        assert answer.endswith(b"data: [DONE]\n\n")
    else:
        text = json.loads(answer)["choices"][0]["message"]["content"]
        assert json.loads(answer)["choices"][0]["finish_reason"] == "stop"
    assert text == choices[0] and "x-penstock-dropped" not in headers
    if provider == "gemini":
        config = got["generationConfig"]
        assert config["responseMimeType"] == "text/x.enum"
        assert config["responseSchema"] == {"type": "STRING", "enum": choices}
    assert "guided_choice" not in got


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "hi"}),
        ("/v1/messages", {"messages": HELLO["messages"], "max_tokens": 99}),
        ("/v1beta/models/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ("/api/chat", {"messages": HELLO["messages"], "stream": False}),
        ("/api/generate", {"prompt": "hi", "stream": False}),
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/completions", {"prompt": ["hi", "ho"]}),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
async def test_a_choice_on_every_surface(tmp_path, path, body, provider):
    async with open_door(tmp_path, yaml(provider)) as door:
        body = body if "models" in path else {"model": "m", **body}
        status, _, answer = await door.post({**body, "guided_choice": ["yes", "no"]}, path)
        assert status == 200, answer
        assert b'"yes"' in answer and b"value" not in answer


async def test_a_gemini_clients_enumeration_reaches_others(tmp_path):
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["yes", "no"]}}
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": config}
    async with open_door(tmp_path, yaml("openai")) as door:
        _, _, answer = await door.post(body, "/v1beta/models/m:generateContent")
        assert json.loads(answer)["candidates"][0]["content"]["parts"] == [{"text": "yes"}]
    async with open_door(tmp_path, yaml("gemini")) as door:
        await door.post({**body, "model": "m"}, "/v1beta/models/m:generateContent")
        assert door.mock.received[-1].json["generationConfig"] == config


async def test_a_schema_of_a_gemini_client_to_gemini_is_not_lost(tmp_path):
    async with open_door(tmp_path, yaml("gemini")) as door:
        body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "guided_json": SCHEMA}
        assert (await door.post(body, "/v1beta/models/m:generateContent"))[0] == 200
        got = door.mock.received[-1].json
        assert SCHEMA in (got["generationConfig"].get("responseJsonSchema"), got["generationConfig"].get("responseSchema"))


async def test_an_engines_constraint_from_messages_goes_to_its_chat(tmp_path):
    async with open_door(tmp_path, yaml("llama_cpp"), script=said("aaa")) as door:
        (target,) = door.gateway.state.targets
        await discover_dialects(door.pool, target, door.live(target))
        assert "anthropic" in door.live(target).speaks(target)
        await door.post({**HELLO, "max_tokens": 99, "guided_regex": "a+"}, "/v1/messages")
        assert door.mock.received[-1].path == "/v1/chat/completions"
        assert door.mock.received[-1].json["grammar"] == 'root ::= "a"+'


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("openai", {"guided_regex": "a+"}),  # any compatible server, for the address is not OpenAI's
        ("groq", {"guided_regex": "a+"}),
        ("anthropic", {"guided_regex": "a+"}),
        ("gemini", {"guided_grammar": "root ::= x"}),
        ("ollama", {"guided_grammar": "root ::= x"}),
        ("llama_cpp", {"guided_regex": r"\bword"}),
    ],
)
async def test_what_cannot_be_enforced_is_refused_unless_told_otherwise(tmp_path, provider, fields):
    (name,) = fields
    body = {**HELLO, "max_tokens": 99, **fields}
    async with open_door(tmp_path, yaml(provider)) as door:
        status, _, answer = await door.post(body)
        assert status == 400 and name.encode() in answer and b"on_unsupported: warn" in answer
        assert door.mock.received == [] and not door.live(door.gateway.state.targets[0]).health.trouble(0.0)
    async with open_door(tmp_path, yaml(provider, ", on_unsupported: warn")) as door:
        status, headers, _ = await door.post(body)
        assert status == 200 and headers["x-penstock-dropped"] == name
    async with open_door(tmp_path, yaml(provider, ", on_unsupported: drop")) as door:
        status, headers, _ = await door.post(body)
        assert status == 200 and "x-penstock-dropped" not in headers
        assert name not in door.mock.received[-1].json


async def test_another_deployment_of_the_group_can_serve_what_one_cannot(tmp_path):
    rows = "".join(
        f"  - model_name: m\n    litellm_params: {{model: {p}/real, api_base: '{{mock}}/v1', api_key: k, weight: {w}}}\n"
        for p, w in (("groq", 1000), ("hosted_vllm", 1))
    )
    async with open_door(tmp_path, f"model_list:\n{rows}router_settings: {{num_retries: 2}}\n") as door:
        for _ in range(3):
            assert (await door.post({**HELLO, "guided_regex": "a+"}))[0] == 200
            assert door.mock.received[-1].json["guided_regex"] == "a+"


async def test_ollama_is_held_to_an_expression_by_a_pattern(tmp_path):
    async with open_door(tmp_path, yaml("ollama"), script=said('{"value": "aaa"}')) as door:
        _, _, answer = await door.post({**HELLO, "guided_regex": "a|b"})
        schema = door.mock.received[-1].json["format"]
        assert schema["properties"]["value"] == {"type": "string", "pattern": "^(?:a|b)$"}
        assert json.loads(answer)["choices"][0]["message"]["content"] == "aaa"


async def test_a_deployment_says_which_engine_stands_behind_a_plain_name(tmp_path):
    got = await sent(tmp_path, "openai", ", guided_engine: vllm", guided_regex="a+")
    assert got["guided_regex"] == "a+" and got["structured_outputs"] == {"regex": "a+"}


@pytest.mark.parametrize("more", [", guided_choice: [a, b]", ", extra_body: {guided_choice: [a, b], top_k: 3}"])
async def test_a_deployments_own_constraint_is_a_default(tmp_path, more):
    async with open_door(tmp_path, yaml("sglang", more), script=said("a")) as door:
        await door.post(HELLO)
        assert door.mock.received[-1].json["regex"] == "(a|b)" and "guided_choice" not in door.mock.received[-1].json
        await door.post({**HELLO, "max_tokens": 9}, "/v1/messages")
        assert door.mock.received[-1].json["regex"] == "(a|b)"
        await door.post({**HELLO, "guided_choice": ["c"]})
        assert door.mock.received[-1].json["regex"] == "(c)"
        await door.post({**HELLO, "response_format": {"type": "text"}})
        assert "regex" not in door.mock.received[-1].json


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"guided_json": [1]}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a", 1]}, "guided_choice"),
        ({"guided_regex": 1}, "guided_regex"),
        ({"structured_outputs": "x"}, "structured_outputs"),
        ({"structured_outputs": {"choice": "x"}}, "structured_outputs.choice"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"extra_body": {"guided_choice": []}}, "guided_choice"),
        ({"extra_body": 5}, "extra_body"),
        ({"validate": "yes"}, "validate"),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "hosted_vllm", "anthropic"])
async def test_what_is_no_constraint_is_a_clear_400(tmp_path, fields, named, provider):
    async with open_door(tmp_path, yaml(provider)) as door:
        status, _, body = await door.post({**HELLO, "max_tokens": 9, **fields})
        assert status == 400 and f"'{named}'".encode() in body and door.mock.received == []


async def test_a_client_may_send_both_spellings_of_one_thing(tmp_path):
    got = await sent(tmp_path, "llama_cpp", guided_choice=["a"], structured_outputs={"choice": ["a"]})
    assert got["grammar"] == 'root ::= "a"'


async def test_responses_and_messages_clients_reach_a_chat_target_with_it(tmp_path):
    async with open_door(tmp_path) as door:
        await door.post({"model": "m", "input": "hi", "guided_json": SCHEMA}, "/v1/responses")
        await door.post({**HELLO, "max_tokens": 99, "guided_json": SCHEMA}, "/v1/messages")
        for received in door.mock.received[-2:]:
            assert received.json["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_plain_completions_have_their_own_words(tmp_path):
    for provider, want in [("llama_cpp", {"json_schema": SCHEMA}), ("hosted_vllm", {"guided_json": SCHEMA})]:
        async with open_door(tmp_path, yaml(provider), script=said("x")) as door:
            await door.post({"model": "m", "prompt": "hi", "guided_json": SCHEMA}, "/v1/completions")
            got = door.mock.received[-1]
            assert got.path == "/v1/completions" and {key: got.json[key] for key in want} == want


async def test_a_count_of_tokens_is_asked_without_the_form(tmp_path):
    async with open_door(tmp_path, yaml("anthropic")) as door:
        status, _, answer = await door.post({**HELLO, "guided_choice": ["a"]}, "/v1/messages/count_tokens")
        assert status == 200 and json.loads(answer)["input_tokens"] > 0
        assert set(door.mock.received[-1].json) == {"model", "messages"}


async def test_a_schema_on_responses_of_lm_studio_goes_to_its_chat(tmp_path):
    """Its Responses ignore a schema (lmstudio-ai/lmstudio-bug-tracker issue 2403)."""
    form = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}
    async with open_door(tmp_path, yaml("lm_studio")) as door:
        (target,) = door.gateway.state.targets
        await discover_dialects(door.pool, target, door.live(target))
        assert "openai_responses" in door.live(target).speaks(target)
        for fields, path in [({}, "/v1/responses"), ({"text": form}, "/v1/chat/completions")]:
            assert (await door.post({"model": "m", "input": "hi", **fields}, "/v1/responses"))[0] == 200
            assert door.mock.received[-1].path == path
        assert door.mock.received[-1].json["response_format"]["json_schema"]["schema"] == SCHEMA

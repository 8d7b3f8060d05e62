"""What an entry of ``model_list`` says where requests do not, through a gateway: it arrives as if the client had said
it, and nothing else of the entry does."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from penstock.config import keys
from tests.door import open_door
from tests.laws.test_defaults_laws import TWO

TALK = [{"role": "user", "content": "zebra"}]
TARGETS = {
    "chat": {"model": "openai/x", "api_base": "{mock}/v1"},
    "responses": {"model": "openai/responses/x", "api_base": "{mock}/v1"},
    "anthropic": {"model": "anthropic/claude-sonnet-4-5", "api_base": "{mock}"},
    "gemini": {"model": "gemini/gemini-2.5-flash", "api_base": "{mock}"},
    "ollama": {"model": "ollama_chat/llama3", "api_base": "{mock}"},
    "cohere": {"model": "cohere_chat/command-a", "api_base": "{mock}/v2"},
    "bedrock": {
        "model": "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "aws_bedrock_runtime_endpoint": "{mock}",
        "aws_region_name": "us-east-1",
    },
    "completions": {"model": "text-completion-openai/x", "api_base": "{mock}/v1"},
}


def config(entries: dict[str, dict[str, Any]], **more: Any) -> str:
    rows = [{"model_name": name, "litellm_params": {"api_key": "k", **params}} for name, params in entries.items()]
    return json.dumps({"model_list": rows, **more})


def compact(**fields: Any) -> bytes:
    """A schema that goes as a text is that of the client, spaces and all."""
    return json.dumps(fields, separators=(",", ":")).encode()


def sent(door: Any) -> tuple[str, Any]:
    last = door.mock.received[-1]
    return last.path, last.json


@pytest.mark.parametrize("target", sorted(TARGETS))
async def test_every_parameter_arrives_as_if_the_client_had_said_it(target: str, tmp_path: Any) -> None:
    params = TARGETS[target]
    entries = {"plain": params} | {f"with-{name}": {**params, name: two[0]} for name, two in TWO.items()}
    text = config(entries, litellm_settings={"drop_params": True})
    async with open_door(tmp_path, text) as door:
        for name, two in TWO.items():
            told = (await door.post(compact(messages=TALK, model=f"with-{name}")))[0], sent(door)
            said = (await door.post(compact(messages=TALK, model="plain", **{name: two[0]})))[0], sent(door)
            assert told == said, name
            own = (await door.post(compact(messages=TALK, model=f"with-{name}", **{name: two[1]})))[0], sent(door)
            alone = (await door.post(compact(messages=TALK, model="plain", **{name: two[1]})))[0], sent(door)
            assert own == alone, f"the client's own {name} wins"


@pytest.mark.parametrize(
    ("path", "target", "body"),
    [
        ("/v1/messages", "anthropic", {"max_tokens": 2000, "messages": TALK}),
        ("/v1/messages", "chat", {"max_tokens": 2000, "messages": TALK}),
        ("/v1/responses", "responses", {"input": "zebra"}),
        ("/v1beta/models/M:generateContent", "gemini", {"contents": [{"role": "user", "parts": [{"text": "zebra"}]}]}),
        ("/api/chat", "ollama", {"messages": TALK, "stream": False}),
    ],
)
async def test_it_arrives_from_every_client(path: str, target: str, body: dict[str, Any], tmp_path: Any) -> None:
    """Also in the dialect of the client's own, whose bytes pass."""
    added = {"temperature": 0.25, "stop": ["X"], "top_p": 0.5}
    if target == "anthropic":  # this Claude takes one of temperature and top_p
        added = {"temperature": 0.25, "stop": ["X"], "top_k": 17}
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}
    params = TARGETS[target]
    text = config({"plain": params, "more": {**params, **added}, "form": {**params, **form}})
    async with open_door(tmp_path, text) as door:
        answers = {}
        for name in ("plain", "more", "form"):
            status, _, answer = await door.post({**body, "model": name}, path.replace("M", name))
            assert status == 200, answer
            answers[name] = json.dumps(sent(door)[1])
        stops = ['"X"'] if target != "responses" else []  # which has no stops
        for value in ("0.25", "17" if target == "anthropic" else "0.5", *stops):
            assert value in answers["more"] and value not in answers["plain"]
        assert '"required": ["a"]' in answers["form"] and '"required": ["a"]' not in answers["plain"]


# Keys that are no parameters ------------------------------------------------------------------------------------------

VISIBLE = {"model", "api_key", "api_base", "base_url", "api_version", "organization", "extra_headers", "headers"}
VISIBLE |= {"extra_body", "custom_llm_provider", "model_id", "litellm_credential_name", "aws_bedrock_runtime_endpoint"}
VISIBLE |= {"aws_region_name", "ssl_verify", "timeout", "stream_timeout", "request_timeout"}


def not_parameters() -> list[str]:
    """Every key that LiteLLM knows and that is no request parameter, patterns filled in; and some that nobody knows."""
    dice = random.Random(8)
    known = [name.replace("*", "zz") for name, key in keys.params.rows.items() if key.status != "sent"]
    unknown = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz_", k=12)) for _ in range(40)]
    theirs = "my_vault_token proxy_password messages input prompt mode max_input_tokens litellm_provider"
    return sorted({*known, *unknown, *theirs.split()} - VISIBLE)


def marked(name: str) -> str:
    return f"SEKRET{abs(hash(name)) % 10**8}"


@pytest.mark.parametrize("target", ["chat", "anthropic", "gemini", "ollama", "bedrock", "responses"])
@pytest.mark.parametrize("shape", ["text", "list", "mapping"])
async def test_no_other_key_of_an_entry_goes_upstream(target: str, shape: str, tmp_path: Any) -> None:
    """`s3_secret_access_key` and whatever else LiteLLM's proxy keeps in an entry stood in the body at the provider."""
    wrap = {"text": lambda x: x, "list": lambda x: [x], "mapping": lambda x: {"role": x, "k": x}}[shape]
    names = [name for name in not_parameters() if not (target == "bedrock" and name.startswith("aws_"))]
    secret = {name: wrap(marked(name)) for name in names}
    entries = {name: {**TARGETS[target], name: value} for name, value in secret.items()}
    async with open_door(tmp_path, config(entries)) as door:
        served = {target_.deployment.model_name for target_ in door.gateway.state.targets}
        for name in served:
            status, _, answer = await door.post({"model": name, "messages": TALK})
            seen = door.mock.received[-1]
            text = f"{seen.path} {seen.query} {json.dumps(seen.json)} {seen.headers!r}"
            assert marked(name) not in text and "SEKRET" not in text, name
            assert status == 200 or "SEKRET" not in answer.decode(), name
        assert len(served) > len(names) * 0.6, "most of them are left without effect, and serve"

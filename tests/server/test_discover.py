"""A gateway without a config: engines on this machine, providers with a key, a mock; and a line to paste that works."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import replace

import pytest

from penstock.core.errors import GatewayError
from penstock.core.providers import engines
from penstock.core.providers.engines import Engine
from penstock.mock import Mock, Script, Step
from penstock.runtime.state import State
from penstock.server import banner
from penstock.server.options import ServeOptions
from penstock.server.sources import engines as found
from penstock.server.sources.base import gather
from penstock.server.sources.registered import sources_of
from tests.door import open_door


async def discovered(environ, probes=(), monkeypatch=None):
    monkeypatch.setattr(found, "places", lambda env: tuple(probes))
    sources = sources_of(None, lambda: environ)
    try:
        config, problems = await gather(sources)
    finally:
        for source in sources:
            await source.close()
    assert problems == []
    return config


def names(config) -> list[str]:
    return [deployment.model_name for deployment in config.deployments]


async def test_a_machine_with_nothing_has_the_mock(monkeypatch):
    config = await discovered({}, (), monkeypatch)
    assert names(config) == ["mock/echo"]
    assert config.deployments[0].info == {"owned_by": "penstock-mock"}, "plainly labelled"
    assert State(config, {}).problems == []


async def test_keys_in_the_environment_are_wildcards_and_nothing_else(monkeypatch):
    environ = {
        "OPENAI_API_KEY": "sk-a",
        "ANTHROPIC_API_KEY": "sk-b",
        "GROQ_API_KEY": "  ",
        "HOME": "/",
        "MY_API_KEY": "x",
    }
    config = await discovered(environ, (), monkeypatch)
    assert sorted(names(config)) == ["anthropic/*", "mock/echo", "openai/*"]
    state = State(config, environ)
    [target] = state.plan("openai/gpt-4o").targets["openai/gpt-4o"]
    assert b"authorization: Bearer sk-a" in target.endpoint("openai_chat").head
    assert "sk-a" not in repr(config) and len({d.id for d in config.deployments}) == 3


async def test_engines_that_answer_are_found_with_their_models(monkeypatch):
    listing = {
        "object": "list",
        "data": [{"id": "qwen", "object": "model", "owned_by": "vllm"}, {"id": "a/b", "owned_by": "vllm"}],
    }
    tags = {"models": [{"name": "llama3:8b"}]}
    async with (
        Mock(Script(default=Step(body=listing))) as vllm,
        Mock(Script(default=Step(body=tags))) as ollama,
        Mock(Script(default=Step(body={"hello": "world"}))) as other,
        Mock(Script(default=Step(status=404))) as nothing,
        Mock(Script(default=Step(latency_ms=5000))) as slow,
        Mock(Script(default=Step(body="not JSON"))) as web,
    ):
        rows = (
            Engine(name="vLLM", provider="hosted_vllm", port=vllm.port, owned_by="vllm"),
            Engine(name="Ollama", provider="ollama", port=ollama.port, probe="/api/tags"),
            *(Engine(name="x", provider="lm_studio", port=mock.port) for mock in (other, nothing, slow, web)),
            Engine(name="y", provider="sglang", port=9),
        )
        monkeypatch.setattr(engines, "ENGINES", rows)
        monkeypatch.setattr(found, "PATIENCE", 0.2)
        began = asyncio.get_running_loop().time()
        config = await discovered({}, engines.places({}), monkeypatch)
        assert asyncio.get_running_loop().time() - began < 1.5, "all at once, and none is waited for"
        assert names(config) == ["mock/echo", "hosted_vllm/qwen", "hosted_vllm/a/b", "ollama/llama3:8b"]
        assert config.deployments[1].api_base == f"http://127.0.0.1:{vllm.port}"
        state = State(config, {})
        [target] = state.plan("hosted_vllm/a/b").targets["hosted_vllm/a/b"]
        assert target.endpoint("openai_chat").url == f"http://127.0.0.1:{vllm.port}/v1/chat/completions"
        assert bytes(target.model_raw) == b'"a/b"'
        for mock in (vllm, ollama, other, nothing):
            assert [r.method for r in mock.received] == ["GET"] and "authorization" not in dict(
                mock.received[0].headers
            )


async def test_an_engine_is_looked_for_where_its_variable_says(monkeypatch):
    """`OLLAMA_BASE_URL` is seed 1's, `OLLAMA_API_BASE` LiteLLM's (C-21)."""
    tags = {"models": [{"name": "llama3:8b"}]}
    listing = {"object": "list", "data": [{"id": "qwen", "owned_by": "vllm"}]}
    async with (
        Mock(Script(default=Step(body=tags))) as ollama,
        Mock(Script(default=Step(body=listing))) as vllm,
        Mock(Script(default=Step(status=404))) as nobody,
    ):
        environ = {
            "OLLAMA_BASE_URL": ollama.url,
            "VLLM_API_BASE": f"{vllm.url}/v1",
            "HOSTED_VLLM_API_KEY": "k-vllm",
            "LM_STUDIO_API_BASE": f"{nobody.url}/v1",
        }
        monkeypatch.setattr(engines, "ENGINES", engines.ENGINES[:3])
        sources = sources_of(None, lambda: environ)
        try:
            config, problems = await gather(sources)
        finally:
            for source in sources:
                await source.close()
        assert [name for name in names(config) if "*" not in name] == [
            "mock/echo",
            "ollama/llama3:8b",
            "hosted_vllm/qwen",
        ]
        assert "LM_STUDIO_API_BASE is set, and no engine there lists its models" in [p.message for p in problems]
        sent = {place: dict(mock.received[0].headers) for place, mock in (("o", ollama), ("v", vllm))}
        assert sent["v"]["authorization"] == "Bearer k-vllm" and "authorization" not in sent["o"]
        state = State(config, environ)
        [target] = state.plan("hosted_vllm/qwen").targets["hosted_vllm/qwen"]
        assert target.endpoint("openai_chat").url == f"{vllm.url}/v1/chat/completions"


@pytest.mark.parametrize(
    ("environ", "found_it"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "s"}, True),
        ({"AWS_PROFILE": "dev"}, True),
        ({"AWS_ROLE_ARN": "arn:x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, True),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c"}, True),
        ({"AWS_BEARER_TOKEN_BEDROCK": "b"}, True),
        ({"AWS_ACCESS_KEY_ID": "AKIA1"}, False),
        ({"AWS_REGION": "eu-west-1"}, False),
    ],
)
async def test_an_aws_account_brings_bedrock(environ, found_it, monkeypatch):
    config = await discovered(environ, (), monkeypatch)
    assert ("bedrock/*" in names(config)) == found_it


async def test_a_provider_without_its_key_is_told_as_that(monkeypatch):
    """ "Nearest names here: mock/echo" was no help to who asked for openai/gpt-4o."""
    config = await discovered({}, (), monkeypatch)
    state = State(config, {})
    for model, says in (
        ("openai/gpt-4o", "set OPENAI_API_KEY"),
        ("nobody/x", "mock/echo"),
        ("gpt-4o", "mock/echo"),
        ("mock/ecko", "names here: mock/echo"),
    ):
        with pytest.raises(GatewayError) as caught:
            state.plan(model)
        assert caught.value.kind == "unknown_model" and says in caught.value.message


# The banner -----------------------------------------------------------------------------------------------------------

YAML = """
model_list:
  - {model_name: NAME, litellm_params: {model: openai/real, api_base: "{mock}/v1", api_key: k}}
"""


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="bash or curl is not here")
@pytest.mark.parametrize("name", ["plain", 'it\'s \\"quoted\\" $HOME `x` \\\\ é'])
@pytest.mark.parametrize("source", ["", "LITELLM_MASTER_KEY", "PENSTOCK_MASTER_KEY"])
async def test_the_curl_line_works_when_pasted(tmp_path, capsys, name, source):
    key = "sk-a-$trange'key" if source else None
    async with open_door(tmp_path, YAML.replace("NAME", f'"{name}"'), master_key=key) as door:
        general = replace(door.gateway.state.config.general, master_key_source=source)
        door.gateway.state.config = replace(door.gateway.state.config, general=general)
        banner.show(ServeOptions(port=door.port, config=tmp_path / "config.yaml"), door.gateway)
        said = capsys.readouterr().out
        assert f"http://127.0.0.1:{door.port}" in said and (key is None or key not in said)
        line = re.search(r"^  (curl .*)$", said, re.M)[1]
        env = {"PATH": "/usr/bin:/bin", "no_proxy": "*", source or "X": key or ""}
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", f"{line} -sS --fail-with-body", env=env, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 10)
        told = json.loads(out)
        assert process.returncode == 0 and told["choices"] and told["model"] == json.loads(f'"{name}"')


async def test_a_config_without_models_says_what_to_do(tmp_path, capsys):
    """A line to paste that cannot work is worse than none."""
    async with open_door(tmp_path, "model_list: []\n") as door:
        banner.show(ServeOptions(port=door.port, config=tmp_path / "config.yaml"), door.gateway)
        said = capsys.readouterr().out
        assert "Models: none" in said and "model_list" in said and "config.yaml" in said and "curl" not in said


async def test_the_banner_prefers_a_real_engine_and_labels_the_mock(tmp_path, capsys):
    rows = "".join(f"  - {{model_name: n{n}, litellm_params: {{model: openai/x, api_key: k}}}}\n" for n in range(20))
    mock = "  - {model_name: mock/echo, litellm_params: {model: openai/echo, api_key: k}}\n"
    async with open_door(tmp_path, "model_list:\n" + mock + rows, master_key="sk-hidden-in-config") as door:
        general = replace(door.gateway.state.config.general, master_key_source="config")
        door.gateway.state.config = replace(door.gateway.state.config, general=general)
        banner.show(ServeOptions(host="::", port=7), door.gateway)
        said = capsys.readouterr().out
        assert "at http://[::1]:7 " in said and "mock/echo (a mock)" in said and "and 9 more" in said
        assert '"model": "n0"' in said and "YOUR_MASTER_KEY" in said and "sk-hidden" not in said
        assert "No config" in said

"""Engines inherit no secret of the gateway's, under whatever name it stands, unless their `environment:` says so."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import load
from penstock.config.known import secrets_of
from penstock.core.providers import PROVIDERS
from penstock.engines import ENGINES, manager
from penstock.engines.environment import inherited
from penstock.engines.hosted import Hosted, Tail
from penstock.engines.manager import Manager
from penstock.engines.models import find_model
from penstock.engines.planning import Wanted
from penstock.engines.process import Plan

NAMES = sorted({name for one in PROVIDERS.values() for name in one.keys})
OURS = """LITELLM_MASTER_KEY LITELLM_SALT_KEY LITELLM_LICENSE PENSTOCK_SECRET_KEY PENSTOCK_STATE_DIR DATABASE_URL DIRECT_URL
REDIS_URL REDIS_HOST REDIS_PASSWORD REDIS_CLUSTER_NODES LANGFUSE_SECRET_KEY AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
GOOGLE_APPLICATION_CREDENTIALS SMTP_PASSWORD GITHUB_TOKEN X_DATABASE_URL""".split()
NEEDED = """HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_HOME HF_ENDPOINT CUDA_VISIBLE_DEVICES CUDA_HOME NVIDIA_VISIBLE_DEVICES NCCL_DEBUG
VLLM_USE_V1 VLLM_MAX_NUM_BATCHED_TOKENS LLAMA_ARG_CTX_SIZE TOKENIZERS_PARALLELISM OMP_NUM_THREADS PATH HOME LANG LC_ALL TMPDIR
LD_LIBRARY_PATH HTTPS_PROXY http_proxy no_proxy DOCKER_HOST XDG_CACHE_HOME""".split()


@pytest.mark.parametrize("name", [*NAMES, *OURS])
def test_what_is_known_by_its_name_does_not_pass(name):
    if name in ("HF_TOKEN",):
        return
    assert inherited({name: "x1"}) == {}


@pytest.mark.parametrize("name", NEEDED)
def test_what_engines_need_passes(name):
    assert inherited({name: "0"}) == {name: "0"}


SECRETS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=12, max_size=40)
WORDS = st.from_regex(r"[A-Z]{1,9}(_[A-Z]{1,9})?", fullmatch=True)


@given(st.lists(SECRETS, min_size=1, max_size=4), st.dictionaries(WORDS, st.tuples(st.sampled_from(["%s", "Bearer %s", "http://h/?k=%s&x=1", "plain"]), st.integers(0, 9)), max_size=8))
def test_no_secret_of_the_config_passes_in_whatever_stands_around_it(secrets, variables):
    environ = {name: form.replace("%s", secrets[which % len(secrets)]) for name, (form, which) in variables.items()}
    given_to = inherited({**environ, "PATH": "/bin:/" + secrets[0]}, secrets)
    assert given_to.pop("PATH"), "without it nothing runs"
    assert not [value for value in given_to.values() for secret in secrets if secret in value]
    assert set(environ) - set(given_to) <= {name for name, value in environ.items() if value != "plain"} | {
        name for name in environ if not inherited({name: "plain"})
    }


CONFIG: dict[str, Any] = {
    "model_list": [
        {"model_name": "m", "litellm_params": {"model": "openai/x", "api_key": "os.environ/ODD_NAME"}},
        {"model_name": "n", "litellm_params": {"model": "openai/x", "api_key": "sk-written-in-the-file-1"}},
    ],
    "general_settings": {"master_key": "os.environ/DOOR"},
}
SHOW = "import os; print(*(name + '=' + value for name, value in os.environ.items()), sep=chr(10), flush=True)"


def test_an_engine_sees_what_its_own_environment_says_and_no_secret(tmp_path, monkeypatch):
    secret = {
        "ODD_NAME": "sk-under-an-odd-name-1", "DOOR": "sk-master-of-the-house-1", "COPY": "Basic sk-written-in-the-file-1",
        "OPENAI_API_KEY": "sk-of-the-gateway-1", "ANTHROPIC_API_KEY": "sk-ant-of-the-gateway-1",
        "DATABASE_URL": "postgresql://u:pass@h/d", "REDIS_HOST": "hidden-redis-host", "LITELLM_SALT_KEY": "sk-salt-of-the-house-1",
    }  # fmt: skip
    for name, value in {**secret, "CUDA_VISIBLE_DEVICES": "3", "HF_TOKEN": "hf_of_the_machine"}.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "config.yaml"
    own = {"OPENAI_API_KEY": "sk-for-the-engine-1", "EXTRA": "1"}
    engine = {"command": [sys.executable, "-c", SHOW, "{port}"], "model": "e", "port": 4987, "environment": own}
    path.write_text(json.dumps({**CONFIG, "engines": {"models": {"e": engine}}}))
    config = load(path, dict(os.environ)).config
    assert config is not None and config.engines is not None
    tail = Tail("e")
    hosted = Hosted(config.engines.models["e"], tail, secrets_of(config, dict(os.environ)))
    end = time.monotonic() + 20
    while hosted.process.code is None and time.monotonic() < end:
        time.sleep(0.02)
    hosted.process.stop()
    seen = dict(line.partition("=")[::2] for line in tail.since(0)[0])
    assert (seen["OPENAI_API_KEY"], seen["EXTRA"], seen["CUDA_VISIBLE_DEVICES"]) == ("sk-for-the-engine-1", "1", "3")
    assert seen["HF_TOKEN"] == "hf_of_the_machine" and seen["PATH"] == os.environ["PATH"]
    assert not set(seen) & (set(secret) - {"OPENAI_API_KEY"}) and not set(seen.values()) & set(secret.values())


def test_run_server_gives_the_engine_no_secret_and_the_gateway_all(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-gateway-1")
    plans: list[Plan] = []

    def caught(self: Manager, plan: Plan, *_: Any) -> None:
        plans.append(plan)

    monkeypatch.setattr(manager.Manager, "_start", caught)
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    assert Manager().start_backend(Wanted(engine=ENGINES["llama"], model=find_model(str(model)), host="127.0.0.1", port=4988, binary=sys.executable))
    assert Manager().start_litellm_proxy(tmp_path / "c.yaml", version="local")
    engine, gateway = plans
    assert engine.inherits is not None and "OPENAI_API_KEY" not in engine.inherits and engine.inherits["PATH"]
    assert gateway.inherits is None

"""Local engines: ports, probes, and who is who on a shared port."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers import PROVIDERS
from penstock.core.providers.engines import ENGINES, identify, model_names, probes
from penstock.core.providers.urls import endpoint

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["data", "models", "id", "name", "owned_by"]), inner)
    ),
)


def listing(owner: str) -> dict[str, object]:
    return {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": owner}]}


@given(anything, st.sampled_from([8000, 11434, 9]))
def test_whatever_answers_is_read_without_error(body: object, port: int) -> None:
    assert all(isinstance(name, str) for name in model_names(body))
    found = identify(port, "/v1/models", body)
    assert found is None or found in ENGINES


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_engine_leads_to_its_row(engine) -> None:  # type: ignore[no-untyped-def]
    provider = PROVIDERS[engine.provider]
    assert provider.local
    url = endpoint(provider, engine.base, {}, "openai_chat")
    assert url.startswith(f"http://127.0.0.1:{engine.port}/") and url.endswith("/v1/chat/completions")


def test_default_ports() -> None:
    ports = {engine.name: engine.port for engine in ENGINES}
    assert ports["Ollama"] == 11434 and ports["LM Studio"] == 1234 and ports["SGLang"] == 30000
    assert ports["vLLM"] == ports["TensorRT-LLM"] == 8000 and ports["llama.cpp"] == 8080


def test_a_shared_port_is_asked_once() -> None:
    assert probes().count((8000, "/v1/models")) == 1
    assert (11434, "/api/tags") in probes()


@pytest.mark.parametrize(
    ("owner", "port", "provider"),
    [
        ("vllm", 8000, "hosted_vllm"),
        ("tensorrt_llm", 8000, "trtllm"),
        ("sglang", 8000, "sglang"),
        ("llamacpp", 8080, "llama_cpp"),
        ("someone", 8000, "hosted_vllm"),
        ("someone", 1234, "lm_studio"),
        ("vllm", 9, "hosted_vllm"),
    ],
)
def test_owned_by_tells_engines_apart(owner: str, port: int, provider: str) -> None:
    found = identify(port, "/v1/models", listing(owner))
    assert found is not None and found.provider == provider


def test_ollama_tags() -> None:
    body = {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 1}, {"name": "x:70b"}]}
    assert model_names(body) == ("llama3.2:latest", "x:70b")
    found = identify(11434, "/api/tags", body)
    assert found is not None and found.provider == "ollama"
    empty = identify(11434, "/api/tags", {"models": []})
    assert empty is not None and empty.provider == "ollama"


def test_another_program_on_the_port_is_nobody() -> None:
    assert identify(8080, "/v1/models", {"status": "ok"}) is None
    assert identify(8080, "/v1/models", "<html>") is None
    assert identify(9, "/v1/models", listing("someone")) is None
    assert identify(9, "/v1/models", {"data": [{"id": "m"}]}) is None

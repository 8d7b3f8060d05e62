"""Local engines: ports, probes, and who is who on a shared port."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers import PROVIDERS
from penstock.core.providers.engines import ENGINES, Engine, Place, identify, model_names, places
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
    found = identify(at(port), body)
    assert found is None or found in ENGINES


def at(port: int, path: str = "/v1/models") -> Place:
    return Place(f"http://127.0.0.1:{port}{path}", f"http://127.0.0.1:{port}")


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
    urls = [place.url for place in places({})]
    assert urls.count("http://127.0.0.1:8000/v1/models") == 1
    assert "http://127.0.0.1:11434/api/tags" in urls and len(urls) == len(set(urls))


@pytest.mark.parametrize(
    ("engine", "variable"), [(engine, name) for engine in ENGINES for name in PROVIDERS[engine.provider].bases]
)
def test_every_variable_of_an_engine_s_row_names_a_place(engine: Engine, variable: str) -> None:
    """`OLLAMA_BASE_URL` and the like were read by requests, and not where engines are looked for."""
    [place] = [one for one in places({variable: "http://gpu.test:9999"}) if one.variable]
    assert place.base == "http://gpu.test:9999" and place.variable == variable and place.engine is engine
    assert place.url.startswith("http://gpu.test:9999/") and place.url.endswith(
        "/api/tags" if engine.probe == "/api/tags" else "/models"
    )
    assert identify(place, {"data": [{"id": "m"}]}) is engine
    mine = [one.url for one in places({variable: "http://gpu.test:9999"})]
    shared = any(other is not engine and (other.port, other.probe) == (engine.port, engine.probe) for other in ENGINES)
    assert (engine.base + engine.probe in mine) == shared  # the usual port is not asked for it any more


def test_a_place_is_asked_once_and_what_is_none_is_left_out() -> None:
    assert [one.variable for one in places({"OLLAMA_API_BASE": "localhost:11434", "OLLAMA_BASE_URL": "http://b"})][
        0
    ] == "OLLAMA_API_BASE"
    urls = [one.url for one in places({"VLLM_API_BASE": "http://localhost:8000/v1"})]
    assert sum(":8000" in url for url in urls) == 1
    assert not [one for one in places({"VLLM_API_BASE": "http://[nonsense"}) if one.variable]


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
    found = identify(at(port), listing(owner))
    assert found is not None and found.provider == provider


def test_ollama_tags() -> None:
    body = {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 1}, {"name": "x:70b"}]}
    assert model_names(body) == ("llama3.2:latest", "x:70b")
    found = identify(at(11434, "/api/tags"), body)
    assert found is not None and found.provider == "ollama"
    empty = identify(at(11434, "/api/tags"), {"models": []})
    assert empty is not None and empty.provider == "ollama"


def test_another_program_on_the_port_is_nobody() -> None:
    assert identify(at(8080), {"status": "ok"}) is None
    assert identify(at(8080), "<html>") is None
    assert identify(at(9), listing("someone")) is None
    assert identify(at(9), {"data": [{"id": "m"}]}) is None

"""`engines`: what is read, what is refused, and what `model_list` makes of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from config_helpers import Check, lines

from penstock.config.keys_engines import ENGINE, ENGINES
from penstock.config.spec_engines import TYPES
from penstock.config.tree import Node

GB = 10**9


def engines(loaded: Any) -> Any:
    assert loaded.config is not None and loaded.config.engines is not None, lines(loaded)
    return loaded.config.engines


def test_an_engine_serves_by_its_own_name_or_by_that_of_its_entry(check: Check) -> None:
    text = """
engines:
  models:
    qwen: /models/qwen.gguf
    glm: {model: org/GLM-FP8}
model_list:
  - model_name: fast
    litellm_params: {model: engine/glm, max_tokens: 100}
"""
    loaded = check(text)
    assert lines(loaded) == []
    found = {one.model_name: (one.engine, one.provider, one.upstream_model) for one in loaded.config.deployments}  # type: ignore[union-attr]
    assert found == {"fast": ("glm", "hosted_vllm", "glm"), "qwen": ("qwen", "llama_cpp", "qwen")}
    assert engines(loaded).share.slots == 1 and engines(loaded).models["qwen"].backend == "llama"
    for one in loaded.config.deployments:  # type: ignore[union-attr]
        assert one.api_base == engines(loaded).models[one.engine].base


def test_all_of_it_is_read(check: Check) -> None:
    text = """
engines:
  slots: 2
  vram: 24GB
  max_wait: 90
  swap_after: 0
  ttl: 15m
  default: a
  preload: a
  groups:
    - together: [a, b]
    - apart: [b, c]
  models:
    a: {model: a.gguf, vram: 6GiB, ttl: 0, start_timeout: 1h, port: 5000, args: {n_gpu_layers: 99}}
    b: {model: x/y, backend: sglang, vram: 500MB, args: "--tp-size 2", runtime: docker, version: v1, image: z}
    c: {command: [srv, "{port}"], vram: 8GB, health: /, model: whisper, environment: {A: 1, B: null}}
"""
    loaded = check(text)
    assert lines(loaded) == []
    found = engines(loaded)
    share = found.share
    assert (share.slots, share.vram, share.max_wait, share.swap_after, share.default) == (2, 24 * GB, 90.0, 0.0, "a")
    a, b, c = (found.models[name] for name in "abc")
    assert (a.vram, a.ttl, a.start_timeout, a.port, a.args) == (6 << 30, None, 3600.0, 5000, {"n_gpu_layers": 99})
    assert (b.ttl, b.args, b.provider, b.runtime, b.version, b.image) == (
        900.0,
        ("--tp-size", "2"),
        "sglang",
        "docker",
        "v1",
        "z",
    )
    assert (c.command, c.health, c.environment, c.served) == (("srv", "{port}"), "/", {"A": "1"}, "whisper")
    assert share.members["a"].together == share.members["b"].together == {"a", "b"}
    assert share.members["b"].apart == {"c"} and share.members["c"].apart == {"b"}
    assert found.preload == ("a",)


WRONG = {
    "{models: {a: {}}}": "engines.models.a.model: is missing: name the model's folder or file, or give a command",
    "{models: {a: {command: serve}}}": "engines.models.a.command: says no {port}, by which the server is told where to listen",
    "{models: {a: {command: 'x {port}', backend: llama}}}": "engines.models.a.backend: stands beside command, which says it all",
    "{models: {a: {model: x, health: /up}}}": "engines.models.a.health: belongs to a command",
    "{models: {a: {model: x, bakend: llama}}}": "engines.models.a.bakend: unknown key, did you mean 'backend'?; ignored",
    "{models: {a: {model: x, backend: lama}}}": "expected one of vllm, llama, trtllm, sglang, got 'lama', did you mean 'llama'?",
    "{models: {'a/b': x}}": ": is no name of an engine: use letters, digits, and . _ : + - between them",
    "{models: {a: {model: x, ttl: soon}}}": "expected a span of time such as 0, 90s, 15m or 1h, got 'soon'",
    "{max_wait: 0, models: {a: x}}": "engines.max_wait: expected a span of time above 0, such as 90s, 15m or 1h, got 0",
    "{vram: 24, models: {a: x}}": "expected an amount of memory such as 24GB, 800MB or 24GiB, got 24",
    "{vram: 24GB, models: {a: x}}": "engines.models.a.vram: is missing: it counts as all of engines.vram, so that nothing is loaded beside it",
    "{vram: 24GB, models: {a: {model: x, vram: 25GB}}}": ": is more than engines.vram (24GB): it could never be loaded",
    "{default: b, models: {a: x}}": "engines.default: there is no engine 'b' in engines.models",
    "{preload: [qwem], models: {qwen: x}}": "engines.preload: there is no engine 'qwem' in engines.models, did you mean 'qwen'?",
    "{preload: [a, b], models: {a: x, b: y}}": "engines.preload: these engines cannot be loaded at one time, by slots, vram or groups; name fewer",
    "{default: a, models: {a: x, b: y}}": "engines.default: engine 'b' has no ttl: once it is loaded, 'a' does not come back",
    "{groups: [{together: [a, b]}, {together: [b, c]}], models: {a: x, b: x, c: x}}": "'b' is in another group that is loaded together; one engine is in one of them",
    "{groups: [{together: [a, b]}, {apart: [b, a]}], models: {a: x, b: x}}": "engines.groups[1].apart: 'a' and 'b' are in a group of the other kind, too",
    "{groups: [{apart: [a, x]}], models: {a: x}}": "engines.groups: there is no engine 'x' in engines.models",
    "{slots: 1}": "engines.models: is missing: it names the engines",
    "{models: {a: {model: x, environment: {A: [1]}}}}": "expected a mapping of environment variables to texts, got a mapping",
    "{models: {a: {model: x, args: {b: {c: 1}}}}}": "expected a mapping of options to values, or a list of words, got a mapping",
}


@pytest.mark.parametrize("section", WRONG)
def test_what_is_wrong_is_said_and_left_out(check: Check, section: str) -> None:
    loaded = check(
        f"engines: {section}\nmodel_list: [{{model_name: m, litellm_params: {{model: openai/x}}}}]\n",
        {"OPENAI_API_KEY": "k"},
    )
    assert any(WRONG[section] in line for line in lines(loaded)), lines(loaded)
    assert loaded.config is not None and "m" in loaded.config.model_names, "the rest serves"


def test_an_entry_that_names_no_engine_is_left_out(check: Check) -> None:
    text = "engines: {models: {qwen: x.gguf}}\nmodel_list: [{model_name: m, litellm_params: {model: engine/qwem}}]\n"
    loaded = check(text)
    assert any("there is no engine 'qwem' in engines.models, did you mean 'qwen'?" in line for line in lines(loaded))
    assert loaded.config is not None and loaded.config.model_names == ("qwen",)
    without = check("model_list: [{model_name: m, litellm_params: {model: engine/x}}]\n")
    assert any("there is no engine 'x' in engines.models" in line for line in lines(without))


def test_an_address_beside_an_engine_is_not_read(check: Check) -> None:
    entry = "{model_name: m, litellm_params: {model: engine/q, api_base: 'http://127.0.0.1:1/v1', api_key: '${KEY}'}}"
    loaded = check(f"engines: {{models: {{q: x.gguf}}}}\nmodel_list: [{entry}]\n", {"KEY": "sk-key"})
    assert any("api_base: is not read: the engine says where it is" in line for line in lines(loaded))
    assert loaded.config is not None and loaded.config.deployments[0].api_base != "http://127.0.0.1:1/v1"


def test_a_port_is_the_same_whatever_other_engines_there_are(check: Check) -> None:
    one = engines(check("engines: {models: {b: x.gguf}}"))
    more = engines(check("engines: {models: {a: x.gguf, b: x.gguf, c: x.gguf}}"))
    assert one.models["b"].port == more.models["b"].port
    many = engines(check("engines: {models: {" + ", ".join(f"m{n}: x.gguf" for n in range(500)) + "}}"))
    ports = [model.port for model in many.models.values()]
    assert len(set(ports)) == 500 and all(20000 <= port < 32000 for port in ports)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "span",
            {"90": 90, "1.5s": 1.5, "500ms": 0.5, "15m": 900, "1h": 3600, "2D": 172800},
            ["0", "x", "1y", "-1", "", "1e3"],
        ),
        ("pause", {"0": 0, "0s": 0, "3": 3}, ["-1", "now"]),
        (
            "bytes",
            {"24GB": 24 * GB, "24G": 24 * GB, "1.5gib": 3 << 29, "800 MB": 800_000_000, "7B": 7},
            ["24", "GB", "24XB", "-1GB"],
        ),
    ],
)
def test_values(kind: str, good: dict[str, float], bad: list[str]) -> None:
    read = TYPES[kind].read
    assert {text: read(Node(text, "f", 1, text)) for text in good} == good
    assert [text for text in bad if read(Node(text, "f", 1, text)) is not None] == []


def test_every_key_that_is_read_is_one_of_the_table(check: Check) -> None:
    from penstock.config.engines import EngineModel

    assert {row[0] for row in ENGINE} == set(EngineModel.__dataclass_fields__) - {"name"}
    assert all(re.fullmatch(r"[a-z_]+", row[0]) for row in (*ENGINES, *ENGINE))

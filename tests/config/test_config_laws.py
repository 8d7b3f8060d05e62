"""Laws: whatever is in the file, loading gives problems and never an exception; what loads, loads the same again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.config import Loaded, Problem, keys, load

quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.sampled_from([name for table in keys.TABLES for name in table.rows]) | st.text(max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(
        ["os.environ/A", "os.environ/NONE", "${A}", "x${NONE}y", "*", "openai/*", "1e999", "-0", "60", "True"]
    )
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=20
)


def sections() -> st.SearchStrategy[dict[str, Any]]:
    """Mappings that look like configs: real sections with real keys and any values."""
    plain = {
        table.place: st.dictionaries(st.sampled_from(table.names()), trees, max_size=5)
        for table in (keys.router, keys.litellm, keys.general)
    }
    params = st.dictionaries(st.sampled_from(keys.params.names()), trees, max_size=5)
    info = st.dictionaries(st.sampled_from(keys.info.names()), trees, max_size=3)
    entry = st.fixed_dictionaries({}, optional={"model_name": trees, "litellm_params": params, "model_info": info})
    return st.fixed_dictionaries(
        {},
        optional={
            **plain,
            "model_list": st.lists(entry | trees, max_size=3),
            "environment_variables": trees,
            "include": trees,
        },
    )


def loaded(text: str | bytes, env: dict[str, str] | None = None) -> Loaded:
    with TemporaryDirectory() as folder:
        path = Path(folder, "c.yaml")
        path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        return load(path, {"A": "one"} if env is None else env)


def well_formed(found: Loaded, text: str | bytes) -> None:
    assert found.config is not None or found.errors
    assert set(found.errors) | set(found.warnings) == set(found.problems)
    assert list(found.problems) == sorted(found.problems, key=lambda p: (p.file, p.line, p.path, p.level, p.message))
    last = len((text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")).splitlines()) + 1
    for problem in found.problems:
        assert 0 <= problem.line <= last
        assert "\n" not in str(problem)
        assert isinstance(problem, Problem)


@quick
@given(trees | sections())
def test_any_value_gives_problems_and_never_an_exception(value: Any) -> None:
    text = yaml.safe_dump(value, sort_keys=False)
    well_formed(loaded(text), text)


@quick
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#?,<~ \t\n${}/os.environ/A", max_size=60))
def test_any_text_gives_problems_and_never_an_exception(text: str) -> None:
    well_formed(loaded(text), text)
    nested = "model_list:\n  - model_name: a\n    litellm_params:\n      model: " + text
    well_formed(loaded(nested), nested)


@quick
@given(st.binary(max_size=40))
def test_any_bytes_give_problems_and_never_an_exception(data: bytes) -> None:
    well_formed(loaded(data), data)


good_params = st.fixed_dictionaries(
    {"model": st.sampled_from(["openai/a", "ollama/b:70b", "openai//models/c"])},
    optional={
        "api_base": st.just("http://localhost:1/v1"),
        "api_key": st.sampled_from(["k1", "k2", "os.environ/A", "os.environ/NONE"]),
        "timeout": st.floats(0.1, 100) | st.integers(1, 100) | st.sampled_from(["60", "1.5"]),
        "weight": st.integers(0, 10),
        "rpm": st.integers(0, 10) | st.integers(0, 10).map(str),
        "drop_params": st.booleans() | st.sampled_from(["true", "False"]),
        "tags": st.lists(st.text("abc", min_size=1), max_size=2),
        "temperature": st.floats(0, 2),
        "extra_body": st.dictionaries(st.text("abc", min_size=1), st.integers() | st.none(), max_size=2),
    },
)
good_configs = st.lists(
    st.fixed_dictionaries({"model_name": st.sampled_from(["m", "n", "o/*"]), "litellm_params": good_params}), max_size=4
)


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        pairs = list(value.items())
        rng.shuffle(pairs)
        return {key: shuffled(item, rng) for key, item in pairs}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


def substance(found: Loaded) -> list[Any]:
    assert found.config is not None, found.problems
    names = "id model_name model api_base api_key timeout weight rpm drop_params tags defaults extra_headers"
    return [[getattr(deployment, field) for field in names.split()] for deployment in found.config.deployments]


@quick
@given(good_configs, st.randoms(use_true_random=False))
def test_neither_the_order_of_keys_nor_the_style_of_yaml_matters(models: list[Any], rng: random.Random) -> None:
    value = {"model_list": models}
    first = substance(loaded(yaml.safe_dump(value)))
    assert substance(loaded(yaml.safe_dump(shuffled(value, rng), sort_keys=False, default_flow_style=True))) == first
    assert substance(loaded(json.dumps(value))) == first
    assert len({row[0] for row in first}) == len(models)


@quick
@given(good_configs)
def test_the_raw_document_loads_to_the_same_config(models: list[Any]) -> None:
    once = loaded(yaml.safe_dump({"model_list": models}))
    assert once.config is not None
    twice = loaded(yaml.safe_dump(once.config.raw))
    assert [row[1:] for row in substance(twice)] == [row[1:] for row in substance(once)]
    thrice = loaded(yaml.safe_dump(twice.config.raw if twice.config else None))
    assert substance(thrice) == substance(twice)


@quick
@given(good_configs, st.sampled_from(["", "other"]))
def test_ids_do_not_depend_on_the_environment(models: list[Any], value: str) -> None:
    text = yaml.safe_dump({"model_list": models})
    with_a, without = loaded(text), loaded(text, {"A": value, "NONE": "x"})
    assert [row[0] for row in substance(with_a)] == [row[0] for row in substance(without)]

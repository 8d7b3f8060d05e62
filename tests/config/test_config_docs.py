"""docs/config.md says what the key table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from config_helpers import Check, lines

from penstock.config import docs, keys, spec
from penstock.config.routes import KEYS as ROUTE_KEYS

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == docs.render(), "python -m penstock.config.docs > docs/config.md"


def test_every_key_is_in_the_page_under_its_section() -> None:
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for table in keys.TABLES:
        title = f"`{table.place}`" if table.place else "Top level"
        (part,) = (part for part in parts if part.startswith(f"{title}\n"))
        for key in table.rows.values():
            assert (f"`{key.name}`" if key.status == "sent" else f"\n| `{key.name}` | ") in part


def test_rows_are_well_formed() -> None:
    for table in keys.TABLES:
        for key in table.rows.values():
            assert key.status in ("acted", "known", "moot", "sent"), key
            assert key.spec.partition(":")[0] in spec.MEANING, key
            assert key.meaning and "|" not in key.meaning, key


def test_no_key_is_given_twice() -> None:
    from penstock.config import keys_general, keys_litellm, keys_params, keys_router

    for rows in (
        keys_general.TOP, keys_general.GENERAL, keys_litellm.LITELLM, keys_router.ROUTER,
        keys_params.ENTRY, keys_params.PARAMS, keys_params.INFO, keys_params.CREDENTIAL,
    ):  # fmt: skip
        names = [row[0] for row in rows]
        assert sorted(set(names)) == sorted(names)


def test_the_examples_of_the_page_have_no_problem(check: Check) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert lines(check(example, {"OPENAI_API_KEY": "k", "LITELLM_MASTER_KEY": "a-random-key"})) == []


@pytest.mark.parametrize("table", [keys.router, keys.litellm, keys.general], ids=lambda table: table.place)
def test_every_known_key_is_a_warning_and_every_acted_key_is_not(check: Check, table: keys.Table) -> None:
    values = {
        "bool": "true", "str": "x", "secret": "a-random-key", "count": "7", "positive": "7", "number": "7.5",
        "amount": "7.5", "size": "7.5", "seconds": "7.5", "wait": "7.5", "url": "http://h/", "port": "7", "redis": "redis://h", "nodes": "[h:7]", "connection": "{host: h}", "sentinels": "[[h, 7]]", "tls": "x.pem", "any": "{a: 1}",
        "mapping": "{a: 1}", "list": "[1]", "texts": "[a]", "names": "[m]", "headers": "{a: b}", "numbers": "{a: 1}", "shares": "{openai: 0.1}", "margins": "{global: 0.1, openai: {fixed_amount: 0.1}}",
        "fallbacks": "[{m: [n]}]", "aliases": "{a: m}", "lists": "[[m]]", "hedge": "800ms",
        "policy": "{RateLimitErrorXX: 3}", "policies": "{m: {RateLimitErrorXX: 3}}",
        "budgets": "{openai: {budget_limit: 5, time_period: 1d}}",
        "groups": "[{group_name: g, models: [m], routing_strategy: least-busy}]", "strategy": "{ttl: 600}",
    }  # fmt: skip
    entries = ", ".join(f"{{model_name: {name}, litellm_params: {{model: openai/x}}}}" for name in "mn")
    text = f"model_list: [{entries}]\n{table.place}:\n"
    for name in table.names():
        kind, _, choices = table.rows[name].spec.partition(":")
        value = choices.split(",")[-1] if kind == "one" else f"[{choices.split(',')[0]}]" if kind == "checks" else values[kind]
        value = value.replace("XX", choices)
        default = table.rows[name].default
        if default is True:
            value = "false"
        elif value == default or (isinstance(default, str) and kind == "one"):
            value = next((choice for choice in choices.split(",") if choice != default), value)
        value = "m" if name == "completion_model" else "[/a]" if name in ROUTE_KEYS else value
        text += f"  {name}: {value}\n"
    loaded = check(text)
    assert loaded.errors == ()
    warned = {p.path.removeprefix(f"{table.place}."): p.message for p in loaded.warnings}
    known = {key.name for key in table.rows.values() if key.status == "known" and "*" not in key.name}
    # A switch whose default is on and that is turned off asks for nothing that Penstock would have to do.
    off = {name for name in known if table.rows[name].default is True}
    assert known - off <= set(warned), known - off - set(warned)
    assert set(warned) - known <= {"routing_strategy", "default_litellm_params.a", "cache_kwargs.a", "cache_params.a"}

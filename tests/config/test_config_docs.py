"""docs/config.md says what the key table says."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from config_helpers import Check, lines

from penstock.config import docs, keys, spec
from penstock.config.keys_redis import OF_ROUTER
from penstock.config.routes import KEYS as ROUTE_KEYS
from penstock.config.section import without_effect
from penstock.config.unacted import _ROWS, reason_of

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
    known = {key.name for key in table.rows.values() if key.status in ("known", "moot") and "*" not in key.name}
    # A switch whose default is on and that is turned off asks for nothing that Penstock would have to do.
    off = {name for name in known if table.rows[name].default is True}
    assert known - off <= set(warned), known - off - set(warned)
    for name in known - off:
        key, said = table.rows[name], warned[name]
        told = key.meaning if key.status == "moot" or key.meaning.startswith("use ") else reason_of(name)
        assert told and said.endswith(told), (name, said)
    assert set(warned) - known <= {"routing_strategy", "default_litellm_params.a", "cache_kwargs.a", "cache_params.a"}


# The other way round: what is said of a key is true. ------------------------------------------------------------------

CODE = {
    path: path.read_text(encoding="utf-8")
    for path in (PAGE.parents[1] / "penstock").rglob("*.py")
    if not path.name.startswith(("keys_", "unacted")) and "mock" not in path.parts
}
# Keys of sections that are read as they are: what takes a key out of one names it in one of these ways.
TAKES = r"""(?:general|litellm|router|values|settings|section|litellm_settings)(?:\.values)?(?:\.get\(\s*|\[)["']{name}["']"""


@pytest.mark.parametrize("table", keys.TABLES, ids=lambda table: table.place or "top")
def test_every_key_is_read_or_warned_of_with_the_reason(table: keys.Table) -> None:
    for key in table.rows.values():
        said = without_effect(key)
        assert (key.status in ("known", "moot")) == bool(said), key
        if key.status == "known" and not key.meaning.startswith("use "):
            assert reason_of(key.name), f"{table.place}.{key.name} is accepted, and nobody says why nothing is done"
        if key.status == "acted" and "*" not in key.name and key.name not in OF_ROUTER:
            named = re.compile(rf"""["'\s]{re.escape(key.name)}["'\s(]|\.{re.escape(key.name)}\b""")
            # Some are put together: f"redis_{name}", f"{kind}_semantic_cache_index_name".
            cuts = [place for place, letter in enumerate(key.name) if letter == "_"]
            parts = [(f'f"{key.name[: cut + 1]}{{', f'}}{key.name[cut:]}"') for cut in cuts]
            stem, per, _ = key.name.rpartition("_per_")
            parts += [(f'"{stem}"', f'"{stem}"')] if per else []  # f"{STEM}_per_{whose}"
            assert any(
                named.search(code) or any(one in code or other in code for one, other in parts)
                for code in CODE.values()
            ), f"{table.place}.{key.name} is read nowhere"


@pytest.mark.parametrize("table", [keys.router, keys.litellm, keys.general], ids=lambda table: table.place)
def test_nothing_is_read_of_which_a_warning_says_that_it_is_not(table: keys.Table) -> None:
    others = {key.name for other in keys.TABLES if other is not table for key in other.rows.values() if key.status in ("acted", "sent")}
    for key in table.rows.values():
        if key.status != "acted" and key.name not in others:
            taken = re.compile(TAKES.replace("{name}", re.escape(key.name)))
            where = [path.name for path, code in CODE.items() if taken.search(code)]
            assert where == [], f"{table.place}.{key.name} is said not to be acted on"


def test_every_reason_is_for_a_key() -> None:
    names = {key.name for table in keys.TABLES for key in table.rows.values() if key.status == "known"}
    for reason, words in _ROWS:
        for word in words.split():
            assert any(fnmatchcase(name, word) for name in names), (reason, word)

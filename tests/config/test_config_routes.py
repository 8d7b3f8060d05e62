"""The three lists of routes: a wrong entry keeps the config from being used, since it might open what it was to close."""

from __future__ import annotations

import pytest
from config_helpers import MODEL, Check, lines

from penstock.config.routes import KEYS, read_routes


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("entry", ["chat/completions", "LiteLLMRoutes.nothing", "*", "sk-some-key-in-the-wrong-place"])
def test_an_entry_that_names_no_route_is_an_error(check: Check, key: str, entry: str) -> None:
    loaded = check(MODEL + f"general_settings:\n  master_key: a-random-key\n  {key}: [/health, '{entry}']\n")
    assert loaded.config is None
    (line,) = lines(loaded)
    assert line.startswith(f"c.yaml:7: general_settings.{key}[1]: expected a path that begins with a slash")
    assert "llm_api_routes" in line


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["/health", "[{a: b}]", "[[/a]]", "[true]"])
def test_what_is_no_list_of_texts_is_an_error(check: Check, key: str, value: str) -> None:
    loaded = check(MODEL + f"general_settings: {{master_key: a-random-key, {key}: {value}}}\n")
    assert loaded.config is None and len(loaded.errors) == 1


def test_public_routes_are_named_one_by_one(check: Check) -> None:
    text = MODEL + "general_settings: {master_key: a-random-key, public_routes: [LiteLLMRoutes.openai_routes]}\n"
    (line,) = lines(check(text))
    assert "expected a path, got the group 'openai_routes'" in line


def test_lists_are_read(check: Check) -> None:
    text = """
    general_settings:
      master_key: a-random-key
      allowed_routes: [LiteLLMRoutes.public_routes, /chat/completions, openai_routes]
      public_routes: ["LiteLLMRoutes.public_routes", /spend/calculate]
      admin_only_routes: []
    """
    config = check(text).config
    assert config is not None
    rules = read_routes(config.general.values)
    assert rules is not None and rules.allowed == ("/chat/completions", "llm_api_routes")
    assert rules.public == ("/spend/calculate",) and rules.admin_only == ()
    assert read_routes({}) is None
    closed = read_routes({"allowed_routes": ()})
    assert closed is not None and closed.allowed == ()

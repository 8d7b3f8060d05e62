"""A config that a program gives as values: the same as its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import load, load_values
from penstock.core.providers.resolve import resolve

ENV = {"A_KEY": "sk-from-the-environment"}
TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


def entry(**params: Any) -> dict[str, Any]:
    return {"model_name": "m", "litellm_params": {"model": "openai/x", **params}}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"model_list": [entry(api_key="os.environ/A_KEY", temperature=0.5, timeout=3)]},
        {"model_list": [entry(), entry(weight=2)], "router_settings": {"num_retries": 1, "fallbacks": [{"m": ["m"]}]}},
        {"model_list": [entry(temperature="warm")], "litellm_settings": {"unknown": 1}, "strange": True},
    ],
)
def test_values_are_read_as_their_file_is(values: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    mine, theirs = load_values(values, ENV, resolve=resolve), load(path, ENV, resolve=resolve)
    told = {(one.path, one.message, one.level) for one in theirs.problems if one.path}
    assert {(one.path, one.message, one.level) for one in mine.problems if one.path} == told
    assert all(one.file == "config" for one in mine.problems)
    if theirs.config is not None:
        assert mine.config is not None
        placed = [replace(one, file=str(path), line=0) for one in mine.config.deployments]
        assert placed == [replace(one, line=0) for one in theirs.config.deployments]
        assert mine.config.router == theirs.config.router


@given(TEXT)
def test_any_text_comes_through(text: str) -> None:
    loaded = load_values({"model_list": [entry(user=text)]}, {}, resolve=resolve)
    if "${" in text or text.startswith("os.environ/"):
        return
    assert loaded.config is not None, [str(one) for one in loaded.problems]
    assert loaded.config.raw["model_list"][0]["litellm_params"]["user"] == text


def test_what_holds_settings_as_an_object_is_read() -> None:
    from pydantic import BaseModel

    class Policy(BaseModel):
        RateLimitErrorRetries: int = 3
        TimeoutErrorRetries: int | None = None

    loaded = load_values({"router_settings": {"retry_policy": Policy()}}, {}, resolve=resolve)
    assert loaded.config is not None and not [one for one in loaded.problems if one.level == "error"]
    assert loaded.config.raw["router_settings"]["retry_policy"] == {"RateLimitErrorRetries": 3}

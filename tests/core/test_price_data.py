"""The data that ships: whole, described, licensed, read only when somebody asks."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import sys
from decimal import Decimal

import pytest

from penstock.config import Deployment
from penstock.core.ir import Usage
from penstock.core.price import Price
from penstock.core.pricelist import GENERAL
from penstock.runtime.prices import DATA, MAP, price_of
from scripts import refresh_prices
from tests.rules.repo import ROOT

MILLION = 1_000_000
SNAPSHOT = json.loads(gzip.decompress((DATA / "prices.json.gz").read_bytes()))
RETIRED = json.loads((DATA / "retired.json").read_text(encoding="utf-8"))["models"]


def deployment(**fields: object) -> Deployment:
    return Deployment(id="x", model_name="m", model="m", **fields)  # type: ignore[arg-type]


def test_the_snapshot_is_the_one_that_is_described() -> None:
    about = MAP.about
    assert hashlib.sha256((DATA / "prices.json.gz").read_bytes()).hexdigest() == about["sha256_of_snapshot"]
    assert len(SNAPSHOT) == about["entries"] > 4000
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", about["taken"]) and MAP.version == f"{about['taken']}/{about['version']}"
    licence = (DATA / "LICENSE-prices").read_text(encoding="utf-8")
    assert "MIT License" in licence and "Copyright (c) 2023 Berri AI" in licence


def test_the_script_makes_the_same_snapshot_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(refresh_prices, "DATA", tmp_path)
    raw = json.dumps(SNAPSHOT, indent=4).encode()
    about = MAP.about
    refresh_prices.write(raw, about["version"], about["taken"], about["source"])
    assert (tmp_path / "prices.json.gz").read_bytes() == (DATA / "prices.json.gz").read_bytes()
    source = f'sha256_of_source = "{hashlib.sha256(raw).hexdigest()}"'
    assert source in (tmp_path / "prices.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("raw", [b"[]", b"{}", b'{"a": 1}'])
def test_the_script_takes_nothing_else_for_the_map(raw: bytes) -> None:
    with pytest.raises(ValueError, match="price map"):
        refresh_prices.checked(raw)


def test_every_entry_makes_a_price_and_none_is_negative() -> None:
    usage = Usage(fresh=300_000, cache_read=10, cache_write=10, cache_write_1h=10, output=1000, reasoning=10)
    priced = 0
    for name in MAP.names():
        entry = MAP.get(name)
        assert entry is not None and name != GENERAL
        price = Price(name, entry)
        priced += price.known
        for tier in ("", "flex", "priority", "batch"):
            assert price.total(usage, tier, at=1_795_000_000.0) >= 0, name
    assert priced > 4000


def test_retired_models_have_a_price_a_source_and_a_day_and_are_really_gone() -> None:
    for name, entry in RETIRED.items():
        assert name not in SNAPSHOT, f"{name} is back in the map: take it out of retired.json"
        assert entry["source"].startswith("https://") and re.fullmatch(r"20\d\d-\d\d-\d\d", entry["as_of"])
        assert Price(name, entry).known and entry["litellm_provider"] and entry["mode"]


# The names in the project's own examples and in its users' configs that the map has dropped.
@pytest.mark.parametrize(
    ("provider", "model", "input_", "output"),
    [
        ("anthropic", "claude-3-opus-20240229", 15, 75),
        ("anthropic", "claude-3-opus", 15, 75),
        ("anthropic", "claude-3-sonnet-20240229", 3, 15),
        ("anthropic", "claude-3-haiku-20240307", "0.25", "1.25"),
        ("anthropic", "claude-2", 8, 24),
        ("anthropic", "claude-2.1", 8, 24),
        ("anthropic", "claude-instant", "0.8", "2.4"),
        ("anthropic", "claude-3-5-sonnet-20241022", 3, 15),
        ("anthropic", "claude-3-5-haiku-20241022", "0.8", 4),
        ("gemini", "gemini-1.5-flash", "0.075", "0.3"),
        ("gemini", "gemini-1.5-pro", "1.25", 5),
        ("vertex_ai", "gemini-1.5-pro-002", "1.25", 5),
        ("gemini", "gemini-2.0-flash", "0.1", "0.4"),
        ("gemini", "gemini-2.0-flash-exp", 0, 0),
        ("gemini", "gemini-pro", "0.5", "1.5"),
        ("gemini", "gemini-pro-vision", "0.5", "1.5"),
        ("gemini", "palm-2", 1, 2),
        ("vertex_ai", "chat-bison", 1, 2),
        ("openai", "gpt-4-vision-preview", 10, 30),
        ("groq", "llama-3.3-70b-versatile", "0.59", "0.79"),
        ("openrouter", "anthropic/claude-3.5-sonnet", 3, 15),
        ("bedrock", "anthropic.claude-3-sonnet-20240229-v1:0", 3, 15),
        ("bedrock", "us.anthropic.claude-3-haiku-20240307-v1:0", "0.25", "1.25"),
        ("bedrock", "claude-3-opus", 15, 75),
        ("together_ai", "llama-3-70b", "0.9", "0.9"),
        ("openai", "gpt-4o", "2.5", 10),
        ("openai", "gpt-4o-mini", "0.15", "0.6"),
    ],
)
def test_per_million(provider: str, model: str, input_: object, output: object) -> None:
    price = price_of(provider, model, deployment()).price
    assert price is not None
    told = price.total(Usage(fresh=MILLION)), price.total(Usage(output=MILLION))
    assert told == (Decimal(str(input_)), Decimal(str(output)))


@pytest.mark.parametrize("provider", "ollama ollama_chat lm_studio hosted_vllm llamafile llama_cpp sglang trtllm".split())
def test_engines_of_ones_own_cost_nothing_unless_a_price_is_set(provider: str) -> None:
    found = price_of(provider, "any:model", deployment())
    assert found.version == "local" and found.price is not None and found.price.total(Usage(fresh=MILLION, output=9)) == 0
    own = price_of(provider, "any:model", deployment(params={"input_cost_per_token": 1e-6}))
    assert own.version == "config" and own.price is not None and own.price.total(Usage(fresh=MILLION)) == 1


def test_own_prices_and_facts() -> None:
    params = {"input_cost_per_token": "3e-6", "output_cost_per_token": 0.00001, "api_key": "no price"}
    own = price_of("openai", "gpt-4o", deployment(params=params, info={"input_cost_per_token": 1, "supports_vision": False}))
    assert own.price is not None and own.price.total(Usage(fresh=MILLION, output=MILLION)) == 13
    assert not own.capabilities.supports("vision")
    half = price_of("openai", "gpt-4o", deployment(info={"input_cost_per_token": 1e-6}))
    assert half.price is not None and half.price.total(Usage(fresh=MILLION, cache_read=MILLION, output=MILLION)) == 12
    lent = price_of("openai", "llama3", deployment(info={"base_model": "groq/llama-3.3-70b-versatile"}))
    assert lent.price is not None and lent.price.total(Usage(fresh=MILLION)) == Decimal("0.59")
    moved = price_of("openai", "gpt-4o", deployment(info={"pricing_provider": "azure"}))
    assert moved.key == "azure/gpt-4o"


def test_a_family_is_known_without_a_price() -> None:
    found = price_of("anthropic", "claude-newfamily-9", deployment())
    assert found.price is None and found.version == ""
    assert found.capabilities.supports("vision") and found.capabilities.max_input_tokens == 200_000


@pytest.mark.serial
def test_nothing_is_read_before_somebody_asks() -> None:
    code = """
import gc, sys
def rss():
    with open("/proc/self/statm") as f: return int(f.read().split()[1]) * 4
import penstock.server.service
from penstock.runtime.prices import MAP
assert "_entries" not in vars(MAP) and "_retired" not in vars(MAP)
gc.collect(); before = rss()
MAP.find("openai", "gpt-4o"); gc.collect()
print(rss() - before)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 15_000, "kilobytes"

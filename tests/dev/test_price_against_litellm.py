"""500 entries of the price map, priced by us and by LiteLLM's own `cost_per_token` in its own virtual environment.

Only with PENSTOCK_DEV=1: it installs LiteLLM below .cache/clients (or uses PENSTOCK_LITELLM_VENV). What differs on
purpose is in ``DIFFERENCES``, each with its reason; anything else fails.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.core.ir import Usage
from penstock.core.price import Price
from penstock.core.pricelist import LOCAL
from penstock.runtime.prices import MAP
from tests.e2e.clients.install import PYTHON, python_client

pytestmark = pytest.mark.skipif(os.environ.get("PENSTOCK_DEV") != "1", reason="PENSTOCK_DEV is not 1")

HOW_MANY = 500
SEED = int(os.environ.get("PENSTOCK_PRICE_SEED", "20261120"))
TIERS = ("", "", "", "flex", "priority", "batch")
HOUSES = {"bedrock_converse": "bedrock"}


def litellm_python() -> str:
    """The interpreter that has LiteLLM, of the version that the price map is from."""
    if venv := os.environ.get("PENSTOCK_LITELLM_VENV"):
        return str(Path(venv) / "bin" / "python")
    assert f"litellm=={MAP.about['version']} " in (PYTHON / "litellm.lock").read_text(encoding="utf-8")
    return str(python_client("litellm"))


def _usage(dice: random.Random) -> Usage:
    fresh = dice.choice((0, 7, 900, 90_000, 199_999, 200_001, 300_000, 600_000))
    output = dice.choice((0, 5, 800, 9_000))
    return Usage(
        fresh=fresh,
        cache_read=dice.choice((0, 0, 64, 40_000)),
        cache_write=dice.choice((0, 0, 128, 5_000)),
        cache_write_1h=dice.choice((0, 0, 0, 256)),
        output=output,
        reasoning=dice.choice((0, 0, output // 3)),
        audio_in=dice.choice((0, 0, 0, fresh // 5)),
        audio_out=dice.choice((0, 0, 0, output // 4)),
    )


def _cases() -> list[dict[str, Any]]:
    dice = random.Random(SEED)
    cases = []
    for name in dice.sample(MAP.names(), HOW_MANY + 120):
        entry = MAP.get(name) or {}
        listed = entry.get("litellm_provider") or ""
        life = "12h" if "cache_creation_input_token_cost_above_12hr" in entry else "1h"
        provider = HOUSES.get(listed, "vertex_ai" if listed.startswith("vertex_ai") else listed)
        if name in MAP._retired or not provider:
            continue
        usage = _usage(dice)
        cases.append(
            {
                "model": name,
                "provider": provider,
                "usage": {field: getattr(usage, field) for field in COUNTERS},
                "life": life,
                "tier": dice.choice(TIERS),
                "at": 1_795_000_000 + dice.randrange(0, 7 * 86_400, 600),
            }
        )
    return cases[:HOW_MANY]


COUNTERS = ("fresh", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "audio_in", "audio_out")


def _ours(case: dict[str, Any]) -> Decimal | None:
    if case["provider"] in LOCAL:
        return Decimal(0)
    model = case["model"].removeprefix(case["provider"] + "/")
    found = MAP.find(case["provider"], model)
    price = Price(found[0], found[1], case["provider"]) if found else None
    return price.total(Usage(**case["usage"]), case["tier"], case["at"]) if price is not None and price.known else None


Differs = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], bool]
DIFFERENCES: tuple[tuple[str, Differs], ...] = (
    (
        "LiteLLM's Perplexity calculator knows no cache prices, long prompts or reasoning; we follow the entry",
        lambda case, entry, told: case["provider"] == "perplexity",
    ),
    (
        "LiteLLM wants to log in before it looks up a price of GitHub Copilot",
        lambda case, entry, told: case["provider"] == "github_copilot" and "error" in told,
    ),
    (
        "a batch without a batch price: LiteLLM gives cached tokens without a cache price for nothing, takes no notice "
        "of long prompts, audio and reasoning; we halve every price",
        lambda case, entry, told: case["tier"] == "batch" and "input_cost_per_token_batches" not in entry,
    ),
    (
        "a batch of an image model: LiteLLM gives text output for nothing where only image tokens have a price",
        lambda case, entry, told: case["tier"] == "batch" and "output_cost_per_token" not in entry,
    ),
    (
        "LiteLLM's Fireworks calculator takes no notice of the service tier",
        lambda case, entry, told: case["provider"] == "fireworks_ai" and case["tier"] in ("flex", "priority"),
    ),
    (
        "one-hour cache writes of a long prompt in a tier: LiteLLM forgets the price that has no tier in its name",
        lambda case, entry, told: (
            case["tier"] in ("flex", "priority")
            and case["usage"]["cache_write_1h"] > 0
            and any("above_1hr_above_" in field for field in entry)
        ),
    ),
    (
        "a batch with one-hour cache writes: LiteLLM takes the five-minute price; vendors halve the one-hour price",
        lambda case, entry, told: (
            case["tier"] == "batch"
            and case["usage"]["cache_write_1h"] > 0
            and "cache_creation_input_token_cost_above_1hr" in entry
        ),
    ),
)


def _same(ours: Decimal | None, told: dict[str, Any]) -> bool:
    theirs = told.get("cost")
    if ours is None or theirs is None:
        # Unknown is an error or 0 there; here it is unknown.
        return ours is None and not theirs
    return abs(float(ours) - theirs) <= 1e-9 * max(theirs, 1e-12)


def test_the_same_cost_as_litellm() -> None:
    cases = _cases()
    assert len(cases) == HOW_MANY
    done = subprocess.run([litellm_python(), str(Path(__file__).with_name("litellm_side.py"))], input=json.dumps(cases),
                          capture_output=True, text=True, check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])  # LiteLLM prints hints above
    explained: dict[str, int] = {}
    unexplained = []
    for case, answer in zip(cases, told, strict=True):
        ours = _ours(case)
        if _same(ours, answer):
            explained["same"] = explained.get("same", 0) + 1
            continue
        entry = MAP.get(case["model"]) or {}
        why = next((reason for reason, differs in DIFFERENCES if differs(case, entry, answer)), None)
        if why is None:
            unexplained.append(f"{case} ours={ours} theirs={answer}")
        else:
            explained[why] = explained.get(why, 0) + 1
    print(json.dumps(explained, indent=1))
    assert unexplained == [], "\n".join(unexplained)

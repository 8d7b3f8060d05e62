"""A call that limits let in, or kept out, leaves no circle of references, whichever way it ends."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from penstock.mock import Step
from tests.door import HELLO
from tests.server.keyed import FixedBudgets, key, open_keyed
from tests.server.test_circles import alive, left_by
from tests.server.test_limits import CONFIG
from tests.server.ways import SLOWLY, STREAM, Way, asks

KEY = key("a")
WAYS: dict[str, Way] = {
    "whole": asks(HELLO, key=KEY),
    "streamed": asks(STREAM, step=SLOWLY, key=KEY),
    "across dialects": asks({**HELLO, "model": "claude"}, key=KEY),
    "for an end user with tags": asks({**HELLO, "user": "e", "tags": ["t"]}, key=KEY),
    "kept out by a limit": asks({**HELLO, "model": "n"}, status=429, key=KEY),
    "kept out by the list of models": asks({**HELLO, "model": "x"}, status=403, key=KEY),
    "an end user who is blocked": asks({**HELLO, "user": "bad"}, status=403, key=KEY),
    "passed through": asks(HELLO, "/openai/v1/chat/completions", key=KEY),
    "an upstream that fails": asks(HELLO, status=500, step=Step(status=500), key=KEY),
}
ROWS = {
    "key": {
        "a": {
            "models": ["m", "n", "claude"],
            "rpm_limit": 10_000,
            "tpm_limit": 10_000_000,
            "max_parallel_requests": 50,
            "model_rpm_limit": {"n": 0},
        }
    },
    "customer": {"e": {"rpm_limit": 1000}, "bad": {"blocked": True}},
    "tag": {"t": {"rpm_limit": 1000}},
}
YAML = CONFIG + 'environment_variables: {OPENAI_API_KEY: sk-o, OPENAI_API_BASE: "{mock}/v1"}\n'


@pytest.mark.parametrize("budgets", [False, True])
@pytest.mark.parametrize("name", WAYS)
async def test_no_circle_is_left(name: str, budgets: bool, tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, YAML) as door:
        if budgets:
            admission = door.gateway.engine.admission
            assert admission is not None
            admission.budgets = FixedBudgets(5)
        await left_by(WAYS[name], door)  # what is made once is made
        if budgets:
            door.gateway.engine.admission.budgets.reserved.clear()  # type: ignore[union-attr]
        gc.collect()
        before = alive()
        gc.disable()
        try:
            found = await left_by(WAYS[name], door)
        finally:
            gc.enable()
        if budgets:
            door.gateway.engine.admission.budgets.reserved.clear()  # type: ignore[union-attr]
        assert found == Counter() and alive() - before == Counter()

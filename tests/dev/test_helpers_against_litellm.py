"""300 models: what `penstock.sdk` says of each, and what LiteLLM's own helpers say. Only with PENSTOCK_DEV=1."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock import sdk
from penstock.runtime.prices import MAP
from tests.dev.test_price_against_litellm import SEED, litellm_python, pytestmark

__all__ = ["pytestmark"]
HOW_MANY = 300
FEATURES = """audio_input audio_output function_calling parallel_function_calling pdf_input prompt_caching reasoning
    response_schema system_messages tool_choice vision web_search""".split()
FIELDS = "max_input_tokens max_output_tokens input_cost_per_token output_cost_per_token mode".split()


def _names() -> list[str]:
    names = [name for name in MAP.names() if name not in MAP._retired and name != "sample_spec"]
    return random.Random(SEED).sample(names, HOW_MANY)


def _ours(name: str) -> dict[str, Any]:
    try:
        info: dict[str, Any] = sdk.get_model_info(name)
        found = {field: info.get(field) for field in FIELDS}
    except sdk.UnknownModel:
        found = {"error": "UnknownModel"}
    try:
        most: Any = sdk.get_max_tokens(name)
    except sdk.UnknownModel:
        most = {"error": "UnknownModel"}
    return {"supports": {f: getattr(sdk, f"supports_{f}")(name) for f in FEATURES}, "info": found, "max": most}


@dataclass(frozen=True)
class Case:
    """One thing that is said differently. ``provider``: LiteLLM's idea of it, "" where it has none."""

    name: str
    what: str
    ours: Any
    theirs: Any
    provider: str

    @property
    def entry(self) -> dict[str, Any]:
        return MAP.get(self.name) or {}


Differs = Callable[[Case], bool]
DIFFERENCES: tuple[tuple[str, Differs], ...] = (
    (
        "a price that the map does not have: LiteLLM says 0, we say None; unknown is not free",
        lambda case: case.what.endswith("_cost_per_token") and case.ours is None and case.theirs == 0,
    ),
    (
        "LiteLLM does not know whose model it is, or must log in to know, and then says no to everything",
        lambda case: case.provider == "" and case.theirs is False,
    ),
    (
        "where the map is silent LiteLLM takes the provider's word for all its models, embeddings among them",
        lambda case: case.what.startswith("supports_") and case.theirs is True and case.what not in case.entry,
    ),
    (
        "a bare Gemini name is Vertex AI's there, and Google AI Studio's here",
        lambda case: case.provider == "vertex_ai" and case.name.startswith("gemini-"),
    ),
    (
        "the entry has pictures among its modalities, and no supports_vision, which alone LiteLLM looks at",
        lambda case: case.what == "supports_vision" and "image" in case.entry.get("supported_modalities", ()),
    ),
    (
        "a model that the map has dropped since, with others of its family left: we keep what was known",
        lambda case: case.name.removeprefix(f"{case.provider}/") in MAP._retired,
    ),
    (
        "LiteLLM looks for completions and Jamba under another provider than the map has them, and finds nothing",
        lambda case: case.what == "info" and case.provider in ("azure", "ai21_chat") and "error" in case.theirs,
    ),
    (
        "a limit of 0: the map writes it for models whose answers are no tokens, so it is no limit",
        lambda case: case.what == "max" and case.ours is None and case.theirs == 0,
    ),
    (
        "the limit of an answer in an entry without the provider: LiteLLM takes it, we say that it is not known here",
        lambda case: case.what == "max" and case.ours is None and "max_output_tokens" not in case.entry,
    ),
)


def _differing(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for feature, said in theirs["supports"].items():
        if said != ours["supports"][feature]:
            yield f"supports_{feature}", ours["supports"][feature], said
    if "error" in theirs["info"] or "error" in ours["info"]:
        if ("error" in theirs["info"]) != ("error" in ours["info"]):
            yield "info", ours["info"], theirs["info"]
    else:
        for field in FIELDS:
            if ours["info"][field] != theirs["info"][field]:
                yield field, ours["info"][field], theirs["info"][field]
    if theirs["max"] != ours["max"] and not isinstance(theirs["max"], dict):
        yield "max", ours["max"], theirs["max"]


def test_the_helpers_say_the_same() -> None:
    names = _names()
    asked = json.dumps({"models": names, "features": FEATURES, "fields": FIELDS})
    done = subprocess.run([litellm_python(), str(Path(__file__).with_name("litellm_helpers.py"))], input=asked,
                          capture_output=True, text=True, check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])  # LiteLLM prints hints above
    explained: Counter[str] = Counter()
    unexplained = []
    for name in names:
        provider = told[name]["provider"]
        for what, ours, theirs in _differing(name, _ours(name), told[name]):
            case = Case(name, what, ours, theirs, provider if isinstance(provider, str) else "")
            why = next((reason for reason, differs in DIFFERENCES if differs(case)), None)
            if why is None:
                unexplained.append(str(case))
            else:
                explained[why] += 1
    print(json.dumps(explained, indent=1))
    assert unexplained == [], f"{len(unexplained)}:\n" + "\n".join(unexplained)

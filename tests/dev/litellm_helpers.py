"""Runs in LiteLLM's own interpreter: model names on stdin as JSON, what its helpers say of each on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the map of the wheel, not today's from the network

import litellm


def outcome(ask: Any, *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except Exception as error:  # boundary: whatever it raises is its answer
        return {"error": type(error).__name__}


def main() -> None:
    asked = json.load(sys.stdin)
    told = {}
    for name in asked["models"]:
        info = outcome(litellm.get_model_info, name)
        told[name] = {
            "supports": {f: outcome(getattr(litellm, f"supports_{f}"), name, None) for f in asked["features"]
                         if hasattr(litellm, f"supports_{f}")},
            "info": info if "error" in info else {field: info.get(field) for field in asked["fields"]},
            "max": outcome(litellm.get_max_tokens, name),
            "provider": outcome(lambda model: litellm.get_llm_provider(model)[1], name),
        }  # fmt: skip
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main()

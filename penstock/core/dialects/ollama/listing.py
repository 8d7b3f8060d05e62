"""What /api/tags and /api/show say of a model that no Ollama holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from penstock.core.dialects.ollama.names import timestamp

API_VERSION = "0.13.5"
"""The Ollama whose API this is: clients ask /api/version and leave features out for an old one."""


def details(family: str) -> dict[str, Any]:
    """Make ``details``, with what is not known left empty."""
    return {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }


def tag(name: str, family: str, created: int) -> dict[str, Any]:
    """Make an element of /api/tags."""
    return {
        "name": name,
        "model": name,
        "modified_at": timestamp(created),
        "size": 0,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": details(family),
    }


def show(name: str, family: str, created: int, info: Mapping[str, Any]) -> dict[str, Any]:
    """Make the answer of /api/show. ``info``: the deployment's ``model_info`` in LiteLLM's words; where it is silent, a
    model is taken to call tools and to see, for clients hide models that are not said to."""
    if info.get("mode") == "embedding":
        capabilities = ["embedding"]
    else:
        capabilities = ["completion"]
        capabilities += ["tools"] if info.get("supports_function_calling", True) else []
        capabilities += ["vision"] if info.get("supports_vision", True) else []
        capabilities += ["thinking"] if info.get("supports_reasoning") else []
    facts: dict[str, Any] = {"general.architecture": family, "general.basename": name}
    if window := info.get("max_input_tokens") or info.get("max_tokens"):
        facts[f"{family}.context_length"] = window
    return {
        "modelfile": f"FROM {name}\n",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": details(family),
        "model_info": facts,
        "capabilities": capabilities,
        "modified_at": timestamp(created),
    }

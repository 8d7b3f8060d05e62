"""Configuration: LiteLLM's YAML as it is, read into typed values, every problem with file, line and key path.

What belongs here: the tables of keys, the reader, and the values. What a value does is decided by who reads it.
"""

from __future__ import annotations

from penstock.config.environ import load_dotenv
from penstock.config.load import defaults, load, load_values, load_without
from penstock.config.models import (
    Config,
    Deployment,
    GeneralSettings,
    LitellmSettings,
    Loaded,
    RouterSettings,
)
from penstock.config.problems import Problem
from penstock.config.secret import Secret

__all__ = [
    "Config",
    "Deployment",
    "GeneralSettings",
    "LitellmSettings",
    "Loaded",
    "Problem",
    "RouterSettings",
    "Secret",
    "defaults",
    "load",
    "load_dotenv",
    "load_values",
    "load_without",
]

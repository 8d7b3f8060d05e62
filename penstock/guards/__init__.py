"""What checks requests and answers: one file each, and one row here. ``base`` has the contract."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from penstock.config.guards import GuardSettings
from penstock.guards.base import Guard, Make

GUARDS: Mapping[str, tuple[str, str]] = {
    "content_filter": ("content_filter", "ContentFilter"),
    "secrets": ("secrets", "Secrets"),
}
"""Kind -> the module here and the name in it that makes such a guard. What no config names is not imported."""


def make_guard(settings: GuardSettings) -> Guard:
    """Make a guard of its entry in the config. Raises ``base.Unusable``."""
    module, name = GUARDS[settings.kind]
    make: Make = getattr(import_module(f"penstock.guards.{module}"), name)
    return make(settings)

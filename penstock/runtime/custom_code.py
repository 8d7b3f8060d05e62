"""Loads the operator's own Python: ``module.object`` of a config file, out of a file beside it or what is installed."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
StandIns = Mapping[str, Mapping[str, Any]]
"""Modules of LiteLLM -> names in them -> what stands for those here."""


def load_named(name: str, folder: Path, stand_ins: StandIns) -> Any:
    """Return the object of a name. Raises ValueError where there is none, and whatever its module raises.
    ``stand_ins``: what the module may import from LiteLLM, where that is not installed."""
    if not _NAME.fullmatch(name):
        raise ValueError("write it as module.object, such as custom_auth.user_api_key_auth")
    module_name, _, wanted = name.rpartition(".")
    path = folder.joinpath(*module_name.split(".")).with_suffix(".py")
    with _standing_in(stand_ins):
        if path.is_file():
            spec = importlib.util.spec_from_file_location(f"penstock_custom.{module_name}", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
    try:
        return getattr(module, wanted)
    except AttributeError:
        raise ValueError(f"{path if path.is_file() else module_name} has no {wanted!r}") from None


@contextmanager
def _standing_in(stand_ins: StandIns) -> Iterator[None]:
    """Let such a module import from LiteLLM what these modules import from there, where that is not installed."""
    if importlib.util.find_spec("litellm") is not None:
        yield
        return
    made: dict[str, types.ModuleType] = {}
    for module in stand_ins:
        parts = module.split(".")
        for at in range(1, len(parts) + 1):
            name = ".".join(parts[:at])
            made.setdefault(name, types.ModuleType(name)).__path__ = []
    for module, names in stand_ins.items():
        made[module].__dict__.update(names)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)

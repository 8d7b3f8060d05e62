"""Hatchling's hook: puts the compiled modules into a wheel. Off unless `HATCH_BUILD_HOOKS_ENABLE=1` is set."""

from __future__ import annotations

import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledBuildHook(BuildHookInterface[Any]):
    """Compiles the modules that `pyproject.toml` lists."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and name what goes into the wheel. An editable install stays pure: it is for who changes sources."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from scripts.compiled.build import current_tree, made_files

        build_data["pure_python"], build_data["infer_tag"] = False, True
        for path, name in made_files(current_tree()):
            build_data["force_include"][str(path)] = name

"""What a config says of its routes, out of ``general_settings``: which there are, need no key, are for admins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.config.problems import Problems, described
from penstock.config.section import Section
from penstock.config.tree import Node
from penstock.core.admit.routes import GROUPS, PUBLIC_GROUP, RouteRules, expand

KEYS = ("allowed_routes", "public_routes", "admin_only_routes")


def check_routes(section: Section, node: Node | None, problems: Problems) -> None:
    """Find what of the three lists names no route. Such an entry keeps the config from being used: left out, it might
    open what it was to close."""
    for key in KEYS:
        if node is None or key not in section.values:
            continue
        for number, item in enumerate(node.value[key].value):
            if item.value is None:
                continue
            if isinstance(item.value, bool | dict | list):
                problems.failed = True  # what is wrong with it has been said
                continue
            try:
                expand(item.text)
                fault = _opens_all(key, item.text)
            except ValueError as error:
                fault = f"{error}; got {described(item.text)}"
            if fault:
                problems.error(item.file, item.line, ("general_settings", key, number), fault)
                problems.failed = True


def _opens_all(key: str, entry: str) -> str:
    """Tell what is wrong with a group among the public routes: whoever opens routes to everybody names each."""
    name = entry.strip().rpartition(".")[2]
    if key != "public_routes" or name not in GROUPS or name == PUBLIC_GROUP:
        return ""
    return f"expected a path, got the group {name!r}: name each path that is to need no key"


def read_routes(general: Mapping[str, Any]) -> RouteRules | None:
    """Read the lists; None where there is none. An empty list of allowed routes allows nothing, as in LiteLLM."""
    allowed = general.get("allowed_routes")
    rules = RouteRules(
        allowed=None if allowed is None else _expanded(allowed),
        public=_expanded(general.get("public_routes") or ()),
        admin_only=_expanded(general.get("admin_only_routes") or ()),
    )
    return None if rules == RouteRules() else rules


def _expanded(entries: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for entry in entries for one in expand(entry)))

"""Model names of a config: which exist, wildcards among them, and what to say about one that does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.config.models import Deployment
from penstock.config.problems import KeyPath, Problems, shown
from penstock.config.spec import Wrong, fallback_pairs
from penstock.config.tree import Node
from penstock.core.route.stars import match


class Names:
    """The names requests and fallbacks may use: model names, ids given in the file, wildcards and (added later)
    aliases."""

    def __init__(self, deployments: Iterable[Deployment]) -> None:
        self.exact: set[str] = set()
        self._patterns: set[str] = set()
        self._ids: set[str] = set()
        for deployment in deployments:
            self.exact.add(deployment.model_name)
            if deployment.is_wildcard:
                self._patterns.add(deployment.model_name)
            if "id" in deployment.info:
                self._ids.add(deployment.id)

    def __contains__(self, name: str) -> bool:
        if name in self.exact or name in self._ids:
            return True
        return any(match(pattern, name) is not None for pattern in self._patterns)

    def require(self, name: str, node: Node, path: KeyPath, problems: Problems) -> None:
        """Add an error when no such name exists, with the nearest one."""
        if name in self:
            return
        hint = problems.hint(name, self.exact)
        problems.error(node.file, node.line, path, f"no model named {shown(name)} in model_list{hint}")


FALLBACK_KEYS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")


def check_references(section_name: str, section: Node | None, names: Names, problems: Problems) -> None:
    """Check that every group that the section's fallbacks name exists; `*` may stand for every group on the left."""
    mapping: Mapping[str, Node] = section.value if section is not None and isinstance(section.value, dict) else {}
    for key in FALLBACK_KEYS:
        node = mapping.get(key)
        if node is not None and node.value is not None:
            _check_pairs(node, (section_name, key), names, problems)
    default = mapping.get("default_fallbacks")
    if default is not None:
        _check_targets(default, (section_name, "default_fallbacks"), names, problems)


def check_aliases(section: Node | None, names: Names, problems: Problems) -> None:
    """Check that every target of `model_group_alias` exists; then the aliases count as names too."""
    mapping = section.value if section is not None and isinstance(section.value, dict) else {}
    aliases = mapping.get("model_group_alias")
    if aliases is None or not isinstance(aliases.value, dict):
        return
    path: KeyPath = ("router_settings", "model_group_alias")
    for alias, item in aliases.value.items():
        target, where = item, (*path, alias)
        if isinstance(item.value, dict) and "model" in item.value:
            target, where = item.value["model"], (*where, "model")
        if isinstance(target.value, str):
            names.require(target.text, target, where, problems)
    names.exact.update(aliases.value)


def _check_pairs(node: Node, path: KeyPath, names: Names, problems: Problems) -> None:
    try:
        for group, targets, where in fallback_pairs(node, path):
            if group != "*":
                names.require(group, targets, where, problems)
            _check_targets(targets, where, names, problems)
    except Wrong:
        return  # the type check has said so


def _check_targets(node: Node, path: KeyPath, names: Names, problems: Problems) -> None:
    if isinstance(node.value, str):
        names.require(node.text, node, path, problems)
    elif isinstance(node.value, list):
        for i, item in enumerate(node.value):
            if isinstance(item.value, str | int | float) and not isinstance(item.value, bool):
                names.require(item.text, item, (*path, i), problems)

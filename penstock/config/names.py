"""Model names of a config: which exist, wildcards among them, and what to say about one that does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from penstock.config.models import Deployment
from penstock.config.problems import KeyPath, Problems, shown
from penstock.config.spec import Wrong, fallback_pairs
from penstock.config.spec_groups import RoutingGroup
from penstock.config.tree import Node
from penstock.core.route.stars import match


class Names:
    """The names requests and fallbacks may use: model names, ids given in the file, wildcards and (added later)
    aliases."""

    def __init__(self, deployments: Iterable[Deployment]) -> None:
        self.exact: set[str] = set()
        self._patterns: set[str] = set()
        self._ids: set[str] = set()
        self._prefixed: set[str] = set()
        self.aliases: dict[str, str] = {}
        for deployment in deployments:
            self.exact.add(deployment.model_name)
            for provider in (deployment.provider, deployment.model.partition("/")[0]):
                self._prefixed.add(f"{provider}/{deployment.model_name}")
            if deployment.is_wildcard:
                self._patterns.add(deployment.model_name)
            if "id" in deployment.info:
                self._ids.add(deployment.id)

    def add(self, names: Iterable[str]) -> None:
        """Take names, and patterns of names, of models that are somewhere else."""
        self.exact.update(names)
        self._patterns.update(name for name in names if "*" in name)

    def __contains__(self, name: str) -> bool:
        if name in self.exact or name in self._ids:
            return True
        return any(match(pattern, name) is not None for pattern in self._patterns)

    def may_fail(self, name: str) -> bool:
        """Tell whether a group that fallbacks are for can be one that requests are sent to: by a name of its own, one
        with its provider before it or without it, or a pattern of such names (LiteLLM's contract, 3.5)."""
        if name in self or name in self._prefixed:
            return True
        known = self.exact | self._ids
        if "*" in name:
            return any(match(name, one) is not None for one in known)
        return any(one.partition("/")[2] == name for one in known)

    def require(self, name: str, node: Node, path: KeyPath, problems: Problems) -> None:
        """Add an error when no such name exists, with the nearest one."""
        if name in self:
            return
        self.miss(name, node, path, problems)

    def miss(self, name: str, node: Node, path: KeyPath, problems: Problems) -> None:
        """Add the error of a name that does not exist."""
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
    for key in ("default_fallbacks", "model_fallbacks"):
        default = mapping.get(key)
        if default is not None:
            _check_targets(default, (section_name, key), names, problems)


def check_groups(section: Node | None, groups: Iterable[RoutingGroup], names: Names, problems: Problems) -> None:
    """Warn of routing groups whose name or models are not what they seem; then their names count as names too. Models
    may be added while the gateway runs, so one that is not there is no error."""
    mapping = section.value if section is not None and isinstance(section.value, dict) else {}
    aliases = mapping.get("model_group_alias")
    taken = names.exact | (set(aliases.value) if aliases is not None and isinstance(aliases.value, dict) else set())
    for group in groups:
        rows = mapping["routing_groups"].value
        number, row = next((n, r) for n, r in enumerate(rows) if _name_of(r) == group.name)
        path: KeyPath = ("router_settings", "routing_groups", number)
        named = shown(group.name)
        if group.name in taken:
            text = f"{named} is the name of a model or an alias too: requests for it go there, and not to the group"
            problems.warn(row.file, row.line, (*path, "group_name"), text)
        for model in group.models:
            if model not in names.exact:
                hint = problems.hint(model, names.exact)
                text = f"no model named {shown(model)} in model_list{hint}; {named} does without it"
                problems.warn(row.file, row.line, (*path, "models"), text)
            elif "*" in model:
                text = f"{shown(model)} is a pattern: requests for {named} itself do not go there"
                problems.warn(row.file, row.line, (*path, "models"), text)
    names.exact.update(group.name for group in groups)


def check_silent(deployments: Iterable[Deployment], names: Names, problems: Problems) -> None:
    """Check that the groups exist that get copies of requests."""
    for deployment in deployments:
        model = deployment.params.get("silent_model")
        if model and model not in names:
            hint = problems.hint(model, names.exact)
            path: KeyPath = ("model_list", deployment.model_name, "litellm_params", "silent_model")
            text = f"no model named {shown(model)} in model_list{hint}; nothing is copied to it until there is one"
            problems.warn(deployment.file, deployment.line, path, text)


def _name_of(row: Node) -> str:
    name = row.value.get("group_name") if isinstance(row.value, dict) else None
    return "" if name is None else name.text


def check_aliases(path: KeyPath, section: Node | None, names: Names, problems: Problems) -> None:
    """Check that every target of the aliases at ``path`` exists; then the aliases count as names too."""
    mapping = section.value if section is not None and isinstance(section.value, dict) else {}
    aliases = mapping.get(path[-1])
    if aliases is None or not isinstance(aliases.value, dict):
        return
    for alias, item in aliases.value.items():
        target, where = item, (*path, alias)
        if isinstance(item.value, dict) and "model" in item.value:
            target, where = item.value["model"], (*where, "model")
        if isinstance(target.value, str):
            names.require(target.text, target, where, problems)
            names.aliases[alias] = target.text
    names.exact.update(aliases.value)


def _check_pairs(node: Node, path: KeyPath, names: Names, problems: Problems) -> None:
    ways: _Ways = {}
    try:
        for group, targets, where in fallback_pairs(node, path):
            if group != "*" and not names.may_fail(group):
                names.miss(group, targets, where, problems)
            _check_targets(targets, where, names, problems)
            ways.setdefault(group, list(_targets(targets, where)))  # a second row of a group is not used
    except Wrong:
        return  # the type check has said so
    _check_circles(ways, names, problems)


def _check_targets(node: Node, path: KeyPath, names: Names, problems: Problems) -> None:
    for name, item, where in _targets(node, path):
        names.require(name, item, where, problems)


_Ways = dict[str, list[tuple[str, Node, KeyPath]]]


def _targets(node: Node, path: KeyPath) -> Iterator[tuple[str, Node, KeyPath]]:
    """Yield (name, its node, its path) of each group that a row of fallbacks leads to."""
    if isinstance(node.value, str):
        yield node.text, node, path
    elif isinstance(node.value, list):
        for i, item in enumerate(node.value):
            if isinstance(item.value, str | int | float) and not isinstance(item.value, bool):
                yield item.text, item, (*path, i)


def _check_circles(ways: _Ways, names: Names, problems: Problems) -> None:
    """Add an error where fallbacks lead back to a group that they began at. (At run time no group is asked twice, so
    what leads back is not used.)"""
    done: set[str] = set()
    for start in ways:
        line: dict[str, Iterator[tuple[str, Node, KeyPath]]] = {start: iter(ways[start])}
        while start not in done:
            last = next(reversed(line))
            step = next(line[last], None)
            if step is None:
                del line[last]
                done.add(last)
                continue
            name, node, path = names.aliases.get(step[0], step[0]), step[1], step[2]
            if name in line:
                told = [*list(line)[list(line).index(name) :], name]
                way = " -> ".join(shown(one) for one in told[:8]) + (" -> ..." if len(told) > 8 else "")
                problems.error(node.file, node.line, path, f"these fallbacks lead in a circle: {way}")
            elif name in ways and name not in done:
                line[name] = iter(ways[name])

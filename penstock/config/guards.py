"""The section `guardrails` -> what guards there are, when they run and whom they guard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.config.keys_guards import MODES, NAMES
from penstock.config.problems import KeyPath, Problems, described, shown
from penstock.config.section import Section, check, warn_unknown
from penstock.config.tree import Node, describe_type

PRE, DURING, POST, LOGGING = "pre_call", "during_call", "post_call", "logging_only"
TIMEOUT = 10.0  # seconds
_AT = "guardrails"


@dataclass(frozen=True, slots=True)
class Modes:
    """When a guard runs. `always`: for requests with none of the tags in `tags`."""

    always: tuple[str, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        """Return when it runs for a request with some tags."""
        for tag in tags if self.tags else ():
            if tag in self.tags:
                return self.tags[tag]
        return self.always

    @property
    def all(self) -> frozenset[str]:
        """Return every mode it may run in."""
        return frozenset(self.always).union(*self.tags.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """An entry of `guardrails`. `kind`: which guard it is, `name`: what it is called here. `blocks_on_error`: a call
    that it could not judge is refused. `params`: its other settings, secrets among them. `info`: what is told of it in
    lists. `places`: in which line a setting stands, by its path below `litellm_params`."""

    name: str
    kind: str
    modes: Modes
    default_on: bool = False
    blocks_on_error: bool = True
    timeout: float = TIMEOUT
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    info: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    file: str = ""
    places: Mapping[str, int] = field(default_factory=dict, repr=False)

    def where(self, path: str) -> str:
        """Write out the place of a setting, as messages have it."""
        full = f"{_AT}[{self.number}].litellm_params"
        line = self.places.get(path) or self.places.get("", 0)
        return f"{self.file}:{line}: {full}.{path}" if path else f"{self.file}:{line}: {full}"


def read_guards(node: Node | None, problems: Problems) -> tuple[GuardSettings, ...]:
    """Read the section. What is wrong in it keeps the config from being used: a guard that is left out would let
    through what it is there to stop."""
    if node is None or node.value is None:
        return ()
    if not isinstance(node.value, list):
        problems.error(node.file, node.line, (_AT,), f"expected a list of guardrails, got {describe_type(node)}")
        return ()
    found: dict[str, GuardSettings] = {}
    for number, entry in enumerate(node.value):
        made = _entry(entry, number, problems)
        if made is None:
            continue
        if made.name in found:
            text = f"the name {shown(made.name)} is taken by an entry above; give each guardrail its own"
            problems.error(entry.file, entry.line, (_AT, number, "guardrail_name"), text)
        found.setdefault(made.name, made)
    return tuple(found.values())


def _entry(node: Node, number: int, problems: Problems) -> GuardSettings | None:
    from penstock.config import keys

    path: KeyPath = (_AT, number)
    section = check(keys.guard, node, path, problems)
    warn_unknown(keys.guard, section, path, problems)
    name = section.get("guardrail_name")
    if not name:
        text = "every guardrail needs a name, by which requests and keys choose it"
        problems.error(node.file, node.line, (*path, "guardrail_name"), text)
        return None
    given = node.value.get("litellm_params")
    if given is None or not isinstance(given.value, dict):
        text = "is missing: a mapping with guardrail (which one) and mode (when it runs)"
        problems.error(node.file, node.line, (*path, "litellm_params"), text)
        return None
    below: KeyPath = (*path, "litellm_params")
    params = check(keys.guard_params, given, below, problems)
    kind = _kind(params, given, below, problems)
    modes = _modes(given.value.get("mode"), given, (*below, "mode"), problems)
    if kind is None or modes is None:
        return None
    return GuardSettings(
        name=name,
        kind=kind,
        modes=modes,
        default_on=bool(params.get("default_on")),
        blocks_on_error=_blocks(params),
        timeout=params.get("timeout") or TIMEOUT,
        params=given.plain(),
        info=section.get("guardrail_info") or {},
        number=number,
        file=node.file,
        places=dict(_places(given, "")),
    )


def _kind(params: Section, node: Node, path: KeyPath, problems: Problems) -> str | None:
    """Find which guard is meant: one of ours, or a class of the user's own (`module.Class`)."""
    named = params.get("guardrail")
    if not named:
        text = f"is missing: which guard it is, one of {', '.join(sorted(NAMES))}"
        problems.error(node.file, node.line, (*path, "guardrail"), text)
        return None
    kind = NAMES.get(named)
    if kind is None and "." in named and "/" not in named:
        kind = NAMES.get("custom")
    if kind is None:
        hint = problems.hint(named, list(NAMES)) or f"; known: {', '.join(sorted(NAMES))}"
        line = node.value["guardrail"].line
        problems.error(node.file, line, (*path, "guardrail"), f"there is no guard {shown(named)} here{hint}")
    return kind


def _blocks(params: Section) -> bool:
    """Tell what becomes of a call that cannot be judged. LiteLLM's own words for it count where ours are not said."""
    said = params.get("on_error")
    if said is not None:
        return bool(said == "block")
    for name in ("unreachable_fallback", "fallback_on_error"):
        if params.get(name) is not None:
            return params.get(name) not in ("fail_open", "allow")
    return not params.get("fail_open")


def _modes(node: Node | None, beside: Node, path: KeyPath, problems: Problems) -> Modes | None:
    if node is None or node.value is None:
        text = f"is missing: when it runs, {' or '.join(MODES)}; a list for several"
        problems.error(beside.file, beside.line, path, text)
        return None
    if not isinstance(node.value, dict):
        always = _mode_list(node, path, problems)
        return None if always is None else Modes(always)
    tags: dict[str, tuple[str, ...]] = {}
    wrong = [name for name in node.value if name not in ("tags", "default")]
    if wrong:
        problems.error(node.file, node.line, path, f"{shown(wrong[0])} is unknown in a mode; known: tags, default")
        return None
    given = node.value.get("tags")
    for tag, child in given.value.items() if given is not None and isinstance(given.value, dict) else ():
        listed = _mode_list(child, (*path, "tags", tag), problems)
        if listed is None:
            return None
        tags[tag] = listed
    default = node.value.get("default")
    always = () if default is None or default.value is None else _mode_list(default, (*path, "default"), problems)
    return None if always is None else Modes(always, tags)


def _mode_list(node: Node, path: KeyPath, problems: Problems) -> tuple[str, ...] | None:
    parts = node.value if isinstance(node.value, list) else [node]
    found: list[str] = []
    for part in parts:
        if part.value not in MODES:
            said = shown(part.value) if isinstance(part.value, str) else described(part.plain())
            hint = problems.hint(part.value, list(MODES)) if isinstance(part.value, str) else ""
            text = f"{said} is no mode{hint}; known: {', '.join(MODES)}"
            problems.error(part.file, part.line, path, text)
            return None
        found.append(part.value)
    return tuple(dict.fromkeys(found))


def _places(node: Node, path: str) -> Iterator[tuple[str, int]]:
    """Yield the lines of settings, by their path."""
    yield path, node.line
    if isinstance(node.value, dict):
        for name, child in node.value.items():
            yield from _places(child, f"{path}.{name}" if path else name)
    elif isinstance(node.value, list):
        for number, child in enumerate(node.value):
            yield from _places(child, f"{path}[{number}]")

"""The guards of a config, and which of them a call has: those that are always on, and those that its key, its team, its
model or itself asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from penstock.config.guards import DURING, LOGGING, POST, PRE, GuardSettings
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.guards import make_guard
from penstock.guards.base import Guard, Said, Shown, Unusable
from penstock.runtime.guarding import Guarding

if TYPE_CHECKING:
    from penstock.config import Deployment
    from penstock.runtime.call import Call

_METADATA = ("metadata", "litellm_metadata")
Asked = dict[str, Mapping[str, Any]]
"""The guards that a request names, each with what it says to that one."""


class Broken(Guard):
    """A guard whose settings cannot be used: it judges nothing, and no call passes as one that it judged."""

    def __init__(self, settings: GuardSettings, why: str) -> None:
        super().__init__(settings)
        self.why = why

    def look(self, shown: Shown) -> Said:
        raise RuntimeError(self.why)


class Guards:
    """All guards of a config, by name. ``before``: those of the config before, of which one that is set the same is
    taken over."""

    def __init__(
        self,
        settings: Sequence[GuardSettings],
        deployments: Iterable[Deployment],
        problems: list[str],
        before: Guards | None = None,
    ) -> None:
        self.by_name: dict[str, Guard] = {}
        known = {} if before is None else before.by_name
        for one in settings:
            guard = known.get(one.name)
            if guard is None or guard.settings != one or isinstance(guard, Broken):
                guard = self._make(one, problems)
            self.by_name[one.name] = guard
        self._always = tuple(name for name, guard in self.by_name.items() if guard.settings.default_on)
        self._tagged = any(one.modes.tags for one in settings)
        self._of_models: dict[str, tuple[str, ...]] = {}
        for deployment in deployments:
            named = deployment.params.get("guardrails")
            if isinstance(named, list | tuple) and named:
                more = (*self._of_models.get(deployment.model_name, ()), *map(str, named))
                self._of_models[deployment.model_name] = tuple(dict.fromkeys(more))
                problems += [
                    f"{deployment.file}:{deployment.line}: model_list: {deployment.model_name} names the guardrail "
                    f"{name!r}, which there is not; its requests are refused"
                    for name in map(str, named)
                    if name not in self.by_name
                ]

    def _make(self, settings: GuardSettings, problems: list[str]) -> Guard:
        try:
            return make_guard(settings)
        except Unusable as error:
            what = "refused" if settings.blocks_on_error else "let through unguarded"
            problems.append(f"{settings.where(error.path)}: {error.text}; requests that it guards are {what}.")
            return Broken(settings, "its settings cannot be used")

    def begin(self, call: Call) -> Guarding | None:
        """Find the guards of a call; None where it has none. Raises "bad_request" for one that does not exist."""
        asked = _asked(call.fields)
        caller, names = call.caller, self._always
        if names and caller.no_guards:
            names = ()
        if caller.guards or asked or self._of_models:
            listed = (*caller.guards, *asked, *self._of_models.get(call.model, ()))
            for name in listed:
                if name not in self.by_name:
                    text = f"There is no guardrail {name!r} here; known: {', '.join(self.by_name) or 'none'}."
                    raise GatewayError("bad_request", text, param="guardrails")
            wanted = {*names, *listed}
            names = tuple(name for name in self.by_name if name in wanted)
        if not names:
            return None
        tags = _tags(call) if self._tagged else ()
        found: dict[str, list[Guard]] = {PRE: [], DURING: [], POST: [], LOGGING: []}
        for name in names:
            guard = self.by_name[name]
            for mode in guard.settings.modes.of(tags):
                found[mode].append(guard)
        return Guarding(call, found[PRE], found[DURING], found[POST], found[LOGGING], asked)


def _asked(fields: Mapping[str, Raw]) -> Asked:
    """Read which guards a request names: ``["pii"]``, or ``[{"pii": {"extra_body": {...}}}]``. Raises
    "bad_request"."""
    raw = fields.get("guardrails")
    for name in _METADATA if raw is None else ():
        if name in fields and b'"guardrails"' in memoryview(fields[name]).tobytes():
            raw = _within(fields[name])
            if raw is not None:
                break
    if raw is None or bytes(raw) == b"null":
        return {}
    try:
        value = msgspec.json.decode(raw)
    except BAD_JSON:
        value = None
    found: Asked = {}
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            found[one] = {}
        elif isinstance(one, dict) and all(isinstance(said, dict) for said in one.values()):
            found |= {name: said.get("extra_body") or {} for name, said in one.items()}
        else:
            text = '\'guardrails\' must be a list of names, or of objects such as {"NAME": {"extra_body": {}}}.'
            raise GatewayError("bad_request", text, param="guardrails")
    return found


def _within(raw: Raw) -> Raw | None:
    try:
        return msgspec.json.decode(raw, type=dict[str, Raw]).get("guardrails")
    except BAD_JSON:
        return None


def _tags(call: Call) -> tuple[str, ...]:
    """Collect the tags of a call: its key's and its own."""
    tags = list(call.caller.tags if call.admitted is None else call.admitted.tags)
    for name in ("tags", *_METADATA):
        raw = call.fields.get(name)
        try:
            value = None if raw is None else msgspec.json.decode(raw)
        except BAD_JSON:
            continue
        value = value.get("tags") if isinstance(value, dict) else value
        tags += [str(tag) for tag in value] if isinstance(value, list) else ()
    return tuple(dict.fromkeys(tags))

"""Which models a caller may call, of those that there are: by name, by pattern, by access group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from penstock.core.admit.access import check_model, denied, may_call
from penstock.core.route.stars import match
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.core.admit.holders import Holder
    from penstock.runtime.keyring import Keyring
    from penstock.runtime.state import State

_NONE: frozenset[str] = frozenset()


class ModelAccess:
    """What one state and the stored access groups allow. A model is in the groups that ``model_info.access_groups`` of
    its deployments names, and in the stored ones that name it."""

    def __init__(self, state: State, keyring: Keyring | None) -> None:
        self.state = state
        self.revision = -1 if keyring is None else keyring.revision
        self._keyring = keyring
        self._groups: dict[str, frozenset[str]] = {}
        for target in state.targets:
            named = target.deployment.info.get("access_groups")
            if isinstance(named, list | tuple) and named:
                name = target.deployment.model_name
                self._groups[name] = self._groups.get(name, _NONE) | {str(one) for one in named}

    @cached_property
    def _stored(self) -> tuple[tuple[frozenset[str], tuple[str, ...]], ...]:
        return () if self._keyring is None else tuple(_stored(self._keyring))

    def groups(self, model: str) -> Collection[str]:
        """Return the access groups that a model is in."""
        if not self._groups and not self._stored:
            return _NONE
        found = self.state.catalog.find(model)
        names = {model} if found is None else {model, found.group}
        groups = {one for name in names for one in self._groups.get(name, _NONE)}
        for members, titles in self._stored:
            if any(name in members or _fits(members, name) for name in names):
                groups.update(titles)
        return groups

    def all_groups(self) -> list[str]:
        """List the access groups that there are."""
        of_config = (one for groups in self._groups.values() for one in sorted(groups))
        return list(dict.fromkeys((*of_config, *(titles[-1] for _, titles in self._stored))))

    def check(self, caller: Caller, model: str) -> None:
        """Refuse a model that a caller may not call. Raises one of the "..._model_denied"."""
        check_model(caller, model, self.groups)

    def check_for(self, holders: Iterable[Holder], model: str) -> None:
        """Refuse a model that somebody may not call whom a request counts against."""
        for holder in holders:
            if holder.models and not may_call(holder, model, self.groups):
                raise denied(holder.kind, model)

    def may(self, caller: Caller, model: str) -> bool:
        """Tell whether a caller may call a model."""
        return all(may_call(holder, model, self.groups) for holder in caller.holders if holder.models)

    def visible(self, caller: Caller) -> list[str]:
        """List the public names that a caller may call, wildcards included; of a wildcard that it may not, the names
        behind it that its lists have."""
        names = self.state.catalog.names()
        if not any(holder.models for holder in caller.holders):
            return names
        listed = dict.fromkeys(name for holder in caller.holders for name in holder.models if "*" not in name)
        found: dict[str, None] = {}
        for name in names:
            if self.may(caller, name):
                found[name] = None
            elif "*" in name:
                behind = (one for one in listed if match(name, one) is not None and self.may(caller, one))
                found.update(dict.fromkeys(behind))
        return list(found)


def _stored(keyring: Keyring) -> Iterable[tuple[frozenset[str], tuple[str, ...]]]:
    """Yield the models and the names of each stored access group: its id, then what people call it."""
    for row in keyring.rows("access_group"):
        body = fields_of(row)
        members = _texts(body, "access_model_names") or _texts(body, "models")
        if members:
            yield frozenset(members), (row.id, str(body.get("access_group_name") or row.id))


def _texts(body: Mapping[str, object], name: str) -> list[str]:
    found = body.get(name)
    return [str(one) for one in found] if isinstance(found, list) else []


def _fits(members: Collection[str], name: str) -> bool:
    return any("*" in one and match(one, name) is not None for one in members)

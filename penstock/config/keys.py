"""The one table of config keys: validation, warnings and docs/config.md all read it.

To make Penstock act on a key, change its status from `known` to `acted` in the row, and nothing else here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from penstock.config.keys_cache import CACHE
from penstock.config.keys_engines import ENGINE, ENGINES, GROUP
from penstock.config.keys_general import GENERAL, TOP
from penstock.config.keys_guards import GUARD, GUARD_PARAMS
from penstock.config.keys_litellm import LITELLM
from penstock.config.keys_params import CREDENTIAL, ENTRY, INFO, PARAMS
from penstock.config.keys_redis import REDIS
from penstock.config.keys_router import ROUTER


class Key(NamedTuple):
    """A config key. `status` is `acted`, `known` (understood, without effect yet) or `sent` (a request parameter);
    `default` is LiteLLM's."""

    name: str
    spec: str
    status: str
    default: object
    meaning: str


class Table:
    """The keys of one section. `place` is the section's path as users write it."""

    __slots__ = ("_patterns", "place", "rows")

    def __init__(self, place: str, rows: Iterable[tuple[str, str, str, object, str]]) -> None:
        self.place = place
        self.rows: Mapping[str, Key] = {row[0]: Key._make(row) for row in rows}
        self._patterns = tuple(key for name, key in self.rows.items() if "*" in name)

    def get(self, name: str) -> Key | None:
        """Find the row for `name`, by name or by pattern."""
        found = self.rows.get(name)
        if found is not None or "*" in name:
            return found
        for key in self._patterns:
            if fnmatchcase(name, key.name):
                return key
        return None

    def names(self) -> list[str]:
        """List all names that are not patterns."""
        return [name for name in self.rows if "*" not in name]


top = Table("", TOP)
entry = Table("model_list[]", ENTRY)
params = Table("model_list[].litellm_params", PARAMS)
info = Table("model_list[].model_info", INFO)
router = Table("router_settings", ROUTER)
litellm = Table("litellm_settings", LITELLM)
cache = Table("litellm_settings.cache_params", CACHE)
general = Table("general_settings", GENERAL)
coordination = Table("general_settings.coordination_redis", REDIS)
credential = Table("credential_list[]", CREDENTIAL)
engines = Table("engines", ENGINES)
engine = Table("engines.models.*", ENGINE)
engine_group = Table("engines.groups[]", GROUP)
guard = Table("guardrails[]", GUARD)
guard_params = Table("guardrails[].litellm_params", GUARD_PARAMS)

TABLES = (
    top,
    entry,
    params,
    info,
    router,
    litellm,
    cache,
    general,
    coordination,
    credential,
    engines,
    engine,
    engine_group,
    guard,
    guard_params,
)
"""Every table, in the order of the documentation."""


def elsewhere(name: str, here: Table) -> str | None:
    """Tell where a key that is unknown in `here` belongs, or None. Inside an entry of `model_list` its other blocks
    come first."""
    near, far = (params, info, entry), (general, litellm, router)
    for table in (*near, *far, top) if here in near else (*far, *near, top):
        if table is not here and name in table.rows:
            return table.place or "the top level"
    return None

"""Who can be called: the registry of providers, one row each.

from penstock.core.providers import PROVIDERS, get
from penstock.core.providers.resolve import resolve, endpoint, credential, auth_headers
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from penstock.core.providers import compatible, compatible_more, local, media, own
from penstock.core.providers.names import PROVIDER_ALIASES
from penstock.core.providers.spec import Provider, Quirks

__all__ = ["PROVIDERS", "Provider", "Quirks", "get"]


def _registry() -> Mapping[str, Provider]:
    rows = compatible.ROWS + compatible_more.ROWS + local.ROWS + own.ROWS + media.ROWS
    table = {provider.name: provider for provider in rows}
    if len(table) != len(rows):
        names = [provider.name for provider in rows]
        raise ValueError(f"two rows with one name: {sorted({name for name in names if names.count(name) > 1})}")
    return MappingProxyType(table)


PROVIDERS: Mapping[str, Provider] = _registry()
"""Name -> row, in the order of the tables."""


def get(name: str) -> Provider | None:
    """Return the row of a provider by its name or another spelling of it (`vllm` is `hosted_vllm`); None if there is
    none."""
    return PROVIDERS.get(name) or PROVIDERS.get(PROVIDER_ALIASES.get(name, ""))

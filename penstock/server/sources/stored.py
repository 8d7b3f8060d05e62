"""The stored models as a source: what was sent to /model/new, and outlives reloads of the config; and models of the
config whose credentials are stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.server.sources.base import Broken, Source, SourceContent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.config import Config
    from penstock.config.sent import Sent
    from penstock.stores.base import ModelStore, StoredModel

_FEW = 50  # entries that are read in the event loop: about ten milliseconds


class StoredSource(Source):
    """Gives what is in a store. ``revision``: of the store, when it was asked last. An entry is read again when it was
    changed, or the config around it: it may name a credential or a variable."""

    def __init__(self, store: ModelStore) -> None:
        self.name = "the stored models"
        self.last = SourceContent()  # until somebody sends one, which most gateways never see
        self.revision = 0
        self._store = store
        self._around: tuple[object, ...] = ()
        self._read: dict[str, tuple[StoredModel, Sent]] = {}

    async def load(self, config: Config) -> SourceContent:
        from penstock.config import Problem
        from penstock.config.sent import read_waiting
        from penstock.core.providers.resolve import resolve

        try:
            stored = await self._store.read_all()
        except OSError as error:
            raise Broken(f"cannot be reached ({error.strerror or error})") from None
        around = (config.raw, config.environment, config.general, stored.credentials)
        known = self._read if self._around == around else {}
        fresh = [model for model in stored.models if model.id not in known or known[model.id][0] != model]
        if len(fresh) > _FEW:
            found = await asyncio.to_thread(_read, fresh, config, stored.credentials)
        else:
            found = _read(fresh, config, stored.credentials)
        self._read = {
            model.id: (model, found[model.id]) if model.id in found else known[model.id] for model in stored.models
        }
        self._around, self.revision = around, stored.revision
        deployments = tuple(sent.deployment for _, sent in self._read.values() if sent.deployment is not None)
        problems = (
            Problem(self.name, 0, f"{id}: {problem.path}", f"{problem.message}; it is left out", "error")
            for id, sent in found.items()
            for problem in sent.errors
        )
        if not config.waiting:
            return SourceContent(deployments, problems=tuple(problems))
        of_file, more = await asyncio.to_thread(read_waiting, config, resolve, stored.credentials)
        return SourceContent((*of_file, *deployments), problems=(*problems, *more))

    async def close(self) -> None:
        await self._store.close()


def _read(
    models: Sequence[StoredModel], config: Config, credentials: Mapping[str, Mapping[str, object]]
) -> Mapping[str, Sent]:
    """Read entries, by their ids. Their `model_info` says who gave them, too."""
    from penstock.config.sent import read_sent
    from penstock.core.providers.resolve import resolve

    found = {}
    for model in models:
        entry: dict[str, Any] = msgspec.json.decode(model.entry)
        sent = read_sent(entry, config, resolve, stored=credentials)
        if (made := sent.deployment) is not None:
            sent = sent._replace(deployment=replace(made, info={**made.info, **model.history}))
        found[model.id] = sent
    return found

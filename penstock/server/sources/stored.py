"""The stored models as a source: what was sent to /model/new, and outlives reloads of the config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.server.sources.base import Broken, Source, SourceContent

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.config.sent import Sent
    from penstock.stores.base import ModelStore, StoredModel


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

        try:
            stored = await self._store.read_all()
        except OSError as error:
            raise Broken(f"cannot be reached ({error.strerror or error})") from None
        around = (config.raw, config.environment, config.general)
        known = self._read if self._around == around else {}
        self._read = {model.id: self._entry(model, config, known) for model in stored.models}
        self._around, self.revision = around, stored.revision
        found = tuple(sent.deployment for _, sent in self._read.values() if sent.deployment is not None)
        problems = (
            Problem(self.name, 0, f"{id}: {problem.path}", f"{problem.message}; it is left out", "error")
            for id, (_, sent) in self._read.items()
            if id not in known
            for problem in sent.errors
        )
        return SourceContent(found, problems=tuple(problems))

    def _entry(
        self, model: StoredModel, config: Config, known: dict[str, tuple[StoredModel, Sent]]
    ) -> tuple[StoredModel, Sent]:
        from penstock.config.sent import read_sent
        from penstock.core.providers.resolve import resolve

        before = known.get(model.id)
        if before is not None and before[0] == model:
            return before
        entry: dict[str, Any] = msgspec.json.decode(model.entry)
        return model, read_sent(entry, config, resolve)

    async def close(self) -> None:
        await self._store.close()

"""Deployments that are kept where everything else that is managed is: they outlive the gateway, and all processes of a
database serve them. What an entry says is sealed, as it holds credentials; so are credentials under a name, which
entries may mean."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.stores.base import Audited, Gone, Outdated, Row, StoredModel, StoredModels
from penstock.stores.kinds import fields_of, shown
from penstock.stores.models import with_model
from penstock.stores.sealing import BadSeal, is_sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.stores.base import Directory
    from penstock.stores.sealing import Sealer

log = logging.getLogger("penstock")
_KINDS = ("model", "credential")
_TRIES = 20
_ENCODE = msgspec.json.Encoder().encode


class DirectoryModelStore:
    """A ``stores.base.ModelStore`` over a directory. ``make_id`` and ``clock``: for lines of the audit log.

    Its revision is the directory's when a model or a credential was changed last: what else is changed there is no
    reason to read deployments again."""

    shared = True

    def __init__(
        self, directory: Directory, sealer: Sealer, make_id: Callable[[], str], clock: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._sealer = sealer
        self._make_id = make_id
        self._clock = clock
        self._one = asyncio.Lock()  # of two looks that end in another order the older one would have the last word
        self._known: dict[str, tuple[int, StoredModel]] = {}  # with its place among the others
        self._credentials: dict[str, Mapping[str, Any]] = {}
        self._told: set[tuple[str, str]] = set()  # rows that do not open, which was said
        self._looked = -1  # the directory's revision up to which is known what there is
        self._revision = 0

    def __repr__(self) -> str:
        return f"DirectoryModelStore({len(self._known)} models)"

    @property
    def lasts(self) -> bool:
        return self._directory.lasts

    async def revision(self) -> int:
        await self._look()
        return self._revision

    async def read_all(self) -> StoredModels:
        await self._look()
        models = [model for _, model in sorted(self._known.values(), key=lambda one: (one[0], one[1].id))]
        return StoredModels(self._revision, tuple(models), dict(self._credentials))

    async def put(self, model: StoredModel) -> None:
        await self._look()
        before = self._known.get(model.id)
        models = {id_: one for id_, (_, one) in self._known.items()}
        with_model(models, model)
        entry = await asyncio.to_thread(self._sealer.seal, model.entry, _place("model", model.id))
        body = {
            "model_id": model.id,
            "model_name": _name_of(model.entry),
            "place": self._looked if before is None else before[0],
            "entry": entry,
        }
        times = model.created_at, model.created_by, model.updated_at, model.updated_by
        row = Row("model", model.id, _ENCODE(body), model.version, *times)
        old = None if before is None else await self._directory.get("model", model.id)
        await self._directory.write([row], [self._audited(row, old, model.updated_at, model.updated_by)])
        await self._look()

    async def delete(self, id: str, who: str = "") -> bool:
        for _ in range(_TRIES):
            row = await self._directory.get("model", id)
            if row is None:
                return False
            try:
                line = Audited(self._make_id(), self._clock(), who, "deleted", "model", id, _shown(row))
                await self._directory.write([Gone("model", id, row.version)], [line])
            except Outdated:
                continue
            await self._look()
            return True
        raise OSError(None, f"the model {id[:120]!r} is being changed by others")

    async def close(self) -> None:
        """Do nothing: the directory is closed by whoever opened it."""

    def _audited(self, row: Row, old: Row | None, at: float, who: str) -> Audited:
        action = "created" if row.version == 1 else "updated"
        return Audited(
            self._make_id(), at, who, action, "model", row.id, b"" if old is None else _shown(old), _shown(row)
        )

    async def _look(self) -> None:
        """Take what was changed since the last look."""
        async with self._one:
            await self._take_changes()

    async def _take_changes(self) -> None:
        now = await self._directory.revision()
        if now == self._looked:
            return
        if self._looked < 0 or now < self._looked:  # the first look, and a database that was put back from a copy
            self._known, self._credentials = {}, {}
            rows: list[Row] = []
            for kind in _KINDS:
                rows += (await self._directory.find(kind)).rows
            gone: Sequence[Gone] = ()
        else:
            changes = await self._directory.since(self._looked)
            now = changes.revision
            rows, gone = [row for row in changes.rows if row.kind in _KINDS], changes.gone
        ours = [one for one in gone if one.kind in _KINDS]
        if rows:
            await asyncio.to_thread(self._take, rows)  # opening many takes its time, and so does importing the cipher
        for one in ours:
            (self._known if one.kind == "model" else self._credentials).pop(one.id, None)  # type: ignore[attr-defined]
        self._looked = now
        if rows or ours:
            self._revision = now

    def _take(self, rows: Sequence[Row]) -> None:
        """Open rows and know them. One that does not open is left out, and told once."""
        for row in rows:
            body = fields_of(row)
            try:
                if row.kind == "model":
                    entry = self._sealer.open(body["entry"], _place("model", row.id))
                    times = row.created_at, row.created_by, row.updated_at, row.updated_by
                    model = StoredModel(row.id, entry, row.version, *times)
                    self._known[row.id] = (int(body.get("place") or 0), model)
                else:
                    self._credentials[row.id] = open_credential(self._sealer, row.id, body)
            except (BadSeal, OSError) as error:
                if (row.kind, row.id) not in self._told:
                    self._told.add((row.kind, row.id))
                    why = getattr(error, "strerror", None) or error
                    log.error("The stored %s %r is left out: what it holds %s.", row.kind, row.id[:120], why)


def seal_values(sealer: Sealer, place: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Seal each value of a mapping that stands in a place. Raises ``NoCipher``."""
    return {key: sealer.seal(_ENCODE(value), f"{place}/{key}") for key, value in values.items()}


def open_values(sealer: Sealer | None, place: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Open what ``seal_values`` sealed; what is not sealed stays as it is. Raises ``BadSeal``, ``NoCipher``."""
    return {
        key: msgspec.json.decode(sealer.open(value, f"{place}/{key}"))
        if sealer is not None and isinstance(value, str) and is_sealed(value)
        else value
        for key, value in values.items()
    }


def seal_credential(sealer: Sealer, name: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Seal each value of a credential. Raises ``NoCipher``."""
    return seal_values(sealer, f"credential/{name}", values)


def open_credential(sealer: Sealer, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Open the values of a credential. Raises ``BadSeal``, ``NoCipher``."""
    values = body.get("credential_values") or {}
    return {
        key: msgspec.json.decode(sealer.open(sealed, _place("credential", name, key))) for key, sealed in values.items()
    }


def _place(kind: str, id_: str, field: str = "entry") -> str:
    return f"{kind}/{id_}/{field}"


def _name_of(entry: bytes) -> str:
    try:
        found = msgspec.json.decode(entry)
    except msgspec.DecodeError:
        return ""
    name = found.get("model_name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


def _shown(row: Row) -> bytes:
    return _ENCODE(shown(row.kind, fields_of(row)))

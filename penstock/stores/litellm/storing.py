"""Models and credentials of LiteLLM's database, into a directory of ours: sealed, each once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.stores.base import Audited, Directory, Row, StoredModel
from penstock.stores.litellm.tables import WHO
from penstock.stores.models_directory import DirectoryModelStore, seal_credential
from penstock.stores.sealing import Sealer

_ENCODE = msgspec.json.Encoder().encode
_LISTS = {"credential": "credential_list", "model": "model_list"}


class Stored(NamedTuple):
    """How many rows of a kind there were in LiteLLM, how many are new, and how many were there (or deleted) here."""

    found: int
    made: int
    there: int


async def store_models(
    directory: Directory,
    sealer: Sealer,
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    dry: bool,
    make_id: Callable[[], str],
) -> dict[str, Stored]:
    """Keep what ``models.read_models`` found, and return what became of it, by kind. ``make_id``: for lines of the
    audit log. Raises ``OSError``, as for a cipher that is missing."""
    known = await directory.since(0)
    there = {(row.kind, row.id) for row in known.rows} | {(gone.kind, gone.id) for gone in known.gone}
    store = DirectoryModelStore(directory, sealer, make_id)
    counts = {}
    for kind, name in _LISTS.items():
        rows = found.get(name) or ()
        new = {_id_of(kind, row): row for row in rows if (kind, _id_of(kind, row)) not in there}
        for id_, row in new.items():
            if dry:
                break
            now = time.time()
            if kind == "model":
                await store.put(StoredModel(id_, _ENCODE(row), 1, now, WHO, now, WHO))
            else:
                body = _ENCODE({**row, "credential_values": seal_credential(sealer, id_, row["credential_values"])})
                line = Audited(make_id(), now, WHO, "imported", kind, id_)
                await directory.write([Row(kind, id_, body, 1, now, WHO, now, WHO)], [line])
        counts[kind] = Stored(len(rows), len(new), len(rows) - len(new))
    return counts


def _id_of(kind: str, row: Mapping[str, Any]) -> str:
    return str(row["model_info"]["id"] if kind == "model" else row["credential_name"])

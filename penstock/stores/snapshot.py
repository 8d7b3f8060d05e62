"""What requests need of the rows, in a file: with it a gateway starts while its database cannot be reached."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from penstock.stores.base import Row
from penstock.stores.kinds import fields_of, shown

KINDS = frozenset(
    "key team member user organization organization_member budget customer tag access_group project".split()
)
"""Who may call, and within which limits. Credentials are in no snapshot."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """``check``: tells with which secret the keys were digested."""

    check: str
    rows: tuple[Row, ...]


def write_snapshot(path: Path, check: str, rows: Iterable[Row]) -> None:
    """Write a file that only its owner reads. One that is half written never has the name. Raises ``OSError``."""
    kept = tuple(_without_secrets(row) for row in rows if row.kind in KINDS)
    new = path.with_name(f".{path.name}-{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(msgspec.msgpack.encode(Snapshot(check, kept)))
    os.replace(new, path)


def read_snapshot(path: Path, check: str) -> tuple[Row, ...] | None:
    """Return the rows of a snapshot; None where there is none, or none of this secret. Raises ``OSError``."""
    try:
        found = msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        return None  # of another version, or no snapshot
    return found.rows if found.check == check else None


def _without_secrets(row: Row) -> Row:
    if row.kind == "key":  # its digests open nothing, and without them no key would be known
        return row
    return msgspec.structs.replace(row, body=msgspec.json.encode(shown(row.kind, fields_of(row))))

"""Where what is managed is changed: every change goes to the store with its line in the audit log, and holds here at
once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.admin.shelf import Shelf
from penstock.core.errors import GatewayError
from penstock.runtime.ids import new_id
from penstock.stores.base import Audited, Gone, Outdated, Row, Taken
from penstock.stores.kinds import KINDS, LONGEST, columns_of, shown

if TYPE_CHECKING:
    from penstock.runtime.keyring import Keyring
    from penstock.stores.base import Directory, Found
    from penstock.stores.sealing import Sealer

ENCODE = msgspec.json.Encoder().encode
Fields = dict[str, Any]


class Step(NamedTuple):
    """One change. ``body`` None: the row goes. ``before``: the row that is there, None for a new one."""

    kind: str
    id: str
    body: Mapping[str, Any] | None
    before: Row | None = None
    action: str = ""


class Desk:
    """Changes rows for somebody. ``store``: where they are kept; ``keyring``: what requests see of them; ``sealer``:
    what seals secrets that are kept, None where none can be. ``who`` is the name of whoever changes something, as the
    audit log is to have it. ``shelf``: what long lists are made of."""

    def __init__(
        self,
        store: Directory,
        keyring: Keyring,
        clock: Callable[[], float] = time.time,
        sealer: Sealer | None = None,
    ) -> None:
        self.sealer = sealer
        self.store = store
        self.keyring = keyring
        self.clock = clock
        self.shelf = Shelf(keyring)

    async def look(self) -> bool:
        """Take what others have changed; return whether there was something. Raises ``OSError``."""
        now, known = await self.store.revision(), self.keyring.revision
        if now == known and self.keyring.complete:
            return False
        # Of a snapshot, and of a database that was put back from a copy, it is not known what changed.
        anew = not known or now < known
        self.keyring.take(await self.store.since(0 if anew else known), anew)
        self.keyring.complete = True
        return True

    async def get(self, kind: str, id_: str) -> Fields | None:
        """Return the fields of a row as the store has it, with its times; None where there is none."""
        row = await self.row(kind, id_)
        return None if row is None else told(row)

    async def row(self, kind: str, id_: str) -> Row | None:
        try:
            return await self.store.get(kind, id_)
        except OSError as error:
            raise away(error) from None

    async def find(self, kind: str, where: Mapping[str, object] | None = None, **more: Any) -> Found:
        """Search rows, see ``Directory.find``. Raises "no_database"."""
        try:
            return await self.store.find(kind, where, **more)
        except OSError as error:
            raise away(error) from None

    async def all_rows(self, kind: str) -> list[Row]:
        """List the rows of a kind that is ``cached``, the oldest first: those in memory, with what others have changed
        until now. Raises "no_database"."""
        try:
            await self.look()
        except OSError as error:
            raise away(error) from None
        return sorted(self.keyring.rows(kind), key=lambda row: (row.created_at, row.id))

    async def add(self, kind: str, id_: str, body: Mapping[str, Any], who: str) -> Fields:
        """Keep a new row and return its fields. Raises "exists", and "no_database"."""
        await self.write([Step(kind, id_, body)], who)
        return {**body, **_times(self.clock(), who)}

    async def change(self, row: Row, body: Mapping[str, Any], who: str, action: str = "updated") -> None:
        """Keep a row anew. Raises "exists", "no_database", and a 409 where somebody else was faster."""
        await self.write([Step(row.kind, row.id, body, row, action)], who)

    async def remove(self, row: Row, who: str) -> None:
        await self.write([Step(row.kind, row.id, None, row)], who)

    async def write(self, steps: Sequence[Step], who: str) -> None:
        """Make several changes at once: all of them or none. Raises "bad_request" for what no database takes, "exists",
        "outdated" and "no_database"."""
        now = self.clock()
        changes: list[Row | Gone] = []
        audits = []
        for step in steps:
            before = step.before
            if step.body is None:
                assert before is not None
                changes.append(Gone(step.kind, step.id, before.version))
            else:
                made = (1, now, who) if before is None else (before.version + 1, before.created_at, before.created_by)
                version, created_at, created_by = made
                _check_texts(step)
                body = ENCODE(step.body)
                changes.append(Row(step.kind, step.id, body, version, created_at, created_by, now, who))
            audits.append(_audited(step, now, who))
        try:
            await self.store.write(changes, audits)
            await self.look()
        except Taken as error:
            text = f"There is another {error.kind.replace('_', ' ')} with this {error.column}; choose another one."
            raise GatewayError("exists", text, param=error.column) from None
        except Outdated as error:
            if all(step.before is None for step in steps):
                text = f"There is one already: {error}."
                raise GatewayError("exists", text, param=KINDS[steps[0].kind].id) from None
            raise GatewayError("outdated", f"Somebody else has changed it meanwhile: {error}. Ask again.") from None
        except OSError as error:
            raise away(error) from None


def told(row: Row) -> Fields:
    """Return a row's fields and its times, without what nobody is shown."""
    body = shown(row.kind, msgspec.json.decode(row.body))
    return {**body, **_times(row.created_at, row.created_by, row.updated_at, row.updated_by)}


def _check_texts(step: Step) -> None:
    """Refuse what can be searched for and fits no index; "bad_request"."""
    assert step.body is not None
    for name, value in {KINDS[step.kind].id: step.id, **columns_of(step.kind, step.body)}.items():
        if isinstance(value, str) and (len(value) > LONGEST or "\0" in value):
            wrong = f"is longer than {LONGEST} characters" if len(value) > LONGEST else "has a NUL character"
            raise GatewayError("bad_request", f"{name} {wrong}.", param=name)


def _times(created: float, by: str, updated: float | None = None, updater: str = "") -> Fields:
    from penstock.core.admit.periods import text_of

    return {
        "created_at": text_of(created),
        "created_by": by,
        "updated_at": text_of(created if updated is None else updated),
        "updated_by": updater or by,
    }


def _audited(step: Step, now: float, who: str) -> Audited:
    action = step.action or ("deleted" if step.body is None else "created" if step.before is None else "updated")
    before = b"" if step.before is None else ENCODE(shown(step.kind, msgspec.json.decode(step.before.body)))
    after = b"" if step.body is None else ENCODE(shown(step.kind, step.body))
    return Audited(new_id(), now, who, action, step.kind, step.id, before, after)


def away(error: OSError) -> GatewayError:
    """Make the error for a database that cannot be reached. Its own words may name hosts and users: they are logged,
    and not told."""
    return GatewayError("no_database", "The database cannot be reached; nothing was changed.", retry_after=5)

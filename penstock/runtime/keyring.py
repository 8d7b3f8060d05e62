"""The virtual keys, and whoever stands behind them, in memory: a look-up on the way in never waits for a database.

What is kept of a key is an HMAC-SHA-256 with the gateway's own secret: whoever reads the database cannot use it, nor
try out keys against it. A key is looked up by that digest, so how long it takes says nothing about how near it was.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from penstock.core.admit.caller import Caller, Reading, read_caller
from penstock.core.admit.given import caller_of
from penstock.core.admit.holders import Bad, Holder, read_holder
from penstock.core.errors import GatewayError
from penstock.stores.base import Changes, Row

log = logging.getLogger("penstock")
LONGEST = 1024  # bytes of a key; more is none
PREFIX = b"sk-"
_BLOCK = 64  # bytes of SHA-256
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_NEVER: Mapping[str, Any] = {}


class _Addressed(msgspec.Struct):
    """What of a user's row says by which address it is known."""

    user_email: str | None = None


_ADDRESS = msgspec.json.Decoder(_Addressed).decode


class Keyring:
    """All rows that requests need, by kind and id, and the callers read from them. ``secret``: what keys are digested
    with. ``old``: of keys that came from LiteLLM and were used since, by id: the plain digest, and ours, which is to be
    kept in its place. ``complete``: the rows have been read; until then nobody can say that a key is unknown.

    Changes are taken whole, between two requests; other threads may look up at the same time."""

    def __init__(self, secret: bytes, how: Reading = Reading()) -> None:  # noqa: B008
        # HMAC-SHA-256 with what depends on the secret alone done: ``hmac.digest`` does it each time, and lets go of
        # Python's lock, which a thread that keeps books then has.
        block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self._how = how
        self._rows: dict[str, dict[str, Row]] = {}  # by kind and id
        self._ids: dict[str, tuple[str, float]] = {}  # digest -> id of the key, and until when it opens (0 = for good)
        self._plain = False  # some digests are LiteLLM's plain SHA-256
        self._callers: dict[str, Caller] = {}
        self._holders: dict[tuple[str, str], Holder | None] = {}
        self._addresses: frozenset[str] | None = None  # of users, read when somebody asks
        self._lock = threading.Lock()
        self.old: dict[str, tuple[str, str]] = {}
        self.revision = 0
        self.complete = True

    # Rows. ------------------------------------------------------------------------------------------------------------

    def take(self, changes: Changes, anew: bool = False) -> None:
        """Take rows as they are now in the place of what they were. ``anew``: they are all there are."""
        with self._lock:
            if anew:
                self._rows, self._ids, self._plain = {}, {}, False
            elif changes.revision <= self.revision and self.revision:
                return  # another thread was faster
            for gone in changes.gone:
                row = self._rows.get(gone.kind, {}).pop(gone.id, None)
                if row is not None and row.kind == "key":
                    self._forget(row)
            for row in changes.rows:
                of_kind = self._rows.setdefault(row.kind, {})
                before = of_kind.get(row.id)
                of_kind[row.id] = row
                if row.kind == "key":
                    if before is not None:
                        self._forget(before)
                    self._learn(row)
            self.revision = changes.revision
            if anew or "user" in {*(row.kind for row in changes.rows), *(gone.kind for gone in changes.gone)}:
                self._addresses = None
            # New tables instead of emptied ones: a look-up that runs in another thread ends in the old ones.
            self._callers, self._holders = {}, {}

    def body(self, kind: str, id_: str) -> Mapping[str, Any] | None:
        """Return the fields of a row; None where there is none."""
        row = self.row(kind, id_)
        return None if row is None else _DECODE(row.body)

    def row(self, kind: str, id_: str) -> Row | None:
        of_kind = self._rows.get(kind)
        return None if of_kind is None else of_kind.get(id_)

    def rows(self, kind: str) -> Collection[Row]:
        """List the rows of a kind."""
        return list(self._rows.get(kind, _NEVER).values())

    def has_address(self, address: str) -> bool:
        """Tell whether an e-mail address is that of a user, in any case."""
        known = self._addresses
        if known is None:
            read = (_ADDRESS(row.body).user_email for row in self.rows("user") if b"user_email" in row.body)
            known = self._addresses = frozenset(one.lower() for one in read if one)
        return address.lower() in known

    def user_of_address(self, address: str) -> str | None:
        """Return the id of the user who has an e-mail address, in any case; None for nobody, and for several."""
        wanted = address.lower()
        found = [row.id for row in self.rows("user") if (_ADDRESS(row.body).user_email or "").lower() == wanted]
        return found[0] if len(found) == 1 and wanted else None

    def all_rows(self) -> Collection[Row]:
        return [row for of_kind in list(self._rows.values()) for row in list(of_kind.values())]

    # Keys. ------------------------------------------------------------------------------------------------------------

    def digest(self, key: bytes) -> str:
        """Digest a key as it is kept."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(key)
        outer.update(inner.digest())
        return outer.hexdigest()

    def find(self, key: bytes) -> Caller:
        """Return whom a key belongs to. Raises "key_unknown", and "unauthorized" for what is none. Whether it is
        blocked or over is the gate's to ask."""
        if len(key) > LONGEST:
            raise self._unknown(key)
        found = self._ids.get(self.digest(key))
        if found is not None and found[1] and time.time() > found[1]:  # one that was replaced opens for a while yet
            found = None  # and then takes the way of one that is none, with all its digests
        if found is None and self._plain:
            found = self._find_old(key)
        if found is None:
            raise self._unknown(key)
        caller = self._callers.get(found[0])
        return self._read(found[0]) if caller is None else caller

    def caller(self, id_: str) -> Caller | None:
        """Return whom the key of an id belongs to."""
        if self.row("key", id_) is None:
            return None
        return self._callers.get(id_) or self._read(id_)

    def describe(self, key: bytes, given: Mapping[str, Any]) -> Caller:
        """Make the caller that somebody else describes, over what is stored of its team, user and organisation. Raises
        ``Bad``."""
        return caller_of(self.digest(key), given, self.body, self._how)

    def id_of(self, given: str) -> str | None:
        """Return the id of a key that somebody names: by itself, by its id, or by a digest of it."""
        if self.row("key", given) is not None:
            return given
        found = self._ids.get(given) or self._ids.get(self.digest(given.encode()[:LONGEST]))
        if found is None and self._plain:
            found = self._ids.get(hashlib.sha256(given.encode()[:LONGEST]).hexdigest())
        return None if found is None else found[0]

    def holder(self, kind: str, id_: str) -> Holder | None:
        """Return the limits of a customer or a tag, which a request names; None where nothing is known of it."""
        name = (kind, id_)
        if name not in self._holders:
            row = self.body(kind, id_)
            if row is None:
                return None  # not kept: what does not exist has no bound
            budget_id = row.get("budget_id")
            budget = self.body("budget", budget_id) if isinstance(budget_id, str) else None
            self._holders[name] = read_holder(kind, id_, row, budget)
        return self._holders[name]

    def _read(self, id_: str) -> Caller:
        callers = self._callers
        try:
            caller = read_caller(id_, self.body("key", id_) or _NEVER, self.body, self._how)
        except (Bad, ValueError) as error:
            log.error("The key %s is refused, because what is stored for it cannot be read: %s", id_[:12], error)
            raise GatewayError(
                "unauthorized", "Authentication Error, this key cannot be used: its limits cannot be read."
            ) from None
        callers[id_] = caller
        return caller

    def _find_old(self, key: bytes) -> tuple[str, float] | None:
        plain = hashlib.sha256(key).hexdigest()
        found = self._ids.get(plain)
        if found is not None and found[1] and time.time() > found[1]:
            return None
        if found is not None:
            self.old[found[0]] = (plain, self.digest(key))
        return found

    def _unknown(self, key: bytes) -> GatewayError:
        if self.complete or not key.startswith(PREFIX):
            return _unknown(key)
        text = "The keys cannot be looked up: the database cannot be reached."
        return GatewayError("no_database", text, retry_after=5)

    def _learn(self, row: Row) -> None:
        for one in _DECODE(row.body).get("digests") or ():
            self._ids[one["digest"]] = (row.id, float(one.get("until") or 0))
            self._plain = self._plain or one.get("form") == "sha256"

    def _forget(self, row: Row) -> None:
        for one in _DECODE(row.body).get("digests") or ():
            if self._ids.get(one["digest"], ("", 0))[0] == row.id:
                del self._ids[one["digest"]]


def masked(key: bytes) -> str:
    """Return of a key what may be shown: its last four characters, as LiteLLM does."""
    text = key.decode("latin-1")
    text = "".join(c if c.isprintable() and c.isascii() else "?" for c in text[-4:]) if len(text) >= 12 else ""
    return f"sk-...{text}" if text else "sk-..."


def _unknown(key: bytes) -> GatewayError:
    if not key.startswith(PREFIX):
        return GatewayError(
            "unauthorized", "Authentication Error, LiteLLM Virtual Key expected: a key is expected to start with 'sk-'."
        )
    return GatewayError("key_unknown", f"Authentication Error, no such key here: {masked(key)}.")

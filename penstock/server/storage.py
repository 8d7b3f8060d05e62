"""The database of a serving process: which one, how it is opened, and how this process hears of what others change."""

from __future__ import annotations

import asyncio
import hmac
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.desk import Desk
from penstock.core.admit.caller import Reading
from penstock.core.errors import GatewayError
from penstock.runtime.keyring import Keyring
from penstock.server import statedir
from penstock.server.bell import Bell
from penstock.server.options import Refused, master_key
from penstock.server.sources.base import gather
from penstock.stores.base import RECOMPUTED, Changes
from penstock.stores.sealing import Sealer
from penstock.stores.snapshot import read_snapshot, write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from penstock.config import Config, Problem
    from penstock.server.options import ServeOptions
    from penstock.server.sources.base import Source
    from penstock.stores.base import Directory, Store
    from penstock.stores.sql.address import Address
    from penstock.stores.sql.database import Database

log = logging.getLogger("penstock")
LOOK = 0.25  # seconds between two looks at what other processes changed: one small read
LOOK_WHILE_AWAY = 1.0
SNAPSHOT_EVERY = 5.0  # seconds at least between two snapshots: each has all rows
SETTINGS = "PENSTOCK_STORED_SETTINGS"
_CHECKED = b"penstock: the secret of this database's keys"
_WHO = "penstock"


class Storage:
    """A database and what is known of it. ``directory``: what is managed; ``spend``: what was spent; ``kept``: small
    values with an end. ``desk`` and ``keyring``: where rows are changed, and looked up. ``secret``: the gateway's own,
    for what is to be digested or encrypted. ``serves_without``: requests are served by the last snapshot while the
    database cannot be reached. ``connected``: it could be reached at the last look. ``done``: what was done to its
    tables at the start, "" for nothing."""

    def __init__(self, database: Database, secret: bytes, how: Reading, snapshot: Path | None) -> None:
        from penstock.stores.sql.directory import SqlDirectory
        from penstock.stores.sql.kept import SqlStore
        from penstock.stores.sql.spend import SqlSpendStore

        self.database = database
        self.directory: Directory = SqlDirectory(database)
        self.spend = SqlSpendStore(database)
        self.kept: Store = SqlStore(database)
        self.secret = secret
        self.keyring = Keyring(secret, how)
        self.sealer = Sealer(secret)
        self.desk = Desk(self.directory, self.keyring, sealer=self.sealer)
        self.serves_without = snapshot is not None
        self.connected = False
        self.done = ""
        self.bell = Bell()  # rings when there may be something new
        self.on_recomputed: Callable[[], None] | None = None  # is told that what was spent is another amount
        self._recomputed = 0  # version of the row that says so
        self._check = check_of(secret)
        self._ready = False
        self._trouble = ""
        self._snapshot = snapshot
        self._snapped = -1  # revision of the last snapshot
        self._snap_at = 0.0

    @property
    def where(self) -> str:
        return self.database.address.where

    @property
    def usable(self) -> bool:
        """Tell whether requests can be judged: by the database, or without it."""
        return self.connected or (self.serves_without and self.keyring.complete)

    def open(self) -> None:
        """Make the tables, and read all rows. Where the database cannot be reached, take those of the last snapshot.
        Raises ``Refused`` where waiting would not help."""
        from penstock.stores.sql.database import MissingDriver
        from penstock.stores.sql.directory import changes
        from penstock.stores.sql.migrate import Unusable, prepare

        self.keyring.complete = False
        try:
            self.done = prepare(self.database, self._check)
            self.keyring.take(self.database.read_now(lambda c: changes(c, 0)), anew=True)
        except (Unusable, MissingDriver) as error:
            raise Refused(f"the database ({self.where}) cannot be used: {_text(error)}.") from None
        except OSError as error:
            self._tell_away(error)
            self._take_snapshot()
            return
        self.keyring.complete = self.connected = self._ready = True

    def _take_snapshot(self) -> None:
        if self._snapshot is None:
            return
        try:
            rows = read_snapshot(self._snapshot, self._check)
        except OSError as error:
            log.error("the snapshot %s cannot be read: %s", self._snapshot, _text(error))
            return
        if rows is not None:
            self.keyring.take(Changes(0, rows), anew=True)
            self.keyring.complete = True
            log.warning("requests are served by the last snapshot of the keys: %s", self._snapshot)

    async def watch(self) -> None:
        """Take what other processes change, until cancelled; and whatever is to be done now and then."""
        from penstock.stores.sql.listening import open_listener

        loop, rung = asyncio.get_running_loop(), 0
        listener = open_listener(self.database.address, lambda: loop.call_soon_threadsafe(self.bell.ring))
        try:
            while True:
                rung = await self.bell.wait(rung, LOOK if self.connected else LOOK_WHILE_AWAY)
                await self._look()
        finally:
            if listener is not None:
                listener.close()

    async def _look(self) -> None:
        try:
            if not self._ready:
                await self._prepare()
            await self.desk.look()
            self._look_at_spend()
            self._tell_back()
            if self.keyring.old:
                await self._rehash()
            await self._snap()
        except OSError as error:
            self._tell_away(error)
        except GatewayError as error:  # of a change that somebody else's was faster than
            log.info("keys from LiteLLM are digested anew a little later: %s", error.message)
        except Exception:  # boundary: a bug of ours here must not end the looks that come after it
            log.exception("what was changed in the database could not be taken")
            await asyncio.sleep(10 * LOOK_WHILE_AWAY)

    async def close(self) -> None:
        await asyncio.to_thread(self.database.close)

    async def _prepare(self) -> None:
        from penstock.stores.sql.migrate import Unusable, prepare

        try:
            self.done = await asyncio.to_thread(prepare, self.database, self._check)
        except Unusable as error:
            raise OSError(_text(error)) from None
        self._ready = True

    def _look_at_spend(self) -> None:
        row = self.keyring.row("note", RECOMPUTED)
        if row is not None and row.version != self._recomputed:
            self._recomputed = row.version
            if self.on_recomputed is not None:
                self.on_recomputed()

    async def _rehash(self) -> None:
        """Keep keys that came from LiteLLM, and were used since, by digests of ours."""
        for id_, (plain, ours) in list(self.keyring.old.items()):
            row = await self.directory.get("key", id_)
            if row is not None:
                body: dict[str, Any] = msgspec.json.decode(row.body)
                digests = body.get("digests") or []
                body["digests"] = [_renewed(one, ours) if one["digest"] == plain else one for one in digests]
                if body["digests"] != digests:
                    await self.desk.change(row, body, _WHO, "rehashed")
            self.keyring.old.pop(id_, None)

    async def _snap(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._snapshot is None or self._snapped == self.keyring.revision or now < self._snap_at:
            return
        self._snapped, self._snap_at = self.keyring.revision, now + SNAPSHOT_EVERY
        try:
            await asyncio.to_thread(write_snapshot, self._snapshot, self._check, self.keyring.all_rows())
        except OSError as error:
            log.error("the snapshot %s cannot be written: %s", self._snapshot, _text(error))

    def _tell_away(self, error: OSError) -> None:
        text = _text(error)
        if self.connected or text != self._trouble:
            log.error("the database (%s) cannot be reached: %s", self.where, text)
        self.connected, self._trouble = False, text

    def _tell_back(self) -> None:
        if not self.connected:
            log.warning("the database (%s) is there", self.where)
        self.connected, self._trouble = True, ""


def check_of(secret: bytes) -> str:
    """Return the value by which a database knows the secret of its keys."""
    return hmac.digest(secret, _CHECKED, "sha256").hex()


def open_storage(config: Config, options: ServeOptions) -> Storage | None:
    """Open the database that a config wants; None where it wants none. Waits for it. Raises ``Refused``."""
    address, asked = database_address(config, options)
    if address is None:
        return None
    from penstock.stores.sql.database import Database

    env = config.environment
    folder = statedir.state_folder(options.state_dir, env)
    try:
        secret = statedir.read_secret(env, folder)
        if address.kind == "sqlite":
            Path(address.database).parent.mkdir(0o700, parents=True, exist_ok=True)
    except (Refused, OSError) as error:
        if asked:
            raise error if isinstance(error, Refused) else Refused(f"{address.where}: {_text(error)}.") from None
        log.warning("no keys can be made, and nothing is kept: %s. Name another folder with --state-dir.", _text(error))
        return None
    values = config.general.values
    snapshot = folder / statedir.SNAPSHOT if values.get("allow_requests_on_db_unavailable") else None
    how = Reading(user_with_team=bool(values.get("apply_user_budget_to_team_keys")))
    storage = Storage(Database(address), secret, how, snapshot)
    storage.open()
    return storage


def takes_settings(config: Config) -> bool:
    """Tell whether the settings of the database are to hold; not so for who has locked himself out by one of them."""
    return config.environment.get(SETTINGS, "").strip().lower() not in ("false", "off", "no", "0")


async def with_settings(config: Config, sources: Sequence[Source], storage: Storage) -> tuple[Config, list[Problem]]:
    """Lay the settings of a database over those of a config; return the two as one, and what was not said before."""
    from penstock.admin.settings import Settings

    async def nothing() -> list[str]:
        return []

    over = Settings(storage.desk, sources[0].check, nothing).stored() if takes_settings(config) else {}
    if not over:
        return config, []
    told = set(sources[0].last.problems) if sources[0].last is not None else set()
    sources[0].over, sources[0].last = over, None
    found, problems = await gather(sources[:1])
    return found or config, [problem for problem in problems if problem not in told]


def database_address(config: Config, options: ServeOptions) -> tuple[Address | None, bool]:
    """Return which database a config wants, None for none, and whether somebody asked for it: one that came by itself
    with a master key is done without where it cannot be made. Raises ``Refused``."""
    url = config.general.database_url
    asked = url is not None or options.state_dir is not None
    if not asked and master_key(config) is None:
        return None, False
    from penstock.stores.sql.address import file_address, read_address

    if url is None:
        env = config.environment
        folder = statedir.state_folder(options.state_dir, env)
        return file_address(folder / statedir.DATABASE), asked or bool(env.get(statedir.VARIABLE))
    values = config.general.values
    more: Mapping[str, Any] = {
        **(values.get("database_extra_connection_params") or {}),
        **_told(connect_timeout=values.get("database_connect_timeout")),
        **_told(socket_timeout=values.get("database_socket_timeout")),
    }
    try:
        return read_address(url, more), True
    except ValueError as error:
        raise Refused(f"general_settings.database_url (or DATABASE_URL) {error}.") from None


def _told(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _renewed(digest: Mapping[str, Any], ours: str) -> dict[str, Any]:
    return {key: value for key, value in digest.items() if key != "form"} | {"digest": ours}


def _text(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

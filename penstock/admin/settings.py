"""Settings that are changed over HTTP: kept in the database, laid over those of the file, checked as those are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.admin.desk import Step
from penstock.config.over import PLACE, Over, check_setting, is_secret
from penstock.core.errors import GatewayError
from penstock.stores.kinds import fields_of
from penstock.stores.sealing import MISSING, BadSeal, NoCipher

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.config import Loaded
    from penstock.stores.base import Row

log = logging.getLogger("penstock")
MOST = 1000  # settings at once, and in all
_KIND = "setting"


class Setting(NamedTuple):
    """A setting that is given; ``value`` None: what the file says of it holds again."""

    section: str
    key: str
    value: Any

    @property
    def id(self) -> str:
        return f"{self.section}.{self.key}"


class Settings:
    """The settings in a database. ``check``: reads the config with settings laid over it; ``serve``: puts into effect
    what is stored now, and returns a sentence for each part of it that does not hold yet."""

    def __init__(
        self, desk: Desk, check: Callable[[Over], Awaitable[Loaded | None]], serve: Callable[[], Awaitable[list[str]]]
    ) -> None:
        self._desk = desk
        self._check = check
        self._serve = serve
        self._one = asyncio.Lock()  # what is checked must be served before the next is checked
        self._serving: set[asyncio.Future[list[str]]] = set()
        self._revision = -1
        self._seen: dict[str, int] = {}
        self._told: set[tuple[str, int]] = set()

    def look(self) -> bool:
        """Tell whether settings were changed since the last look, by whomever."""
        ring = self._desk.keyring
        if ring.revision == self._revision:
            return False
        seen = {row.id: row.version for row in ring.rows(_KIND)}
        self._revision, before, self._seen = ring.revision, self._seen, seen
        return seen != before

    def stored(self) -> dict[str, dict[str, Any]]:
        """Return what is stored, opened. One that does not open is left out, and told once."""
        found: dict[str, dict[str, Any]] = {}
        for row in sorted(self._desk.keyring.rows(_KIND), key=lambda row: row.id):
            body = fields_of(row)
            try:
                value = body["plain"] if "plain" in body else self._open(row, body)
            except (BadSeal, NoCipher) as error:
                if (row.id, row.version) not in self._told:
                    self._told.add((row.id, row.version))
                    log.error(
                        "The stored setting %s is left out: it %s.",
                        row.id,
                        error.strerror if isinstance(error, OSError) else error,
                    )
                continue
            found.setdefault(body["section"], {})[body["key"]] = value
        return found

    async def change(self, given: Sequence[Setting], who: str, may: frozenset[str]) -> list[str]:
        """Keep settings, and serve with them; return what their author should know. Raises "bad_request" for what the
        config could not be served with, "no_database", "not_installed"."""
        _check_all(given, may)
        async with self._one:
            over = await asyncio.to_thread(self.stored)
            _, _, warnings = await self._judge(over, _laid(over, given), given)
            steps = [await self._step(setting) for setting in given]
            await self._desk.write([step for step in steps if step is not None], who)
            return [*warnings, *await self._put_into_effect()]

    async def preview(self, given: Sequence[Setting], may: frozenset[str]) -> tuple[Loaded, Loaded, list[str]]:
        """Return the config as it is and as settings would make it, with what their author should know; nothing is
        kept. Raises as ``change`` does."""
        _check_all(given, may)
        async with self._one:
            over = await asyncio.to_thread(self.stored)
            return await self._judge(over, _laid(over, given), given)

    async def _judge(self, over: Over, changed: Over, given: Sequence[Setting]) -> tuple[Loaded, Loaded, list[str]]:
        """Read the config as it would be. Raises "bad_request" where that has errors that it has not now."""
        try:
            before, after = await self._check(over), await self._check(changed)
        except OSError as error:
            text = f"The config file cannot be read: {error.strerror or error}; nothing was changed."
            raise GatewayError("overloaded", text, retry_after=5) from None
        if before is None or after is None:
            raise GatewayError("bad_request", "This gateway has no settings of its own.")
        known = {(one.path, one.message) for one in before.errors}
        fresh = [one for one in after.errors if (one.path, one.message) not in known]
        if fresh or after.config is None:
            texts = "; ".join(f"{one.path}: {one.message}" for one in fresh[:10])
            raise GatewayError("bad_request", texts or "The config has errors.", param=fresh[0].path if fresh else None)
        ids = tuple(setting.id for setting in given)
        return (
            before,
            after,
            [f"{one.path}: {one.message}" for one in after.warnings if one.file == PLACE and one.path.startswith(ids)],
        )

    async def _step(self, setting: Setting) -> Step | None:
        row = await self._desk.row(_KIND, setting.id)
        if setting.value is None:
            return None if row is None else Step(_KIND, setting.id, None, row)
        body: dict[str, Any] = {"name": setting.id, "section": setting.section, "key": setting.key}
        if not is_secret(*setting):
            return Step(_KIND, setting.id, {**body, "plain": setting.value}, row)
        try:
            sealer = self._desk.sealer
            if sealer is None:
                raise NoCipher(None, MISSING)
            data = msgspec.json.encode(setting.value)
            sealed = await asyncio.to_thread(sealer.seal, data, _place(setting.id))
        except NoCipher:
            raise GatewayError("not_installed", f"{setting.id} cannot be kept: {MISSING}.", param=setting.id) from None
        return Step(_KIND, setting.id, {**body, "value": sealed}, row)

    def _open(self, row: Row, body: Mapping[str, Any]) -> Any:
        if self._desk.sealer is None:
            raise NoCipher(None, MISSING)
        return msgspec.json.decode(self._desk.sealer.open(body["value"], _place(row.id)))

    async def _put_into_effect(self) -> list[str]:
        """Serve what is stored now, also when the client does not wait for it."""
        serving = asyncio.ensure_future(self._serve())
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return await asyncio.shield(serving)


def _check_all(given: Sequence[Setting], may: frozenset[str]) -> None:
    """Refuse settings that are never taken, whatever else is set. Raises "bad_request"."""
    if len(given) > MOST:
        raise GatewayError("bad_request", f"{len(given):,} settings at once; at most {MOST:,} are taken.")
    refused = [one for setting in given if setting.value is not None for one in check_setting(*setting, may)]
    if refused:
        raise GatewayError(
            "bad_request", "; ".join(one.text().partition(": ")[2] for one in refused[:10]), param=refused[0].path
        )


def _laid(over: Over, given: Sequence[Setting]) -> dict[str, dict[str, Any]]:
    """Return what is stored with settings laid over it."""
    changed = {section: dict(values) for section, values in over.items()}
    for section, key, value in given:
        if value is None:
            changed.get(section, {}).pop(key, None)
        else:
            changed.setdefault(section, {})[key] = value
    return changed


def _place(id_: str) -> str:
    return f"setting/{id_}"

"""`penstock spend recompute`: what requests cost, priced anew from the usage that is kept of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from penstock.cli.databases import progress
from penstock.cli.environment import environment
from penstock.cli.tables import print_table
from penstock.core.admit.amount import decimal

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.runtime.prices import PriceMap
    from penstock.runtime.repricing import Repricer
    from penstock.stores.base import Spent
    from penstock.stores.sql.database import Database

WHO = "penstock spend recompute"
_TRIES = 20


class Sums:
    """What was found, by day and model. ``left``: how many requests stay as they are, by why."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.old: Counter[tuple[str, str]] = Counter()
        self.new: Counter[tuple[str, str]] = Counter()
        self.left: Counter[str] = Counter()

    def add(self, old: Spent, new: Spent) -> None:
        """Note a request that costs something else."""
        from penstock.stores.sql.daily import day_of

        of = day_of(old.at), old.target or old.model
        self.requests[of] += 1
        self.old[of] += old.cost
        self.new[of] += new.cost

    def show(self, dry: bool) -> None:
        """Print what costs something else, by day and model, and why the rest stays as it is."""
        if self.requests:
            rows = []
            for of in sorted(self.requests):
                amounts = self.old[of], self.new[of], self.new[of] - self.old[of]
                rows.append((*of, f"{self.requests[of]:,}", *map(_dollars, amounts)))
            print_table(("day", "model", "requests", "old in $", "new in $", "difference"), rows, right=range(2, 6))
            click.echo("")
        old, new = self.old.total(), self.new.total()
        text = f"{self.requests.total():,} requests {'would cost' if dry else 'cost'} something else: "
        click.echo(f"{text}{_dollars(new)} $ instead of {_dollars(old)} $, {_dollars(new - old)} $.")
        for why, count in self.left.most_common():
            click.echo(f"{count:,} stay as they are: {why}.")
        if dry:
            click.echo("Nothing was changed: this was a dry run.")


def price_map(file: Path | None) -> PriceMap:
    """Return the price map, with the prices of a file in front. Raises ``ClickException``."""
    from penstock.runtime.prices import MAP
    from penstock.runtime.repricing import FileMap, Unreadable

    if file is None:
        return MAP
    try:
        return FileMap(file.read_bytes())
    except OSError as error:
        raise click.ClickException(f"--prices {file}: {error.strerror or error}") from None
    except Unreadable as error:
        raise click.ClickException(f"--prices {file}: {error}") from None


def read_config(which: Mapping[str, Any], database: Database) -> Config | None:
    """Read the config whose prices hold, with the models that the database has; None where nobody named one."""
    from penstock.server.sources.base import gather
    from penstock.server.sources.registered import sources_of
    from penstock.server.sources.stored import StoredSource

    if which["config"] is None:
        return None
    sources = sources_of(which["config"], environment)
    config, problems = asyncio.run(gather(sources[:1]))
    for problem in problems:
        if problem.level == "error":
            click.echo(f"{problem.level}: {problem}", err=True)
    if config is None:
        raise click.ClickException(f"{which['config']} cannot be read")
    store = _models(config, which, database)
    if store is None:
        return config
    with_stored, problems = asyncio.run(gather([*sources, StoredSource(store)], again=False))
    for problem in problems:
        click.echo(f"{problem.level}: {problem}", err=True)
    return with_stored or config


def _models(config: Config, which: Mapping[str, Any], database: Database) -> Any:
    """Return the models that were added over HTTP; None where what they say cannot be read here."""
    from penstock.runtime.ids import new_id
    from penstock.server import statedir
    from penstock.server.options import Refused
    from penstock.stores.models_directory import DirectoryModelStore
    from penstock.stores.sealing import Sealer, can_seal
    from penstock.stores.sql.directory import SqlDirectory

    directory = SqlDirectory(database)
    if not can_seal() or not asyncio.run(directory.find("model", limit=1)).total:
        return None
    try:
        folder = statedir.state_folder(which["state_dir"], config.environment)
        secret = statedir.read_secret(config.environment, folder)
    except (Refused, OSError) as error:
        click.echo(f"warning: models that were added over HTTP have no prices here: {error}", err=True)
        return None
    return DirectoryModelStore(directory, Sealer(secret), new_id)


async def recompute(database: Database, repricer: Repricer, since: float, until: float, dry: bool) -> Sums:
    """Price the requests of a stretch of time anew, and keep what is different."""
    from penstock.stores.sql.spend import SqlSpendStore

    store, sums = SqlSpendStore(database), Sums()
    total = sum((await store.count_by_day({}, since, until)).values())
    changed = 0
    try:
        with progress(total, "Pricing anew") as step:
            async for entries in store.scan(since=since, until=until):
                pairs = list(_different(entries, repricer, sums))
                if pairs and not dry:
                    changed += await store.reprice(pairs)
                for old, new in pairs:
                    sums.add(old, new)
                step(len(entries))
    finally:  # also what was changed before an error is told to whoever must know
        if changed:
            await _tell(database, since, until, changed, sums)
    return sums


def _different(entries: Sequence[Spent], repricer: Repricer, sums: Sums) -> list[tuple[Spent, Spent]]:
    found = []
    for old in entries:
        now = repricer.price(old)
        if now.why:
            sums.left[now.why] += 1
        elif now.cost != old.cost:
            found.append((old, msgspec.structs.replace(old, cost=now.cost, price_version=now.version)))
    return found


async def _tell(database: Database, since: float, until: float, changed: int, sums: Sums) -> None:
    """Write down who did it, and let the processes that serve ask anew what was spent."""
    from penstock.runtime.ids import new_id
    from penstock.stores.base import RECOMPUTED, Audited, Outdated, Row
    from penstock.stores.sql.directory import SqlDirectory

    directory, now = SqlDirectory(database), time.time()
    told = {
        "since": since,
        "until": until,
        "requests": changed,
        "old_spend": float(decimal(sums.old.total())),
        "new_spend": float(decimal(sums.new.total())),
    }
    line = Audited(new_id(), now, WHO, "recomputed", "note", RECOMPUTED, b"", msgspec.json.encode(told))
    for _ in range(_TRIES):
        before = await directory.get("note", RECOMPUTED)
        made = (1, now, WHO) if before is None else (before.version + 1, before.created_at, before.created_by)
        row = Row("note", RECOMPUTED, msgspec.json.encode({"name": RECOMPUTED}), *made, now, WHO)
        try:
            await directory.write([row], [line])
            return
        except Outdated:
            continue


def _dollars(pico: int) -> str:
    return f"{decimal(pico):,.6f}"

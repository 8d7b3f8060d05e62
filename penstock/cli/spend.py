"""`penstock spend`: what was spent, summed up, written out, and set beside the bills of providers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.databases import opened, progress, which_database
from penstock.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.cli.spend_files import Write
    from penstock.stores.sql.daily import Day
    from penstock.stores.sql.database import Database

_OF = ("team", "user", "organization", "customer", "tag")  # a sum is of one of them
_BY = ("day", "model", "group", "provider", "key", *_OF)
_USUAL = 30  # days


class _Date(click.ParamType[str]):
    """A day, or how many days ago: ``2026-11-30``, ``7d``."""

    name = "DAY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if text.endswith("d") and text[:-1].isascii() and text[:-1].isdigit() and len(text) < 7:
            return (datetime.now(UTC).date() - timedelta(days=int(text[:-1]))).isoformat()
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            self.fail(f"{text!r} is no day: write 2026-11-30, or 7d for seven days ago", param, ctx)


DAY = _Date()


@click.group(epilog="More: docs/spend.md.")
def spend() -> None:
    """Sum up what requests cost, write it out, and compare it with a provider's bill.

    Works on the database that `penstock serve` would use here, also while it serves. Days are UTC days.

    \b
    penstock spend report                              the last 30 days, by model
    penstock spend report --by team --by day --since 7d
    penstock spend export november.csv --since 2026-11-01 --until 2026-11-30
    penstock spend reconcile --bill costs.csv
    penstock spend recompute --since 7d --dry-run
    """


@spend.command()
@click.option("--by", multiple=True, type=click.Choice(_BY), default=("model",), show_default="model",
              help="What gets a line of its own; may be given several times.")  # fmt: skip
@click.option("--since", type=DAY, help=f"The first day: 2026-11-01, or 7d for seven days ago. Usually {_USUAL}d.")
@click.option("--until", type=DAY, help="The last day. Usually today.")
@click.option("--only", multiple=True, metavar="NAME=VALUE", help="Only of this model, team, ...: --only team=red.")
@click.option("--top", type=click.IntRange(1), default=50, show_default=True, help="So many lines, the dearest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list with a sum each.")
@which_database
def report(
    by: tuple[str, ...], since: str | None, until: str | None, only: tuple[str, ...], top: int, as_json: bool,
    **which: Any,
) -> None:  # fmt: skip
    """Sum up what requests cost.

    A sum is made of one of team, user, organization, customer and tag; requests that have none of it are not in it. A
    request with two tags is in the sums of both.
    """
    by = tuple(dict.fromkeys(by))
    dimension, names, where = _asked(by, _read_only(only))
    since = since or (datetime.now(UTC).date() - timedelta(days=_USUAL)).isoformat()
    if until is not None and until < since:
        raise click.UsageError(f"--until {until} is before --since {since}")
    ordered = "day" if names == ["day"] else "cost"
    with ready(which) as database:
        found = asyncio.run(_sums(database, dimension, where, since, until or "", names, ordered, top))
        aliases = _aliases(database, dimension, found, "key" in names)
    if as_json:
        click.echo(json.dumps([_told(one, by, aliases) for one in found], indent=1))
        return
    rows = [(*_names(one, by, aliases).values(), *_figures(one)) for one in found]
    header = (*by, "requests", "failed", "input", "output", "cached", "cost in $")
    print_table(header, rows, right=range(len(by), len(header)))
    click.echo(f"\n{since} to {until or 'today'}: {_dollars(sum(one.cost for one in found))} $ in {len(found)} lines.")


async def _sums(
    database: Database, dimension: str, where: Mapping[str, object], since: str, until: str, by: Sequence[str],
    order: str, top: int,
) -> list[Day]:  # fmt: skip
    from penstock.stores.sql.spend import SqlSpendStore

    store = SqlSpendStore(database)
    return await store.daily(dimension, where, since, until, by, order, order == "cost", limit=top)


def _read_only(only: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for one in only:
        name, equals, value = one.partition("=")
        if not equals or name not in _BY or name == "day":
            known = ", ".join(name for name in _BY if name != "day")
            raise click.UsageError(f"--only {one}: write NAME=VALUE, with a NAME of {known}")
        given[name] = value
    return given


def _asked(by: tuple[str, ...], only: Mapping[str, str]) -> tuple[str, list[str], dict[str, object]]:
    """Return which sums are meant, by what of them, and which of these."""
    of = list(dict.fromkeys(name for name in (*by, *only) if name in _OF))
    if len(of) > 1:
        raise click.UsageError(f"a sum is of one of {', '.join(_OF)}: {' and '.join(of)} go into no sum together")
    dimension = of[0] if of else "key"
    names = ["name" if name == dimension and of else name for name in by]
    where: dict[str, object] = {"name" if name == dimension and of else name: value for name, value in only.items()}
    return dimension, names, where


def _aliases(database: Database, dimension: str, found: Sequence[Day], keys: bool) -> dict[str, str]:
    """Return the aliases of keys and teams: people know them by these."""
    from penstock.stores.kinds import fields_of
    from penstock.stores.sql.directory import SqlDirectory

    kinds = {"key": {one.key for one in found} if keys else set(), "team": set()}
    if dimension == "team":
        kinds["team"] = {one.name for one in found}

    async def look() -> dict[str, str]:
        told = {}
        for kind, ids in kinds.items():
            for id_ in ids:
                row = await SqlDirectory(database).get(kind, id_) if id_ else None
                alias = fields_of(row).get(f"{kind}_alias") if row is not None else None
                if isinstance(alias, str) and alias:
                    told[id_] = alias
        return told

    return asyncio.run(look())


def _names(one: Day, by: tuple[str, ...], aliases: Mapping[str, str]) -> dict[str, str]:
    names = {name: str(getattr(one, "name" if name in _OF else name)) for name in by}
    return {name: aliases.get(value, value if name != "key" else value[:12]) for name, value in names.items()}


def _told(one: Day, by: tuple[str, ...], aliases: Mapping[str, str]) -> dict[str, Any]:
    shown = _names(one, by, aliases)
    figures = ("requests", "failed", "input", "output", "cache_read", "cache_write", "reasoning", "estimated")
    return {**shown, **{name: getattr(one, name) for name in figures}, "cost": _exact(one.cost)}


def _figures(one: Day) -> tuple[str, ...]:
    counts = (one.requests, one.failed, one.input, one.output, one.cache_read)
    return (*(f"{count:,}" for count in counts), _dollars(one.cost))


def _exact(pico: int) -> float:
    from penstock.core.admit.amount import dollars

    return dollars(pico)


def _dollars(pico: int) -> str:
    from penstock.core.admit.amount import decimal

    return f"{decimal(pico):,.6f}"


@spend.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@click.option("--since", type=DAY, help="The first day. Usually all that is kept.")
@click.option("--until", type=DAY, help="The last day.")
@which_database
def export(file: Path, since: str | None, until: str | None, **which: Any) -> None:
    """Write a line for each request into FILE: CSV, compressed where it ends with .gz, or Parquet (.parquet).

    `-` is the standard output. Costs are exact decimals of dollars. Parquet needs `pip install 'penstock[parquet]'`.
    Memory does not grow with the number of requests.
    """
    from penstock.cli.spend_files import open_writer

    with ready(which) as database, open_writer(file) as write:
        count = asyncio.run(_export(database, since or "", until or "", write))
    click.echo(f"{count:,} requests written to {file}.", err=str(file) == "-")


async def _export(database: Database, since: str, until: str, write: Write) -> int:
    from penstock.stores.sql.spend import SqlSpendStore

    store, count = SqlSpendStore(database), 0
    sums = await store.daily("key", since=since, until=until, by=())
    begin, end = _begin(since) if since else 0.0, _begin(until) + 86400 if until else None
    with progress(sums[0].requests if sums else 0, "Exporting") as told:
        async for rows in store.scan(since=begin, until=end):
            write(rows)
            count += len(rows)
            told(len(rows))
    return count


@spend.command()
@click.option("--bill", "file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="FILE", help="The provider's export: CSV or JSON, also .gz.")  # fmt: skip
@click.option("--provider", multiple=True, help="Compare with these providers of the ledger instead of the bill's own.")
@click.option("--all", "all_rows", is_flag=True, help="Show also what differs by less than a cent.")
@click.option("--fail-over", type=click.FloatRange(0), metavar="PERCENT",
              help="Exit code 1 where the sums differ by more.")  # fmt: skip
@which_database
def reconcile(
    file: Path, provider: tuple[str, ...], all_rows: bool, fail_over: float | None, **which: Any
) -> None:  # fmt: skip
    """Set the ledger beside a provider's bill, by day and model, and show the difference.

    \b
    OpenAI     the CSV of the usage page's costs, or the JSON of GET /v1/organization/costs
    Anthropic  the CSV of the console's costs, or the JSON of GET /v1/organizations/cost_report
    Bedrock    a Cost and Usage Report of AWS, 2.0 or older, as CSV

    Names of models are compared without vendor, date and version: a bill's "Claude Haiku 4.5" is
    claude-haiku-4-5-20251001. A bill that names no models is compared by day. "counted here" are requests of which the
    provider told no usage.
    """
    from penstock.cli import spend_bills

    bill, billed = spend_bills.read_bill(file)
    if not billed:
        raise click.ClickException(f"{file}: {bill.name} has nothing that cost anything")
    with ready(which) as database:
        rows = spend_bills.reconcile(database, bill, billed, provider)
    click.echo(f"{bill.name}, {min(one.day for one in billed)} to {max(one.day for one in billed)}")
    spend_bills.show(rows, all_rows)
    total = sum((one.billed for one in rows), Decimal())
    apart = abs(sum((one.difference for one in rows), Decimal()))
    if fail_over is not None and apart * 100 > total * Decimal(str(fail_over)):
        raise click.exceptions.Exit(1)


@spend.command()
@click.option("--since", type=DAY, required=True, help="The first day: 2026-11-01, or 7d for seven days ago.")
@click.option("--until", type=DAY, help="The last day. Usually today.")
@click.option("--prices", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Prices that hold before those that Penstock knows: LiteLLM's JSON of models.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell what would be different, and change nothing.")
@which_database
def recompute(since: str, until: str | None, prices: Path | None, dry_run: bool, **which: Any) -> None:
    """Price requests anew from the usage that is kept of them.

    By today's prices: those of the config's deployments, with its discounts (name it with --config), else of FILE,
    else of the price map. Rows, sums per day, and what keys, teams and others have spent of their budgets are corrected
    together. A gateway that serves hears of it. Run it again whenever you like: what is right already stays.
    """
    from penstock.cli import spend_recompute
    from penstock.runtime.repricing import Repricer

    if until is not None and until < since:
        raise click.UsageError(f"--until {until} is before --since {since}")
    end = _begin(until or datetime.now(UTC).date().isoformat()) + 86400
    book = spend_recompute.price_map(prices)
    with ready(which) as database:
        repricer = Repricer(spend_recompute.read_config(which, database), book)
        sums = asyncio.run(spend_recompute.recompute(database, repricer, _begin(since), end, dry_run))
    sums.show(dry_run)


def _begin(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


@contextmanager
def ready(which: Mapping[str, Any]) -> Iterator[Database]:
    """Open the database that somebody means, and refuse one whose tables are not those of this version."""
    from penstock.stores.sql import migrate

    with opened(which) as database:
        if database.read_now(migrate.version) != migrate.HEAD:
            raise click.ClickException("its tables are not those of this version: `penstock db upgrade`")
        yield database

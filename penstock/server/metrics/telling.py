"""The text of ``/metrics``: made in slices on the event loop, so that nobody waits for it, and by one scrape at a time.

A thread would hold Python's lock five milliseconds at a time; a slice takes two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from penstock.core.exposition import END, bounds_of, head, pairs, sample
from penstock.runtime.tally import Cell, Labels
from penstock.server.metrics import now as standing
from penstock.server.metrics import ours, theirs
from penstock.server.metrics.counted import Counted, Wanted, happened, tell
from penstock.server.metrics.now import FAMILIES, LEAST, MOST, OWN, Gauge
from penstock.server.metrics.settings import MetricsSettings, read_metrics

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.server.gateway import Gateway

SLICE = 0.002  # seconds
_FIRST_OF_THEIRS = 100  # numbers of tables, under which texts of labels are kept


class Metrics:
    """Tells the metrics of a gateway, once somebody has asked for them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._turn = asyncio.Lock()
        self._read: tuple[Config | None, MetricsSettings] = (None, MetricsSettings())
        self._aliases: dict[str, str] = {}

    @property
    def settings(self) -> MetricsSettings:
        """Return what the config says now."""
        config = self._gateway.state.config
        if self._read[0] is not config:
            self._read = (config, read_metrics(config))
            for cell in chain(self._gateway.tally.cells.values(), self._gateway.tally.events.values()):
                cell.texts.clear()
        return self._read[1]

    async def text(self, is_open: bool) -> bytes:
        """Return all of it, in one of the two forms."""
        settings = self.settings
        async with self._turn:
            found, began = [], time.perf_counter()
            for piece in self._pieces(settings, is_open):
                if piece:
                    found.append(piece.encode())
                if time.perf_counter() - began > SLICE:
                    await asyncio.sleep(0)
                    began = time.perf_counter()
            return b"".join(found)

    def _pieces(self, settings: MetricsSettings, is_open: bool) -> Iterator[str]:
        gateway, wanted = self._gateway, settings.wanted()
        tally = gateway.tally
        tally.fold()
        gateway.pulse.count(tally, gateway.callbacks)
        cells, events = list(tally.cells.values()), list(tally.events.values())
        for others in tally.others():
            yield ""
            cells += others.cells
            events += others.events
        counted = Counted(cells, events, bounds_of(tally.buckets))
        for number, table in enumerate(ours.TABLES):
            yield from tell(table, number, counted, wanted, is_open)
        for row in ours.EVENTS:
            yield from happened(row, counted, wanted, is_open)
        if settings.families != "penstock":
            self._name_teams(cells)
            alias = self._alias
            for number, table in enumerate(theirs.tables(alias), _FIRST_OF_THEIRS):
                yield from tell(table, number, counted, wanted, is_open)
            for row in theirs.events(alias):
                yield from happened(row, counted, wanted, is_open)
            yield from theirs.tried(alias, counted, wanted, is_open)
        yield from self._standing(settings, wanted, is_open)
        if is_open:
            yield END

    def _standing(self, settings: MetricsSettings, wanted: Wanted, is_open: bool) -> Iterator[str]:
        """Yield what stands now."""
        gateway = self._gateway
        sums: dict[str, dict[tuple[str, ...], float]] = {}
        for gauge in chain(standing.process(gateway), standing.shown(gateway)):
            merge(sums, gauge)
        yield ""
        for at, gauge in enumerate(standing.deployments(gateway, True)):
            merge(sums, gauge)
            if not at % 50:
                yield ""
        for each in standing.budgets(gateway, settings.all_budgets):
            if each is None:
                yield ""
            else:
                merge(sums, each)
        for note in gateway.tally.notes():
            for gauge in (Gauge(*row) for row in note):
                if gauge.name in FAMILIES and FAMILIES[gauge.name].how != OWN:
                    merge(sums, gauge)
            yield ""
        yield from written(sums, wanted, is_open)

    def _name_teams(self, cells: Iterable[Cell]) -> None:
        """Look up what the teams of all cells are called, and forget labels where one has another name."""
        keyring = self._gateway.keyring
        teams = {cell.labels.team for cell in cells if isinstance(cell.labels, Labels)}
        found = {}
        for team in teams:
            body = keyring.body("team", team) if keyring is not None and team else None
            found[team] = str((body or {}).get("team_alias") or "")
        if any(found[team] != name for team, name in self._aliases.items() if team in found):
            for cell in cells:
                cell.texts.clear()
        self._aliases = found

    def _alias(self, team: str) -> str:
        return self._aliases.get(team, "")


def merge(into: dict[str, dict[tuple[str, ...], float]], gauge: Gauge) -> None:
    """Take a number among others: of the same labels they are one, as its family says."""
    known = into.setdefault(gauge.name, {})
    before = known.get(gauge.labels)
    how = FAMILIES[gauge.name].how
    if before is None or how == OWN:
        known[gauge.labels] = gauge.value
    elif how == MOST:
        known[gauge.labels] = max(before, gauge.value)
    elif how == LEAST:
        known[gauge.labels] = min(before, gauge.value)
    else:
        known[gauge.labels] = before + gauge.value


def written(sums: Mapping[str, Mapping[tuple[str, ...], float]], wanted: Wanted, is_open: bool) -> Iterator[str]:
    """Yield the text of numbers by family."""
    for name, (family, _) in FAMILIES.items():
        if not wanted.tells(name):
            continue
        lines = [head(family, is_open)]
        for labels, value in sums.get(name, {}).items():
            lines.append(sample(family.sample, pairs(family.labels, labels), value))
            if len(lines) > 200:
                yield "".join(lines)
                lines = []
        yield "".join(lines)

"""Metrics that are sums over cells of ``runtime/tally``: by which labels, and of which numbers.

Metrics with the same labels stand in one ``Table``, so that cells are sorted by labels once for all of them. A label's
text is made once for a cell and kept with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from penstock.core.exposition import COUNTER, Family, head, histogram, pairs, sample
from penstock.runtime.tally import TIMES, Cell, Event, Labels

AT_ONCE = 200  # samples, or a sixteenth of that many histograms, between two looks at the clock


class Sum(NamedTuple):
    """A counter. ``at``: which numbers of a cell it adds up. ``label``: a last label, by which the numbers are told
    apart. ``zero``: it is told also where it is 0."""

    name: str
    help: str
    at: tuple[int, ...]
    last: str = ""
    words: tuple[str, ...] = ()
    zero: bool = False


class Times(NamedTuple):
    """A histogram. ``kind``: of the times of a cell; ``scale``: what a millisecond is in its unit."""

    name: str
    help: str
    kind: int
    scale: float = 0.001


Value = Callable[[Labels], str]
"""Returns a label of a cell."""


class Table(NamedTuple):
    """Metrics with the same labels. ``labels``: their names, and how each is read. ``of``: which cells are told."""

    labels: Mapping[str, Value]
    rows: Sequence[Sum | Times]
    of: Callable[[Labels], bool] = lambda labels: True


class Happened(NamedTuple):
    """A counter of events. ``name``: of ``Event``; ``labels``: their names, and how each is read of an event's own;
    ``of``: which events are told."""

    metric: str
    help: str
    name: str
    labels: Mapping[str, Callable[[tuple[str, ...]], str]]
    of: Callable[[tuple[str, ...]], bool] = lambda labels: True


class Wanted(NamedTuple):
    """What of the metrics is told: ``name`` with ``labels``, None for all of them."""

    tells: Callable[[str], bool]
    keeps: Callable[[str, Sequence[str]], Sequence[str]]


class Counted(NamedTuple):
    """What all processes have counted: ``cells`` of requests, ``events``; ``bounds``: of the buckets, as written."""

    cells: Sequence[Cell]
    events: Sequence[Cell]
    bounds: Sequence[str]


def tell(table: Table, number: int, counted: Counted, wanted: Wanted, is_open: bool) -> Iterator[str]:
    """Yield the text of a table's metrics, in pieces. ``number``: the table's own, under which texts are kept."""
    groups: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for row in table.rows:
        if not wanted.tells(row.name):
            continue
        names = tuple(wanted.keeps(row.name, tuple(table.labels)))
        group = groups.get(names)
        if group is None:
            group = groups[names] = {}
            yield from _group(group, table, names, hash((number, names)), counted.cells)
        if isinstance(row, Sum):
            yield from _sums(row, group, is_open)
        else:
            yield from _times(row, group, counted.bounds, is_open)


def _group(
    into: dict[str, list[Cell]], table: Table, names: Sequence[str], number: int, cells: Iterable[Cell]
) -> Iterator[str]:
    """Sort cells by their labels. Yields nothing, often."""
    values = [table.labels[name] for name in names]
    for at, cell in enumerate(cells):
        text = cell.texts.get(number)
        if text is None:
            labels = cell.labels
            assert isinstance(labels, Labels)
            told = table.of(labels)
            text = cell.texts[number] = pairs(names, [value(labels) for value in values]) if told else _NOT_TOLD
        if text is not _NOT_TOLD:
            into.setdefault(text, []).append(cell)
        if not at % AT_ONCE:
            yield ""


_NOT_TOLD = "\0"


def _sums(row: Sum, group: Mapping[str, Sequence[Cell]], is_open: bool) -> Iterator[str]:
    family = Family(row.name, COUNTER, row.help)
    lines, name = [head(family, is_open)], family.sample
    for text, cells in group.items():
        if not row.words:
            value = sum([cell.values[at] for cell in cells for at in row.at])
            if value or row.zero:
                lines.append(sample(name, text, _plain(value)))
        else:
            for word, at in zip(row.words, row.at, strict=True):
                value = sum([cell.values[at] for cell in cells])
                if value or row.zero:
                    labels = f'{text},{row.last}="{word}"' if text else f'{row.last}="{word}"'
                    lines.append(sample(name, labels, _plain(value)))
        if len(lines) > AT_ONCE:
            yield "".join(lines)
            lines = []
    yield "".join(lines)


def _times(row: Times, group: Mapping[str, Sequence[Cell]], bounds: Sequence[str], is_open: bool) -> Iterator[str]:
    family = Family(row.name, "histogram", row.help)
    lines, name = [head(family, is_open)], family.name
    begin = TIMES + row.kind * (len(bounds) + 1)
    first, end = begin + 1, begin + 1 + len(bounds)
    for text, cells in group.items():
        if len(cells) == 1:
            values = cells[0].values
            counts, total = values[first:end], values[begin]
        else:
            counts = [sum(column) for column in zip(*[cell.values[first:end] for cell in cells], strict=True)]
            total = sum([cell.values[begin] for cell in cells])
        if any(counts):
            lines.append(histogram(name, text, bounds, counts, float(total) * row.scale))
        if len(lines) > AT_ONCE // 16:
            yield "".join(lines)
            lines = []
    yield "".join(lines)


def happened(row: Happened, counted: Counted, wanted: Wanted, is_open: bool) -> Iterator[str]:
    """Yield the text of a counter of events."""
    if not wanted.tells(row.metric):
        return
    names = wanted.keeps(row.metric, tuple(row.labels))
    values = [row.labels[name] for name in names]
    sums: dict[str, Any] = {}
    for at, cell in enumerate(counted.events):
        event = cell.labels
        if isinstance(event, Event) and event.name == row.name and row.of(event.labels):
            text = pairs(names, [value(event.labels) for value in values])
            sums[text] = sums.get(text, 0) + cell.values[0]
        if not at % AT_ONCE:
            yield ""
    yield from counter(Family(row.metric, COUNTER, row.help), sums, is_open)


def counter(family: Family, sums: Mapping[str, Any], is_open: bool) -> Iterator[str]:
    """Yield the text of a counter, of which the sums are known."""
    lines = [head(family, is_open)]
    for text, value in sums.items():
        lines.append(sample(family.sample, text, _plain(value)))
        if len(lines) > AT_ONCE:
            yield "".join(lines)
            lines = []
    yield "".join(lines)


def _plain(value: Any) -> float:
    """Return a sum as a number: dollars are decimals."""
    if isinstance(value, int):
        return value
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number

"""What is counted of each request, for ``/metrics`` and for the series of the overview page.

One ``Cell`` for each set of labels has all numbers of its requests. A request is noted where its record is made, and
counted with the others of its second. Metrics are sums over cells, made when somebody asks (``server/metrics``).

Labels come from the config and from rows that admins made. What a client chooses by itself is none: a model that nobody
has is ``unknown``, names behind a wildcard count once an upstream has answered to them, and beyond ``most`` sets of
labels all is counted under ``other``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from penstock.runtime import series
from penstock.runtime.keeping import HIT, MISS
from penstock.runtime.spending import kind_at

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.core.errors import GatewayError
    from penstock.core.record import Record
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.surface import Surface
    from penstock.runtime.targets import Target

MOST = 10_000  # sets of labels
MOST_OTHERS = 2_000  # sets beyond these that differ in more than who calls
BATCH = 256  # requests that are counted together; those of a second, where there are fewer
FEW = 12  # times that are looked up one by one; more are sorted first
MOST_NAMES = 1_000  # names behind wildcards
UNKNOWN, OTHER = "unknown", "other"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_FOLDED = (UNKNOWN, OTHER)
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # seconds

# The numbers of a cell. Tokens: ``INPUT`` is all input, of which ``CACHED`` were read from a provider's cache.
# ``SAVED``: tokens of answers from our own cache, which are in no other number.
(
    REQUESTS, INPUT, OUTPUT, CACHED, WRITTEN, REASONING, COST, UNPRICED, HITS, SHARED, MISSES, SAVED, DROPPED, RETRIES,
    CONTINUED, BYTES_IN, BYTES_OUT, STREAMS,
) = range(18)  # fmt: skip
TIMES = 18
"""Where the times begin, of answers that went well: for each kind a sum in milliseconds and a count per bucket."""
TOTAL, FIRST, UPSTREAM, OVERHEAD, PER_TOKEN = range(5)


class Labels(NamedTuple):
    """What the requests of a cell have in common. ``key``: the id of a virtual key; ``model``: as clients ask for it;
    ``target``: as its provider calls it; ``error``: a kind of ``core.errors``; ``route``: a path, or what is asked."""

    key: str
    alias: str
    team: str
    user: str
    model: str
    target: str
    target_id: str
    provider: str
    base: str
    status: int
    error: str
    route: str


class Event(NamedTuple):
    """What is counted beside requests: ``name`` says what, ``labels`` are its own."""

    name: str
    labels: tuple[str, ...]


FAILED = "failed"
"""A try that an upstream failed: target id, target, provider, address, error, status, model, key, alias, team."""
FALLBACK = "fallback"
"""A request that went to another group: model, group, "ok" or the error, status, key, alias, team."""
FOLDED = "folded"
"""A set of labels was counted under ``other``."""
SINK = "sink"
"""What became of a record: its sink, and how."""
CPU = "cpu"
"""Seconds of CPU time of a process."""
PAGE = "page"
"""A request for a page or a management URL: method, status. Public pages that went well leave no record."""
COOLED = "cooled"
"""A deployment began to rest: target id, target, provider, address, status."""


class Cell:
    """The numbers of one set of labels. ``texts``: labels as they are written, by metric, see ``server/metrics``.
    ``place``: where the numbers stand in a file that processes share."""

    __slots__ = ("labels", "place", "texts", "values")

    def __init__(self, labels: Labels | Event, width: int) -> None:
        self.labels = labels
        self.values: list[Any] = [0] * width
        self.texts: dict[int, str] = {}
        self.place = -1


class _Group:
    """Requests of one kind that are not counted yet."""

    __slots__ = ("caller", "records", "surface", "target")

    def __init__(self, caller: Caller, surface: Surface | None, target: Target | None) -> None:
        self.caller, self.surface, self.target = caller, surface, target
        self.records: list[Record] = []


class Counts(Protocol):
    """What another process has counted."""

    @property
    def cells(self) -> Sequence[Cell]: ...
    @property
    def events(self) -> Sequence[Cell]: ...


class Shared(Protocol):
    """Where several processes share what they count. ``write``: let the others see a cell as it is now. ``others``:
    what they have counted; ``notes``: what stands with them, name, labels and value of each; ``slots``: of their
    series, of which ``put_slot`` gives them one."""

    def write(self, cell: Cell) -> None: ...
    def put_slot(self, number: int, values: Sequence[float]) -> None: ...
    def others(self) -> Iterable[Counts]: ...
    def notes(self) -> Iterable[Sequence[tuple[str, tuple[str, ...], float]]]: ...
    def slots(self) -> Iterable[Mapping[int, Sequence[float]]]: ...


class Tally:
    """All that one process has counted, once ``fold`` was called. ``knows``: whether a name is that of a configured
    model, as it stands; ``paths``: of the surfaces. ``file``: where several processes share what they count; None for
    one alone."""

    def __init__(
        self,
        knows: Callable[[str], bool],
        paths: Container[str],
        most: int = MOST,
        buckets: tuple[float, ...] = BUCKETS,
        file: Shared | None = None,
    ) -> None:
        self.knows, self.paths, self.file = knows, paths, file
        self.series = series.Series()
        self.cells: dict[tuple[Any, ...], Cell] = {}
        self.events: dict[Event, Cell] = {}
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self._waiting = 0  # requests in these
        self._names: dict[str, str] = {}
        self._wild: set[str] = set()
        self.go_by(buckets, most)

    def go_by(self, buckets: tuple[float, ...], most: int) -> None:
        """Go by other bounds of times, which holds before something is counted, and count more or fewer sets of labels
        by themselves."""
        self.most = most
        if not self.cells:
            self.buckets = buckets
            self._bounds = tuple([bound * 1000 for bound in buckets])
            self._step = len(buckets) + 2

    @property
    def width(self) -> int:
        """Return how many numbers a cell has."""
        return TIMES + 5 * self._step

    def forget_names(self) -> None:
        """Look names up anew: the config has changed."""
        self._names.clear()

    def told(self, minutes: float, step: float, now: float) -> dict[str, Any]:
        """Tell the last minutes as series, those of all processes; see ``Series.told``."""
        self.fold()
        return self.series.told(minutes, step, now, None if self.file is None else self.file.slots)

    def others(self) -> Iterable[Counts]:
        """Return what other processes have counted."""
        return () if self.file is None else self.file.others()

    def notes(self) -> Iterable[Sequence[tuple[str, tuple[str, ...], float]]]:
        """Return what stands with other processes."""
        return () if self.file is None else self.file.notes()

    # On a request's way. ----------------------------------------------------------------------------------------------

    def put(self, call: Call, record: Record) -> None:
        """Note a request that is over, whose attempt is still at hand. It is counted with others of its kind: one by
        one they cost three times that."""
        attempt, surface = call.attempt, call.surface
        if surface is None and attempt is None:
            return self._page(record)
        if record.at >= self.series.until:
            self._turn(record.at)
        caller, caching = call.caller, call.caching
        key = (
            caller.key, caller.alias, record.model, record.target_id, record.status, record.error, call.path,
            None if caching is None else caching.how,
        )  # fmt: skip
        group = self._groups.get(key)
        if group is None:
            target = None if attempt is None else attempt.target
            group = self._groups[key] = _Group(caller, surface, target)
        group.records.append(record)
        self._waiting += 1
        if self._waiting >= BATCH:
            self.fold()
        if record.tries > 1 and call.way is not None and call.way.fallbacks:
            self._fell_back(call, record)

    def _turn(self, at: float) -> None:
        """Go to the slot of the series that a time is in."""
        self.fold()
        if self.file is not None:
            self.file.put_slot(self.series.number, self.series.now)
        self.series.turn(at)

    def tick(self, now: float) -> None:
        """Count what was noted; go with a clock, also with one that was set back. Called about once a second."""
        if self.series.until - series.STEP <= now < self.series.until:
            self.fold()
        else:
            self._turn(now)

    def fold(self) -> None:
        """Count what was noted."""
        groups, self._groups, self._waiting = self._groups, {}, 0
        now = self.series.now
        for key, group in groups.items():
            name = self._names.get(key[2]) or self._name(group.records[0])
            route = key[6] if key[6] in self.paths else kind_at(group.surface)
            of = (key[0], key[1], name, key[3], key[4], key[5], route)
            cell = self.cells.get(of) or self._cell(of, group)
            records, values = group.records, cell.values
            self._add(values, records, key[7])
            if key[5] or key[4] >= 400:
                ours = records[0].fault not in ("client", "nobody")
                now[series.ERRORS if ours else series.CLIENT_ERRORS] += len(records)
            else:
                self._time(values, records)
            if self.file is not None:
                self.file.write(cell)

    def _add(self, values: list[Any], records: Sequence[Record], how: bytes | None) -> None:
        """Add what some requests of one cell used, which had the same to do with the cache."""
        count, now = len(records), self.series.now
        values[REQUESTS] += count
        now[series.REQUESTS] += count
        values[BYTES_IN] += sum([record.bytes_in for record in records])
        values[BYTES_OUT] += sum([record.bytes_out for record in records])
        if sum([record.tries for record in records]) > count:
            values[RETRIES] += sum([record.tries - 1 for record in records if record.tries > 1])
        dropped = [record.dropped for record in records if record.dropped]
        if dropped:
            values[DROPPED] += sum([len(paths) for paths in dropped])
        usages = [record.usage for record in records if record.usage is not None]
        if how is not None:
            now[series.LOOK_UPS] += count
            if how is not MISS:
                values[HITS if how is HIT else SHARED] += count
                now[series.HITS] += count
                values[SAVED] += sum([usage.total for usage in usages])
                return
            values[MISSES] += count
        if not usages:
            return
        read = sum([usage.cache_read for usage in usages])
        written = sum([usage.cache_write + usage.cache_write_1h for usage in usages])
        tokens = sum([usage.fresh for usage in usages]) + read + written
        output = sum([usage.output for usage in usages])
        values[INPUT] += tokens
        values[OUTPUT] += output
        values[CACHED] += read
        values[WRITTEN] += written
        values[REASONING] += sum([usage.reasoning for usage in usages])
        now[series.INPUT] += tokens
        now[series.OUTPUT] += output
        costs = [record.cost for record in records if record.cost is not None]
        if len(costs) < len(usages):
            values[UNPRICED] += len(usages) - len(costs)
        cost = sum(costs)
        values[COST] += cost
        now[series.COST] += cost

    def _time(self, values: list[Any], records: Sequence[Record]) -> None:
        """Add how long requests of one cell took, which went well."""
        totals = [record.ms for record in records]
        over = [record.overhead_ms for record in records]
        self._spread(values, TOTAL, totals)
        self._spread(values, OVERHEAD, over)
        spread(self.series.now, series.LATENCIES, series.BOUNDS, totals)
        if not records[0].target_id:
            return
        upstream = [record.ms - record.overhead_ms for record in records]
        self._spread(values, UPSTREAM, upstream)
        each = [
            ms / record.usage.output
            for ms, record in zip(upstream, records, strict=True)
            if record.usage is not None and record.usage.output
        ]
        if each:
            self._spread(values, PER_TOKEN, each)
        streams = [record.ttft_ms for record in records if record.stream]
        if streams:
            values[STREAMS] += len(streams)
            firsts = [ms for ms in streams if ms is not None]
            self._spread(values, FIRST, firsts)
            spread(self.series.now, series.FIRSTS, series.BOUNDS, firsts)

    def _spread(self, values: list[Any], kind: int, times: list[float]) -> None:
        at = TIMES + kind * self._step
        values[at] += sum(times)
        spread(values, at + 1, self._bounds, times)

    def key_of(self, labels: Labels) -> tuple[Any, ...]:
        """Return what a cell with these labels is kept under."""
        if labels.route == OTHER:
            return (OTHER,)
        return (
            labels.key, labels.alias, labels.model, labels.target_id, labels.status, labels.error, labels.route,
        )  # fmt: skip

    # What is rare. ----------------------------------------------------------------------------------------------------

    def _name(self, record: Record) -> str:
        """Return the label of a model's name."""
        model = record.model
        if not model:
            return ""
        if not self.knows(model) and model not in self._wild:
            if not record.target_id or record.error or record.status >= 400:
                return UNKNOWN
            if len(self._wild) >= MOST_NAMES:
                return OTHER
            self._wild.add(model)
        if len(self._names) >= MOST:
            self._names.clear()
        self._names[model] = model
        return model

    def _page(self, record: Record) -> None:
        """Count a request for a page, or for a URL that there is not."""
        self.count(Event(PAGE, (record.method if record.method in _METHODS else OTHER, str(record.status))))

    def _cell(self, key: tuple[Any, ...], group: _Group) -> Cell:
        """Return the cell of a set of labels that was not there; the one for all others, where there are too many."""
        caller, record, target = group.caller, group.records[0], group.target
        base = "" if target is None or target.origin is None else str(target.origin)
        _, _, name, target_id, status, error, route = key
        called = "" if name in _FOLDED else record.target
        labels = Labels(
            caller.key, caller.alias, caller.team, caller.user, name, called, target_id, record.provider, base, status,
            error, route,
        )  # fmt: skip
        if len(self.cells) >= self.most:
            self.count(Event(FOLDED, ()))
            labels = labels._replace(key=OTHER, alias=OTHER, team=OTHER, user=OTHER)
            key = (OTHER, OTHER, *key[2:])
            if key not in self.cells and len(self.cells) >= self.most + MOST_OTHERS:
                labels = Labels(*(OTHER,) * 9, status=0, error=OTHER, route=OTHER)
                key = (OTHER,)
        found = self.cells.get(key)
        if found is None:
            found = self.cells[key] = Cell(labels, self.width)
        return found

    def _fell_back(self, call: Call, record: Record) -> None:
        """Count a request that another group than the one asked for was to answer."""
        way, caller = call.way, call.caller
        assert way is not None
        name = self._names.get(record.model) or self._name(record)
        labels = (name, way.group, record.error or "ok", str(record.status), caller.key, caller.alias, caller.team)
        self.count(Event(FALLBACK, labels))

    def failed(self, attempt: Attempt, error: GatewayError) -> None:
        """Count a try that failed through its upstream's fault."""
        call, target = attempt.call, attempt.target
        caller = call.caller
        base = "" if target.origin is None else str(target.origin)
        name = self._names.get(call.model) or (call.model if self.knows(call.model) else UNKNOWN)
        labels = (
            target.id, self._target(attempt), target.provider.name, base, error.kind, str(error.status), name,
            caller.key, caller.alias, caller.team,
        )  # fmt: skip
        self.count(Event(FAILED, labels))

    def _target(self, attempt: Attempt) -> str:
        """Return how a try's deployment is called: behind a wildcard only where its name is a label."""
        wild = "*" in attempt.target.account.deployment.model_name
        return "" if wild and attempt.call.model not in self._wild else attempt.target.label

    def cooled(self, attempt: Attempt, error: GatewayError) -> None:
        """Count a deployment that begins to rest."""
        target = attempt.target
        base = "" if target.origin is None else str(target.origin)
        labels = (target.id, self._target(attempt), target.provider.name, base, str(error.status))
        self.count(Event(COOLED, labels))

    def count(self, event: Event, times: float = 1) -> None:
        """Count something that happened beside requests."""
        cell = self.events.get(event)
        if cell is None:
            if len(self.events) >= self.most and event.labels:
                self.count(Event(FOLDED, ()))
                event = Event(event.name, (OTHER,) * len(event.labels))
                cell = self.events.get(event)
            if cell is None:
                cell = self.events[event] = Cell(event, 1)
        cell.values[0] += times
        if self.file is not None:
            self.file.write(cell)


def spread(counts: list[Any], begin: int, bounds: Sequence[float], times: list[float]) -> None:
    """Count times in the buckets that begin at a place. They may be sorted by that."""
    if len(times) < FEW:
        for ms in times:
            counts[begin + bisect_left(bounds, ms)] += 1
        return
    times.sort()
    before = 0
    for at, bound in enumerate(bounds):
        until = bisect_right(times, bound, before)
        if until > before:
            counts[begin + at] += until - before
            before = until
    counts[begin + len(bounds)] += len(times) - before

"""What is counted of each request, for ``/metrics`` and for the series of the overview page.

One ``Cell`` for each set of labels has all numbers of its requests, so a request costs one look-up and a few additions,
in the turn of the loop in which its record is made. Metrics are sums over cells, made when somebody asks
(``server/metrics``).

Labels come from the config and from rows that admins made. What a client chooses by itself is none: a model that nobody
has is ``unknown``, names behind a wildcard count once an upstream has answered to them, and beyond ``most`` sets of
labels all is counted under ``other``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from penstock.runtime import series
from penstock.runtime.keeping import HIT, MISS
from penstock.runtime.spending import kind_at

if TYPE_CHECKING:
    from penstock.core.errors import GatewayError
    from penstock.core.record import Record
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call

MOST = 10_000  # sets of labels
MOST_OTHERS = 2_000  # sets beyond these that differ in more than who calls
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


class Shared(Protocol):
    """Where several processes share what they count."""

    def write(self, cell: Cell) -> None: ...


class Tally:
    """All that one process has counted. ``knows``: whether a name is that of a configured model, as it stands;
    ``paths``: of the surfaces. ``file``: where several processes share what they count; None for one alone."""

    def __init__(
        self,
        knows: Callable[[str], bool],
        paths: Container[str],
        most: int = MOST,
        buckets: tuple[float, ...] = BUCKETS,
        file: Shared | None = None,
    ) -> None:
        self.knows, self.paths, self.most, self.buckets, self.file = knows, paths, most, buckets, file
        self.series = series.Series()
        self.cells: dict[tuple[Any, ...], Cell] = {}
        self.events: dict[Event, Cell] = {}
        self.folded = 0  # requests that were counted under "other"
        self._bounds = tuple([bound * 1000 for bound in buckets])
        self._step = len(buckets) + 2
        self._names: dict[str, str] = {}
        self._wild: set[str] = set()

    @property
    def width(self) -> int:
        """Return how many numbers a cell has."""
        return TIMES + 5 * self._step

    def forget_names(self) -> None:
        """Look names up anew: the config has changed."""
        self._names.clear()

    def told(self, minutes: float, step: float, now: float) -> dict[str, Any]:
        """Tell the last minutes as series, those of all processes; see ``Series.told``."""
        return self.series.told(minutes, step, now)

    # On a request's way. ----------------------------------------------------------------------------------------------

    def put(self, call: Call, record: Record) -> None:
        """Count a request that is over, whose attempt is still at hand."""
        if call.surface is None and call.attempt is None:
            return self._page(record)
        caller, path = call.caller, call.path
        model = record.model
        name = self._names.get(model) or self._name(model, record)
        route = path if path in self.paths else kind_at(call.surface)
        key = (caller.key, caller.alias, name, record.target_id, record.status, record.error, route)
        cell = self.cells.get(key) or self._cell(key, call, record)
        values = cell.values
        values[REQUESTS] += 1
        at = record.at
        now = self.series.now if at < self.series.until else self._turned(at)
        now[series.REQUESTS] += 1
        values[BYTES_IN] += record.bytes_in
        values[BYTES_OUT] += record.bytes_out
        if record.tries > 1:
            values[RETRIES] += record.tries - 1
            if call.way is not None and call.way.fallbacks:
                self._fell_back(call, record, name)
        usage = record.usage
        if usage is not None and not record.cache_hit:
            tokens = usage.fresh + usage.cache_read + usage.cache_write + usage.cache_write_1h
            values[INPUT] += tokens
            values[OUTPUT] += usage.output
            now[series.INPUT] += tokens
            now[series.OUTPUT] += usage.output
            if usage.cache_read:
                values[CACHED] += usage.cache_read
            if usage.cache_write or usage.cache_write_1h:
                values[WRITTEN] += usage.cache_write + usage.cache_write_1h
            if usage.reasoning:
                values[REASONING] += usage.reasoning
        cost = record.cost
        if cost is not None:
            values[COST] += cost
            now[series.COST] += cost
        elif usage is not None:
            values[UNPRICED] += 1
        if call.caching is not None:
            self._cached(call.caching.how, record, values, now)
        if record.dropped:
            values[DROPPED] += len(record.dropped)
        if record.error or record.status >= 400:
            now[series.CLIENT_ERRORS if record.fault in ("client", "nobody") else series.ERRORS] += 1
        else:
            self._time(record, values, now)
        if self.file is not None:
            self.file.write(cell)

    def _time(self, record: Record, values: list[Any], now: list[Any]) -> None:
        """Count how long a request took."""
        bounds, step, ms = self._bounds, self._step, record.ms
        values[TIMES] += ms
        values[TIMES + 1 + bisect_left(bounds, ms)] += 1
        now[series.LATENCIES + bisect_left(series.BOUNDS, ms)] += 1
        at = TIMES + OVERHEAD * step
        overhead = record.overhead_ms
        values[at] += overhead
        values[at + 1 + bisect_left(bounds, overhead)] += 1
        first = record.ttft_ms
        if record.stream:
            values[STREAMS] += 1
            if first is not None:
                at = TIMES + FIRST * step
                values[at] += first
                values[at + 1 + bisect_left(bounds, first)] += 1
                now[series.FIRSTS + bisect_left(series.BOUNDS, first)] += 1
        if record.target_id:
            upstream = ms - overhead
            at = TIMES + UPSTREAM * step
            values[at] += upstream
            values[at + 1 + bisect_left(bounds, upstream)] += 1
            usage = record.usage
            if usage is not None and usage.output:
                upstream /= usage.output
                at = TIMES + PER_TOKEN * step
                values[at] += upstream
                values[at + 1 + bisect_left(bounds, upstream)] += 1

    def _turned(self, at: float) -> list[Any]:
        self.series.turn(at)
        return self.series.now

    def _cached(self, how: bytes, record: Record, values: list[Any], now: list[Any]) -> None:
        """Count what a request had to do with the cache."""
        now[series.LOOK_UPS] += 1
        if how is MISS:
            values[MISSES] += 1
            return
        now[series.HITS] += 1
        values[HITS if how is HIT else SHARED] += 1
        if record.usage is not None:
            values[SAVED] += record.usage.total

    # What is rare. ----------------------------------------------------------------------------------------------------

    def _name(self, model: str, record: Record) -> str:
        """Return the label of a model's name."""
        if not model:
            return ""
        if not self.knows(model):
            if model not in self._wild:
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

    def _cell(self, key: tuple[Any, ...], call: Call, record: Record) -> Cell:
        """Return the cell of a set of labels that was not there; the one for all others, where there are too many."""
        caller, target = call.caller, None if call.attempt is None else call.attempt.target
        base = "" if target is None or target.origin is None else str(target.origin)
        _, _, name, target_id, status, error, route = key
        called = "" if name in _FOLDED else record.target
        labels = Labels(
            caller.key, caller.alias, caller.team, caller.user, name, called, target_id, record.provider, base, status,
            error, route,
        )  # fmt: skip
        if len(self.cells) >= self.most:
            self.folded += 1
            labels = labels._replace(key=OTHER, alias=OTHER, team=OTHER, user=OTHER)
            key = (OTHER, OTHER, *key[2:])
            if key not in self.cells and len(self.cells) >= self.most + MOST_OTHERS:
                labels = Labels(*(OTHER,) * 9, status=0, error=OTHER, route=OTHER)
                key = (OTHER,)
        found = self.cells.get(key)
        if found is None:
            found = self.cells[key] = Cell(labels, self.width)
        return found

    def _fell_back(self, call: Call, record: Record, name: str) -> None:
        """Count a request that another group than the one asked for was to answer."""
        way, caller = call.way, call.caller
        assert way is not None
        how = record.error or "ok"
        labels = (name, way.group, how, str(record.status), caller.key, caller.alias, caller.team)
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

    def count(self, event: Event, times: int = 1) -> None:
        """Count something that happened beside requests."""
        cell = self.events.get(event)
        if cell is None:
            if len(self.events) >= self.most:
                self.folded += 1
                event = Event(event.name, (OTHER,) * len(event.labels))
                cell = self.events.get(event)
            if cell is None:
                cell = self.events[event] = Cell(event, 1)
        cell.values[0] += times
        if self.file is not None:
            self.file.write(cell)

"""What raises an alert: a look at how the gateway stands for each type, which yields what is wrong now.

The types have LiteLLM's names where it has one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.core.admit import amount
from penstock.core.admit.periods import time_of
from penstock.runtime.call import Call
from penstock.runtime.ledger import Ledger

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.server.gateway import Gateway

TYPES = {
    "llm_exceptions": "model",
    "llm_too_slow": "model",
    "llm_requests_hanging": "model",
    "cooldown_deployment": "model",
    "outage_alerts": "model",
    "budget_alerts": "key",
    "key_expiry": "key",
    "failed_tracking_spend": "proxy",
    "db_exceptions": "proxy",
    "callback_trouble": "proxy",
}
"""Every type, and LiteLLM's group of what it is about."""
_MOST = 50  # alerts of a type from one look
_WINDOW = 60.0  # seconds over which requests are counted
_MOST_MODELS = 1000  # that are counted apart: clients choose the names behind a wildcard
_AT_ONCE = 500  # rows that are looked at before others have their turn
_MARKS = (100, 95, 80)


class Alert(NamedTuple):
    """Something that is wrong. ``key``: what is told only once in a time; ``page``: where to look."""

    key: str
    title: str
    text: str
    advice: str
    page: str = "/ui/"
    severity: str = "warning"
    facts: Mapping[str, Any] = {}


class Settings(NamedTuple):
    """When something is wrong. Seconds. ``threshold``: a request hangs, or was slow; ``error_rate``: failures among the
    requests to a model in a minute, of at least ``error_count``; ``window``, ``budget_window``: the same thing is told
    once in it; ``expiry``: before a key's end."""

    types: frozenset[str] = frozenset(TYPES)
    threshold: float = 300.0
    error_rate: float = 0.5
    error_count: int = 5
    window: float = 3600.0
    budget_window: float = 86_400.0
    expiry: float = 86_400.0

    @staticmethod
    def read(values: Mapping[str, Any], args: Mapping[str, Any]) -> Settings:
        """Read what ``general_settings`` and its ``alerting_args`` say."""
        plain, types = Settings(), values.get("alert_types")

        def number(name: str, otherwise: float) -> float:
            value = args.get(name)
            good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            return float(value) if good else otherwise  # type: ignore[arg-type]

        return Settings(
            frozenset(TYPES) if types is None else frozenset(types) & TYPES.keys(),
            float(values.get("alerting_threshold") or plain.threshold),
            number("error_rate", plain.error_rate),
            int(number("error_count", plain.error_count)),
            number("alert_ttl", plain.window),
            number("budget_alert_ttl", plain.budget_window),
            number("key_expiry_seconds", plain.expiry),
        )


class Count:
    """Requests to one model in a window."""

    __slots__ = ("failed", "last", "slowest", "total")

    def __init__(self) -> None:
        self.total = self.failed = 0
        self.last = ""
        self.slowest = 0.0


class Watch:
    """Counts records: a ``runtime.records.Sink``, there only while somebody is told of alerts."""

    def __init__(self) -> None:
        self.models: dict[str, Count] = {}
        self._until = 0.0

    def put(self, record: Record) -> None:
        """Count a request."""
        if not record.target and record.fault != "upstream":
            return
        count = self.models.get(record.model)
        if count is None:
            if len(self.models) >= _MOST_MODELS:
                return
            count = self.models[record.model] = Count()
        count.total += 1
        # Of a stream, how long it took to begin: the rest is as long as the answer.
        took = record.ttft_ms if record.stream and record.ttft_ms is not None else record.ms
        count.slowest = max(count.slowest, took / 1000)
        if record.fault == "upstream":
            count.failed += 1
            count.last = record.error

    def turn(self, now: float) -> None:
        """Begin a new window, when the one before is over."""
        if now >= self._until:
            self.models.clear()
            self._until = now + _WINDOW

    def close(self) -> None:
        """Do nothing."""


def _errors(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    for model, count in list(watch.models.items()):
        if count.failed >= settings.error_count and count.failed / count.total >= settings.error_rate:
            text = f"{count.failed} of {count.total} requests to {model!r} failed within a minute, the last: "
            text += f"{count.last}."
            advice = "See /health for its deployments, and the log for what they answer."
            facts = {"model": model, "failed": count.failed, "total": count.total, "error": count.last}
            yield Alert(model, f"Many errors: {model}", text, advice, severity="critical", facts=facts)


def _slow(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    for model, count in list(watch.models.items()):
        if count.slowest >= settings.threshold:
            text = f"A request to {model!r} took {count.slowest:.1f} s; alerting_threshold is {settings.threshold:g} s."
            advice = "Set a timeout for the model, or give it another deployment (docs/routing.md)."
            yield Alert(model, f"Slow answers: {model}", text, advice, facts={"model": model, "seconds": count.slowest})


def _hanging(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    now, found = gateway.clock(), dict[str, tuple[int, float]]()
    for exchange in list(gateway.active):
        call = exchange.call
        if not isinstance(call, Call) or call.surface is None:
            continue
        begun = call.attempt is not None and call.attempt.first_at is not None
        if not begun and (took := now - exchange.started) >= settings.threshold:
            count, longest = found.get(call.model, (0, 0.0))
            found[call.model] = count + 1, max(longest, took)
    for model, (count, longest) in list(found.items())[:_MOST]:
        noun = "1 request waits" if count == 1 else f"{count} requests wait"
        text = f"{noun} for an answer of {model!r}, the longest for {longest:.0f} s."
        advice = "Its upstream takes requests and does not answer: look whether it is well, or set a timeout."
        facts = {"model": model, "requests": count, "seconds": round(longest, 1)}
        yield Alert(model, f"Requests hang: {model}", text, advice, severity="critical", facts=facts)


def _resting(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    lives, now, count = gateway.engine.means.lives, gateway.clock(), 0
    for target in gateway.state.targets:
        live = lives.get(target.live_id)
        if live is not None and (why := live.standing.resting(now)):
            name = target.deployment.model_name
            text = f"The deployment {target.label} ({target.id[:12]}) of {name!r} is not asked for a while: {why}."
            advice = "Others of its group answer meanwhile. Look at its key, its limits and its server."
            facts = {"model": name, "deployment": target.id, "why": why}
            yield Alert(target.id, f"A deployment rests: {target.label}", text, advice, facts=facts)
            count += 1
            if count >= _MOST:
                return


def _outages(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    lives, now = gateway.engine.means.lives, gateway.clock()
    groups: dict[str, list[bool]] = {}
    for target in gateway.state.targets:
        live = lives.get(target.live_id)
        down = live is not None and bool(live.standing.resting(now) or live.health.trouble(now))
        for kind, name in (("model", target.deployment.model_name), ("provider", target.provider.name)):
            groups.setdefault(f"{kind} {name}", []).append(down)
    for named, states in groups.items():
        kind, _, name = named.partition(" ")
        if all(states) and (kind == "model" or len(states) > 1):
            count = len(states)
            text = f"None of the {count} deployments of the {kind} {name!r} can be used now."
            text = f"The only deployment of the {kind} {name!r} cannot be used now." if count == 1 else text
            advice = "Requests for it fail, unless it has fallbacks (router_settings.fallbacks). See /health."
            yield Alert(named, f"Outage: {kind} {name}", text, advice, severity="critical", facts={kind: name})


def _budgets(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert | None]:
    ledger = None if gateway.engine.admission is None else gateway.engine.admission.budgets
    if not isinstance(ledger, Ledger):
        return
    now, count = time.time(), 0
    for number, (place, softs) in enumerate(ledger.accounts.asked_places()):
        if number % _AT_ONCE == _AT_ONCE - 1:
            yield None
        for cell, cap, name in place.claims:
            most = cap.at(now)
            mark = next((one for one in _MARKS if most > 0 and cell.spent * 100 >= most * one), 0)
            if mark and cell.end > now:
                yield _budget(cell, name or cell.account, most, mark, "budget")
                count += 1
        for soft in softs:
            if soft.most > 0 and soft.cell.spent >= soft.most and soft.cell.end > now:
                yield _budget(soft.cell, soft.name, soft.most, 100, "soft budget")
                count += 1
        if count >= _MOST:
            return


def _budget(cell: Any, name: str, most: int, mark: int, what: str) -> Alert:
    spent, limit = amount.dollars(cell.spent), amount.dollars(most)
    share = "all" if mark == 100 else f"{mark} %"
    text = f"{name} has spent ${spent}, {share} of its {what} of ${limit}."
    refuses = what == "budget"
    advice = "Its requests are refused until the next window." if mark == 100 and refuses else ""
    advice = f"{advice} Raise max_budget, or wait for the window to end." if refuses else "Nobody is refused for it."
    key = f"{cell.account} {cell.period} {cell.start} {what} {most} {mark}"
    severity = "critical" if mark == 100 and refuses else "warning"
    facts = {"account": cell.account, "spent": str(spent), "max_budget": str(limit), "percent": mark, "kind": what}
    return Alert(key, f"Budget: {name}", text, advice.strip(), "/ui/", severity, facts)


def _expiring(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert | None]:
    keyring = gateway.keyring
    if keyring is None:
        return
    now, count = time.time(), 0
    for number, row in enumerate(keyring.rows("key")):
        if number % _AT_ONCE == _AT_ONCE - 1:
            yield None
        said = (keyring.body("key", row.id) or {}).get("expires")
        at = time_of(said) if isinstance(said, str) else None
        if at and now < at <= now + settings.expiry:
            alias = str((keyring.body("key", row.id) or {}).get("key_alias") or f"{row.id[:12]}...")
            text = f"The key {alias} ends at {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC."
            advice = "Give it more time (POST /key/update, duration), or a new key to whoever uses it."
            yield Alert(row.id, f"A key ends soon: {alias}", text, advice, facts={"key_alias": alias, "expires": at})
            count += 1
            if count >= _MOST:
                return


def _ledger(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    ledger = None if gateway.books is None else gateway.books.ledger
    if ledger is not None and ledger.trouble:
        text = f"What requests cost cannot be written down: {ledger.trouble}."
        advice = "Make room on the disk of the state folder; on_ledger_failure says what happens until then."
        yield Alert("journal", "Spend is not written down", text, advice, severity="critical")


def _database(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    if gateway.storage is not None and not gateway.storage.connected:
        text = "The database cannot be reached. Requests go on with what is known; spend waits in the journal."
        advice = "See that it runs, and that DATABASE_URL leads there."
        yield Alert("database", "The database is away", text, advice, severity="critical")


def _callbacks(gateway: Gateway, settings: Settings, watch: Watch) -> Iterator[Alert]:
    for name, told in (gateway.callbacks.told() if gateway.callbacks is not None else {}).items():
        if not isinstance(told, dict) or name.startswith("alerts to "):
            continue
        unsent = sum(int(told.get(what) or 0) for what in ("dropped", "refused", "lost", "unsent"))
        trouble = told.get("trouble")
        if unsent or trouble:
            text = f"Records do not reach the callback {name}: {unsent} were not sent"
            text += f"; {trouble}." if trouble else "."
            advice = "See whether the service is well and takes the gateway's credential (docs/callbacks.md)."
            key = f"{name} {unsent > 0}"
            yield Alert(key, f"A callback has trouble: {name}", text, advice, facts={"callback": name})


CHECKS: Mapping[str, Callable[[Gateway, Settings, Watch], Iterator[Alert | None]]] = {
    "llm_exceptions": _errors,
    "llm_too_slow": _slow,
    "llm_requests_hanging": _hanging,
    "cooldown_deployment": _resting,
    "outage_alerts": _outages,
    "budget_alerts": _budgets,
    "key_expiry": _expiring,
    "failed_tracking_spend": _ledger,
    "db_exceptions": _database,
    "callback_trouble": _callbacks,
}
"""A look for each type. One that goes through many rows yields None now and then, so that others have their turn."""
EVERY = {"budget_alerts": 30.0, "key_expiry": 600.0}
"""Seconds between two looks that go through many rows; the others are part of each round."""

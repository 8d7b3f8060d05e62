"""Metrics of what stands now: read from the gateway when somebody asks, and once a second where others ask for it.

Each is a ``Gauge`` of a family in ``FAMILIES``, which says how those of several processes are one.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from penstock import __version__, version_text
from penstock.core.admit.amount import PICO
from penstock.core.admit.holders import Bad
from penstock.core.exposition import GAUGE, Family
from penstock.core.fleet import OFF, READY
from penstock.runtime.call import Call
from penstock.runtime.ledger import Ledger

if TYPE_CHECKING:
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SUM, MOST, LEAST, OWN = "sum", "most", "least", "own"
"""How those of several processes are one; OWN: whoever is asked tells its own."""
HEALTHY, COOLING, BROKEN = 0, 1, 2


class Gauge(NamedTuple):
    """A number. ``name``: of a family; ``labels``: the values of its labels."""

    name: str
    labels: tuple[str, ...]
    value: float


class Told(NamedTuple):
    """A family, and how the numbers of several processes are one."""

    family: Family
    how: str


def _row(name: str, how: str, text: str, labels: str = "") -> Told:
    return Told(Family(name, GAUGE, text, tuple(labels.split())), how)


_DEPLOYMENT = "model target provider deployment"
_THEIRS = "litellm_model_name model_id api_base api_provider"
_KEY, _TEAM = "hashed_api_key api_key_alias", "team team_alias"
_ROWS = (
    _row("penstock_build_info", OWN, "Which Penstock this is; always 1.", "version python compiled"),
    _row("penstock_workers", SUM, "Processes that serve."),
    _row("penstock_start_time_seconds", LEAST, "Unix time at which the gateway began to serve."),
    _row("penstock_models", OWN, "Names that can be asked for."),
    _row("penstock_in_flight_requests", SUM, "Requests that are under way."),
    _row("penstock_queue_length", SUM, "Requests that wait for a place: of the gateway, or of a model.", "queue"),
    _row("penstock_held_bytes", SUM, "Bytes of bodies that requests hold."),
    _row("penstock_held_limit_bytes", SUM, "Bytes that requests may hold."),
    _row("penstock_event_loop_lag_seconds", MOST, "How late the event loop was, the worst of the last minute."),
    _row("penstock_draining", MOST, "1 while the gateway shuts down."),
    _row("penstock_deployment_state", MOST, "0: healthy, 1: cools down, 2: broken.", _DEPLOYMENT),
    _row("penstock_deployment_in_flight", SUM, "Tries under way.", _DEPLOYMENT),
    _row("penstock_pool_connections", SUM, "Connections to upstreams.", "origin state"),
    _row("penstock_ledger_lag_entries", SUM, "Entries of the journal that are not in the database yet."),
    _row("penstock_ledger_lag_seconds", MOST, "Seconds that the oldest of them has waited at most."),
    _row("penstock_ledger_journal_bytes", SUM, "Bytes of the journal's files."),
    _row("penstock_ledger_trouble", MOST, "1 while something cannot be written or stored.", "what"),
    _row("penstock_database_connected", LEAST, "1 while the database can be reached."),
    _row("penstock_sink_queued", SUM, "Records that wait to be sent.", "sink"),
    _row("penstock_engine_state", OWN, "1 for the state that an engine is in.", "engine state"),
    _row("penstock_engine_in_flight", OWN, "Requests that an engine answers.", "engine"),
    _row("penstock_engine_waiting", OWN, "Requests that wait for an engine.", "engine"),
    _row("penstock_label_sets", SUM, "Sets of labels that are counted by themselves."),
    _row("penstock_key_budget_usd", OWN, "A key's first budget, in US dollars.", "key"),
    _row("penstock_key_budget_remaining_usd", OWN, "What is left of it in the window that holds.", "key"),
    _row("penstock_team_budget_usd", OWN, "A team's first budget, in US dollars.", "team"),
    _row("penstock_team_budget_remaining_usd", OWN, "What is left of it in the window that holds.", "team"),
    _row("process_resident_memory_bytes", SUM, "Memory of the gateway's processes."),
    _row("process_open_fds", SUM, "File descriptors that are open."),
    _row("process_max_fds", LEAST, "File descriptors that one process may open."),
    _row("process_start_time_seconds", LEAST, "Unix time at which the oldest process began."),
    _row("litellm_in_flight_requests", SUM, "Requests that are under way."),
    _row("litellm_deployment_state", MOST, "0: healthy, 1: partial outage, 2: complete outage.", _THEIRS),
    _row("litellm_deployment_rpm_limit", OWN, "Requests a minute that a deployment takes.", _THEIRS),
    _row("litellm_deployment_tpm_limit", OWN, "Tokens a minute that a deployment takes.", _THEIRS),
    _row("litellm_api_key_max_budget_metric", OWN, "A key's budget, in US dollars.", _KEY),
    _row("litellm_remaining_api_key_budget_metric", OWN, "What is left of it.", _KEY),
    _row("litellm_api_key_budget_remaining_hours_metric", OWN, "Hours until it begins anew.", _KEY),
    _row("litellm_team_max_budget_metric", OWN, "A team's budget, in US dollars.", _TEAM),
    _row("litellm_remaining_team_budget_metric", OWN, "What is left of it.", _TEAM),
    _row("litellm_team_budget_remaining_hours_metric", OWN, "Hours until it begins anew.", _TEAM),
)
FAMILIES: Mapping[str, Told] = {row.family.name: row for row in _ROWS}


def process(gateway: Gateway) -> Iterator[Gauge]:
    """Yield what each process knows of itself."""
    gate, held = gateway.gate, gateway.held
    yield Gauge("penstock_workers", (), 1)
    yield Gauge("penstock_start_time_seconds", (), gateway.started_at)
    flying = sum([isinstance(one.call, Call) and one.call.surface is not None for one in gateway.active])
    yield Gauge("penstock_in_flight_requests", (), flying)
    yield Gauge("litellm_in_flight_requests", (), flying)
    yield Gauge("penstock_queue_length", ("gateway",), 0 if gate.places is None else gate.places.line.waiting)
    for group, line in gateway.engine.lines.items():
        yield Gauge("penstock_queue_length", (group,), line.waiting)
    yield Gauge("penstock_held_bytes", (), held.size)
    if held.limit < sys.maxsize:
        yield Gauge("penstock_held_limit_bytes", (), held.limit)
    yield Gauge("penstock_event_loop_lag_seconds", (), gateway.pulse.worst)
    yield Gauge("penstock_draining", (), int(gate.draining))
    for origin, row in gateway.engine.means.pool.stats().items():
        for state in ("active", "idle", "connecting", "waiting"):
            yield Gauge("penstock_pool_connections", (origin, state), row[state])
    yield from _ledger(gateway)
    yield from _sinks(gateway)
    tally = gateway.tally
    yield Gauge("penstock_label_sets", (), len(tally.cells) + len(tally.events))
    yield from _system()


def _ledger(gateway: Gateway) -> Iterator[Gauge]:
    if gateway.storage is not None:
        yield Gauge("penstock_database_connected", (), int(gateway.storage.connected))
    if gateway.books is None:
        return
    entries, seconds, size = gateway.books.lag()
    yield Gauge("penstock_ledger_lag_entries", (), entries)
    yield Gauge("penstock_ledger_lag_seconds", (), seconds)
    yield Gauge("penstock_ledger_journal_bytes", (), size)
    trouble = gateway.books.told()
    for what in ("journal", "store", "sharing"):
        yield Gauge("penstock_ledger_trouble", (what,), int(what in trouble))


def _sinks(gateway: Gateway) -> Iterator[Gauge]:
    if gateway.callbacks is None:
        return
    for destination in gateway.callbacks.observer.everybody:
        yield Gauge("penstock_sink_queued", (destination.name,), destination.shipper.waiting)


def _system() -> Iterator[Gauge]:
    """Yield what the system knows of this process; nothing where it does not say."""
    if resource is None:
        return
    try:
        size = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        yield Gauge("process_open_fds", (), len(os.listdir("/proc/self/fd")))
    except (OSError, ValueError, IndexError):  # not Linux: the most that it ever had
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    yield Gauge("process_resident_memory_bytes", (), size)
    yield Gauge("process_max_fds", (), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def deployments(gateway: Gateway, all_of_them: bool) -> Iterator[Gauge]:
    """Yield how deployments stand. ``all_of_them``: also of those that nothing is to be said of."""
    lives, now = gateway.engine.means.lives, gateway.clock()
    for target in gateway.state.targets:
        live = lives.get(target.live_id)
        state = flying = 0
        if live is not None:
            flying = live.standing.in_flight
            trouble = live.health.trouble(now) or live.standing.unwell
            state = BROKEN if trouble else COOLING if live.standing.resting(now) else HEALTHY
        if not (all_of_them or state or flying):
            continue
        labels = (target.deployment.model_name, target.label, target.provider.name, target.id)
        theirs = _theirs(target)
        yield Gauge("penstock_deployment_state", labels, state)
        yield Gauge("penstock_deployment_in_flight", labels, flying)
        yield Gauge("litellm_deployment_state", theirs, state)
        if all_of_them:
            for kind in ("rpm", "tpm"):
                limit = target.deployment.params.get(kind)
                if isinstance(limit, int | float) and not isinstance(limit, bool):
                    yield Gauge(f"litellm_deployment_{kind}_limit", theirs, limit)


def _theirs(target: Target) -> tuple[str, ...]:
    origin = target.origin
    return target.model, target.id, "" if origin is None else str(origin), target.provider.name


def shown(gateway: Gateway) -> Iterator[Gauge]:
    """Yield what all processes know alike."""
    compiled = "true" if "compiled" in version_text() else "false"
    yield Gauge("penstock_build_info", (__version__, platform.python_version(), compiled), 1)
    yield Gauge("penstock_models", (), len(gateway.state.catalog.names()))
    hosts = gateway.engine.hosts
    if hosts is not None:
        for name, seat, _ in hosts.shown():
            for state in (OFF, "starting", READY, "stopping"):
                yield Gauge("penstock_engine_state", (name, state), int(seat.state == state))
            yield Gauge("penstock_engine_in_flight", (name,), len(seat.running))
            yield Gauge("penstock_engine_waiting", (name,), len(seat.queue))


def budgets(gateway: Gateway, all_of_them: bool) -> Iterator[Gauge | None]:
    """Yield what is left of budgets, of keys and teams that called; all of them where the operator says so. Yields
    None now and then, when nothing is to be told."""
    keyring, admission = gateway.keyring, gateway.engine.admission
    ledger = None if admission is None else admission.budgets
    if keyring is None or not isinstance(ledger, Ledger):
        return
    now = time.time()
    called = {kind: {getattr(cell.labels, kind) for cell in gateway.tally.cells.values()} for kind in ("key", "team")}
    for kind, ids in called.items():
        names = {row.id for row in keyring.rows(kind) if b"budget" in row.body} if all_of_them else ids
        for at, id_ in enumerate(sorted(names)):
            if not at % 100:
                yield None
            row = keyring.row(kind, id_) if id_ else None
            if row is None or b"budget" not in row.body:
                continue
            try:
                holder = keyring.holder(kind, id_)
            except Bad:  # a row that cannot be read has no budget to tell of; whoever calls by it is refused
                continue
            cap = None if holder is None else next((cap for cap in holder.caps if not cap.model), None)
            if holder is None or cap is None:
                continue
            most, account = cap.at(now), f"{kind}:{id_}"
            cell = ledger.book.cells.get((account, cap.period))
            spent = ledger.spent(account) if cell is not None else 0
            if cell is None and not all_of_them:
                continue
            named = holder.alias or id_[:12]
            both = (id_, holder.alias)
            theirs = "api_key" if kind == "key" else "team"
            left = max(0, most - spent) / PICO
            yield Gauge(f"penstock_{kind}_budget_usd", (named,), most / PICO)
            yield Gauge(f"penstock_{kind}_budget_remaining_usd", (named,), left)
            yield Gauge(f"litellm_{theirs}_max_budget_metric", both, most / PICO)
            yield Gauge(f"litellm_remaining_{theirs}_budget_metric", both, left)
            if cap.period and cell is not None and cell.end > now:
                hours = (cell.end - now) / 3600
                yield Gauge(f"litellm_{theirs}_budget_remaining_hours_metric", both, hours)

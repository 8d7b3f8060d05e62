"""``/engines``: the local engines of the config, for who may see all that is managed; starts and stops for admins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from penstock.core.admit.access import MANAGEMENT
from penstock.core.errors import GatewayError
from penstock.core.fleet import OFF, READY, count_slots
from penstock.runtime.gate import ADMIN, VIEW, shown
from penstock.server.routes import JSON, Page, Route
from penstock.server.streamed import LIVE, Streamed

if TYPE_CHECKING:
    from penstock.core.fleet import Seat
    from penstock.runtime.call import Call
    from penstock.runtime.hosts import Host, Hosts
    from penstock.server.gateway import Gateway

LOOK = 0.25  # seconds between two looks at a log that is followed
ALIVE = 10.0  # seconds without a line after which one who follows it gets a sign of life
LINES = 200


async def list_all(gateway: Gateway, call: Call) -> Page:
    """List the engines: state, memory, requests in flight and waiting, and what they share."""
    hosts = gateway.engine.hosts
    if hosts is None:  # the config has none
        return Page(200, JSON, msgspec.json.encode({"object": "list", "data": []}))
    rows = await _rows(gateway, hosts)
    share = hosts.fleet.share
    loaded = [seat.member for _, seat, _ in hosts.shown() if seat.state is not OFF]
    told = {
        "object": "list",
        "slots": {"used": count_slots(loaded), "of": share.slots},
        "vram": {"used": sum(member.vram for member in loaded), "of": share.vram},
        "data": rows,
    }
    return Page(200, JSON, msgspec.json.encode(told))


async def show(gateway: Gateway, call: Call) -> Page:
    """Show one engine: state, memory, requests in flight and waiting."""
    hosts = _hosts(gateway)
    return await _one(gateway, hosts, _named(hosts, call))


async def start(gateway: Gateway, call: Call) -> Page:
    """Make an engine start, and wait until it is ready. It makes room as a request for it would."""
    hosts = _hosts(gateway)
    name = _named(hosts, call)
    hosts.fleet.let_go(name)
    await hosts.load(name)
    return await _one(gateway, hosts, name)


async def stop(gateway: Gateway, call: Call) -> Page:
    """Make an engine stop once it answers nobody. Until it is started, requests for it are refused or go elsewhere."""
    hosts = _hosts(gateway)
    name = _named(hosts, call)
    hosts.fleet.hold(name)
    hosts.turn()
    return await _one(gateway, hosts, name)


async def unload(gateway: Gateway, call: Call) -> Page:
    """Make an engine give back its memory once it answers nobody. The next request for it starts it again."""
    hosts = _hosts(gateway)
    name = _named(hosts, call)
    hosts.fleet.unload(name)
    hosts.turn()
    return await _one(gateway, hosts, name)


def logs(gateway: Gateway, call: Call) -> Page | Streamed:
    """Show the last lines of an engine's log. `?follow` goes on with those to come, as events where the client accepts
    `text/event-stream`; `?lines=N` says how many of those before."""
    hosts = _hosts(gateway)
    name = _named(hosts, call)
    asked = parse_qs(call.exchange.query.decode("latin-1"), keep_blank_values=True)
    count = asked.get("lines", [str(LINES)])[-1]
    if not (count.isascii() and count.isdigit() and len(count) < 7):
        raise GatewayError("bad_request", f"'lines' must be a number, not {shown(count)!r}.", param="lines")
    begin = max(0, hosts.tails[name].count - int(count))
    if asked.get("follow", ["0"])[-1].lower() in ("0", "false", "no"):
        lines, _ = hosts.tails[name].since(begin)
        text = "".join(f"{_clean(gateway, line)}\n" for line in lines)
        return Page(200, b"text/plain; charset=utf-8", text.encode())
    events = b"text/event-stream" in call.exchange.headers.get(b"accept", b"")
    kind = b"text/event-stream" if events else b"text/plain; charset=utf-8"
    return Streamed(kind, None, _follow(gateway, hosts, name, begin, events), LIVE)


async def _follow(gateway: Gateway, hosts: Hosts, name: str, number: int, events: bool) -> AsyncIterator[bytes]:
    """Yield what an engine writes, until it is gone from the config or the gateway stops."""
    told = time.monotonic()
    while name in hosts.tails and not gateway.draining:
        lines, now_at = hosts.tails[name].since(number)
        missed, number = now_at - number - len(lines), now_at
        if missed > 0:
            lines.insert(0, f"[{missed} lines left out]")
        if lines:
            told = time.monotonic()
            mark = "data: {}\n\n" if events else "{}\n"
            yield "".join(mark.format(_clean(gateway, line)) for line in lines).encode()
        elif events and time.monotonic() - told > ALIVE:
            told = time.monotonic()
            yield b": still here\n\n"
        else:
            await asyncio.sleep(LOOK)


def _clean(gateway: Gateway, line: str) -> str:
    """Take the secrets of the config and its environment, which an engine may have been given, out of a line."""
    return gateway.state.mask.clean(line)


def _hosts(gateway: Gateway) -> Hosts:
    hosts = gateway.engine.hosts
    if hosts is None:
        raise GatewayError("no_object", "The config of this gateway has no engines (docs/engines.md).")
    return hosts


def _named(hosts: Hosts, call: Call) -> str:
    name = call.params["name"]
    if name not in hosts.models:
        raise GatewayError("no_object", f"There is no engine {shown(name)!r}. They are: {', '.join(hosts.models)}.")
    return name


async def _one(gateway: Gateway, hosts: Hosts, name: str) -> Page:
    row = next(row for row in await _rows(gateway, hosts, name) if row["name"] == name)
    return Page(200, JSON, msgspec.json.encode(row))


async def _rows(gateway: Gateway, hosts: Hosts, only: str = "") -> list[dict[str, Any]]:
    shown_now = [row for row in hosts.shown() if only in ("", row[0])]
    hosted = {name: host.hosted for name, _, host in shown_now if host is not None and host.hosted is not None}
    pids = {name: one.process.pid for name, one in hosted.items() if not one.in_container}
    sizes = await asyncio.to_thread(_measure, pids) if pids else {}
    return [_row(gateway, hosts, name, seat, host, sizes.get(name, (None, None))) for name, seat, host in shown_now]


def _measure(pids: dict[str, int]) -> dict[str, tuple[int | None, int | None]]:
    """Measure what engines take: resident memory, and that of GPUs where the driver tells."""
    from penstock.engines.memory import ask_gpus, find_family, sum_memory

    gpus, found = ask_gpus(), {}
    for name, root in pids.items():
        family = find_family(root)
        on_gpus = [gpus[pid] for pid in family if pid in gpus]
        found[name] = sum_memory(family), sum(on_gpus) if on_gpus else None
    return found


def _row(
    gateway: Gateway, hosts: Hosts, name: str, seat: Seat, host: Host | None, size: tuple[int | None, int | None]
) -> dict[str, Any]:
    model = hosts.models.get(name) or (host.model if host is not None else None)
    state: str = seat.state
    if seat.state is READY and seat.closing:
        state = "draining"
    elif seat.state is OFF:
        state = "stopped" if seat.held else "failed" if seat.why else "unloaded"
    percent = host.hosted.progress.percent if host is not None and host.hosted is not None else None
    now = gateway.clock()
    return {
        "name": name,
        "state": state,
        "since": round(time.time() - (now - seat.entered), 3) if seat.entered else None,
        "model": None if model is None else model.model,
        "backend": None if model is None else model.backend or "command",
        "port": None if model is None else model.port,
        "pid": None if host is None or host.hosted is None else host.hosted.process.pid,
        "serves": sorted({one.deployment.model_name for one in gateway.state.targets if one.engine == name}),
        "in_flight": len(seat.running),
        "queue": len(seat.queue),
        "memory": size[0],
        "vram": size[1],
        "vram_set_aside": seat.member.vram or None,
        "ttl": seat.member.ttl,
        "idle": round(now - seat.idle_since, 1) if seat.state is READY and not seat.running else None,
        "loaded_percent": percent if state == "starting" else None,
        "failures": seat.failures,
        "retry_in": round(max(0.0, seat.retry_at - now), 1) if state == "failed" else None,
        "error": _clean(gateway, seat.why) or None,
    }


_FAMILY = MANAGEMENT
ROUTES = (
    Route("/engines", list_all, role=VIEW, family=_FAMILY),
    Route("/engines/{name}", show, role=VIEW, family=_FAMILY),
    Route("/engines/{name}/logs", logs, role=VIEW, answer="text/plain", family=_FAMILY),
    Route("/engines/{name}/start", start, ("POST",), role=ADMIN, json=False, no_pages=True, family=_FAMILY),
    Route("/engines/{name}/stop", stop, ("POST",), role=ADMIN, json=False, no_pages=True, family=_FAMILY),
    Route("/engines/{name}/unload", unload, ("POST",), role=ADMIN, json=False, no_pages=True, family=_FAMILY),
)

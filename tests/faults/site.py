"""A gateway process before three mock upstreams, and what each of them wrote down of every request."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from tests.e2e.serving import MASTER_KEY, Served, clean_env, free_port, serving, until
from tests.faults.faults import GROUPS, REFUSED, Fault
from tests.faults.lanes import CLIENTS, LANES, MARK_SIZE, UPSTREAMS, Lane
from tests.faults.load import AT_ONCE, Answer, Asked, Load

NAMES = ("a", "b", "c")
RETRIES = 2
PRICE_IN, PRICE_OUT = 0.001, 0.002  # US dollars a token: large, so that a token too many is seen
Beside = Callable[[Load], Coroutine[Any, Any, None]]
decode = msgspec.json.decode


@dataclass(slots=True)
class Upstream:
    """A mock as a process. It can be killed and come back: its port, script and journal stay."""

    name: str
    port: int
    folder: Path
    process: subprocess.Popen[str] | None = None
    read: int = 0

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.name}.journal"

    def start(self) -> None:
        command = [sys.executable, "-m", "penstock", "mock", "--port", str(self.port), "--keep", "0"]
        command += ["--script", str(self.folder / f"{self.name}.json"), "--journal", str(self.journal)]
        self.process = subprocess.Popen(command, env=clean_env(self.folder), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert "penstock mock" in self.process.stdout.readline()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def lines(self) -> list[dict[str, Any]]:
        """What it wrote since the last call."""
        if not self.journal.exists():
            return []
        with self.journal.open("rb") as file:
            file.seek(self.read)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self.read += end
        return [decode(line) for line in data[:end].splitlines()]


class Rest(NamedTuple):
    """A cooldown: whose, in which group, how many seconds, and when it began (in unix time)."""

    name: str
    model: str
    seconds: float
    at: float


_RESTS = re.compile(r"[a-z]+/(\S+) \(([abc])-\d+\) rests for (\S+) s")


@dataclass(slots=True)
class Tally:
    """What upstreams and gateway wrote down, by mark. ``began`` and ``ended``: pairs of an upstream's name and its
    line. ``records``: the gateway's. ``rests``: the cooldowns that its log tells of."""

    began: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    rests: list[Rest] = field(default_factory=list)
    records: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))


@dataclass(slots=True)
class Site:
    """All of it. ``usage``: tokens in and out of any request here, by its upstream's dialect."""

    folder: Path
    upstreams: Mapping[str, Upstream]
    served: Served
    settings: Mapping[str, Any]
    usage: dict[str, tuple[int, int]] = field(default_factory=dict)
    log_read: int = 0
    marks: int = 0

    @property
    def hedged(self) -> bool:
        """Whether a second upstream is asked beside one that is late."""
        return "hedge_after" in self.settings

    def mark(self) -> str:
        self.marks += 1
        return f"m{self.marks:0{MARK_SIZE - 1}d}"

    def asked(self, fault: Fault, lane: Lane) -> Asked:
        """One more request for a fault, with a mark of its own."""
        mark = self.mark()
        data = lane.request(f"{fault.name}.{lane.upstream}", mark, f"127.0.0.1:{self.served.port}", MASTER_KEY)
        return Asked(mark, fault.name, lane, data)

    def requests(self, faults: Sequence[Fault], count: int, lanes: Sequence[Lane] = LANES) -> Iterator[Asked]:
        """``count`` requests of each fault (its share of them), in turns over the lanes, evenly over the time."""
        order: list[tuple[float, int, int]] = []
        for at, fault in enumerate(faults):
            own = max(len(lanes), round(count * fault.share))
            order += [((number + 0.5) / own, at, number) for number in range(own)]
        for _, at, number in sorted(order):
            yield self.asked(faults[at], lanes[number % len(lanes)])

    def run(self, asked: Iterator[Asked], at_once: int = AT_ONCE, beside: Beside | None = None) -> list[Answer]:
        """Send what is asked, and return when all of it has ended. ``beside``: what happens meanwhile; it is given the
        load, and waited for."""

        async def main() -> list[Answer]:
            load = Load(self.served.port, asked, at_once)
            if beside is None:
                return await load.run()
            async with asyncio.TaskGroup() as group:
                group.create_task(beside(load))
                return await load.run()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())

    def tally(self, expected: int, seconds: float = 10.0) -> Tally:
        """What was written down since the last call: at least so many records, waited for, and what else there is."""
        tally = Tally()
        found, end = 0, time.monotonic() + seconds
        while found < expected and time.monotonic() < end:
            found += self._records(tally)
            time.sleep(0.02)
        time.sleep(0.1)  # one too many would be here by now
        self._records(tally)
        for upstream in self.upstreams.values():
            for line in upstream.lines():
                into = tally.began if line["end"] == "began" else tally.ended
                into[line["id"] or ""].append((upstream.name, line))
        return tally

    def _records(self, tally: Tally) -> int:
        with self.served.log.open("rb") as file:
            file.seek(self.log_read)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self.log_read += end
        found = 0
        for line in data[:end].splitlines():
            told = decode(line) if line.startswith(b"{") else {}
            if "call_id" in told and told["path"] in _PATHS:
                tally.records[told["request_id"]].append(told)
                found += 1
            elif rest := _RESTS.match(str(told.get("message", ""))):
                tally.rests.append(
                    Rest(rest[2], rest[1], float(rest[3]), datetime.fromisoformat(told["time"]).timestamp())
                )
        return found


_PATHS = frozenset(dialect.path for dialect in CLIENTS.values())


def script_of(name: str, faults: Sequence[Fault] = GROUPS) -> dict[str, Any]:
    """The script of an upstream: a rule for each fault that strikes there, by the model's name."""
    rules: list[dict[str, Any]] = []
    for fault in faults:
        if fault.fallbacks:  # the answer has the name that was asked for, so that bytes can be compared
            for dialect in UPSTREAMS:
                group = f"{fault.name}.{dialect}"
                rules.append({"when": {"model": f"{group}.ok"}, "do": {"model": group}})
        if name == "a" or fault.everywhere:
            rules.append({"when": {"model": f"{fault.name}.*", "stream": False}, "do": dict(fault.whole)})
            rules.append({"when": {"model": f"{fault.name}.*", "stream": True}, "do": dict(fault.streamed)})
    return {"rules": [rule for rule in rules if rule["do"]]}


def _entry(model: str, dialect: str, name: str, address: str, params: Mapping[str, Any], number: int) -> dict[str, Any]:
    provider, suffix = UPSTREAMS[dialect]
    return {
        "model_name": model,
        "litellm_params": {
            "model": f"{provider}/{model}",
            "api_base": address + suffix,
            "api_key": f"sk-upstream-{name}",
            "input_cost_per_token": PRICE_IN,
            "output_cost_per_token": PRICE_OUT,
            **params,
        },
        "model_info": {"id": f"{name}-{number}"},  # short: the log shows its begin
    }


def config_of(
    addresses: Mapping[str, str], dead: str, settings: Mapping[str, Any], faults: Sequence[Fault] = GROUPS
) -> dict[str, Any]:
    """The gateway's config: a group of three for each fault and dialect, and a healthy group where it falls back.
    ``dead``: an address at which nobody listens."""
    entries: list[dict[str, Any]] = []
    falls: dict[str, list[dict[str, list[str]]]] = defaultdict(list)
    for fault in faults:
        for dialect in UPSTREAMS:
            model = f"{fault.name}.{dialect}"
            for name in NAMES:
                strikes = fault.address and (name == "a" or fault.everywhere)
                address = (dead if fault.address == REFUSED else fault.address) if strikes else addresses[name]
                entries.append(_entry(model, dialect, name, address, fault.params, len(entries)))
            if fault.fallbacks:
                for name in NAMES[1:]:
                    entries.append(_entry(f"{model}.ok", dialect, name, addresses[name], {}, len(entries)))
                falls[fault.fallbacks].append({model: [f"{model}.ok"]})
    return {
        "model_list": entries,
        "router_settings": {"num_retries": RETRIES, **falls, **settings},
        "general_settings": {"master_key": MASTER_KEY},
    }


@contextmanager
def site(
    folder: Path, settings: Mapping[str, Any], faults: Sequence[Fault] = GROUPS, *arguments: str
) -> Iterator[Site]:
    """Start three upstreams and a gateway, with these ``arguments``; end them afterwards."""
    upstreams = {name: Upstream(name, free_port(), folder) for name in NAMES}
    with ExitStack() as stack:
        for upstream in upstreams.values():
            (folder / f"{upstream.name}.json").write_text(json.dumps(script_of(upstream.name, faults)))
            upstream.start()
            stack.callback(upstream.kill)
        addresses = {name: f"http://127.0.0.1:{upstream.port}" for name, upstream in upstreams.items()}
        config = config_of(addresses, f"http://127.0.0.1:{free_port()}", settings, faults)
        served = stack.enter_context(serving(folder, json.dumps(config), "--log-format", "json", *arguments))
        made = Site(folder, upstreams, served, settings)
        # The mock counts alike in all dialects; those that no client here speaks are asked in Chat.
        made.usage = {name: _usage(made, name if name in CLIENTS else "chat") for name in UPSTREAMS}
        yield made


def _usage(made: Site, dialect: str) -> tuple[int, int]:
    """Ask a mock itself what a request costs: all have a mark of one length, so all cost the same."""
    lane = Lane(dialect, dialect, False)
    mark = made.mark()
    data = lane.request("healthy", mark, "127.0.0.1", "sk-any")

    async def ask() -> Answer:
        [answer] = await Load(made.upstreams["b"].port, iter([Asked(mark, "healthy", lane, data)]), 1).run()
        return answer

    read = asyncio.run(ask()).read
    assert read.done and read.tokens_in and read.tokens_out, read
    until(lambda: made.upstreams["b"].lines(), what="the mock's journal")
    return read.tokens_in, read.tokens_out

"""Clients that leave, at every stage of a request: nobody else notices, upstreams are let go, and the record is honest."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.e2e.serving import get
from tests.faults.faults import HEALTHY, SILENT, SILENT_BODY, STOPPED, Fault
from tests.faults.judge import Verdict, judge
from tests.faults.lanes import LANES
from tests.faults.load import Asked, Load
from tests.faults.site import Site, Tally

LINGER = 0.03  # seconds that a client waits for what does not come
AT_ONCE = 16
PATIENCE = 10.0  # seconds for what must come


class Stage(NamedTuple):
    """When a client leaves. ``part``: how much it has sent. ``until``: what it reads until then; None: it does not
    wait, b"": it waits a moment. ``statuses``: that the record may have, none: there is no record. ``held``: the
    upstream had not ended its answer, and is to be let go."""

    name: str
    fault: Fault
    part: float
    until: bytes | None
    statuses: frozenset[int]
    held: bool = False


GONE = frozenset({499})
STAGES = (
    Stage("in its head", HEALTHY, 0.2, None, frozenset()),
    Stage("in its body", HEALTHY, 0.9, None, GONE),
    Stage("right away", HEALTHY, 1.0, None, GONE | {200}),
    Stage("before the head", SILENT, 1.0, b"", GONE, held=True),
    Stage("before the body", SILENT_BODY, 1.0, b"", GONE, held=True),
    Stage("in the body", STOPPED, 1.0, b"mock/e", GONE, held=True),
    Stage("at the end", HEALTHY, 1.0, b"\r\n0\r\n\r\n", frozenset({200})),
)


class Left(NamedTuple):
    """A request whose client left."""

    asked: Asked
    stage: Stage


def leave(site: Site, count: int) -> Verdict:
    """Let ``count`` clients leave, while as many others stay."""
    left: list[Left] = []
    leaving = _leaving(site, count)

    async def beside(load: Load) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_leave(site.served.port, leaving, left))

    answers = site.run(site.requests([HEALTHY], count), beside=beside)
    tally = _when_quiet(site, len(answers) + sum(bool(one.stage.statuses) for one in left), left)
    verdict = judge(HEALTHY, answers, tally, site.usage, hedged=site.hedged)
    for one in left:
        _judge(verdict, one, tally, site.usage[one.asked.lane.upstream], 2 if site.hedged else 1)
    return verdict


def _leaving(site: Site, count: int) -> Iterator[Left]:
    for number in range(count):
        stage = STAGES[number % len(STAGES)]
        lane = LANES[number // len(STAGES) % len(LANES)]
        if stage.until and not lane.stream:  # a whole answer has no middle
            lane = lane._replace(stream=True)
        yield Left(site.asked(stage.fault, lane), stage)


async def _leave(port: int, leaving: Iterator[Left], left: list[Left]) -> None:
    for number, one in enumerate(leaving):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data, stage = one.asked.data, one.stage
        at = data.index(b"\r\n\r\n") if stage.part < 0.5 else len(data)
        writer.write(data[: round(at * stage.part)])
        if stage.until is None:
            await asyncio.sleep(0)
        elif stage.until:
            got = b""
            async with asyncio.timeout(PATIENCE):
                while stage.until not in got and (more := await reader.read(65536)):
                    got += more
        else:
            await asyncio.sleep(LINGER)
        if number % 2:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        left.append(one)


def _when_quiet(site: Site, records: int, left: list[Left]) -> Tally:
    """What was written down, once no upstream is busy any more; a few seconds are enough for that."""
    end = time.monotonic() + 5
    while time.monotonic() < end and any(_busy(upstream.port) for upstream in site.upstreams.values()):
        time.sleep(0.05)
    return site.tally(records, 60)


def _busy(port: int) -> bool:
    status, body = get(f"http://127.0.0.1:{port}/__mock__/connections")
    return status != 200 or any(row["busy"] for row in json.loads(body)["connections"])


def _judge(verdict: Verdict, one: Left, tally: Tally, usage: tuple[int, int], most: int) -> None:
    """Judge one who left. ``most``: upstreams that may have been asked for it."""
    mark, stage = one.asked.mark, one.stage
    began, ended, records = tally.began.get(mark, []), tally.ended.get(mark, []), tally.records.get(mark, [])
    verdict.requests += 1
    verdict.calls += len(began)

    def wrong(what: str) -> None:
        verdict.wrong(f"left {stage.name}: {what}", f"{one.asked.lane} {began} {ended} {records}")

    if not stage.statuses or (stage.part < 1 and not records):
        verdict.seen["left"] += 1
        if records or began:
            wrong("a request that never came whole was served")
        return
    if len(records) != 1:
        return wrong(f"{len(records)} records")
    [record] = records
    verdict.seen[f"left ({record['status']})"] += 1
    verdict.charged += (record["tokens_in"] or 0) + (record["tokens_out"] or 0)
    if record["status"] not in stage.statuses:
        wrong(f"the record has a {record['status']}")
    if len(began) > most or len(began) != len(ended):
        wrong(f"{len(began)} calls, of which {len(ended)} came to an end")
    if stage.held and any(line["end"] != "left" for _, line in ended):
        wrong("the upstream was not let go")
    whole = usage if record["status"] == 200 else (0, 0)
    said = sum(max(2 * line["events"], usage[1]) for _, line in ended if line["events"])
    # A prompt that was handed to the transport is charged, also where the upstream had no time to read it.
    if not whole[0] <= (record["tokens_in"] or 0) <= 2 * usage[0] * max(len(began), 1):
        wrong("charged for other input than was served")
    if not whole[1] <= (record["tokens_out"] or 0) <= max(whole[1], said):
        wrong("charged for other output than was served")

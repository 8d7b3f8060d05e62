"""What happens to the whole site under load: upstreams that die and come back, a config that is read again."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable

from tests.e2e.serving import MASTER_KEY, get, until
from tests.faults.faults import STEADY
from tests.faults.judge import Verdict, judge
from tests.faults.load import Load
from tests.faults.site import Site

PATIENCE = 10.0  # seconds until who came back must serve
EVERY = 0.1  # seconds between two reloads


async def at(load: Load, answers: float, do: Callable[[], None]) -> None:
    """Do something once so many requests are answered."""
    while len(load.answers) < answers and not load.over.is_set():
        await asyncio.sleep(0.005)
    await asyncio.to_thread(do)


def die_and_come_back(site: Site, count: int) -> Verdict:
    """Kill two of three upstreams under load, and start them again."""
    mortal = [site.upstreams["a"], site.upstreams["b"]]

    async def beside(load: Load) -> None:
        for number, one in enumerate(mortal):
            await at(load, count * (0.2 + 0.05 * number), one.kill)
        for one in mortal:
            await at(load, count * 0.6, one.start)

    answers = site.run(site.requests([STEADY], count), beside=beside)
    verdict = judge(STEADY, answers, site.tally(len(answers), 60), site.usage, ("a", "b"), site.hedged)
    _ask_until_all_serve(site, verdict)
    return verdict


def _ask_until_all_serve(site: Site, verdict: Verdict) -> None:
    """Who came back has its share again, soon after its rest."""
    served: set[str] = set()
    end = time.monotonic() + PATIENCE
    while served < set(site.upstreams) and time.monotonic() < end:
        answers = site.run(site.requests([STEADY], 30))
        tally = site.tally(len(answers))
        served |= {name for lines in tally.ended.values() for name, _ in lines}
    if served < set(site.upstreams):
        verdict.wrong("an upstream that came back is not asked again", served)


def read_again(site: Site, count: int) -> tuple[Verdict, int]:
    """Change the config and send SIGHUP, again and again under load; return how often it was, too."""
    file = site.folder / "config.yaml"
    config = json.loads(file.read_text())
    entries, turns = config["model_list"], 0

    async def beside(load: Load) -> None:
        nonlocal turns
        while not load.over.is_set() or not turns:
            turns += 1
            config["router_settings"]["timeout"] = 60 + turns
            added = {**entries[0], "model_name": f"added.{turns}", "model_info": {"id": f"added.{turns}"}}
            config["model_list"] = [added, *reversed(entries)] if turns % 2 else [*entries, added]
            new = file.with_suffix(".new")
            new.write_text(json.dumps(config))
            new.replace(file)
            site.served.send(signal.SIGHUP)
            await asyncio.sleep(EVERY)

    answers = site.run(site.requests([STEADY], count), beside=beside)
    listed = f"{site.served.base_url}/models"
    until(lambda: f'"added.{turns}"'.encode() in get(listed, authorization=f"Bearer {MASTER_KEY}")[1], 20)
    return judge(STEADY, answers, site.tally(len(answers), 60), site.usage, hedged=site.hedged), turns

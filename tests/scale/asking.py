"""What people ask a large gateway: lists and reports, each measured a few times."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from tests.e2e.serving import MASTER_KEY
from tests.scale.filling import Size, secret_of

LIMIT = 1.0  # seconds that a list or a report may take
REFUSED = "more than"  # of an answer that says by what it would be smaller


class Asked(NamedTuple):
    """A question. ``may_refuse``: it may be answered with what would make it smaller."""

    path: str
    key: str = MASTER_KEY
    may_refuse: bool = False


class Measured(NamedTuple):
    """How a question was answered. ``seconds``: of each time; ``waited``: those that the gateway's threads then waited for
    a processor which others had; ``worked``: those that they had one."""

    name: str
    seconds: Sequence[float]
    status: int
    size: int
    note: str = ""
    waited: Sequence[float] = ()
    worked: Sequence[float] = ()

    @property
    def own(self) -> float:
        """The worst time without what others took: what was worked at least, as threads may wait at the same time."""
        none = [0.0] * len(self.seconds)
        each = zip(self.seconds, self.waited or none, self.worked or none, strict=True)
        return max(max(whole - waited, min(worked, whole)) for whole, waited, worked in each)

    @property
    def middle(self) -> float:
        return sorted(self.seconds)[len(self.seconds) // 2]

    @property
    def worst(self) -> float:
        return max(self.seconds)


def questions(size: Size, id_: str, request: str, call: str) -> Iterator[Asked]:
    """Yield what is asked. ``id_``: of a key that asks every day; ``request``, ``call``: ids of one of its requests."""
    today = datetime.now(UTC).date()

    def days(count: int, **more: object) -> str:
        since = (today - timedelta(days=count - 1)).isoformat()
        return urlencode({"start_date": since, "end_date": today.isoformat(), **more})

    pages = size.keys // 100
    month, years = 30, min(730, size.days)
    mine = secret_of(0)
    for query in ("size=100", f"size=100&page={pages}", "size=100&return_full_object=true", "size=100&sort_by=key_alias",
                  "size=100&team_id=team-00007", "size=100&status=expired", "size=100&search=service-0012",
                  "size=100&key_alias=0012&substring_matching=true"):  # fmt: skip
        yield Asked(f"/key/list?{query}")
    yield Asked("/key/list?size=100&include_team_keys=true", mine)
    yield Asked("/key/aliases?size=100&search=0012")
    yield Asked(f"/key/info?key={id_}")
    yield Asked("/team/list", may_refuse=True)
    yield Asked("/team/list", mine)
    yield Asked("/team/list?organization_id=org-007")
    for query in ("page_size=100", f"page_size=100&page={size.teams // 100}", "page_size=100&sort_by=team_alias",
                  "page_size=100&team_alias=0012"):  # fmt: skip
        yield Asked(f"/v2/team/list?{query}")
    yield Asked("/team/info?team_id=team-00007")
    for query in ("page_size=100", f"page_size=100&page={size.teams * 2 // 100}", "page_size=100&user_email=0012",
                  "page_size=100&search=0012"):  # fmt: skip
        yield Asked(f"/user/list?{query}")
    yield Asked("/user/info")
    yield Asked("/organization/list")
    yield Asked("/spend/logs")
    yield Asked(f"/spend/logs?api_key={id_}")
    yield Asked(f"/spend/logs?request_id={request}")
    yield Asked(f"/spend/logs?{days(1)}", may_refuse=True)
    yield Asked(f"/spend/logs?{days(month)}", may_refuse=True)
    yield Asked(f"/spend/logs?{days(month, api_key=id_)}")
    yield Asked(f"/spend/logs?{days(1, summarize='false')}")
    yield Asked("/spend/logs", mine)
    for query in (days(month), days(month, page=1000), days(years, api_key=id_, page=20), days(month, status_filter="failure"),
                  days(month, model="gpt-4o", sort_by="spend"), days(years, min_spend=0.0019), "page_size=50",
                  days(month, request_id=request)):  # fmt: skip
        yield Asked(f"/spend/logs/v2?{query}", may_refuse="_spend" in query or "filter" in query or "sort" in query)
    yield Asked(f"/spend/logs/ui/{call}")
    yield Asked("/spend/logs/session/ui?session_id=session-30")
    yield Asked("/spend/keys")
    yield Asked("/spend/users")
    yield Asked("/spend/tags", may_refuse=True)
    yield Asked(f"/spend/tags?{days(month)}")
    yield Asked("/global/spend")
    for name in ("logs", "keys", "models", "teams", "end_users", "all_tag_names"):
        yield Asked(f"/global/spend/{name}")
    for name in ("provider", "tags"):
        yield Asked(f"/global/spend/{name}?{days(month)}")
        yield Asked(f"/global/spend/{name}?{days(years)}", may_refuse=True)
    yield Asked("/global/all_end_users", may_refuse=True)
    for name in ("activity", "activity/model"):
        yield Asked(f"/global/{name}?{days(month)}")
        yield Asked(f"/global/{name}?{days(years)}")
    yield Asked(f"/global/activity/exceptions?{days(7, model_group='gpt-4o')}")
    yield Asked(f"/global/activity/exceptions?{days(month, model_group='gpt-4o')}", may_refuse=True)
    for group in ("team", "customer", "api_key"):
        yield Asked(f"/global/spend/report?{days(7, group_by=group)}", may_refuse=True)
    yield Asked(f"/team/spend/report?{days(years, team_id='team-00007')}")
    for name in ("user", "team", "tag", "organization", "customer"):
        for count in (month, years):
            for page in (1, 200):
                yield Asked(f"/{name}/daily/activity?{days(count, page=page, page_size=100)}")
            yield Asked(f"/{name}/daily/activity/aggregated?{days(count)}", may_refuse=True)
    yield Asked(f"/team/daily/activity?{days(years, team_ids='team-00007')}")
    yield Asked(f"/user/daily/activity?{days(years)}", mine)
    yield Asked(f"/user/daily/activity/aggregated?{days(years)}", mine)


def ask(port: int, asked: Asked, times: int, pid: int = 0) -> Measured:
    """Ask a gateway several times, on a connection of its own; less often what takes long."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    seconds: list[float] = []
    waited: list[float] = []
    worked: list[float] = []
    try:
        while len(seconds) < times and sum(seconds) < 5:
            before, work, began = waited_of(pid), worked_of(pid), time.perf_counter()
            connection.request("GET", asked.path, headers={"Authorization": f"Bearer {asked.key}"})
            answer = connection.getresponse()
            body = answer.read()
            seconds.append(time.perf_counter() - began)
            waited.append(waited_of(pid) - before)
            worked.append(worked_of(pid) - work)
    finally:
        connection.close()
    note = ""
    if answer.status != 200:
        note = json.loads(body)["error"]["message"][:120]
    who = "" if asked.key == MASTER_KEY else " (one key)"
    return Measured(asked.path + who, seconds, answer.status, len(body), note, waited, worked)


def judge(asked: Asked, measured: Measured, limit: float = LIMIT) -> str:
    """Say what is wrong with an answer, "" for nothing."""
    if measured.status == 400 and asked.may_refuse and REFUSED in measured.note.lower():
        return "" if measured.own <= limit else f"{measured.own:.2f} s to refuse"
    if measured.status != 200:
        return f"status {measured.status}: {measured.note}"
    return "" if measured.own <= limit else f"{measured.own:.2f} s"


def worked_of(pid: int) -> float:
    """Seconds that a process had a processor, in hundredths."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100


def waited_of(pid: int) -> float:
    """Seconds that the threads of a process have waited for a processor; 0 where the system does not tell."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[1])
    except OSError:
        return 0.0
    return total / 1e9


def memory_of(pid: int) -> float:
    """Resident megabytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0

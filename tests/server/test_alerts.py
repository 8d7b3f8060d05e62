"""Alerts: each type is raised by what it is about, once in a while, reaches every place, and holds no secret."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
import urllib.request
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.core.admit.book import Book, Claim, Place
from penstock.core.admit.holders import Cap
from penstock.mock import Script
from penstock.runtime.accounts import Soft
from penstock.runtime.ledger import Ledger
from penstock.server.alert_checks import CHECKS, TYPES, Alert, Settings, Watch
from penstock.server.alerting import _A_MINUTE
from tests.served import ServedDoor, open_service
from tests.server.observed import SAYS, UPSTREAM, YAML
from tests.sinks.vendors import Asked, Vendor, open_vendor

HOOK = "hook-very-secret-path"
GENERAL = "general_settings: {alerting: [webhook], alerting_threshold: 0.2, alerting_args: {error_count: 2}}\n"


class Receiver(Vendor):
    """A webhook of Slack's, of Teams' or of one's own, by its path."""

    def take(self, asked: Asked) -> tuple[int, bytes]:
        told = asked.json
        if asked.path.startswith("/slack/"):
            assert told.keys() == {"text"} and isinstance(told["text"], str)
        elif asked.path.startswith("/teams/"):
            [card] = told["attachments"]
            assert told["type"] == "message" and card["contentType"] == "application/vnd.microsoft.card.adaptive"
            assert card["content"]["type"] == "AdaptiveCard" and all(row["text"] for row in card["content"]["body"])
        else:
            assert told["event"] in TYPES and told["event_message"] and told["title"] and told["advice"]
        self.taken.append(asked.path.split("/")[1])
        return 200, b"ok"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [asked.json for asked in self.asked if asked.path.startswith("/hook")]


@asynccontextmanager
async def serve(tmp_path, general: str = GENERAL, yaml: str = YAML, **env: str):
    async with open_vendor(Receiver()) as vendor:
        assert isinstance(vendor, Receiver)
        variables = {name: value.replace("{url}", vendor.url) for name, value in env.items()}
        variables = {"WEBHOOK_URL": f"{vendor.url}/hook/{HOOK}", "PROXY_BASE_URL": "https://gateway.test/"} | variables
        async with open_service(tmp_path, yaml + general, variables) as door:
            yield door, vendor


async def told(door: ServedDoor, vendor: Receiver) -> list[dict[str, Any]]:
    """Look once, and wait until what was found is told."""
    alerts = door.service.callbacks.alerts
    alerts.looks_at.clear()
    await alerts.round()
    for place in alerts.places:
        await place.flush(10)
    assert vendor.wrong == []
    return vendor.events


# What raises each type: a function that brings it about in a gateway. -------------------------------------------------


async def fail(door: ServedDoor) -> None:
    door.mock.script = Script.always(status=503)
    for _ in range(5):
        await door.post(SAYS)
    await door.settle()


async def slow(door: ServedDoor) -> None:
    door.mock.script = Script.always(latency_ms=300)
    assert (await door.post(SAYS))[0] == 200
    await door.settle()


async def hang(door: ServedDoor) -> None:
    door.mock.script = Script.always(latency_ms=2000)
    door.hanging = asyncio.create_task(door.post(SAYS))  # type: ignore[attr-defined]
    await asyncio.sleep(0.4)


async def rest(door: ServedDoor) -> None:
    for target in door.gateway.state.targets:
        lives = door.gateway.engine.means.lives
        lives[target.live_id].standing.rest(door.gateway.clock(), 60.0, "RateLimitError")


async def spend(door: ServedDoor) -> None:
    book = Book()
    ledger = Ledger.__new__(Ledger)
    cell = book.cell("key:k1", "1d")
    cell.turn(time.time())
    cell.spent = 85 * 10**10
    place = Place((Claim(cell, Cap(10**12, "1d"), "key alice"),), {}, (), ())
    soft = Soft(cell, 5 * 10**11, "key alice")
    ledger.accounts = SimpleNamespace(asked_places=lambda: [(place, (soft,))])  # type: ignore[assignment]
    door.gateway.engine.admission = SimpleNamespace(budgets=ledger)  # type: ignore[assignment]


async def expire(door: ServedDoor) -> None:
    body = {"expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)), "key_alias": "alice"}
    late = {"expires": "2999-01-01T00:00:00Z", "key_alias": "bob"}
    rows = {"k1": body, "k2": late}
    door.gateway.keyring = SimpleNamespace(  # type: ignore[assignment]
        rows=lambda kind: [SimpleNamespace(id=one) for one in rows], body=lambda kind, id_: rows[id_]
    )


async def journal(door: ServedDoor) -> None:
    door.gateway.books = SimpleNamespace(ledger=SimpleNamespace(trouble="No space left on device"), told=dict)  # type: ignore[assignment]


async def database(door: ServedDoor) -> None:
    door.gateway.storage = SimpleNamespace(connected=False)  # type: ignore[assignment]


async def callback(door: ServedDoor) -> None:
    alerts = door.service.callbacks.alerts
    broken = {"stdout": {"waiting": 3, "written": 0, "dropped": 2, "trouble": "nobody reads"}}
    door.gateway.callbacks = SimpleNamespace(told=lambda: broken | alerts.told())  # type: ignore[assignment]


RAISES = {
    "llm_exceptions": (fail, "of 5 requests to 'm' failed"),
    "llm_too_slow": (slow, "A request to 'm' took"),
    "llm_requests_hanging": (hang, "1 request waits for an answer of 'm'"),
    "cooldown_deployment": (rest, "is not asked for a while: "),
    "outage_alerts": (rest, "The only deployment of the model 'm' cannot be used now."),
    "budget_alerts": (spend, "key alice has spent $0.85, 80 % of its budget of $1"),
    "key_expiry": (expire, "The key alice ends at "),
    "failed_tracking_spend": (journal, "cannot be written down: No space left on device."),
    "db_exceptions": (database, "The database cannot be reached."),
    "callback_trouble": (callback, "Records do not reach the callback stdout: 2 were not sent; nobody reads."),
}


@pytest.mark.parametrize("kind", TYPES)
async def test_each_type_is_raised_once_and_only_where_it_is_wanted(tmp_path, kind):
    brings, text = RAISES[kind]
    async with serve(tmp_path) as (door, vendor):
        alerts = door.service.callbacks.alerts
        await alerts.stop()  # the test looks by itself
        assert await told(door, vendor) == []
        kept = door.gateway.engine.admission, door.gateway.keyring, door.gateway.books, door.gateway.storage
        try:
            await brings(door)
            found = [one for one in await told(door, vendor) if one["event"] == kind]
            assert found and any(text in one["event_message"] for one in found), found
            for one in found:
                assert one["url"].startswith("https://gateway.test/ui/") and one["event_group"] == TYPES[kind]
                assert one["severity"] in ("warning", "critical") and 0 <= time.time() - one["at"] < 60
            assert UPSTREAM not in json.dumps(vendor.events) and not any("bob" in str(one) for one in found)
            count = len(vendor.events)
            assert len(await told(door, vendor)) == count  # the same is not told again
            alerts.told_of.clear()
            alerts.settings = alerts.settings._replace(types=frozenset(TYPES) - {kind})
            assert [one for one in (await told(door, vendor))[count:] if one["event"] == kind] == []
        finally:
            door.gateway.engine.admission, door.gateway.keyring, door.gateway.books, door.gateway.storage = kept
            if (hanging := getattr(door, "hanging", None)) is not None:
                await hanging


def test_there_is_a_look_for_each_type():
    assert CHECKS.keys() == TYPES.keys() == RAISES.keys()


@pytest.mark.parametrize(("percent", "mark"), [(79, None), (80, 80), (94, 80), (95, 95), (99, 95), (100, 100), (140, 100)])
def test_the_marks_of_a_budget(percent, mark):
    book = Book()
    cell = book.cell("team:t", "30d")
    cell.turn(time.time())
    cell.spent = percent * 10**10
    ledger = Ledger.__new__(Ledger)
    place = Place((Claim(cell, Cap(10**12, "30d"), "team t"),), {}, (), ())
    ledger.accounts = SimpleNamespace(asked_places=lambda: [(place, ())])  # type: ignore[assignment]
    gateway: Any = SimpleNamespace(engine=SimpleNamespace(admission=SimpleNamespace(budgets=ledger)))
    found = list(CHECKS["budget_alerts"](gateway, Settings(), Watch()))
    assert [one.facts["percent"] for one in found] == ([] if mark is None else [mark])
    assert [one.severity for one in found] == ([] if mark is None else ["critical" if mark == 100 else "warning"])


async def test_long_lists_are_looked_at_in_parts_and_not_each_time(tmp_path):
    async with serve(tmp_path) as (door, vendor):
        alerts = door.service.callbacks.alerts
        await alerts.stop()
        rows = [SimpleNamespace(id=f"k{number}") for number in range(2600)]
        looked = []
        keyring = SimpleNamespace(rows=lambda kind: looked.append(kind) or rows, body=lambda kind, id_: {"expires": None})
        door.gateway.keyring, kept = keyring, door.gateway.keyring
        assert list(CHECKS["key_expiry"](door.gateway, Settings(), Watch())) == [None] * 5
        alerts.looks_at.clear()
        await alerts.round()
        await alerts.round()
        assert looked == ["key"] * 2  # the second round was too soon
        door.gateway.keyring = kept


# Where they go. ---------------------------------------------------------------------------------------------------------


async def test_slack_teams_and_a_webhook(tmp_path):
    general = "general_settings: {alerting: [slack, teams, webhook], alert_to_webhook_url: {outage_alerts: \"{url}/slack/b\"}}\n"
    env = {"SLACK_WEBHOOK_URL": "{url}/slack/a", "TEAMS_WEBHOOK_URL": "{url}/teams/a"}
    async with open_vendor(Receiver()) as vendor:
        general = general.replace("{url}", vendor.url)
        env = {name: value.replace("{url}", vendor.url) for name, value in env.items()} | {"WEBHOOK_URL": f"{vendor.url}/hook"}
        async with open_service(tmp_path, YAML + general, env) as door:
            alerts = door.service.callbacks.alerts
            await alerts.stop()
            alerts.tell("llm_too_slow", Alert("a", "Slow <answers>", "It & that.", "Do this."))
            alerts.tell("outage_alerts", Alert("b", "Outage", "Down.", "Do that."))
            for place in alerts.places:
                await place.flush(10)
            assert vendor.wrong == [] and sorted(vendor.taken) == ["hook"] * 2 + ["slack"] * 2 + ["teams"] * 2
            of_slack = {asked.path: asked.json["text"] for asked in vendor.asked if asked.path.startswith("/slack")}
            assert of_slack["/slack/a"] == "*Slow &lt;answers&gt;*\nIt &amp; that.\nDo this." and "Down." in of_slack["/slack/b"]


class Mail:
    """A server that speaks as much SMTP as is needed. ``mails``: what came."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.to: list[str] = []
        self.status = "250 ok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())

        say("220 hello")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                say("354 go on")
                self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                say("250 ok")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                self.to += [line] if verb == "RCPT" else []
                say(self.status if verb == "RCPT" else "250 ok")
        writer.close()


@pytest.mark.parametrize("refuses", [False, True])
async def test_mail(tmp_path, refuses):
    mail = Mail()
    mail.status = "550 nobody here" if refuses else "250 ok"
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    general = "general_settings: {alerting: [email], alerting_args: {email_to: [ops@example.com, boss@example.com]}}\n"
    env = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "SMTP_TLS": "False", "SMTP_SENDER_EMAIL": "penstock@example.com"}
    async with open_service(tmp_path, YAML + general, env) as door:
        alerts = door.service.callbacks.alerts
        await alerts.stop()
        alerts.tell("outage_alerts", Alert("a", "Outage:\n model m", "None of them\nanswers.", "Look at it."))
        [place] = alerts.places
        assert await place.flush(10)
        if refuses:
            assert place.counts.refused == 1 and mail.mails == []
        else:
            [text] = mail.mails
            assert "Subject: [Penstock] Outage: model m" in text and "Look at it." in text
            assert [line.split(":")[1].strip(" <>") for line in mail.to] == ["ops@example.com", "boss@example.com"]
    server.close()


async def test_too_many_in_a_minute_wait(tmp_path):
    async with serve(tmp_path) as (door, vendor):
        alerts = door.service.callbacks.alerts
        await alerts.stop()
        alerts._minute = (int(time.monotonic() // 60), 0)
        for number in range(_A_MINUTE + 15):
            alerts.tell("outage_alerts", Alert(str(number), "Outage", "Down.", "Look."))
        assert alerts.raised + alerts.suppressed == _A_MINUTE + 15 and alerts.suppressed >= 1
        await told(door, vendor)
        assert len(vendor.events) == alerts.raised
        status, health = await door.call("/health", key="")
        assert status == 200 and health["callbacks"]["alerts_suppressed"] == alerts.suppressed


async def test_secrets_stay_here(tmp_path, caplog):
    async with serve(tmp_path) as (door, vendor):
        alerts = door.service.callbacks.alerts
        await alerts.stop()
        alerts.tell("outage_alerts", Alert("a", "Outage", f"The key {UPSTREAM} was refused.", "Look."))
        vendor.mood = 403
        await told(door, vendor)
        shown = caplog.text + "".join(door.lines) + json.dumps(alerts.told())
        assert UPSTREAM not in vendor.asked[0].body.decode() and UPSTREAM not in shown and HOOK not in shown


@pytest.mark.parametrize(
    ("general", "why"),
    [
        ("alerting: [slack]", "it needs SLACK_WEBHOOK_URL"),
        ("alerting: [pager]", "it is none of slack, teams, webhook, email"),
        ("alerting: [email]", "it needs SMTP_HOST"),
        ("alerting: [slack], alert_to_webhook_url: {x: 'http://a'}", "alert_to_webhook_url for 'x', which is none of"),
        ("alerting: [slack], alert_to_webhook_url: {outage_alerts: 'a'}", "begins with http:// or https://"),
    ],
)
async def test_what_is_not_set_is_told(tmp_path, general, why, caplog):
    async with open_service(tmp_path, f"{YAML}general_settings: {{{general}}}\n", {}) as door:
        assert door.service.callbacks.alerts.places == ()
        assert why in caplog.text + "".join(door.lines)


async def test_where_nobody_is_told_nothing_is_counted(tmp_path):
    async with open_service(tmp_path, YAML, {}) as door:
        alerts = door.service.callbacks.alerts
        assert alerts._task is None and alerts.watch not in door.gateway.engine.records.sinks
        assert (await door.post(SAYS))[0] == 200


async def test_a_round_comes_by_itself(tmp_path):
    async with serve(tmp_path) as (door, vendor):
        await rest(door)
        door.service.callbacks.alerts.start()
        async with asyncio.timeout(8):
            while not vendor.taken:
                await asyncio.sleep(0.05)
        assert vendor.wrong == []


async def test_a_process_of_its_own_tells(tmp_path):
    """As it is started by people, with nothing of the tests' own."""
    async with open_vendor(Receiver()) as vendor:
        (tmp_path / "config.yaml").write_text(
            "model_list: [{model_name: m, litellm_params: {model: openai/x, api_base: 'http://127.0.0.1:9/v1', api_key: sk-none-needed}}]\n"
            "router_settings: {num_retries: 0}\ngeneral_settings: {alerting: [webhook], alerting_args: {error_count: 1}}\n"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", "serve", "--config", str(tmp_path / "config.yaml"), "--port", str(port),
            env={**os.environ, "WEBHOOK_URL": f"{vendor.url}/hook"}, cwd=tmp_path,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                while not any(one["event"] == "llm_exceptions" for one in vendor.events):
                    assert process.returncode is None, "the gateway ended"
                    with suppress(OSError):
                        await asyncio.to_thread(ask, port)
                    await asyncio.sleep(0.5)
            assert vendor.wrong == []
        finally:
            process.terminate()
            await process.wait()


def ask(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(SAYS).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).read()

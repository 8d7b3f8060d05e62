"""``general_settings.alerting``: who is told when something is wrong, how often, and by what.

Nothing of it stands on a request's way: every few seconds a round looks at how the gateway stands (``alert_checks``).
The same thing is told once in a time, all things together only so often, and each place has a queue as sinks have it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.runtime.posting import poster
from penstock.server.alert_checks import CHECKS, EVERY, TYPES, Alert, Settings, Watch
from penstock.server.rounds import Rounds
from penstock.sinks.alerts import Email, Hook, Slack, Teams, read_server
from penstock.sinks.base import Unset, Variables
from penstock.sinks.shipping import Bounds, Room, Shipper

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.server.gateway import Gateway
    from penstock.sinks.base import Sink

log = logging.getLogger("penstock")
KEYS = ("alerting", "alerting_threshold", "alert_types", "alert_to_webhook_url", "alerting_args")
"""Of `general_settings`."""
_BOUNDS = Bounds(records=500, size=2 * 1024 * 1024, batch=20, linger=0.2)
_HOOKS: Mapping[str, tuple[type[Hook], tuple[str, ...]]] = {
    "slack": (Slack, ("SLACK_WEBHOOK_URL",)),
    "teams": (Teams, ("TEAMS_WEBHOOK_URL", "MS_TEAMS_WEBHOOK_URL")),
    "webhook": (Hook, ("WEBHOOK_URL",)),
}
PLACES = (*_HOOKS, "email")
_PAUSE = 5.0
_A_MINUTE = 20  # alerts that are told, of all types together
_MOST_KEPT = 10_000  # alerts that are remembered


class Alerts(Rounds):
    """The alerts of a gateway. ``suppressed``: how many were not told, because there were too many in a minute."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway
        self._post = poster(gateway.engine.means.pool)
        self.places: tuple[Shipper, ...] = ()
        self.settings = Settings()
        self.watch = Watch()
        self.told_of: dict[tuple[str, str], float] = {}  # -> when it may be told again
        self.looks_at: dict[str, float] = {}  # -> when it is looked for again
        self.raised = self.suppressed = 0
        self._minute: tuple[int, int] = (0, 0)
        self._base = ""
        self._made_of: Any = None

    # What the config says. --------------------------------------------------------------------------------------------

    def put(self, config: Config) -> list[Shipper]:
        """Put what a config says into effect; return the queues that are not needed any more."""
        values, env = config.general.values, config.environment
        made_of = [values.get(key) for key in KEYS], {k: v for k, v in env.items() if k.startswith(_PREFIXES)}
        if made_of == self._made_of:
            return []
        self._made_of, before = made_of, self.places
        args = values.get("alerting_args") or {}
        self.settings = Settings.read(values, args)
        self._base = (env.get("PROXY_BASE_URL") or "").rstrip("/")
        found, room = [], Room(limit=8 * 1024 * 1024)
        for name in values.get("alerting") or ():
            try:
                sink = self._open(name, values, args, Variables(env))
            except Unset as error:
                log.error("general_settings.alerting: %s is not told: it %s", str(name)[:40], error)
                continue
            found.append(Shipper(f"alerts to {name}", sink, _BOUNDS, room))
        self.places = tuple(found)
        sinks = self._gateway.engine.records.sinks
        if self.places and self.watch not in sinks:
            sinks.append(self.watch)
        elif not self.places and self.watch in sinks:
            sinks.remove(self.watch)
        return list(before)

    def _open(self, name: Any, values: Mapping[str, Any], args: Mapping[str, Any], variables: Variables) -> Sink:
        if name == "email":
            to = args.get("email_to") or ()
            return Email(read_server(variables, [to] if isinstance(to, str) else [str(one) for one in to]))
        if name not in _HOOKS:
            raise Unset(f"is none of {', '.join(PLACES)}")
        make, names = _HOOKS[name]
        by_type = _urls(values.get("alert_to_webhook_url") or {}) if name == "slack" else {}
        url = variables.address(*names) if not by_type or variables.get(*names) else ""
        return make(self._post, url, by_type)

    async def close(self) -> None:
        """End the rounds, and send what waits."""
        await self.stop()
        for shipper in self.places:
            await shipper.stop()

    def told(self) -> dict[str, Any]:
        """Tell how alerts stand, for who may see it."""
        found: dict[str, Any] = {shipper.name: shipper.told() for shipper in self.places}
        if self.suppressed:
            found["alerts_suppressed"] = self.suppressed
        return found

    # The rounds. ------------------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """Tell whether anybody is told."""
        return bool(self.places)

    @property
    def pause(self) -> float:
        """Return the seconds between two looks."""
        return _PAUSE

    async def round(self) -> None:
        """Look at everything once."""
        now = time.monotonic()
        for kind, check in CHECKS.items():
            if kind not in self.settings.types or self.looks_at.get(kind, 0.0) > now:
                continue
            self.looks_at[kind] = now + EVERY.get(kind, 0.0)
            try:
                for alert in check(self._gateway, self.settings, self.watch):
                    if alert is None:
                        await asyncio.sleep(0)
                    else:
                        self.tell(kind, alert)
            except Exception:  # boundary: a bug in one look must not end all of them
                log.exception("alerts: the look at %s failed", kind)
        self.watch.turn(time.monotonic())

    def tell(self, kind: str, alert: Alert) -> None:
        """Tell of something, unless it was told of a short time ago. ``kind``: one of ``TYPES``."""
        if kind not in self.settings.types:
            return
        now = time.monotonic()
        key = (kind, alert.key)
        if self.told_of.get(key, 0.0) > now:
            return
        minute, count = self._minute
        count = count + 1 if minute == int(now // 60) else 1
        self._minute = int(now // 60), count
        if count > _A_MINUTE:  # it is not noted as told: the next round tells it
            self.suppressed += 1
            return
        if len(self.told_of) >= _MOST_KEPT:
            self.told_of = {one: until for one, until in self.told_of.items() if until > now}
        self.told_of[key] = now + (self.settings.budget_window if kind == "budget_alerts" else self.settings.window)
        self.raised += 1
        clean = self._gateway.state.mask.clean
        text = clean(alert.text)[:2000]
        told = {
            "type": kind,
            "group": TYPES[kind],
            "severity": alert.severity,
            "title": clean(alert.title)[:200],
            "text": text,
            "advice": alert.advice,
            "url": f"{self._base}{alert.page}" if self._base else "",
            "at": time.time(),
            "facts": alert.facts,
        }
        log.warning("alert %s: %s", kind, text)
        for place in self.places:
            place.put(told, len(text) + 1000)


_PREFIXES = ("SLACK_", "TEAMS_", "MS_TEAMS_", "WEBHOOK_", "SMTP_", "PROXY_BASE_URL")


def _urls(given: Any) -> dict[str, Sequence[str]]:
    """Read the addresses of single types of alerts: a text or a list each. Raises ``Unset``."""
    if not isinstance(given, Mapping):
        raise Unset("needs alert_to_webhook_url as a mapping of types of alerts to addresses")
    found: dict[str, Sequence[str]] = {}
    for kind, urls in given.items():
        if kind not in TYPES:
            raise Unset(f"has alert_to_webhook_url for {str(kind)[:40]!r}, which is none of {', '.join(TYPES)}")
        rows = [urls] if isinstance(urls, str) else list(urls)
        found[kind] = [Variables({}, {"alert_to_webhook_url": url}).address("alert_to_webhook_url") for url in rows]
    return found

"""Where alerts go: Slack, Microsoft Teams, any webhook, or people's mail. Each is a sink behind a queue, as those of
records are; what it gets is an alert as a mapping (``type``, ``severity``, ``title``, ``text``, ``advice``, ``url``,
``at``, ``facts``).

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/,
https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using (adaptive cards).
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.core.mask import Mask
from penstock.sinks.base import Refused, Unavailable, Unset, check

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Post, Variables

_JSON = {"content-type": "application/json"}
_MAIL_PATIENCE = 15.0
_TRUE = ("true", "1", "yes")


class Hook:
    """Posts alerts to addresses. ``by_type``: addresses of single types of alerts, which go before ``url``."""

    name = "webhook"

    def __init__(self, post: Post, url: str, by_type: Mapping[str, Sequence[str]]) -> None:
        self._post, self._url, self._by_type = post, url, by_type
        # The address is the secret here.
        self._secrets = Mask([url, *(one for urls in by_type.values() for one in urls)])

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send each of a batch. An alert that no address is there for is refused."""
        refused = 0
        for at, alert in enumerate(batch):
            urls = self._by_type.get(alert["type"]) or ([self._url] if self._url else [])
            refused += not urls
            for url in urls:
                try:
                    reply = await self._post(url, _JSON, msgspec.json.encode(self.body(alert), enc_hook=str))
                except Unavailable as error:
                    raise Unavailable(self._secrets.text(str(error)), error.wait, at) from None
                check(reply, self.name, self._secrets, at, 1)
        return refused

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""

    def body(self, alert: Payload) -> Mapping[str, Any]:
        """Make the body of an alert: LiteLLM's names of events beside ours."""
        event = {"event": alert["type"], "event_group": alert.get("group") or "proxy", "event_message": alert["text"]}
        return {**event, **alert}


class Slack(Hook):
    """Posts to Slack's incoming webhooks."""

    name = "slack"

    def body(self, alert: Payload) -> Mapping[str, Any]:
        """Make a message: its signs of markup are escaped."""
        return {"text": _escaped(text_of(alert, bold="*"))}


class Teams(Hook):
    """Posts cards to a webhook of Microsoft Teams."""

    name = "teams"

    def body(self, alert: Payload) -> Mapping[str, Any]:
        """Make an adaptive card."""
        rows = [{"type": "TextBlock", "text": alert["title"], "weight": "Bolder", "wrap": True}]
        rows += [{"type": "TextBlock", "text": alert[name], "wrap": True} for name in ("text", "advice")]
        card: dict[str, Any] = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": rows,
        }
        if alert.get("url"):
            card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": alert["url"]}]
        kind = "application/vnd.microsoft.card.adaptive"
        return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


class Server(NamedTuple):
    """A mail server, and who writes to whom by it."""

    host: str
    port: int
    user: str
    password: str
    tls: bool
    sender: str
    to: tuple[str, ...]


def read_server(variables: Variables, to: Sequence[str]) -> Server:
    """Read LiteLLM's variables of a mail server. ``to``: who gets alerts. Raises ``Unset``."""
    host = variables.need("SMTP_HOST")
    port = variables.get("SMTP_PORT", default="587")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise Unset(f"needs a port from 1 to 65535 in SMTP_PORT, and not {port[:20]!r}")
    sender = variables.need("SMTP_SENDER_EMAIL", "SMTP_USERNAME")
    if not to:
        raise Unset("needs addresses in general_settings.alerting_args.email_to, a list")
    if bad := [one for one in (sender, *to) if "@" not in one or any(c.isspace() for c in one)]:
        raise Unset(f"needs addresses such as ops@example.com, and not {bad[0][:60]!r}")
    tls = variables.get("SMTP_TLS", default="true").lower() in _TRUE
    user, password = variables.get("SMTP_USERNAME"), variables.get("SMTP_PASSWORD")
    return Server(host, int(port), user, password, tls, sender, tuple(to))


class Email:
    """Sends alerts by mail, in a thread: each in a message of its own, all of a batch by one connection."""

    name = "email"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._secrets = Mask((server.password,))

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send a batch."""
        await asyncio.to_thread(self._send, batch)
        return 0

    async def close(self) -> None:
        """Do nothing: a connection is open only while something is sent."""

    def _send(self, batch: Sequence[Payload]) -> None:
        server, sent = self._server, 0
        try:
            make = smtplib.SMTP_SSL if server.port == 465 else smtplib.SMTP
            with make(server.host, server.port, timeout=_MAIL_PATIENCE) as connection:
                if server.tls and server.port != 465:
                    connection.starttls(context=ssl.create_default_context())
                if server.user and server.password:
                    connection.login(server.user, server.password)
                for alert in batch:
                    connection.send_message(self._message(alert))
                    sent += 1
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPAuthenticationError) as error:
            raise Refused(f"{self.name}: {self._secrets.text(str(error))[:200]}", sent) from None
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable(f"{self.name}: {self._secrets.text(str(error))[:200]}", None, sent) from None

    def _message(self, alert: Payload) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = " ".join(f"[Penstock] {alert['title']}".split())[:200]
        message["From"], message["To"] = self._server.sender, ", ".join(self._server.to)
        message.set_content(text_of(alert))
        return message


def text_of(alert: Payload, bold: str = "") -> str:
    """Render an alert for people: what happened, what to do, where to look."""
    lines = [f"{bold}{alert['title']}{bold}", alert["text"], alert["advice"], alert.get("url") or ""]
    return "\n".join(line for line in lines if line)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

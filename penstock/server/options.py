"""What ``penstock serve`` is told, and what is refused before anything listens."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.runtime.identity import is_loopback

if TYPE_CHECKING:
    from penstock.config import Config

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class ServeOptions:
    """What the command line says. ``config`` None: embedded defaults. ``grace``: seconds that streams may take to
    finish after SIGTERM. ``workers``: processes that share the port and the memory; one that has an inherited socket
    (``fd``) is one of them. ``json_logs``/``max_body_mb`` None: as the config says. ``notes``: what is to be said of
    options that have no effect."""

    config: Path | None = None
    host: str = "127.0.0.1"
    port: int = 4000
    workers: int = 1
    grace: float = 30.0
    no_auth: bool = False
    json_logs: bool | None = None
    verbose: bool = False
    max_body_mb: float | None = None
    fd: int | None = None
    notes: tuple[str, ...] = ()


class Refused(Exception):
    """The gateway does not start; the message is the one line that says why."""


def master_key(config: Config) -> str | None:
    key = config.general.master_key
    return key.reveal() if key else None


def check_exposure(config: Config, options: ServeOptions) -> str:
    """Refuse to listen beyond loopback without a key, unless the user says otherwise in so many words: then return a
    warning. Raises ``Refused``; a reload must ask again, because a config that lost its key would open a running
    gateway to everyone."""
    key = master_key(config)
    if key is None:
        if not is_loopback(options.host) and not options.no_auth:
            raise Refused(
                f"no master key is configured, so binding {options.host} would let anyone who can reach it spend your "
                "money. Set general_settings.master_key or PENSTOCK_MASTER_KEY, or use --host 127.0.0.1, "
                "or say --no-auth if that is what you want."
            )
        if options.no_auth and not is_loopback(options.host):
            return f"--no-auth: anyone who can reach {options.host}:{options.port} may call."
    return ""

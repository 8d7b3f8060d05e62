"""What ``penstock serve`` is told, and what is refused before anything listens."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.runtime.identity import is_loopback

if TYPE_CHECKING:
    from penstock.config import Config

ONE_WORKER = "they need a gateway of one process: several would each start engines of their own"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class ServeOptions:
    """What the command line says. ``config`` None: embedded defaults. ``grace``: seconds that streams may take to
    finish after SIGTERM. ``workers``: processes that share the port and the memory; one that has an inherited socket
    (``fd``) is one of them; ``models_fd``: the file in which they share the stored models; ``counts``: those in which
    each has what it counts, behind which of them is its own: ``1:7,8,9``. ``state_dir``: where to keep what outlives
    the gateway; None: where the environment says. ``json_logs``/``max_body_mb`` None: as the config says. ``notes``:
    what is to be said of options that have no effect."""

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
    models_fd: int | None = None
    counts: str | None = None
    state_dir: Path | None = None
    notes: tuple[str, ...] = ()


class Refused(Exception):
    """The gateway does not start; the message is the one line that says why."""


def master_key(config: Config) -> str | None:
    key = config.general.master_key
    return key.reveal() if key else None


def serves_everybody(config: Config, options: ServeOptions) -> bool:
    """Tell whether somebody said that no key is needed from anywhere. LiteLLM's words for it count as well."""
    return (
        options.no_auth
        or any(config.general.values.get(key) is True for key in _EVERYBODY)
        or config.environment.get(_LITELLMS, "").strip().lower() in ("true", "1")
    )


# Keys by which somebody else says who calls: then nobody enters unasked, with a master key or without one.
ASKS_OTHERS = ("custom_auth", "enable_jwt_auth")
_EVERYBODY = ("no_auth", "dangerously_permit_weak_or_unset_master_key")
_LITELLMS = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"


def check_exposure(config: Config, options: ServeOptions, had_key: bool = False) -> str:
    """Return a warning of what the address and the key mean together, "" for none. ``had_key``: of a gateway that runs,
    which a config that lost its key would change for everybody. Raises ``Refused`` then, and where a key is insisted on
    and none is there."""
    if master_key(config) is not None or any(config.general.values.get(key) for key in ASKS_OTHERS):
        return ""
    everybody, open_to_others = serves_everybody(config, options), not is_loopback(options.host)
    if had_key and open_to_others and not everybody:
        raise Refused("the config has no master key any more")
    if config.general.values.get("require_master_key") is True:
        raise Refused(
            "no master key is configured, and general_settings.require_master_key is true: set "
            "general_settings.master_key, LITELLM_MASTER_KEY or PENSTOCK_MASTER_KEY."
        )
    if not open_to_others or options.fd is not None:  # a worker's supervisor has said it
        return ""
    place = f"{options.host}:{options.port}"
    if everybody:
        return f"no key is needed (--no-auth): anyone who can reach {place} may call."
    return (
        f"no master key is configured: at {place} only callers on this machine are served, everybody else gets 401. "
        "Set general_settings.master_key, or say --no-auth."
    )

"""``penstock serve``: from options to a running gateway, and to a clean end.

One process serves one listening socket; with ``--workers`` several processes share it (see ``workers``).
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock import __version__
from penstock.runtime.identity import is_loopback

if TYPE_CHECKING:
    from penstock.config import Config, Loaded

WELL_KNOWN_KEYS = frozenset(
    {"sk-1234", "sk-1234567890", "sk-12345678", "sk-123456", "sk-test", "sk-master", "changeme"}
)


@dataclass
class ServeOptions:
    """What the command line says. ``config`` None: embedded defaults. ``grace``: seconds that streams may take to
    finish after SIGTERM. ``json_logs``/``max_body_mb`` None: as the config says. ``fd``: an inherited socket."""

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


class Refused(Exception):
    """The gateway does not start; the message is the one line that says why."""


def serve(options: ServeOptions) -> int:
    """Runs until told to stop. Returns the exit code: 0 after a clean stop, 1 when it could not start."""
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        # Who asks for a reload while we still start gets the file as it is then; the default would be to die of it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        environ = _environment()
        loaded = load_config(options.config, environ)
        for problem in loaded.problems:
            print(f"{problem.level}: {problem}", file=sys.stderr)
        if loaded.config is None:
            raise Refused(f"{options.config} has errors, see above; `penstock check {options.config}` shows them all.")
        check_exposure(loaded.config, options)
        listener = _listen(options)
    except Refused as refused:
        print(f"penstock: {refused}", file=sys.stderr)
        return 1
    if options.workers > 1 and options.fd is None:
        from penstock.server.workers import supervise

        return supervise(options, listener)
    return _run(options, loaded.config, environ, listener)


def _environment() -> Mapping[str, str]:
    """``.env`` of the working directory under the real environment."""
    if not Path(".env").is_file():
        return dict(os.environ)
    from penstock.config import load_dotenv

    return load_dotenv(Path.cwd(), os.environ)


def load_config(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The config file with all its problems, or the embedded defaults."""
    from penstock.config import Loaded, defaults, load
    from penstock.core.providers.resolve import resolve

    if path is None:
        return Loaded(defaults(environ), ())
    return load(path, environ, resolve=resolve)


def master_key(config: Config) -> str | None:
    key = config.general.master_key
    return key.reveal() if key else None


def check_exposure(config: Config, options: ServeOptions) -> None:
    """No key means loopback only, unless the user says otherwise in so many words. Raises ``Refused``; a reload must
    ask again, because a config that lost its key would open a running gateway to everyone."""
    key = master_key(config)
    if key is None:
        if not is_loopback(options.host) and not options.no_auth:
            raise Refused(
                f"no master key is configured, so binding {options.host} would let anyone who can reach it spend your "
                "money. Set general_settings.master_key or PENSTOCK_MASTER_KEY, or use --host 127.0.0.1, "
                "or say --no-auth if that is what you want."
            )
        if options.no_auth and not is_loopback(options.host):
            print(f"warning: --no-auth: anyone who can reach {options.host}:{options.port} may call.", file=sys.stderr)
    elif key in WELL_KNOWN_KEYS:
        print("warning: the master key is a well-known example; choose a random one.", file=sys.stderr)


def _listen(options: ServeOptions) -> socket.socket:
    """The listening socket. Raises ``Refused`` when the port is taken: never another port."""
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    try:
        infos = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Refused(f"--host {options.host!r} is not an address of this machine: {error}") from None
    family, kind, proto, _, address = sorted(infos, key=lambda info: info[0] != socket.AF_INET)[0]
    listener = socket.socket(family, kind, proto)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # A bound port that nobody listens on yet is still free to others on some systems: listen at once.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        where = f"{options.host}:{options.port}"
        if error.errno == errno.EADDRINUSE:
            raise Refused(f"{where} is already in use; stop what runs there or choose another --port.") from None
        raise Refused(f"cannot listen on {where}: {error.strerror or error}.") from None
    listener.setblocking(False)
    options.port = listener.getsockname()[1]  # --port 0 took a free one: the start line must name it
    return listener


def _run(options: ServeOptions, config: Config, environ: Mapping[str, str], listener: socket.socket) -> int:
    from penstock.server.service import Service

    factory: Any = None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        pass  # plain asyncio: slower, the same in all else
    with asyncio.Runner(loop_factory=factory) as runner:
        service = Service(options, config, environ)
        return runner.run(service.run(listener))


def version_line() -> str:
    return f"penstock {__version__} on Python {sys.version.split()[0]}"


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

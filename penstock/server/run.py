"""``penstock serve``: from options to a running gateway, and to a clean end.

One process serves one listening socket; with ``--workers`` several processes share it (see ``workers``).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from penstock import version_text
from penstock.server import banner
from penstock.server.lines import tell, wants_json
from penstock.server.options import ONE_WORKER, Refused, ServeOptions, check_exposure
from penstock.server.signals import hold_reloads, let_reloads
from penstock.server.sources.base import Source, gather
from penstock.server.sources.environment import environment
from penstock.server.sources.registered import sources_of
from penstock.server.storage import open_storage, with_settings
from penstock.server.streams import keep_streams

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.server.storage import Storage


_CHECK = "`penstock check FILE`"


def serve(options: ServeOptions) -> int:
    """Run until told to stop. Return the exit code: 0 after a clean stop, 1 when it could not start."""
    keep_streams()
    hold_reloads()
    sources = sources_of(options.config, environment)
    try:
        json_lines = wants_json(options, environment())
    except OSError:  # a .env that cannot be read, which a source will tell
        json_lines = wants_json(options, os.environ)
    for note in options.notes:
        tell(note, json_lines, "WARNING")
    try:
        # Those with the settings first: what they say decides whether anything may listen at all.
        config, problems = asyncio.run(gather(sources[:1]))
        json_lines = json_lines if config is None else wants_json(options, config.environment, config)
        for problem in problems:
            tell(str(problem) if json_lines else f"{problem.level}: {problem}", json_lines, problem.level.upper())
        if config is None:
            raise Refused(_cannot_start(options, sources[0]))
        if any(problem.level == "error" for problem in problems):
            tell(f"penstock: what these errors are about is left out; {_CHECK} shows them again", json_lines, "ERROR")
        if warning := check_exposure(config, options):
            tell(warning if json_lines else f"warning: {warning}", json_lines, "WARNING")
        if config.engines is not None and options.workers > 1:
            raise Refused(f"engines: {ONE_WORKER}. Start it with --workers 1.")
        if options.workers > 1 and not hasattr(os, "fork"):  # Windows hands no socket on
            raise Refused("--workers: here one process serves alone; start several, each with a --port of its own.")
        listener = _listen(options)
        storage = open_storage(config, options)
        if storage is not None:
            config, problems = asyncio.run(with_settings(config, sources, storage))
            for problem in problems:
                tell(str(problem) if json_lines else f"{problem.level}: {problem}", json_lines, problem.level.upper())
    except Refused as refused:
        tell(f"penstock: {refused}", json_lines, "ERROR")
        let_reloads()
        return 1
    if options.workers > 1 and options.fd is None:
        from penstock.server.workers import supervise

        if storage is not None:  # each worker opens it for itself
            storage.database.close()
            tell(banner.database_line(storage), json_lines, stream=sys.stdout)
        return supervise(options, listener, json_lines)
    return _run(options, config, sources, listener, storage)


def _cannot_start(options: ServeOptions, source: Source) -> str:
    text = f"{source.name} {source.trouble}"
    if source.trouble == "has errors":
        text += f", see above; `penstock check {options.config}` shows them all"
    return f"{text}."


def _listen(options: ServeOptions) -> socket.socket:
    """Open the listening socket. Raises ``Refused`` when the port is taken: never another port."""
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


def _run(
    options: ServeOptions, config: Config, sources: list[Source], listener: socket.socket, storage: Storage | None
) -> int:
    from penstock.server.service import Service

    factory: Any = None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        pass  # plain asyncio: slower, the same in all else
    with asyncio.Runner(loop_factory=factory) as runner:
        service = Service(options, config, sources, storage)
        return runner.run(service.run(listener))


def version_line() -> str:
    return f"penstock {version_text()} on Python {sys.version.split()[0]}"

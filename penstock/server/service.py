"""One serving process: builds the parts, runs the server, reloads on SIGHUP, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from penstock.core.errors import GatewayError
from penstock.runtime.engine import Engine
from penstock.runtime.http import Pool, Proxies
from penstock.runtime.identity import Identity, is_loopback
from penstock.runtime.records import LogSink, Records, as_json, as_text, stamp
from penstock.runtime.state import State
from penstock.server import banner
from penstock.server.discover import Discovery
from penstock.server.doors.asgi import AsgiDoor
from penstock.server.doors.quick import QuickProtocol
from penstock.server.gateway import Gateway
from penstock.server.held import let_reloads
from penstock.server.options import (
    STOP_SIGNALS,
    Refused,
    ServeOptions,
    check_exposure,
    load_config,
    master_key,
)
from penstock.server.prober import Prober

if TYPE_CHECKING:
    from penstock.config import Config

log = logging.getLogger("penstock")
SWEEP = 1.0  # seconds
# Seconds in which two stop signals are one: of one Ctrl-C a worker hears from the terminal and from its parent, and
# systemd tells every process of a service, too.
ONE_PRESS = 0.5


class Service:
    """Everything that lives as long as the process serves."""

    def __init__(self, options: ServeOptions, config: Config, environ: Mapping[str, str]) -> None:
        self.options = options
        self.environ = environ
        self.discovery = Discovery(environ) if options.config is None else None
        json_logs = options.json_logs
        if json_logs is None:
            json_logs = bool(config.litellm.json_logs or config.general.json_logs)
        self.log = LogSink(as_json if json_logs else as_text)
        _logging(self.log, options.verbose or bool(config.litellm.set_verbose or config.general.set_verbose), json_logs)
        self.records = Records([self.log])
        self.pool = Pool(proxies=Proxies.from_env(environ))
        self.config = config
        megabytes = options.max_body_mb or config.general.max_request_size_mb or 0
        self.gateway = Gateway(
            Engine(self.pool, self.records),
            self.records,
            State(config, config.environment),
            self._identity(config),
            int(megabytes * 1024 * 1024),
            int(float(config.general.values.get("max_file_size_mb") or 0) * 1024 * 1024),
        )
        self.prober = Prober(self.gateway)
        self.stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._stop_signal: int = signal.SIGTERM

    def _identity(self, config: Config) -> Identity:
        # Workers, too: they are told the address of the socket that they inherit.
        return Identity(master_key(config), guard_loopback=is_loopback(self.options.host))

    async def run(self, listener: socket.socket) -> int:
        """Serves until a stop signal. Returns the exit code."""
        loop = asyncio.get_running_loop()
        self.log.call_later = loop.call_later
        if self.discovery is not None:
            self.config = await self.discovery.extend(self.config, self.pool)
            self.gateway.state = State(self.config, self.config.environment)
        server = _Server(self)
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self.reload)
        let_reloads()
        sweeper = loop.create_task(self._sweep(server))
        self.prober.start()
        _settle_memory()
        for problem in self.gateway.state.problems:
            log.warning("%s", problem)
        try:
            await server.serve(sockets=[listener])
        finally:
            sweeper.cancel()
            await self.prober.stop()
            if self.discovery is not None:
                await self.discovery.close()
            await self.pool.close()
            self.gateway.engine.flush()
            self.records.close()
        return 0

    def started(self) -> None:
        """The socket accepts: say so."""
        if self.options.fd is None:
            banner.show(self.options, self.gateway)

    def _stop(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        if not self.stopping.is_set():
            self._stopped_at, self._stop_signal = now, number
        elif now > self._stopped_at + ONE_PRESS:  # whoever presses Ctrl-C again does not want to wait
            self.options.grace = 0.0
        self.stopping.set()

    def reload(self) -> None:
        """Reads the config again. A broken file keeps the old one and says why."""
        if self.options.config is None:
            log.warning("SIGHUP: there is no config file to reload")
            return
        try:
            loaded = load_config(self.options.config, self.environ)
        except OSError as error:
            log.error("SIGHUP: %s cannot be read (%s); the old config stays", self.options.config, error.strerror)
            return
        for problem in loaded.problems:
            log.log(logging.ERROR if problem.level == "error" else logging.WARNING, "%s", problem)
        if loaded.config is None:
            log.error("SIGHUP: %s has errors; the old config stays", self.options.config)
            return
        try:
            check_exposure(loaded.config, self.options)
        except Refused as refused:
            log.error("SIGHUP: %s; the old config stays", refused)
            return
        state = State(loaded.config, loaded.config.environment)
        known = {target.id: target.health for target in self.gateway.state.targets}
        for target in state.targets:
            target.health = known.get(target.id, target.health)
        self.config = loaded.config
        self.gateway.identity = self._identity(loaded.config)
        self.gateway.state = state
        log.warning("SIGHUP: %s reloaded, %d models", self.options.config, len(state.catalog.names()))

    async def _sweep(self, server: uvicorn.Server) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = asyncio.get_running_loop().time()
            self.gateway.tick()
            for connection in list(server.server_state.connections):
                if isinstance(connection, QuickProtocol):
                    connection.sweep(now)

    async def drain(self) -> None:
        """No new work; what runs may finish within the grace period, then it is ended with an error."""
        gateway = self.gateway
        gateway.draining = True
        began = gateway.clock()
        self._say_what_is_waited_for()
        while gateway.active and gateway.clock() < began + self.options.grace:
            await asyncio.sleep(0.02)
        error = GatewayError("draining", "The gateway is shutting down and ended this request.", retry_after=1)
        for exchange in list(gateway.active):
            gateway.cut_off(exchange, error)
        for _ in range(50):  # what was just told may take a moment to reach the client
            if not gateway.active:
                break
            await asyncio.sleep(0.02)

    def _say_what_is_waited_for(self) -> None:
        count = len(self.gateway.active)
        if not count or not self.options.grace:
            return
        again = "Ctrl-C again" if self._stop_signal == signal.SIGINT else "a second signal"
        text = "waiting for %d request%s to finish (at most %g s); %s ends it now"
        log.warning(text, count, "" if count == 1 else "s", self.options.grace, again)


class _Server(uvicorn.Server):
    """uvicorn's server with our signals and our way to drain."""

    def __init__(self, service: Service) -> None:
        self.service = service
        door = AsgiDoor(service.gateway)
        super().__init__(
            uvicorn.Config(
                door,
                http=QuickProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=2,
            )
        )

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # ours are set on the loop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.service.started()

    async def main_loop(self) -> None:
        await self.service.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self.service.drain()
        for connection in list(self.server_state.connections):
            if isinstance(connection, QuickProtocol):
                connection.transport.close()


def _settle_memory() -> None:
    """What stands now stays: the collector need not look at it again. A request leaves no circles behind, so what it
    still finds are failures; small first steps keep its pauses short."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 20, 50)


class _LineHandler(logging.Handler):
    """Log messages as lines of the request log, in its format."""

    def __init__(self, sink: LogSink, as_json: bool) -> None:
        super().__init__()
        self._sink = sink
        self._json = as_json
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if not self._json:
            self._sink.line(f"{stamp(record.created)} {self.format(record)}\n")
            return
        import json

        line = {
            "time": stamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._sink.line(json.dumps(line) + "\n")


def _logging(sink: LogSink, verbose: bool, as_json: bool) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_LineHandler(sink, as_json)]
    root.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("penstock").setLevel(logging.DEBUG if verbose else logging.INFO)
    # uvicorn's own lines are about things that we say ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

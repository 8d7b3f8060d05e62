"""One serving process: builds the parts, runs the server, reloads on SIGHUP, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from penstock.admin.registry import Registry
from penstock.admin.settings import Settings
from penstock.config.redis import shared_redis
from penstock.core.errors import GatewayError
from penstock.runtime.engine import Engine
from penstock.runtime.http import Pool, Proxies
from penstock.runtime.identity import Identity
from penstock.runtime.ids import new_id
from penstock.runtime.ledger import STOP, NoBooks
from penstock.runtime.record_text import as_text
from penstock.runtime.records import LogSink, Records
from penstock.runtime.redis_token import with_token
from penstock.runtime.rules import BUDGETS
from penstock.runtime.state import State
from penstock.server import banner
from penstock.server.batches.room import FOLDER, BatchRoom
from penstock.server.bell import Bell
from penstock.server.books import Books, rules_of, shared_by
from penstock.server.callbacks import Callbacks
from penstock.server.checker import Checker
from penstock.server.descriptors import Descriptors
from penstock.server.doors.asgi import AsgiDoor
from penstock.server.doors.quick import QuickProtocol
from penstock.server.effect import InEffect
from penstock.server.gateway import Gateway
from penstock.server.memory import give_back_memory
from penstock.server.options import STOP_SIGNALS, Refused, ServeOptions, check_exposure, master_key
from penstock.server.people import open_pages
from penstock.server.prober import Prober
from penstock.server.retention import Retention
from penstock.server.rotation import Rotation
from penstock.server.signals import RELOAD, call_on, let_reloads
from penstock.server.site import Site
from penstock.server.sources.base import gather, names_beside
from penstock.server.sources.stored import StoredSource
from penstock.server.statedir import state_folder
from penstock.server.storage import SETTINGS, takes_settings
from penstock.stores.behind import Behind
from penstock.stores.models import MemoryModelStore, SharedModelStore
from penstock.stores.models_directory import DirectoryModelStore
from penstock.stores.redis_board import open_shared
from penstock.stores.sealing import MISSING, can_seal

if TYPE_CHECKING:
    from penstock.config import Config, Loaded
    from penstock.config.over import Over
    from penstock.config.redis import RedisSettings
    from penstock.server.sources.base import Source
    from penstock.server.storage import Storage
    from penstock.stores.base import ModelStore
    from penstock.stores.shared import Shared

log = logging.getLogger("penstock")
SWEEP = 1.0  # seconds
LOOK = 0.25  # seconds between two looks at what another worker may have stored: one small read
LOOK_AFTER_BUG = 10.0
# Seconds in which two stop signals are one: of one Ctrl-C a worker hears from the terminal and from its parent, and
# systemd tells every process of a service, too.
ONE_PRESS = 0.5
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING}


def _model_store(options: ServeOptions, storage: Storage | None) -> ModelStore:
    """Choose where models are kept that are added over HTTP: in the database, where there is one and what they hold can
    be sealed; else in memory, which workers share."""
    if storage is not None and can_seal():
        return DirectoryModelStore(storage.directory, storage.sealer, new_id)
    if storage is not None:
        log.info("models that are added over HTTP are kept in memory: %s", MISSING)
    return MemoryModelStore() if options.models_fd is None else SharedModelStore(options.models_fd)


class Service:
    """Everything that lives as long as the process serves. ``storage``: its database, which it closes."""

    def __init__(
        self, options: ServeOptions, config: Config, sources: list[Source], storage: Storage | None = None
    ) -> None:
        give_back_memory()
        self.options = options
        self.models = _model_store(options, storage)
        self.stored = StoredSource(self.models)
        self.sources = [*sources, self.stored]
        self.log = LogSink(as_text)
        self.records = Records([self.log])
        self.pool = Pool(proxies=Proxies.from_env(config.environment))
        self.gateway = Gateway(
            Engine(self.pool, self.records),
            State(config, config.environment),
            Identity(master_key(config), guard_loopback=True, local_only=True),
            Site(root=config.environment.get("SERVER_ROOT_PATH", "")),
        )
        self.gateway.registry = Registry(self.models, lambda: self.gateway.state, self.take_changes)
        self.gateway.several = options.workers > 1 or options.models_fd is not None
        self.storage = self.gateway.storage = storage
        if storage is not None:
            self.gateway.desk, self.gateway.keyring = storage.desk, storage.keyring
            self.gateway.settings = Settings(storage.desk, self._check_settings, self.take_settings)
            self.gateway.settings.look()  # what is stored was laid over the file's before this
            engine = self.gateway.engine
            engine.means = engine.means._replace(store=Behind(storage.kept))
        secret = self.storage.secret if self.storage is not None else (master_key(config) or "").encode()
        open_pages(self.gateway, config, secret, self.records if self.storage is None else None)
        self.callbacks = self.gateway.callbacks = Callbacks(self.gateway)
        self.in_effect = InEffect(options, self.gateway, self.log)
        self.in_effect.put(config)  # who may call, how large, what the log looks like
        self.shared = self._share(config)
        self.prober = Prober(self.gateway)
        self.checker = Checker(self.gateway)
        self.descriptors = Descriptors()
        self.stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._stop_signal: int = signal.SIGTERM
        self._reload_asked = asyncio.Event()
        self._swap = asyncio.Lock()  # what one has gathered must be served before the next gathers

    async def run(self, listener: socket.socket) -> int:
        """Serve until a stop signal. Return the exit code."""
        loop = asyncio.get_running_loop()
        self.log.call_later = loop.call_later
        loop.set_exception_handler(self.descriptors.on_error)
        await self._find_the_rest()
        server = _Server(self)
        for number in STOP_SIGNALS:
            call_on(loop, number, partial(self._stop, number))
        if RELOAD is not None:
            call_on(loop, RELOAD, self.reload)
        let_reloads()
        tasks = [loop.create_task(self._sweep(server)), loop.create_task(self._reload_when_asked())]
        if self.models.shared:
            tasks.append(loop.create_task(self._look_at_models()))
        if self.shared is not None:
            self._ask_spent()
            self.shared.start()
        if self.storage is not None:
            tasks += await self._open_storage(self.storage)
        self.prober.start()
        self.checker.start()
        self.callbacks.alerts.start()
        self.in_effect.serving = True
        if self.gateway.engine.hosts is not None:
            self.gateway.engine.hosts.open()
        _freeze_memory()
        for problem in self.gateway.state.problems:
            log.warning("%s", problem)
        self.gateway.engine.answers.open(self.gateway.state)  # what it lacks is said now, and not to a request
        try:
            await server.serve(sockets=[listener])
        finally:
            await self._close(tasks)
        return 0

    async def _open_storage(self, storage: Storage) -> list[asyncio.Task[None]]:
        """Begin to keep the database's company: what changes there, what is written there, what is cleaned up."""
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(storage.watch()),
            loop.create_task(self._look_at_settings()),
            loop.create_task(Retention(storage.spend, lambda: self.gateway.state).run()),
            loop.create_task(Rotation(storage.desk, lambda: self.gateway.state).run()),
        ]
        self.gateway.books = await self._keep_books(storage)
        self._run_batches(storage)
        return tasks

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        """Let go of everything, whoever asks others before those who are asked."""
        for task in tasks:
            task.cancel()
        gateway, engine = self.gateway, self.gateway.engine
        await gateway.close_batches()
        if engine.hosts is not None:
            await engine.hosts.close()
        await self.prober.stop()
        await self.checker.stop()
        if self.shared is not None:
            await self.shared.stop()
        for source in self.sources:
            await source.close()
        await engine.answers.close()
        engine.flush()
        await self.callbacks.close()
        await self.pool.close()
        engine.flush()
        gateway.tally.fold()
        self.records.close()
        if gateway.books is not None:
            await gateway.books.close()
        if self.storage is not None:
            await engine.means.store.close()
            await self.storage.close()

    def _run_batches(self, storage: Storage) -> None:
        """Go on with what a process has left, and take new batches."""
        from penstock.stores.sql.batch_store import SqlBatchStore

        folder = state_folder(self.options.state_dir, self.gateway.state.config.environment) / FOLDER
        self.gateway.batches = BatchRoom(self.gateway, SqlBatchStore(storage.database), folder)
        self.gateway.batches.start()

    async def _keep_books(self, storage: Storage) -> Books | None:
        """Begin to write down what calls cost. Where that cannot be, paid calls are refused, or nothing is counted, as
        the operator chose."""
        config = self.gateway.state.config
        folder = state_folder(self.options.state_dir, config.environment)
        shared = shared_by(config, storage, self._redis, self.options.workers)
        try:
            books = await Books.open(self.gateway, storage.spend, folder, shared)
            storage.on_recomputed = books.ledger.ask_anew
            return books
        except OSError as error:
            text = "What requests cost cannot be written down in %s: %s. %s"
            stops = rules_of(config).on_failure == STOP
            what = "Name another folder with --state-dir" if stops else "They are let pass, and nothing is counted"
            log.error(text, folder, error.strerror or error, what)
            if stops and self.gateway.engine.admission is not None:
                self.gateway.engine.admission.budgets = NoBooks()
            return None

    def started(self) -> None:
        """Print the start lines, once the socket accepts."""
        if self.options.fd is None:
            banner.show(self.options, self.gateway)

    def _share(self, config: Config) -> Shared | None:
        """Make what is shared with other processes, where a Redis is named."""
        found = shared_redis(config)
        for where, text in found.problems:
            log.warning("%s: %s", where, text)
        self._redis: RedisSettings | None = None
        if found.settings is None:
            return None
        engine = self.gateway.engine
        try:
            self._redis = with_token(found.settings)
            shared = open_shared(self._redis)
        except GatewayError as error:
            log.warning("Nothing is shared with other processes: %s", error.message)
            return None
        engine.means = engine.means._replace(shared=shared)
        engine.means.lives.share(shared, engine.means.clock)
        if engine.admission is not None:
            engine.admission.rates.common = shared
        return shared

    async def _find_the_rest(self) -> None:
        """Ask the sources that were not asked before the socket was there, and serve what all of them have."""
        try:
            begun = await self.models.revision() == 0  # else another process has taken some
        except OSError:  # the database is away: what it has is taken when it is back
            begun = True
        first = self.sources[0]
        if begun and all(source.last is not None for source in self.sources):
            return
        config, problems = await gather(self.sources, again=False if begun else self.stored)
        if first.over:  # it may name models of the others
            config, more = await gather(self.sources, again=first)
            problems += more
        for problem in problems:
            log.log(_LEVELS[problem.level], "%s", problem)
        if config is not None:
            self.gateway.state = State(config, config.environment, self.gateway.state)

    def _stop(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        if not self.stopping.is_set():
            self._stopped_at, self._stop_signal = now, number
        elif now > self._stopped_at + ONE_PRESS:  # whoever presses Ctrl-C again does not want to wait
            self.options.grace = 0.0
            if self.gateway.engine.hosts is not None:
                self.gateway.engine.hosts.hurried = True
        self.stopping.set()

    def reload(self) -> None:
        """Ask all sources again, soon: see ``read_again``."""
        self._reload_asked.set()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()  # who asks from here on may mean a file that is newer than what is read now
            try:
                await self.read_again()
            except Exception:  # boundary: a config that meets a bug of ours must not end the reloads that mend it
                log.exception("SIGHUP: the reload failed through a fault of the gateway; the old config stays")

    async def take_changes(self) -> None:
        """Serve what the store of models has now, beside what the other sources gave. Calls that run go on with the
        state they began with."""
        async with self._swap:
            config, problems = await gather(self.sources, again=self.stored)
            for problem in problems:
                log.log(_LEVELS[problem.level], "%s", problem)
            if config is not None:
                self._serve(State(config, config.environment, self.gateway.state))

    async def _check_settings(self, over: Over) -> Loaded | None:
        """Read the config as it would be with these settings."""
        first = self.sources[0]
        first.also = names_beside(first, self.sources)
        return await first.check(over)

    async def take_settings(self) -> list[str]:
        """Serve with the settings that the database has now, over those of the config as it is read now. Return a
        sentence for each that does not hold yet."""
        settings, config = self.gateway.settings, self.gateway.state.config
        assert settings is not None
        async with self._swap:
            settings.look()
            if not takes_settings(config):
                return [f"The settings of the database do not hold: {SETTINGS} says so."]
            self.sources[0].over = await asyncio.to_thread(settings.stored)
            return await self._read_again("settings of the database")

    async def _look_at_settings(self) -> None:
        """Take what other processes have set."""
        while self.gateway.settings is not None:
            await asyncio.sleep(LOOK)
            try:
                if self.gateway.settings.look():
                    await self.take_settings()
            except Exception:  # boundary: a bug of ours here must not end the looks that come after it
                log.exception("the settings that another process stored could not be taken")
                await asyncio.sleep(LOOK_AFTER_BUG)

    async def _look_at_models(self) -> None:
        """Take what other workers have stored."""
        bell, rung = self.storage.bell if self.storage is not None else Bell(), 0
        while True:
            rung = await bell.wait(rung, LOOK)
            try:
                if await self.models.revision() != self.stored.revision:
                    await self.take_changes()
            except OSError:  # said by whoever watches the database
                await asyncio.sleep(LOOK_AFTER_BUG)
            except Exception:  # boundary: a bug of ours here must not end the looks that come after it
                log.exception("the models that another worker stored could not be taken")
                await asyncio.sleep(LOOK_AFTER_BUG)

    def _serve(self, state: State) -> None:
        """Put a state in the place of the one that is served. What is known of deployments that stay, stays."""
        self.gateway.state = state
        self.gateway.engine.means.lives.keep(state.built.keys())
        self._ask_spent()

    def _ask_spent(self) -> None:
        """Let the budgets that are configured now be known before the first request asks for one."""
        state = self.gateway.state
        own = {target.purse: budget for target in state.targets if (budget := target.budget) is not None}
        self.gateway.engine.means.lives.spent.ask({**(state.config.router.values.get(BUDGETS) or {}), **own})

    async def read_again(self) -> None:
        """Ask all sources again, and serve what they have. One that is broken keeps what it gave last; when all are,
        nothing changes."""
        async with self._swap:
            await self._read_again()

    async def _read_again(self, why: str = "SIGHUP") -> list[str]:
        """Return a sentence for each setting that does not hold yet."""
        config, problems = await gather(self.sources)
        for problem in problems:
            log.log(_LEVELS[problem.level], "%s", problem)
        # The stored models are there whatever the config says: they are no sign that it could be read.
        fresh = [one.name for one in self.sources if not (one.trouble or one.silent or one is self.stored)]
        if config is None or not fresh:
            log.error("%s: the old config stays", why)
            return ["The config could not be read again: the old one stays."]
        try:
            if warning := check_exposure(config, self.options, self.gateway.identity.needs_key):
                log.warning("%s", warning)
        except Refused as refused:
            log.error("%s: %s; the old config stays", why, refused)
            return [f"{refused}; the old config stays."]
        # In a thread: thousands of deployments take a second, and streams go on meanwhile.
        state = await asyncio.to_thread(_made, config)
        waiting = self.in_effect.put(config)
        self._serve(state)
        for sentence in (*waiting, *state.problems):
            log.warning("%s", sentence)
        log.warning("%s: %s reloaded, %d models", why, " and ".join(fresh), len(state.catalog.names()))
        return waiting

    async def _sweep(self, server: uvicorn.Server) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = asyncio.get_running_loop().time()
            self.gateway.tick()
            self.descriptors.look(now)
            for connection in list(server.server_state.connections):
                if isinstance(connection, QuickProtocol):
                    connection.sweep(now)

    async def drain(self) -> None:
        """Stop taking work; what runs may finish within the grace period, then it is ended with an error."""
        gateway = self.gateway
        gateway.gate.draining = True
        gateway.wind_down()
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


def _made(config: Config) -> State:
    """Make a state, and its mask, which the line that tells of a reload asks for."""
    state = State(config, config.environment)
    _ = state.mask
    return state


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


def _freeze_memory() -> None:
    """Freeze the objects that stand now: the collector need not look at them again. A request leaves no circles behind,
    so what it still finds are failures; small first steps keep its pauses short."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 20, 50)

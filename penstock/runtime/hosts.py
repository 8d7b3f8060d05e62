"""The engines of the config at work: carries out what ``core.fleet`` decides, and lets requests wait for it.

One task per engine, from its start to its end; what blocks is done in threads. Imported where the config has engines,
and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from penstock.core.errors import GatewayError
from penstock.core.fleet import OFF, READY, STARTING, Admit, Fleet, Refuse, Share, Start, Stop
from penstock.engines.hosted import HOST, Hosted, Tail
from penstock.engines.ready import TRY_SECONDS, ask_health
from penstock.engines.spec import EngineError
from penstock.runtime.http import TransportError, in_task

if TYPE_CHECKING:
    from penstock.config.engines import EngineModel, EngineSettings
    from penstock.core.fleet import Seat
    from penstock.runtime.attempt import Attempt

log = logging.getLogger("penstock")
LOOK = 0.2  # seconds between two looks at whether an engine is ready, or still there
NOTICED = 1.0  # seconds in which the end of an engine is noticed whose answer broke off
_BROKEN = frozenset(("broken_answer", "broken_stream"))


class Host:
    """One engine from its start to its end. ``hosted``: its process, once there is one. ``stopping``: set when it is to
    end. ``crash``: how it ended while it served, without and with what it wrote last."""

    def __init__(self, model: EngineModel, begun: float) -> None:
        self.model = model
        self.begun = begun
        self.hosted: Hosted | None = None
        self.stopping = asyncio.Event()
        self.ended = asyncio.Event()
        self.crash = ("", "")


class Hosts:
    """All engines. ``fleet``: which of them are loaded, and who waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.fleet = Fleet(Share({}))
        self.models: dict[str, EngineModel] = {}
        self._secrets: frozenset[str] = frozenset()
        self.tails: dict[str, Tail] = {}
        self.hosts: dict[str, Host] = {}
        self._preload: tuple[str, ...] = ()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.hurried = False  # nothing is given time any more

    # The config. ------------------------------------------------------------------------------------------------------

    def put(self, settings: EngineSettings | None, secrets: Iterable[str] = ()) -> None:
        """Take what the config says now. Engines that run and are the same go on; the others end once they have nothing
        to do. ``secrets``: what no engine inherits of the environment."""
        self._secrets = frozenset(secrets)
        models = {} if settings is None else dict(settings.models)
        changed = {
            name for name, host in self.hosts.items() if name in models and models[name].launch != host.model.launch
        }
        self.fleet.put(Share({}) if settings is None else settings.share, changed)
        self.models = models
        self._preload = () if settings is None else settings.preload
        self.tails = {name: self.tails.get(name) or Tail(name) for name in {**models, **self.hosts}}

    def open(self) -> None:
        """Begin, in the loop that runs: load what is to be there from the start."""
        for name in self._preload:
            self._beside(self._preload_one(name))
        self.turn()

    async def _preload_one(self, name: str) -> None:
        try:
            await self.load(name)
        except GatewayError as error:
            log.warning("engine %s is not preloaded: %s", name, error.message)

    async def close(self) -> None:
        """End all engines, and wait until nothing is left of them."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for host in self.hosts.values():
            host.stopping.set()
        for number in list(self._waiting):
            self._answer(number, GatewayError("draining", "The gateway is shutting down.", retry_after=1))
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # Who asks. --------------------------------------------------------------------------------------------------------

    async def carry(self, attempt: Attempt, run: Callable[[Attempt], Awaitable[None]]) -> None:
        """Make a try once its engine is there. Raises "engine_busy" where that takes too long, "engine_failed" where it
        does not come, and how an engine ended that was to answer."""
        name, call = attempt.target.engine, attempt.call
        number, began = self._ask(name), self._clock()
        try:
            if (waits := self._enter(number)) is not None:
                call.outlet.queued = lambda: self.describe(number)
                timer = self._give_up_after(number, _patience(attempt))
                try:
                    await waits
                finally:
                    if timer is not None:
                        timer.cancel()
                    call.outlet.queued = None
                    waited = self._clock() - began
                    attempt.waited(waited)
                    if call.outlet.told is not None:
                        call.outlet.told.queued(waited)
            host = self.hosts.get(name)
            try:
                await run(attempt)
            except (TransportError, GatewayError) as error:
                if host is None or (isinstance(error, GatewayError) and error.kind not in _BROKEN):
                    raise
                told = await self._told_end(host, attempt)
                if told is None:
                    raise
                raise told from error
        finally:
            self._leave(number)

    async def load(self, name: str) -> None:
        """Wait until an engine is ready. Raises as ``carry`` does."""
        number = self._ask(name)
        try:
            if (waits := self._enter(number)) is not None:
                await waits
        finally:
            self._leave(number)

    def _ask(self, name: str) -> int:
        try:
            return self.fleet.ask(self._clock(), name)
        except KeyError:
            raise self._refusal(name, "gone") from None

    def _enter(self, number: int) -> Awaitable[None] | None:
        """Let somebody in at once, or return what he waits for."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.turn()
        if not future.done():
            return future
        future.result()
        return None

    def _give_up_after(self, number: int, seconds: float | None) -> asyncio.TimerHandle | None:
        """Let somebody wait so long at most: as his request says, where that is less than ``max_wait``."""
        if seconds is None or seconds >= self.fleet.share.max_wait:
            return None
        text = f"The engine was not there within {seconds:g} s, which is as long as the request lets it take."
        error = GatewayError("engine_busy", text, retry_after=10)
        return asyncio.get_running_loop().call_later(seconds, self._answer, number, error)

    def _leave(self, number: int) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and future.done() and not future.cancelled():
            future.exception()  # whoever left has not heard it, and nobody misses it
        self.fleet.leave(self._clock(), number)
        self.turn()

    def describe(self, number: int) -> str:
        """Say for whom somebody waits, and at which place; "" for who waits no longer."""
        place, of = self.fleet.place(number)
        if not place:
            return ""
        name = self.fleet.engine_of(number)
        return f"penstock: place {place} of {of} in the queue; engine {name} {self._progress(name)}"

    def _progress(self, name: str) -> str:
        seat = self.fleet.seats[name]
        host = self.hosts.get(name)
        if seat.state is STARTING and host is not None:
            percent = None if host.hosted is None else host.hosted.progress.percent
            told = "" if percent is None else f", {percent:.0f} %"
            return f"is loading, {(self._clock() - host.begun) // 5 * 5:.0f} s{told}"
        return "waits for room" if seat.state is OFF else "gives way to another first"

    async def _told_end(self, host: Host, attempt: Attempt) -> GatewayError | None:
        """Make the error of an answer that broke off because its engine ended; None where it goes on."""
        await in_task()
        try:
            async with asyncio.timeout(NOTICED):
                await host.ended.wait()
        except TimeoutError:
            return None
        how, lines = host.crash
        if not how:
            return None
        # What an engine writes while it serves may have words of other clients in it.
        text = f"The engine {host.model.name!r} {how} while it answered" + (lines if attempt.call.caller.admin else ".")
        return GatewayError("broken_stream" if attempt.first_at is not None else "upstream_unavailable", text)

    # What is decided. -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Carry out what is decided now, and come back when there is more."""
        if self._closed:
            return
        now = self._clock()
        for step in self.fleet.decide(now):
            match step:
                case Start(name):
                    host = self.hosts[name] = Host(self.models[name], now)
                    self._beside(self._run(name, host))
                case Stop(name):
                    self.hosts[name].stopping.set()
                case Admit(number, _):
                    self._answer(number, None)
                case Refuse(number, name, why):
                    self._answer(number, self._refusal(name, why))
        at = self.fleet.next_at(now)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, at - now), self.turn)

    def _answer(self, number: int, error: GatewayError | None) -> None:
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _refusal(self, name: str, why: str) -> GatewayError:
        seat = self.fleet.seats.get(name)
        if why == "late":
            doing = "" if seat is None else f" It {self._progress(name)}."
            text = (
                f"The engine {name!r} was not there within {self.fleet.share.max_wait:g} s (engines.max_wait).{doing}"
            )
            return GatewayError("engine_busy", text, retry_after=10)
        if why == "held":
            text = f"The engine {name!r} is stopped; POST /engines/{name}/start starts it."
            return GatewayError("engine_failed", text)
        if why == "gone" or seat is None:
            return GatewayError("engine_failed", f"The engine {name!r} is not in the config any more.")
        wait = max(1.0, seat.retry_at - self._clock())
        text = f"The engine {name!r} does not start; it is tried again in {wait:.0f} s at the earliest: {seat.why}"
        return GatewayError("engine_failed", text, retry_after=wait)

    # One engine. ------------------------------------------------------------------------------------------------------

    def _beside(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, name: str, host: Host) -> None:
        """Run one engine from its start to its end, whatever happens to it."""
        why = "it ended through a fault of the gateway, see its log"
        try:
            why = await self._serve(name, host)
        except EngineError as error:
            why = str(error)
        except OSError as error:  # no more processes or files
            why = f"it cannot be run: {error.strerror or error}"
        finally:
            if host.hosted is not None:
                await asyncio.to_thread(host.hosted.process.stop, lambda: self.hurried)
            self.hosts.pop(name, None)
            self.fleet.ended(self._clock(), name, why)
            host.ended.set()
        if not host.stopping.is_set():
            log.warning("engine %s: %s", name, why)
        else:
            log.info("engine %s is unloaded", name)
        self.turn()

    async def _serve(self, name: str, host: Host) -> str:
        """Start an engine and wait for its end; return why it ended, "" where it was told to. Raises ``EngineError``
        where it does not start."""
        log.info("engine %s is started", name)
        hosted = host.hosted = await asyncio.to_thread(Hosted, host.model, self.tails[name], self._secrets)
        if not await self._wait_ready(host, hosted):
            return ""
        log.info("engine %s is ready after %.1f s", name, self._clock() - host.begun)
        self.fleet.started(self._clock(), name)
        self.turn()
        while hosted.process.code is None and not await _pause(host.stopping):
            pass
        if host.stopping.is_set():
            return ""
        how = await asyncio.to_thread(hosted.process.how_it_ended)
        lines = await asyncio.to_thread(hosted.process.last_lines)
        host.crash = how, lines
        return how + lines

    async def _wait_ready(self, host: Host, hosted: Hosted) -> bool:
        """Wait until an engine is ready; False where it is to end before."""
        end = self._clock() + host.model.start_timeout
        while not await _pause(host.stopping):
            if hosted.process.code is not None:
                raise EngineError(await asyncio.to_thread(hosted.process.describe_end))
            status = await asyncio.to_thread(ask_health, HOST, host.model.port, hosted.health, TRY_SECONDS)
            if status == 200 and hosted.process.code is None:
                return not host.stopping.is_set()
            if self._clock() > end:
                said = "nothing answers" if status is None else f"it answers {status}"
                text = f"was not ready within {host.model.start_timeout:g} s ({said} at {hosted.health})"
                raise EngineError(text + await asyncio.to_thread(hosted.process.last_lines))
        return False

    # What is shown. ---------------------------------------------------------------------------------------------------

    def is_ready(self, name: str) -> bool:
        """Tell whether an engine takes requests now."""
        seat = self.fleet.seats.get(name)
        return seat is not None and seat.state is READY and not seat.closing

    def shown(self) -> Iterator[tuple[str, Seat, Host | None]]:
        """Yield every engine: its name, where it stands, and its process where it has one."""
        for name, seat in self.fleet.seats.items():
            yield name, seat, self.hosts.get(name)


def _patience(attempt: Attempt) -> float | None:
    """Return the seconds that a request lets its answer take until it begins; None where it says nothing of that."""
    wishes = attempt.call.wishes
    if wishes is None:
        return None
    said = [wishes.timeout, wishes.patience]
    if attempt.stream:
        said = [wishes.stream_timeout or wishes.timeout, wishes.stream_patience]
    return min((seconds for seconds in said if seconds is not None), default=None)


async def _pause(stopping: asyncio.Event) -> bool:
    """Wait a moment; tell whether an end is wanted."""
    try:
        async with asyncio.timeout(LOOK):
            await stopping.wait()
    except TimeoutError:
        return False
    return True

"""A request's whole life, on one screen: read, plan, try, answer, record."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.openai_chat.same import ask_usage
from penstock.core.envelope import MAX_DEPTH_TEXT, open_body
from penstock.core.errors import GatewayError, OverSession, shed
from penstock.core.ir import added
from penstock.core.mask import Mask, hide
from penstock.core.route.plan import ANSWERED, Outcome, Plan, Try, attempts
from penstock.runtime import apart
from penstock.runtime.attempt import Attempt
from penstock.runtime.bill import settle
from penstock.runtime.cache import AnswerCache
from penstock.runtime.call import Call, Way
from penstock.runtime.drive import drive
from penstock.runtime.failing import failure_of
from penstock.runtime.group_lines import group_lines
from penstock.runtime.held import Held
from penstock.runtime.http import (
    TransportError,
)
from penstock.runtime.live import Live, Lives
from penstock.runtime.means import Means
from penstock.runtime.mirror import Mirror
from penstock.runtime.record import record_of
from penstock.runtime.routing import Turn, begin_step, picker
from penstock.runtime.saying import say
from penstock.runtime.standings import asks_of, blame, first_choice, late_after, praise, used_by
from penstock.runtime.told import telling
from penstock.runtime.ways import note_failed
from penstock.runtime.wishes import ROUTING_HEADERS, read_wishes
from penstock.stores.memory import MemoryStore

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.core.route.choose import Rules
    from penstock.runtime.admission import Admission
    from penstock.runtime.hosts import Hosts
    from penstock.runtime.http import Pool
    from penstock.runtime.line import Line
    from penstock.runtime.observing import Observer
    from penstock.runtime.quotas import Reserved
    from penstock.runtime.records import Records
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface
    from penstock.runtime.tally import Tally
    from penstock.runtime.targets import Target
    from penstock.stores.base import Store

CHAT = DIALECTS["openai_chat"]
# Kinds that the gateway itself finds while it makes an attempt: no upstream said them.
_OURS = frozenset(
    "bad_request unsupported no_dialect not_configured not_installed request_timeout too_large gateway_bug "
    "overloaded over_budget no_ledger engine_busy engine_failed guardrail guard_failed".split()
)
_FINAL = (
    " The upload had already been passed on in part and is not held here, so it was not tried again or elsewhere;"
    " send the request again."
)


class Engine:
    """Drives calls to their ends. Holds no config: each call brings its ``State``."""

    def __init__(
        self,
        pool: Pool,
        records: Records,
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        lives: Lives | None = None,
    ) -> None:
        self.means = Means(pool, store or MemoryStore(), lives or Lives(), clock, set(), Held())
        self.records = records
        self.admission: Admission | None = None  # None: nobody has limits
        self.observer: Observer | None = None  # None: records are sent nowhere
        self.tally: Tally | None = None  # None: nothing is counted
        self.answers = AnswerCache(lambda: self.means, self.handle)
        self.mirror = Mirror(self.handle, lambda: self.means)
        self.hosts: Hosts | None = None  # engines of the config; None: it has none
        self.lines: dict[str, Line] = {}  # of groups in which somebody has waited
        self._ended: list[tuple[Call, GatewayError | None, float, float]] = []
        self._good: list[tuple[Attempt, Rules, float]] = []  # what went well in this turn of the loop

    async def handle(self, call: Call, state: State, plan: Plan[Target] | None = None) -> None:
        """Answer a call that was let in, whatever happens, and record it once. ``plan``: instead of the state's own."""
        error: GatewayError | None = None
        call.known = state
        try:
            surface, exchange = call.surface, call.exchange
            assert surface is not None
            heard = not (exchange.hushed or ROUTING_HEADERS.isdisjoint(exchange.headers))
            if heard and (told := telling(call)) is not None:
                told.let_in(call, self.means.clock())
            if surface.read is not None:
                fields = await surface.read(call)
            else:
                body = exchange.body
                fields = open_body(body) if len(body) < apart.COUNTED else await apart.opened(body)
            read_fields(call, surface, fields, state)
            if self.observer is not None:
                self.observer.begin(call)
            if heard or call.says:
                call.wishes = read_wishes(call, state.most_fallbacks, state.keep_alive)
            keeps = state.caching is not None and surface.cached and plan is None
            if self.admission is not None:
                if (waits := self.admission.admit(call, state, plan)) is not None:
                    await waits
                plan = self.admission.plan_of(call)
            if state.guards is not None:
                await state.guards.enter(call)
            if keeps and self.answers.looks(call, state) and await self._give_kept(call, state):
                return self.record(call, None)
            if plan is None:
                plan = state.plan(call.model) if call.wishes is None else state.wished(call.model, call.wishes)
            if heard or self.means.trace is not None:
                self._show(call, plan)
            # The first is tried before a way is planned: nothing is to decide while it answers.
            step, first = plan.only, None
            if step is None:
                chosen = first_choice(call, plan)
                step = None if chosen is None else Try(chosen, plan.group)
            if step is not None:
                live = self.means.lives[step.target.live_id]
                if not live.standing.rests_until:
                    first = await self._try(call, plan, step, live)
            if first is None or first.error is not None:
                error = await self._go_on(call, plan, first, step)
        except GatewayError as refused:
            shed(refused)
            error = refused
        except RecursionError:
            error = GatewayError("bad_request", MAX_DEPTH_TEXT)
        except asyncio.CancelledError:
            error = self._cut_off(call)
            if error is None:
                raise
        finally:
            if self.admission is not None:
                self.admission.release(call)
        if error is not None and not (isinstance(error, OverSession) and say(call, error.message)):
            call.outlet.refuse(call, error)
        self.record(call, error)

    async def _give_kept(self, call: Call, state: State) -> bool:
        """Answer a call by what is kept, if that is there."""
        given = await self.answers.answer(call, state)
        if given and call.outlet.guarding is not None:
            await call.outlet.settle(call)
        return given

    def _cut_off(self, call: Call) -> GatewayError | None:
        """Stop a call that was cancelled. Return why it was ended; None where its client left, which is recorded."""
        if call.attempt is not None:
            call.attempt.usage = call.attempt.usage_left()
            call.attempt.stop()
        if call.outlet.guarding is not None:
            call.outlet.guarding.cancel()
        if call.exchange.ending is None:
            self.record(call, _left(call))
        return call.exchange.ending

    def _show(self, call: Call, plan: Plan[Target]) -> None:
        """Tell of a plan: to the log, and to a client that asks."""
        if self.means.trace is not None:
            self.means.trace.planned(call, plan)
        if call.outlet.told is not None:
            call.outlet.told.planned(call, plan, self.means.clock())

    async def _go_on(
        self, call: Call, plan: Plan[Target], first: Outcome | None, step: Try[Target] | None
    ) -> GatewayError | None:
        """Try what the plan says until one answers. ``first``: how the try of ``step`` ended, if there was one."""
        begun = step.target if step is not None and first is not None else None
        call.way = Way(plan.group)
        steps = attempts(plan, picker(call, plan), random.random, begun)
        send, wait = partial(self._try, call, plan), partial(self._wait, call)
        room = partial(self._wait_for_room, call, Turn(call, plan, self.lines))
        if not any(rules.hedge is not None for rules in plan.rules.values()):
            return await drive(steps, send, first, wait, room=room)
        from penstock.runtime.hedge import Race  # few configs ask for it

        make, lost = partial(self._made, call), partial(_let_go, call)
        run = partial(self._carry_out, call, plan)
        race = Race(call, make, run, lost).run
        late = partial(late_after, plan, self.means.lives)
        return await drive(steps, send, first, wait, late, room, race)

    def _made(self, call: Call, step: Try[Target]) -> Attempt:
        """Make the attempt of a step that may not be the only one of its call."""
        surface = call.surface
        assert surface is not None
        call.tries += 1
        live = self.means.lives[step.target.live_id]
        made = Attempt(call, step.target, step.group, live, surface.dialect, call.tries, call.fields, call.stream)
        if call.outlet.told is not None:
            call.outlet.told.began(made, self.means.clock())
        return made

    async def _carry_out(self, call: Call, plan: Plan[Target], attempt: Attempt) -> Outcome:
        return await self._try(call, plan, Try(attempt.target, attempt.group), attempt.live, attempt)

    async def _try(
        self,
        call: Call,
        plan: Plan[Target],
        step: Try[Target],
        live: Live | None = None,
        attempt: Attempt | None = None,
    ) -> Outcome:
        """Make a try. ``live``: its target's, where it was looked up. ``attempt``: one that may run beside another."""
        target, surface = step.target, call.surface
        assert surface is not None
        live = live or self.means.lives[target.live_id]
        before = call.attempt
        if attempt is None:
            if before is not None:
                _fold(call, before)
            call.tries += 1
            attempt = call.attempt = Attempt(
                call, target, step.group, live, surface.dialect, call.tries, call.fields, call.stream
            )
        elif call.attempt is None:
            call.attempt = attempt
        if call.way is not None:  # before it nobody goes to a fallback, which may be another request
            begin_step(call.way, plan, step, attempt)
        standing, rules = live.standing, plan.rules.get(step.group) if plan.rules else None
        bill = call.outlet.bill
        standing.in_flight += 1
        trial, held = (0.0, None) if rules is None else self._count(attempt, plan, rules)
        try:
            if plan.continues and attempt.stream:
                _watch(attempt, before if step.goes_on else None)
            if (waits := None if bill is None else bill.leave()) is not None:
                await waits
            plain = not target.engine and call.outlet.guarding is None
            await (surface.attempt(attempt) if plain else self._ask_beside(attempt, surface))
        except (GatewayError, TransportError, RecursionError) as error:
            failed = failure_of(attempt, error)
        else:
            if live.health.ill:
                live.health.succeeded()
            if rules is not None:
                self._praise(attempt, rules)
            if (trace := call.means.trace) is not None:
                trace.ended(attempt, None)
            return ANSWERED
        finally:
            standing.in_flight -= 1
            if held is not None:
                self.means.lives.quotas.settle(held, used_by(attempt))
            if bill is not None:
                bill.back()
            if trial and trial == standing.trial:  # what began before is no trial
                standing.trial = 0.0
            if target.most is not None and step.group in self.lines:
                self.lines[step.group].next()
        self._failed(attempt, rules, failed, len(plan.targets[step.group]) == 1)
        if attempt.so_far is not None and (attempt.first_at is not None or attempt.goes_on):
            return Outcome(failed, True, await attempt.so_far.can_go_on(attempt, failed))
        return Outcome(failed, attempt.first_at is not None or _spent(call, failed))

    def _count(self, attempt: Attempt, plan: Plan[Target], rules: Rules) -> tuple[float, Reserved | None]:
        """Count a try; return when the trial of its deployment began, if that is one, and what it holds of quotas."""
        standing, target = attempt.live.standing, attempt.target
        standing.ask(self.means.clock())
        if target.silent_model:
            self.mirror.copy(attempt)
        if rules.told:
            self._tell_limits(attempt, plan)
        if not target.quotas:
            return standing.trial, None
        return standing.trial, self.means.lives.quotas.take(target.live_id, target.quotas, asks_of(attempt.call))

    def _tell_limits(self, attempt: Attempt, plan: Plan[Target]) -> None:
        """Note what the answer tells of the limits of its group."""
        outlet, means = attempt.call.outlet, self.means
        targets = plan.targets[attempt.group]
        outlet.group_lines = group_lines(targets, means.lives, means.clock(), outlet.call_lines)

    async def _ask_beside(self, attempt: Attempt, surface: Surface) -> None:
        """Make a try at an engine of the config, or one whose answer guards may hold back."""
        await (surface.attempt(attempt) if not attempt.target.engine else self._ask_host(attempt, surface))
        if attempt.call.outlet.guarding is not None:
            await attempt.call.outlet.settle(attempt.call)

    async def _ask_host(self, attempt: Attempt, surface: Surface) -> None:
        """Make a try at an engine of the config, once it is there."""
        if self.hosts is None:
            name = attempt.target.engine
            text = f"The engine {name!r} is started by `penstock serve` alone, and not by the SDK."
            raise GatewayError("engine_failed", text)
        await self.hosts.carry(attempt, surface.attempt)

    def _praise(self, attempt: Attempt, rules: Rules) -> None:
        """Note a good answer: at once where it ends a rest, else with those of this turn of the loop."""
        standing, now = attempt.live.standing, self.means.clock()
        if standing.row or standing.rests_until:
            return praise(attempt, rules, now)
        if not self._good and not self._ended:
            asyncio.get_running_loop().call_soon(self.flush)
        self._good.append((attempt, rules, now))

    def _failed(self, attempt: Attempt, rules: Rules | None, error: GatewayError, alone: bool) -> None:
        """Note how an attempt failed, and hold an upstream's fault against its deployment. ``alone``: it is the only
        one of its group."""
        attempt.stop()
        if error.kind not in _OURS:
            error.provider = error.provider or attempt.provider
        hide_secrets(attempt, error, attempt.target.model)
        note_failed(attempt.call, attempt, error, self.means.clock())
        if self.means.trace is not None:
            self.means.trace.ended(attempt, error)
        if attempt.call.outlet.told is not None:
            attempt.call.outlet.told.ended(attempt, error, self.means.clock())
        if error.row.fault == "upstream":
            now = self.means.clock()
            attempt.live.health.failed(error.message, error.kind, now)
            if self.tally is not None:
                self.tally.failed(attempt, error)
            if rules is not None:
                if blame(attempt, rules, error, now, alone) and self.tally is not None:
                    self.tally.cooled(attempt, error)
            else:
                attempt.live.standing.count_failure(now)

    async def _wait(self, call: Call, seconds: float) -> None:
        """Wait until a target may be asked again: time that is none of the gateway's own work."""
        began = self.means.clock()
        try:
            await asyncio.sleep(seconds)
        finally:
            seconds = self.means.clock() - began
            call.upstream += seconds
            if call.outlet.told is not None:
                call.outlet.told.waited(seconds)

    async def _wait_for_room(self, call: Call, turn: Turn, group: str) -> bool:
        """Wait in the line of a group; that is no work of the gateway's, either."""
        began = self.means.clock()
        try:
            return await turn.wait(group)
        finally:
            seconds = self.means.clock() - began
            call.upstream += seconds
            if call.outlet.told is not None:
                call.outlet.told.queued(seconds)

    def record(self, call: Call, error: GatewayError | None) -> None:
        """Record a call that is over. Written with those of the other requests that end in this turn of the loop: after
        the answers are out, and by code that is still in the processor's caches."""
        attempt = call.attempt
        if attempt is not None and attempt.price_version is None:
            settle(attempt)
        if call.outlet.bill is not None:
            call.outlet.bill.close(error)
        elif self.admission is not None and self.admission.budgets is not None and call.surface is not None:
            self.admission.budgets.note(call, error)
        if not self._ended and not self._good and not call.exchange.flushes:
            asyncio.get_running_loop().call_soon(self.flush)
        self._ended.append((call, error, self.means.clock(), time.time()))

    def flush(self) -> None:
        """Write the records of the calls that have ended, and keep their answers: call by call they cost twice that."""
        ended, self._ended = self._ended, []
        good, self._good = self._good, []
        for attempt, rules, now in good:
            praise(attempt, rules, now)
        for call, error, _, _ in ended:
            if error is None and call.caching is not None:
                self.answers.end(call)
            if call.caching is not None:  # which the line above may have ended
                self.answers.over(call.caching)
        for call, error, now, at in ended:
            record = record_of(call, error, now, at)
            self.records.put(record)
            if self.tally is not None:
                self.tally.put(call, record)
            if self.observer is not None:
                self.observer.put(call, record)
            if call.outlet.guarding is not None:
                call.outlet.guarding.drop()
            # The attempt holds its call: apart, both are freed at once, and the collector has nothing to find.
            call.attempt = None


def read_fields(call: Call, surface: Surface, fields: dict[str, Raw], state: State) -> None:
    """Take the top level of a call's body. Raises "bad_request"."""
    if surface.adapt is not None:
        surface.adapt(call, fields, state)
    default = "" if surface.default_model is None else surface.default_model(state)
    forced = state.forced.get(surface.forced_by, "") if state.forced else ""
    call.read_fields(fields, default, forced)
    if call.caller.aliases and not forced:
        call.model = call.caller.aliases.get(call.model, call.model)
    if state.tells_usage and call.stream and surface.dialect is CHAT:
        ask_usage(fields)
    surface.check(fields)


def _watch(attempt: Attempt, before: Attempt | None) -> None:
    """Note what the client gets of an attempt's stream, so that another one may go on with it."""
    from penstock.runtime.continuing import watch  # few configs ask for it

    watch(attempt, before)


def hide_secrets(attempt: Attempt, error: GatewayError, model: str) -> None:
    """Take every secret out of an error: the one door that an upstream's words pass on their way to clients, logs and
    records. Vendors repeat keys. ``model``: the name that the upstream knows, which may look like a key."""
    masks = [attempt.call.known.mask]
    if attempt.signed:
        masks.insert(0, Mask.of_lines(attempt.signed))
    hide(error, masks, (model, attempt.call.model))


def _left(call: Call) -> GatewayError | None:
    """Make the error of a call whose client left; None for one that has all of its answer. (Codex leaves as soon as it
    has, and llama.cpp's server ends its stream a moment later.)"""
    attempt = call.attempt
    if attempt is not None and attempt.translator is not None and attempt.translator.done:
        return None
    return GatewayError("client_gone", "The client closed the connection.")


def _fold(call: Call, attempt: Attempt) -> None:
    """Add what an attempt took to its call's totals, before the next one takes its place."""
    call.tries += attempt.repairs
    call.upstream += attempt.upstream
    cost = settle(attempt)
    for usage in (attempt.usage, attempt.spent):
        if usage is not None:
            call.spent = added(call.spent, usage) if call.spent is not None else usage
    if cost is not None:
        call.spent_cost = cost if call.spent_cost is None else call.spent_cost + cost


def _let_go(call: Call, attempt: Attempt) -> None:
    """Bill what an attempt had used that is not the one that counts."""
    attempt.usage = attempt.usage_left()
    attempt.stop()
    note_failed(call, attempt, None, call.means.clock())
    if call.outlet.told is not None:
        call.outlet.told.let_go(attempt)
    _fold(call, attempt)


def _spent(call: Call, failed: GatewayError) -> bool:
    """Tell whether there can be no second try because the body is gone; the error then says so."""
    upload = call.exchange.upload
    if upload is None or not upload.spent:
        return False
    if failed.row.retry != "no":
        failed.message += _FINAL
    return True

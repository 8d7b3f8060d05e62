"""The ledger: money is set aside before a call is sent, and what it cost is written down before its answer is out.

Set aside is the dearest that the request may cost (``core/admit/estimate``), against every cap of whoever it is charged
to (``core/admit/book``). What it cost is known where the answer ends: ``Bill.close`` is called there, by the outlet,
before the last bytes go to the client, and once more by the engine, for what ended otherwise. Each writes to the
journal, which is on the disk (as far as the death of this process goes) before these bytes are: a batch's answers go
out together, and so do its entries, in one write. Nothing here waits for a database; ``bookkeeper`` carries the journal
into one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock.core.admit import amount
from penstock.core.admit.book import Book, Cell, Claim, Hold, Refusal
from penstock.core.admit.caller import NOBODY
from penstock.core.admit.estimate import UNKNOWN, Asked, Dearest, read_asked
from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import window
from penstock.core.errors import GatewayError
from penstock.runtime.accounts import MOST_KEPT, Accounts, Soft
from penstock.runtime.bill import settle
from penstock.runtime.bookkeeper import Bookkeeper
from penstock.runtime.http import in_task
from penstock.runtime.ids import new_id
from penstock.runtime.sessions import SESSION, over_session
from penstock.runtime.spending import Details, begun, ended
from penstock.runtime.texts import Texts
from penstock.stores.base import CORRECTION, Spent
from penstock.stores.journal import Journal, Lost

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from decimal import Decimal

    from penstock.core.route.plan import Plan
    from penstock.runtime.admission import Admitted
    from penstock.runtime.call import Call
    from penstock.runtime.http import Batch
    from penstock.runtime.keyring import Keyring
    from penstock.runtime.sharing import Sharing
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target

log = logging.getLogger("penstock")
OVER_BUDGET = 422
STOP, PASS = "stop", "pass"
_SLICE = 2000  # accounts that are looked up in one turn of the event loop
_SOCKET = Asked(0, elsewhere=True)  # what one asks in a session over a WebSocket, nobody knows before


class Rules(Struct, frozen=True):
    """How money is counted. ``caps``: of all requests together; ``tags``: of those with a tag. ``carries``: what
    exceeds a cap counts in its next window. ``reserves``: money is set aside; else a budget is looked at, and no more.
    ``status``: of the error for who is over a budget. ``priced``: models without a price are refused. ``on_failure``:
    what becomes of calls while nothing can be written down, "stop" or "pass". ``default_output``: tokens of an answer
    whose request sets no limit, instead of what its model can give. ``details``: what alone is written down beside what
    a call costs; None: everything. ``texts``: what calls ask and are answered is, too. ``counts``: what calls cost is
    written down at all; else nobody has spent anything, and no budget is ever used up. ``for_good``: budgets do not
    begin anew, whatever window they have."""

    caps: tuple[Cap, ...] = ()
    tags: Mapping[str, tuple[Cap, ...]] = {}
    carries: bool = False
    reserves: bool = True
    status: int = OVER_BUDGET
    priced: bool = False
    on_failure: str = STOP
    default_output: int | None = None
    details: Details | None = None
    texts: bool = False
    counts: bool = True
    for_good: bool = False


class Bill(Struct, eq=False):
    """What one call is charged with. It lets go of its call when it is closed, so that both are freed at once.

    ``bound``: what a try may cost at most. ``under_way``: how many tries are. ``soft``: holders to be told of."""

    ledger: Ledger
    call: Call | None
    hold: Hold
    accounts: tuple[str, ...]
    bound: int
    reserved: int
    soft: Sequence[Soft] = ()
    under_way: int = 0
    begun: bool = False

    def leave(self) -> Awaitable[None] | None:
        """Note that a try is about to be sent; ``back`` must follow. Raises "no_ledger" where that cannot be written
        down, and "over_budget" where what was tried before has taken what this one needs; so may what it returns, which
        must be awaited."""
        self.under_way += 1
        return self.ledger.leave(self)

    def go_on(self, spent: Decimal | None) -> Awaitable[None] | None:
        """Set aside what the next part of a session may cost, beside what it has ``spent``; as ``leave``."""
        call = self.call
        if call is None or spent is None:
            return None
        return self.ledger.reach(self, call, amount.pico(spent) + self.bound)

    def back(self) -> None:
        """Note that a try is over."""
        self.under_way -= 1

    def close(self, error: GatewayError | None = None) -> None:
        """Charge what the call has cost. A second time changes nothing."""
        call, self.call = self.call, None
        if call is not None:
            self.ledger.settle(self, call, error)


class NoBooks:
    """The budgets of a gateway that cannot write down what calls cost: it sends none."""

    def reserve(self, call: Call, admitted: Admitted, state: State) -> None:
        """Refuse a call. Raises "no_ledger"."""
        raise _cannot_write()

    def owe(self, call: Call, admitted: Admitted) -> None:
        """Do nothing: there is nowhere to write."""

    def note(self, call: Call, error: GatewayError | None) -> None:
        """Do nothing: there is nowhere to write."""

    def spent(self, account: str) -> int:
        """Return nothing: nothing is known."""
        return 0


def _cannot_write() -> GatewayError:
    text = "What requests cost cannot be written down at the moment, so none is sent (the gateway's log says why; "
    text += "general_settings.on_ledger_failure: pass lets them pass)."
    return GatewayError("no_ledger", text, retry_after=5)


class Ledger:
    """One process's. ``keyring``: who has which caps. ``batch``: of the loop that requests are driven in; None where
    each has a task."""

    def __init__(
        self,
        keyring: Callable[[], Keyring | None],
        journal: Journal,
        clock: Callable[[], float],
        rules: Rules = Rules(),  # noqa: B008
        now: Callable[[], float] = time.time,
    ) -> None:
        self.book = Book()
        self.rules = rules
        self.keeper: Bookkeeper | None = None  # once there is a store
        self.sharing: Sharing | None = None  # where several processes share what there is
        self.accounts = Accounts(self.book, keyring, rules.caps, rules.tags, rules.carries, rules.for_good)
        self._journal, self._clock, self._now = journal, clock, now
        self._batch: Batch | None = None
        self._plans: dict[int, tuple[Plan[Target], tuple[Dearest, ...]]] = {}
        self._told: set[tuple[str, float]] = set()
        self._passes = False  # it was said that calls go on although nothing is written down

    def drive(self, batch: Batch) -> None:
        """Write with the batches of a loop: before the answers of each."""
        self._batch, batch.before = batch, self.flush

    def go_by(self, rules: Rules) -> None:
        """Go by other rules from now on."""
        self.rules = rules
        self.accounts.go_by(rules.caps, rules.tags, rules.carries, rules.for_good)

    def take_over(self, keeper: Bookkeeper) -> None:
        """Ask the store from now on what was spent before. What dead processes left and the store has not yet counts
        at once."""
        self.keeper, now = keeper, self._now()
        self.book.until = keeper.latest
        for spent in keeper.left():
            for account in spent.accounts:
                cells = [self.book.cell(account, period) for period in self.accounts.periods(account)]
                self.book.charge(cells, spent.cost, spent.at, now)

    @property
    def trouble(self) -> str:
        """Return why nothing can be written down, "" where it can."""
        return self._journal.trouble

    # On the way in. ---------------------------------------------------------------------------------------------------

    def reserve(self, call: Call, admitted: Admitted, state: State) -> Awaitable[None] | None:
        """Set aside what a call may cost. Raises "over_budget", and "bad_request" for a model without a price where
        these are refused."""
        found = self._dearest(admitted.plan) if admitted.plan is not None else self._passed(call)
        rules = self.rules
        if rules.priced and call.model and not all(one.known for one in found):
            text = f"No price is known for the model {call.model[:200]!r}, and models without one are refused here "
            text += "(litellm_settings.block_requests_for_models_without_pricing)."
            raise GatewayError("bad_request", text, param="model")
        if not rules.counts:
            return None
        exchange = call.exchange
        if exchange.method == "GET" and call.surface is not None:
            asked = _SOCKET
        else:
            asked = read_asked(call.fields, exchange.bytes_in, exchange.body)
        output = rules.default_output
        if call.caller.outputs:
            output = call.caller.output_of(call.model) or output
        bound, free = 0, True
        for one in found:  # nearly always one
            bound = max(bound, one.cost(asked, output))
            free = free and one.free
        place, soft = self.accounts.place(call.caller, admitted)
        claims: Sequence[Claim] = place.claims
        accounts = place.accounts
        if place.by_model and (of_model := place.by_model.get(call.model)):
            claims = (*claims, *of_model)
            accounts = (*accounts, *dict.fromkeys(claim.cell.account for claim in of_model))
        if free:
            claims = ()  # a budget is no matter of what costs nothing
        reserved = bound if rules.reserves else 0
        if self.sharing is not None and claims:
            return self._share(self.sharing, call, claims, place.cells, reserved, (accounts, bound, soft))
        held = self.book.reserve(claims, place.cells, reserved, self._now())
        self._charge(call, held, accounts, bound, soft)
        return None

    def owe(self, call: Call, admitted: Admitted) -> None:
        """Begin the bill of a call whose cost is owed already: nothing is set aside, and nobody is refused."""
        place, soft = self.accounts.place(call.caller, admitted)
        held = self.book.reserve((), place.cells, 0, self._now())
        self._charge(call, held, place.accounts, 0, soft)

    async def _share(
        self,
        sharing: Sharing,
        call: Call,
        claims: Sequence[Claim],
        cells: Sequence[Cell],
        reserved: int,
        of_bill: tuple[tuple[str, ...], int, Sequence[Soft]],
    ) -> None:
        """Reserve what is shared with other processes."""
        await in_task()
        held = await sharing.reserve(self.book, claims, cells, reserved)
        self._charge(call, held, *of_bill)

    def _charge(
        self,
        call: Call,
        held: Hold | Refusal,
        accounts: tuple[str, ...],
        bound: int,
        soft: Sequence[Soft],
    ) -> None:
        """Begin the bill of a call for which money was set aside."""
        if isinstance(held, Refusal):
            raise self._over(held)
        keeper = self.keeper
        if keeper is not None:
            for cell in held.cells:
                if not cell.asked:
                    keeper.ask(cell)
        call.outlet.bill = Bill(self, call, held, accounts, bound, bound, soft)
        if self.rules.texts and call.outlet.texts is None:
            call.outlet.texts = Texts()

    def leave(self, bill: Bill) -> Awaitable[None] | None:
        """Write down that a try of a call is about to be sent, see ``Bill.leave``."""
        call = bill.call
        if call is None:
            return None
        if bill.begun:
            spent = 0 if call.spent_cost is None else amount.pico(call.spent_cost)
            return self.reach(bill, call, spent + bill.under_way * bill.bound)
        bill.begun = True
        self._write_begun(bill, call)
        return None

    def reach(self, bill: Bill, call: Call, needed: int) -> Awaitable[None] | None:
        """Make sure that so much is set aside for a call that is under way."""
        if needed <= bill.reserved:
            return None
        if self.rules.reserves:
            more = needed - bill.hold.amount
            if self.sharing is not None and bill.hold.claims:
                return self._extend(self.sharing, bill, call, more, needed)
            refused = self.book.extend(bill.hold, more, self._now())
            if refused is not None:
                raise self._over(refused)
        bill.reserved = needed
        self._write_begun(bill, call)
        return None

    async def _extend(self, sharing: Sharing, bill: Bill, call: Call, more: int, needed: int) -> None:
        await in_task()
        refused = await sharing.extend(self.book, bill.hold, more)
        if refused is not None:
            raise self._over(refused)
        bill.reserved = needed
        self._write_begun(bill, call)

    def _write_begun(self, bill: Bill, call: Call) -> None:
        journal = self._journal
        try:
            journal.put(begun(call, self._now(), bill.reserved, bill.accounts, self.rules.details))
        except Lost:
            self._fail()
            return
        if (self._batch is None or not self._batch.stepping or journal.trouble) and not journal.flush():
            if self.rules.on_failure == STOP:
                journal.drop_last()
            self._fail()

    def _fail(self) -> None:
        """Refuse a call that cannot be written down, or let it pass, as the operator chose."""
        if self.rules.on_failure == STOP:
            raise _cannot_write()
        if not self._passes:
            self._passes = True
            log.error("What requests cost cannot be written down, and they are let pass: %s", self._journal.trouble)

    # At the end. ------------------------------------------------------------------------------------------------------

    def settle(self, bill: Bill, call: Call, error: GatewayError | None) -> None:
        """Charge a call that is over, and write it down: before the last bytes of its answer are out."""
        attempt = call.attempt
        cost = 0
        if attempt is not None:
            if attempt.usage is None and attempt.price_version is None:
                attempt.usage = attempt.usage_seen()
            paid = settle(attempt)
            if paid is not None:
                cost = amount.pico(paid)
        if call.spent_cost is not None:
            cost += amount.pico(call.spent_cost)
        now = self._now()
        self.book.settle(bill.hold, cost, now)
        texts = call.outlet.texts if self.rules.texts else None
        self._write_ended(call, error, now, cost, bill.accounts, texts)
        for soft in bill.soft:
            if soft.cell.spent >= soft.most:
                self._warn(*soft)

    def note(self, call: Call, error: GatewayError | None) -> None:
        """Write down a call that was refused before money was set aside for it, if somebody known made it."""
        if call.caller is not NOBODY and self.rules.counts:
            accounts = tuple([f"{holder.kind}:{holder.id}" for holder in call.caller.holders])
            self._write_ended(call, error, self._now(), 0, accounts)

    def _write_ended(
        self,
        call: Call,
        error: GatewayError | None,
        at: float,
        cost: int,
        accounts: tuple[str, ...],
        texts: Texts | None = None,
    ) -> None:
        ms = (self._clock() - call.exchange.started) * 1000
        entry = self._kept(ended(call, error, at, ms, cost, accounts))
        try:
            self._journal.put(entry if texts is None else texts.lay_down(call, entry))
        except Lost:
            log.error("The cost of call %s is lost, %d picodollars: %s", call.call_id, cost, self._journal.trouble)
        if self._batch is None or not self._batch.stepping:
            self.flush()

    def _kept(self, entry: Spent) -> Spent:
        return entry if self.rules.details is None else self.rules.details.of(entry)

    def flush(self) -> None:
        """Write down what waits."""
        journal = self._journal
        if journal.waits:
            before = journal.trouble
            if not journal.flush():
                if not before:
                    log.error("What requests cost cannot be written down: %s", journal.trouble)
            elif before:
                self._passes = False
                log.warning("What requests cost is written down again")

    def _warn(self, cell: Cell, most: int, name: str) -> None:
        window = cell.account, cell.start
        if window not in self._told:
            self._told.add(window)
            spent, soft = amount.dollars(cell.spent), amount.dollars(most)
            log.warning("Soft budget reached: %s has spent $%s of its soft budget of $%s", name, spent, soft)

    # What is known of it. ---------------------------------------------------------------------------------------------

    def spent(self, account: str) -> int:
        """Return the picodollars that an account has spent in the window of its cap, as far as this process knows."""
        cell = self.accounts.main_cell(account)
        if cell is None:
            return 0
        cell.turn(self._now())
        return cell.spent + cell.carried

    async def spent_of(self, account: str, period: str = "") -> int:
        """Return what an account has spent in the window of a period that holds, also before this process began."""
        cell = self.book.cell(account, period)
        cell.turn(self._now())
        if not cell.asked and self.keeper is not None:
            self.keeper.ask(cell)
            await self.keeper.answered()
        return cell.spent + cell.carried

    def ask_anew(self) -> None:
        """Ask the store once more what was spent: somebody priced requests anew."""
        if self.keeper is not None:
            self.keeper.ask_anew(self.book.cells.values())

    async def spent_of_all(self, accounts: Sequence[str]) -> list[int]:
        """Return what many accounts have spent in the windows of their first caps: from the book, where this process
        counts them, else from the store, which is asked once. Nothing is kept of those: there may be 100,000."""
        keeper, cells = self.keeper, self.book.cells
        if keeper is None:
            return [self.spent(account) for account in accounts]
        await keeper.answered()
        found: dict[str, int] = {}
        asked: dict[str, list[str]] = {}
        for at in range(0, len(accounts), _SLICE):
            await asyncio.sleep(0)
            part = accounts[at : at + _SLICE]
            for account, period in zip(part, self.accounts.main_periods(part), strict=True):
                if (account, period) in cells:
                    found[account] = await self.spent_of(account, period)
                else:
                    asked.setdefault(period, []).append(account)
        for period, names in asked.items():
            amounts = await keeper.amounts(names, period, window(period, self._now()).start)
            found.update(zip(names, amounts, strict=True))
        return [found[account] for account in accounts]

    async def put_right(self, account: str, wanted: int, who: str) -> None:
        """Set what an account has spent in the window of its first cap, to so many picodollars. By an entry of its own:
        what requests cost stays as it was. Raises "no_ledger" where nothing can be written."""
        more = wanted - await self.spent_of(account, self.accounts.main_period(account))
        if not more:
            return
        now, said = self._now(), f"put right by {who[:200]}"
        entry = Spent(new_id(), now, now, CORRECTION, cost=more, accounts=(account,), message=said)
        try:
            self._journal.put(entry)
        except Lost:
            raise _cannot_write() from None
        cells = [self.book.cell(account, period) for period in self.accounts.periods(account)]
        self.book.charge(cells, more, now, now)
        self.flush()

    def _passed(self, call: Call) -> tuple[Dearest, ...]:
        """Return the dearest that what is passed through may be."""
        attempt = call.attempt
        return (UNKNOWN,) if attempt is None else (attempt.dearest(),)

    def _dearest(self, plan: Plan[Target]) -> tuple[Dearest, ...]:
        """Return the dearest that the targets of a plan may be, those of its fallbacks, too."""
        kept = self._plans.get(id(plan))
        if kept is not None and kept[0] is plan:
            return kept[1]
        if len(self._plans) > MOST_KEPT:
            self._plans.clear()
        found: list[Dearest] = []
        for targets in plan.targets.values():
            for target in targets:
                one = target.dearest
                if one not in found:
                    found.append(one)
        self._plans[id(plan)] = plan, tuple(found)
        return tuple(found)

    def _over(self, refused: Refusal) -> GatewayError:
        """Make the error for who is over a budget, in LiteLLM's words, and say what else there is to know."""
        claim = refused.claim
        if claim.cell.account.startswith(SESSION):
            return over_session(refused, self.rules.status)
        name = f" {claim.name}" if claim.name else ""
        model = f" for the model {claim.cap.model!r}" if claim.cap.model else ""
        text = f"Budget has been exceeded!{name}{model} "
        carried = claim.cell.carried
        text += f"Current cost: {amount.dollars(refused.spent + carried)}, "
        text += f"Max budget: {amount.dollars(refused.most + carried)}"
        if refused.by_reservations:
            text += f". ${amount.dollars(refused.reserved)} more is set aside for requests under way, and this one may "
            text += f"cost ${amount.dollars(refused.amount)}: a smaller max_tokens sets less aside."
        return GatewayError("over_budget", text, status=self.rules.status)

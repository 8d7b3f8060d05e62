"""What a call is let through by once its model is known: access, limits, budgets. Every way upstream asks here first.

The gate judges by the head alone; here the body is read. Nothing is made and nothing waits where no key has limits:
then the engine has no ``Admission`` at all.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from penstock.config.admission import AdmissionSettings
from penstock.core.admit.access import names_route
from penstock.core.admit.holders import NO_PACE, Bad, Cap, Holder, Pace, read_holder
from penstock.core.admit.rates import Limit, Over, Rates, Taken, limits_of
from penstock.core.admit.required import check_required
from penstock.core.admit.tokens import has_used, may_use
from penstock.core.errors import GatewayError
from penstock.runtime.end_users import end_user_of, header_tags, in_headers, is_object, request_tags
from penstock.runtime.flexible_limits import FlexibleLimits, Shares, flexible_limits, shares_of
from penstock.runtime.limit_lines import LimitLines, OverModel, key_lines, over_error, over_lines, spend_line
from penstock.runtime.model_access import ModelAccess
from penstock.runtime.sessions import holder_of

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.core.route.plan import Plan
    from penstock.runtime.call import Call
    from penstock.runtime.keyring import Keyring
    from penstock.runtime.live import Lives
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target

log = logging.getLogger("penstock")
_SERVICE = "service_account_id"  # in the metadata of such a key
_HARMLESS = ("GET", "HEAD", "DELETE")  # methods of requests that no model answers


MOST_KEPT = 10_000  # limits of keys and models that are not made anew with each call
Limits = tuple[Sequence[Limit], LimitLines | None, bytes, str, FlexibleLimits | None]
"""Of a call: its limits, their lines, those of its key, the key's account, "" for none, and what of its limits does not
always hold."""


class Admitted(Struct, eq=False):
    """What a call was admitted with. ``holders``: whose limits and budgets it counts against: of its caller, then its
    end user's and its tags'. ``customer``: the end user's id, "" for none. ``user``: the user of ours that a header
    names, "" for none. ``tags``: of the request, its key and its team. ``model``: whose limits count. ``plan``: where
    it may go; None for what is passed through. ``taken``: of limits."""

    holders: tuple[Holder, ...] = ()
    customer: str = ""
    user: str = ""
    tags: tuple[str, ...] = ()
    model: str = ""
    plan: Plan[Target] | None = None
    taken: Taken | None = None


class Budgets(Protocol):
    """What the ledger is to admission. ``reserve``: set money aside for a call that limits let pass; raises
    "over_budget", or returns what must be awaited first, which may raise it, too. What became of it is settled when the
    call is recorded. ``owe``: begin the bill of a call whose cost is owed already; refuses nobody. ``note``: keep that
    a call was refused before money was set aside. ``spent``: picodollars that an account ("key:ID") has spent in the
    window of its cap."""

    def reserve(self, call: Call, admitted: Admitted, state: State) -> Awaitable[None] | None: ...
    def owe(self, call: Call, admitted: Admitted) -> None: ...
    def note(self, call: Call, error: GatewayError | None) -> None: ...
    def spent(self, account: str) -> int: ...


class Admission:
    """Admits calls. ``keyring``: where customers, tags and access groups are looked up; None where nothing is stored.
    ``lives``: what is known of deployments. ``budgets``: the ledger, None where nothing is counted in money. ``rates``:
    the limits of a time; they and what they count outlive reloads."""

    def __init__(
        self,
        keyring: Keyring | None,
        clock: Callable[[], float],
        settings: AdmissionSettings,
        lives: Lives | None = None,
    ) -> None:
        self.keyring, self.lives = keyring, lives
        self.settings = settings
        self.budgets: Budgets | None = None
        self.rates = Rates()
        self._clock = clock
        self._access: ModelAccess | None = None
        self._warned = False
        self._limits: dict[tuple[str, str], tuple[Sequence[Holder], Limits]] = {}
        self._limits_in: State | None = None  # of which they were read

    # What may be seen ---------------------------------------------------------------------------------------------

    def visible(self, caller: Caller, state: State) -> list[str]:
        """List the public names that a caller may call."""
        return self.access(state).visible(caller)

    def in_use(self, account: str) -> tuple[int, int, int, int]:
        """Return what counts of an account's limits now, see ``Rates.used``."""
        return self.rates.used(account, self._clock())

    # On the way in ----------------------------------------------------------------------------------------------------

    def admit(self, call: Call, state: State, plan: Plan[Target] | None = None) -> Awaitable[None] | None:
        """Let a call through to its model, or refuse it. Sets ``call.admitted``. What it returns must be awaited before
        anybody is asked; None where nothing has to wait. ``plan``: instead of what the state plans for its model."""
        if call.exchange.copied:  # the operator says where it goes, whatever its caller may
            return self._count(call, state, call.model, plan)
        caller, wishes = call.caller, call.wishes
        access = self.access(state)
        # Where the config says who answers, whatever a request says, what the request says is still what it may say.
        access.check(caller, caller.aliases.get(call.asked, call.asked))
        if wishes is not None:
            for name in wishes.places:
                access.check(caller, name)
        if self.settings.required or caller.required or self.settings.of_services:
            self._check_said(call)
        if plan is None:
            plan = state.plan(call.model) if wishes is None else state.wished(call.model, wishes)
            if self.settings.fallbacks_too:
                plan = _only_allowed(plan, access, caller)
        try:
            return self._count(call, state, call.model, plan)
        except OverModel as error:
            return self._count_elsewhere(call, state, plan, error)

    def _check_said(self, call: Call) -> None:
        """Refuse a call that does not say what it must. Raises "bad_request"."""
        settings, caller = self.settings, call.caller
        if not call.exchange.inner:
            check_required(call.fields, settings.required)
            check_required(call.fields, caller.required)
            if _SERVICE in caller.metadata:
                check_required(call.fields, settings.of_services)

    def _count_elsewhere(
        self, call: Call, state: State, plan: Plan[Target], error: OverModel
    ) -> Awaitable[None] | None:
        """Count a call that is over a limit in its model in the first of its fallbacks that has room for it."""
        lines = call.outlet.call_lines
        for name in () if self.settings.stays_over else plan.fallbacks.get("", ()):
            call.outlet.call_lines = b""
            try:
                return self._count(call, state, name, state.plan(name))
            except OverModel:
                continue
        call.outlet.call_lines = lines
        raise error

    def admit_passed(
        self, call: Call, state: State, model: str, names: tuple[str, ...] | None
    ) -> Awaitable[None] | None:
        """Let through what is passed on as it came. ``names``: by which a list of models may allow its model; () where
        it is not known which one is asked, None where that does not matter."""
        access, caller = self.access(state), call.caller
        if names is not None and not any(access.may(caller, name) for name in names):
            if names:
                access.check(caller, names[0])
            elif call.exchange.method not in _HARMLESS and not names_route(caller, call.path):
                _check_unnamed(caller)
        return self._count(call, state, model, None)

    def admit_owed(self, call: Call) -> None:
        """Let a call through whose cost is owed already: it counts against budgets, and nothing refuses it."""
        caller = call.caller
        call.admitted = Admitted(caller.holders, caller.customer, "", caller.tags, call.model)
        if self.budgets is not None:
            self.budgets.owe(call, call.admitted)

    def plan_of(self, call: Call) -> Plan[Target] | None:
        """Return the plan that a call was admitted with."""
        return None if call.admitted is None else call.admitted.plan

    def access(self, state: State) -> ModelAccess:
        """Return what may be called of a state's models, as it is now."""
        access = self._access
        revision = -1 if self.keyring is None else self.keyring.revision
        if access is None or access.state is not state or access.revision != revision:
            access = self._access = ModelAccess(state, self.keyring)
        return access

    def _count(self, call: Call, state: State, model: str, plan: Plan[Target] | None) -> Awaitable[None] | None:
        """Count a call against whatever it counts against: all of it or nothing."""
        admitted = self._who(call, model)
        admitted.plan = plan
        holders, now = admitted.holders, self._clock()
        limits, lines, of_key, account, flexible = self._limits_of(call.caller, holders, model, state, plan)
        if flexible is not None and not call.exchange.copied:
            limits, lines = flexible.choose(self.rates, flexible.dynamic and self._has_trouble(plan, now), now)
            call.outlet.call_lines += flexible.lines
        if lines is not None and not call.exchange.copied:
            common = self.rates.common
            if self.settings.fails_closed and common is not None and not common.connected:
                text = "Limits cannot be counted now: what the gateway's processes share is away. Try again soon."
                raise GatewayError("overloaded", text, retry_after=1)
            tokens = may_use(call.fields, self.settings.counted) if lines.counts_tokens else 0
            taken, outlet, openai = self.rates.take(limits, tokens, now), call.outlet, plan is not None
            if isinstance(taken, Over):
                left = [self.rates.left(limit, now) for limit in limits]
                outlet.call_lines += lines.fill(left, openai) + over_lines(taken)
                error = None if flexible is None else flexible.error(taken, tokens, self.rates, now)
                raise error or over_error(taken, tokens)
            admitted.taken = taken
            outlet.call_lines += lines.fill([one.left for one in taken.held], openai)
        if account:
            if self.budgets is not None:
                call.outlet.call_lines += spend_line(self.budgets.spent(account))
            call.outlet.call_lines += of_key
        call.admitted = admitted
        if self.budgets is None:
            return None
        try:
            waits = self.budgets.reserve(call, admitted, state)
        except GatewayError:
            self._cancel(admitted)
            raise
        return None if waits is None else self._wait(waits, admitted)

    def _limits_of(
        self, caller: Caller, holders: Sequence[Holder], model: str, state: State, plan: Plan[Target] | None
    ) -> Limits:
        """Return the limits that a call counts against, and their lines; kept where they are those of its key."""
        if holders is not caller.holders:
            return self._read_limits(caller, holders, model, state, plan)
        if state is not self._limits_in:
            self._limits, self._limits_in = {}, state
        found = self._limits.get((caller.key, model))
        if found is None or found[0] is not holders:
            if len(self._limits) >= MOST_KEPT:
                self._limits.clear()
            made = self._read_limits(caller, holders, model, state, plan)
            found = self._limits[caller.key, model] = holders, made
        return found[1]

    def _read_limits(
        self, caller: Caller, holders: Sequence[Holder], model: str, state: State, plan: Plan[Target] | None
    ) -> Limits:
        limits = limits_of(holders, model, NO_PACE if plan is None else _pace_of_keys(plan))
        of_key, account = b"", ""
        if holders and holders[0].kind == "key":
            of_key, account = key_lines(holders[0]), f"key:{holders[0].id}"
        flexible = flexible_limits(limits, holders, self._shares_of(caller, state, plan))
        return limits, LimitLines(limits) if limits else None, of_key, account, flexible

    def _shares_of(self, caller: Caller, state: State, plan: Plan[Target] | None) -> Shares | None:
        """Return what is reserved for a caller of a model's capacity, which all names of its group have together; None
        where nothing is."""
        if state.priorities is None or plan is None:
            return None
        found = state.catalog.find(plan.group)
        group = plan.group if found is None or found.stars else found.group
        return shares_of(state.priorities, group, plan.targets.get(plan.group, ()), caller.priority)

    def _has_trouble(self, plan: Plan[Target] | None, now: float) -> bool:
        """Tell whether a model has trouble; one that nobody knows of may have it."""
        if plan is None or self.lives is None:
            return True
        return any(one.has_trouble(now) for one in self.lives.standings(plan.targets.get(plan.group, ())))

    async def _wait(self, waits: Awaitable[None], admitted: Admitted) -> None:
        try:
            await waits
        except GatewayError:
            self._cancel(admitted)
            raise

    def _cancel(self, admitted: Admitted) -> None:
        if admitted.taken is not None:
            self.rates.cancel(admitted.taken, self._clock())

    # Whom it counts against -------------------------------------------------------------------------------------------

    def _who(self, call: Call, model: str) -> Admitted:
        """Find out whom a call counts against. Raises "forbidden" for an end user who is blocked."""
        settings, caller = self.settings, call.caller
        named = caller.customer or end_user_of(call, settings.customer_headers)
        customer = named if not settings.knows_end_users or caller.customer else self._known(named)
        more: list[Holder] = []
        if customer:
            found = self._customer(customer)
            if not settings.counts_end_users:
                customer = ""  # so the ledger does not count him, and no budget of his can be kept, either
            if found is not None:
                more.append(found)
        elif settings.names_end_user and not named and call.surface is not None and not call.exchange.inner:
            text = "The field 'user' is missing: every request here must name its end user (enforce_user_param)."
            raise GatewayError("bad_request", text, param="user")
        user = in_headers(call, settings.user_headers) if settings.user_headers else ""
        if user and user != caller.user and (held := self._holder("user", user)) is not None:
            more.append(held)
        tags = request_tags(call)
        if tags and settings.no_tags:
            text = "Client-side 'metadata.tags' not allowed in request (reject_clientside_metadata_tags)."
            raise GatewayError("bad_request", text, param="metadata.tags")
        if settings.tag_headers:
            tags = (*tags, *header_tags(call, settings.tag_headers))
        if tags or caller.tags:
            tags = tuple(dict.fromkeys((*tags, *caller.tags)))
            more += [held for tag in tags if (held := self._holder("tag", tag)) is not None]
        if caller.a_session is not None and (session := holder_of(caller, call)) is not None:
            more.append(session)
        if not more:
            return Admitted(caller.holders, customer, user, tags, model)
        for held in more:
            if held.blocked:
                text = f"User blocked from making LLM API Calls. User={held.id[:200]}"
                raise GatewayError("forbidden", text)
        if self._access is not None:
            self._access.check_for(more, model)
        return Admitted((*caller.holders, *more), customer, user, tags, model)

    def _known(self, named: str) -> str:
        """Return an end user who is a customer here, or a user by id or address; "" for any other. Where a budget is
        set for those who have none, everybody has it who is named by a plain text (LiteLLM's rule)."""
        keyring = self.keyring
        if keyring is None or not named:
            return named
        if is_object(named):
            return ""
        if self.settings.end_user_budget or keyring.row("customer", named) or keyring.row("user", named):
            return named
        return named if "@" in named and keyring.has_address(named) else ""

    def _customer(self, id_: str) -> Holder | None:
        """Return the limits of an end user: the default ones where nobody gave any."""
        found, default = self._holder("customer", id_), self._default()
        if default is None or (found is not None and (found.caps or found.pace != NO_PACE)):
            return found
        if found is None:
            return replace(default, id=id_)
        return replace(found, caps=default.caps, pace=default.pace, by_model=default.by_model, soft=default.soft)

    def _default(self) -> Holder | None:
        """Return the limits of end users who have none of their own."""
        settings, keyring = self.settings, self.keyring
        if settings.end_user_budget and keyring is not None:
            budget = keyring.body("budget", settings.end_user_budget)
            if budget is None:
                if not self._warned:
                    text = "The budget %r of end users (max_end_user_budget_id) does not exist: they have no limits"
                    log.warning(text, settings.end_user_budget[:100])
                self._warned = True
                return None
            return self._read(lambda: read_holder("customer", "", {}, budget))
        if settings.end_user_most is not None:
            return Holder("customer", "", caps=(Cap(settings.end_user_most),))
        return None

    def _holder(self, kind: str, id_: str) -> Holder | None:
        keyring = self.keyring
        return None if keyring is None else self._read(lambda: keyring.holder(kind, id_))

    def _read(self, read: Callable[[], Holder | None]) -> Holder | None:
        try:
            return read()
        except Bad as error:
            log.error("A request is refused, because a limit that is stored cannot be read: %s", error)
            text = "This request counts against limits that cannot be read; the gateway's log says which."
            raise GatewayError("forbidden", text) from None

    # On the way out ---------------------------------------------------------------------------------------------------

    def release(self, call: Call) -> None:
        """Give back what a call that is over has held, and count what it has used. Nothing, for one that was not let
        in, or a second time."""
        admitted = call.admitted
        if admitted is None or admitted.taken is None:
            return
        attempt, counted = call.attempt, self.settings.counted
        tokens = has_used(call.spent, counted)
        if attempt is not None:
            tokens += has_used(attempt.usage, counted) + has_used(attempt.spent, counted)
        self.rates.settle(admitted.taken, tokens, self._clock())


def _pace_of_keys(plan: Plan[Target]) -> Pace:
    """Return the limits of keys in a plan's model that have none of their own in it: those of its first deployment that
    says some."""
    for target in plan.targets.get(plan.group, ()):
        params = target.deployment.params
        requests, tokens = params.get("default_api_key_rpm_limit"), params.get("default_api_key_tpm_limit")
        if requests is not None or tokens is not None:
            return Pace(requests, tokens)
    return NO_PACE


def _only_allowed(plan: Plan[Target], access: ModelAccess, caller: Caller) -> Plan[Target]:
    """Take the fallbacks out of a plan that a caller may not call: then the error of the model itself is the answer."""
    if len(plan.targets) == 1 or not any(holder.models for holder in caller.holders):
        return plan

    def kept(names: dict[str, list[str]]) -> dict[str, list[str]]:
        found = {kind: [name for name in each if access.may(caller, name)] for kind, each in names.items()}
        return {kind: each for kind, each in found.items() if each}

    nested = {group: kept({k: list(v) for k, v in rows.items()}) for group, rows in plan.nested.items()}
    return plan._replace(fallbacks=kept({k: list(v) for k, v in plan.fallbacks.items()}), nested=nested)


def _check_unnamed(caller: Caller) -> None:
    """Refuse what is passed through without naming a model, where its caller has a list of models: a batch or a run of
    an assistant would go around the list. A key whose ``allowed_routes`` name the path may."""
    for holder in caller.holders:
        if holder.models and "all-proxy-models" not in holder.models:
            text = f"This {holder.kind} may call certain models only, and this request does not say which one it asks."
            raise GatewayError("forbidden", f"{text} A key whose allowed_routes name the path may send it.")

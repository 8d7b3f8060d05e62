"""What a call is let through by once its model is known: access, limits, budgets. Every way upstream asks here first.

The gate judges by the head alone; here the body is read. Nothing is made and nothing waits where no key has limits:
then the engine has no ``Admission`` at all.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from penstock.core.admit.access import check_model
from penstock.core.admit.holders import Holder

if TYPE_CHECKING:
    from penstock.core.errors import GatewayError
    from penstock.core.route.plan import Plan
    from penstock.runtime.call import Call
    from penstock.runtime.keyring import Keyring
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target


class Admitted(Struct, eq=False):
    """What a call was admitted with. ``holders``: whose limits and budgets it counts against: of its caller, then its
    end user's and its tags'. ``customer``: the end user's id, "" for none. ``tags``: of the request, its key and its
    team. ``plan``: where it may go; None for what is passed through."""

    holders: tuple[Holder, ...] = ()
    customer: str = ""
    tags: tuple[str, ...] = ()
    plan: Plan[Target] | None = None


class Budgets(Protocol):
    """What the ledger is to admission. ``reserve``: set money aside for a call that limits let pass; raises
    "over_budget", or returns what must be awaited first, which may raise it, too. What became of it is settled when the
    call is recorded. ``note``: keep that a call was refused before money was set aside. ``spent``: picodollars that an
    account ("key:ID") has spent in the window of its cap."""

    def reserve(self, call: Call, admitted: Admitted, state: State) -> Awaitable[None] | None: ...
    def note(self, call: Call, error: GatewayError | None) -> None: ...
    def spent(self, account: str) -> int: ...


class Admission:
    """Admits calls. ``keyring``: where customers and tags are looked up, None where nothing is stored. ``budgets``: the
    ledger, None where nothing is counted in money."""

    def __init__(self, keyring: Keyring | None = None) -> None:
        self.keyring = keyring
        self.budgets: Budgets | None = None

    def admit(self, call: Call, state: State, plan: Plan[Target] | None = None) -> Awaitable[None] | None:
        """Let a call through to its model, or refuse it. Sets ``call.admitted``. What it returns must be awaited before
        anybody is asked; None where nothing has to wait. ``plan``: instead of what the state plans for its model."""
        check_model(call.caller, call.model, _no_groups)
        if plan is None:
            plan = state.plan(call.model) if call.wishes is None else state.wished(call.model, call.wishes)
        admitted = call.admitted = Admitted(call.caller.holders, plan=plan)
        return None if self.budgets is None else self.budgets.reserve(call, admitted, state)

    def plan_of(self, call: Call) -> Plan[Target] | None:
        """Return the plan that a call was admitted with."""
        return None if call.admitted is None else call.admitted.plan

    def release(self, call: Call) -> None:
        """Give back what a call that is over has held, and count what it has used."""


def _no_groups(model: str) -> tuple[str, ...]:
    return ()

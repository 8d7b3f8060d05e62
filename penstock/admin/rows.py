"""What all calls about managed things have in common: find a row, judge what it is to say, tell it with what was spent.

Money that was spent stands in no row: the ledger has it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.forms import given, missing, refused
from penstock.admin.shelf import Written
from penstock.admin.spending import spent, spent_of_all
from penstock.core.admit.access import MANAGEMENT
from penstock.core.admit.amount import dollars
from penstock.core.admit.holders import Bad, read_holder
from penstock.core.admit.periods import text_of, window
from penstock.core.errors import GatewayError
from penstock.runtime.gate import KEY
from penstock.runtime.ids import new_id
from penstock.runtime.route import JSON, Page, Route
from penstock.stores.kinds import KINDS, fields_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from penstock.admin.desk import Desk
    from penstock.stores.base import Row

Fields = dict[str, Any]
AT_ONCE = 200
"""Rows of a long list that are written before others have their turn."""
_IN_A_TURN = 5000  # amounts that are written before others have theirs
_ONE_BY_ONE = 200  # accounts, each of which is looked up in the book; more are asked of the store at once
_GAP = b"\0"  # stands in no JSON: in a text it is written as \u0000
_HOLE = msgspec.Raw(_GAP)
BUDGET_FIELDS = tuple(
    """max_budget soft_budget max_parallel_requests tpm_limit rpm_limit tpd_limit budget_duration
    model_max_budget""".split()
)
"""What a row of kind "budget" says."""


def post(
    path: str,
    handler: Callable[..., Any],
    form: type[msgspec.Struct] | None = None,
    role: str = KEY,
    method: str = "POST",
) -> Route:
    """Make the row of a URL that changes something."""
    return Route(path, handler, methods=(method,), role=role, no_pages=True, family=MANAGEMENT, body=form)


async def row_of(desk: Desk, kind: str, id_: str, seen: Callable[[Fields], bool] | None = None) -> Row:
    """Find a row. ``seen``: whether who asks may know of it. Raises "no_object", alike for both."""
    row = await desk.row(kind, id_) if id_ else None
    if row is None or (seen is not None and not seen(fields_of(row))):
        raise missing(kind, id_)
    return row


def need(name: str, value: object) -> str:
    """Return a name that a call must say. Raises a 422 where it does not."""
    if isinstance(value, str) and value:
        return value
    raise GatewayError("bad_request", f"{name} is missing: it says which one.", param=name, status=422)


def own_id(name: str, given: object) -> str:
    """Return the id of something new: the one that was given, or a fresh one. Raises "bad_request" for one with a
    slash: memberships are kept as ``TEAM/USER``, and must be read in one way only."""
    if not given:
        return new_id()
    text = str(given)
    if "/" in text or not text.isprintable():
        raise GatewayError(
            "bad_request", f"{name}: {text[:120]!r} must have no slash and no control character.", param=name
        )
    return text


def check(desk: Desk, kind: str, id_: str, body: Mapping[str, Any]) -> None:
    """Refuse limits that cannot be read, and a budget that is not there: either would be no limit at all."""
    name, budget = body.get("budget_id"), None
    if name:
        budget = desk.keyring.body("budget", name)
        if budget is None:
            text = f"budget_id: there is no budget {name!r:.120}; POST /budget/new makes one."
            raise GatewayError("bad_request", text, param="budget_id")
    try:
        read_holder(kind, id_, body, budget)
    except Bad as error:
        raise refused(error) from None


def without_ids(form: msgspec.Struct, *names: str) -> Fields:
    """Return what of a form was sent, but those fields."""
    return {name: value for name, value in given(form).items() if name not in names}


class Spend:
    """What an account has spent in the window of its budget, told in US dollars by ``tell``."""

    __slots__ = ("account",)

    def __init__(self, kind: str, id_: str) -> None:
        self.account = f"{kind}:{id_}"


def write(part: Any) -> Written:
    """Write a part of an answer, with a gap in the place of each ``Spend``."""
    accounts: list[str] = []

    def note(thing: Any) -> Any:
        if isinstance(thing, Spend):
            accounts.append(thing.account)
            return _HOLE
        return str(thing)

    text = msgspec.json.encode(part, enc_hook=note)
    return Written(tuple(text.split(_GAP)) if accounts else (text,), tuple(accounts))


async def amounts_of(gateway: Any, accounts: Iterable[str]) -> dict[str, bytes]:
    """Return what accounts have spent, as JSON: a few are asked of the book, many of the store at once."""
    names = list(dict.fromkeys(accounts))
    if len(names) > _ONE_BY_ONE:
        found = await spent_of_all(gateway, names)
    else:
        found = await asyncio.gather(*(spent(gateway, *account.split(":", 1)) for account in names))
    amounts: dict[str, bytes] = {}
    for at in range(0, len(names), _IN_A_TURN):
        if at:
            await asyncio.sleep(0)
        numbers = msgspec.json.encode([dollars(amount) for amount in found[at : at + _IN_A_TURN]])[1:-1].split(b",")
        amounts.update(zip(names[at : at + _IN_A_TURN], numbers, strict=True))
    return amounts


async def tell(gateway: Any, answer: Any, status: int = 200) -> Page:
    """Render an answer, with what each ``Spend`` in it comes to."""
    written = write(answer)
    amounts = await amounts_of(gateway, written.accounts) if written.accounts else {}
    return Page(status, JSON, written.fill(amounts))


async def tell_list(gateway: Any, parts: Sequence[Written]) -> Page:
    """Render a list of parts that are written, however many: others have their turn meanwhile."""
    amounts = await amounts_of(gateway, (account for part in parts for account in part.accounts))
    texts = []
    for number, part in enumerate(parts):
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        texts.append(part.fill(amounts))
    return Page(200, JSON, b"".join((b"[", b",".join(texts), b"]")))


def reset_at(body: Mapping[str, Any], now: float) -> str | None:
    """Return when the window of a budget ends; None where it has none."""
    return text_of(budget_ends(body, now)) if body.get("budget_duration") else None


def budget_ends(body: Mapping[str, Any], now: float) -> float:
    """Return when the window of a budget ends, in seconds since 1970: from then on another end is told."""
    period = body.get("budget_duration")
    return window(str(period).strip().lower(), now).end if period else float("inf")


def budget_told(desk: Desk, body: Mapping[str, Any]) -> Fields | None:
    """Tell the limits of a row that has its own or those of its budget, as LiteLLM's table of budgets has them."""
    name = body.get("budget_id")
    row = desk.keyring.body("budget", name) if isinstance(name, str) else None
    own = {field: body[field] for field in BUDGET_FIELDS if body.get(field) is not None}
    if row is None and not own:
        return None
    return {**dict.fromkeys(BUDGET_FIELDS), **(row or {}), **own, "budget_id": name}


def bodies(rows: Iterable[Row]) -> list[Fields]:
    """List the fields of rows, without what nobody is shown."""
    return [shown(row.kind, fields_of(row)) for row in rows]


def unknown(kind: str, ids: Iterable[str]) -> GatewayError:
    """Make the error for ids in a list of which there is nothing."""
    names = ", ".join(repr(one[:120]) for one in list(ids)[:10])
    return GatewayError("no_object", f"There is no {kind.replace('_', ' ')} of that {KINDS[kind].id}: {names}.")

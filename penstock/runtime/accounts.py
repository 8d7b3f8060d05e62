"""Where each call is counted: the accounts of its caller, its end user and its tags, and the caps that hold for each.

Worked out once for a caller and kept, since every request asks; anew where a row has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from penstock.core.admit.book import GLOBAL, Book, Cell, Claim, Place
from penstock.core.admit.holders import Cap, Holder, read_caps

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.runtime.admission import Admitted
    from penstock.runtime.keyring import Keyring

MOST_KEPT = 50_000  # callers and holders, before all are made anew
_NULL = msgspec.Raw(b"null")
_NO_PLACE = Place((), {}, (), ())
NO_TAGS: Mapping[str, tuple[Cap, ...]] = {}


class _Said(msgspec.Struct):
    """What of a row says over which windows it is counted, as it is kept."""

    max_budget: msgspec.Raw = _NULL
    budget_duration: msgspec.Raw = _NULL
    budget_limits: msgspec.Raw = _NULL
    of_models: msgspec.Raw = msgspec.field(default=_NULL, name="model_max_budget")
    budget_id: str | None = None


_SAID = msgspec.json.Decoder(_Said).decode


@lru_cache(4096)
def _caps_of(most: bytes, period: bytes, windows: bytes, models: bytes) -> tuple[Cap, ...]:
    read = msgspec.json.decode
    said = {"max_budget": most, "budget_duration": period, "budget_limits": windows, "model_max_budget": models}
    return read_caps({name: read(value) for name, value in said.items()})


class Soft(NamedTuple):
    """A budget that nobody is refused for: somebody is told when a cell has spent so much."""

    cell: Cell
    most: int
    name: str


class Accounts:
    """All of one process. ``keyring``: who has which caps; ``caps``: those of all requests together; ``tags``: those
    that the config gives to tags, beside what is stored of them. ``carries``: what exceeds a cap counts in its next
    window. ``for_good``: the windows of caps do not end: they hold for all of time."""

    def __init__(
        self,
        book: Book,
        keyring: Callable[[], Keyring | None],
        caps: tuple[Cap, ...],
        tags: Mapping[str, tuple[Cap, ...]] = NO_TAGS,
        carries: bool = False,
        for_good: bool = False,
    ) -> None:
        self._book, self._keyring, self._caps, self._tags, self._carries = book, keyring, caps, tags, carries
        self._for_good = for_good
        self._places: dict[str, tuple[Caller, Place, tuple[Soft, ...]]] = {}
        self._holders: dict[tuple[str, str], tuple[Holder, Place]] = {}
        self._tag_places: dict[str, Place] = {}
        self._periods: dict[str, tuple[str, ...]] = {}

    def go_by(
        self,
        caps: tuple[Cap, ...],
        tags: Mapping[str, tuple[Cap, ...]] = NO_TAGS,
        carries: bool = False,
        for_good: bool = False,
    ) -> None:
        """Go by other caps of the config, and by other windows, from now on."""
        self._caps, self._tags = caps, tags
        self._places.clear()
        self._tag_places.clear()
        if carries is not self._carries:
            self._carries = carries
            self._holders.clear()
            for cell in self._book.cells.values():
                cell.most, cell.carried = None, 0
        if for_good is not self._for_good:
            self._for_good = for_good
            self._holders.clear()
            self._periods.clear()

    def _held(self, caps: tuple[Cap, ...]) -> tuple[Cap, ...]:
        """Return caps as they hold here."""
        return tuple(replace(cap, period="") for cap in caps) if self._for_good else caps

    def _carry_over(self, claims: Iterable[Claim]) -> None:
        """Let what exceeds caps be carried into their next windows."""
        tightest: dict[Cell, int] = {}
        for cell, cap, _ in claims if self._carries else ():
            if cap.period and not cap.model:
                tightest[cell] = min(cap.most, tightest.get(cell, cap.most))
        for cell, most in tightest.items():
            if cell.most is None:
                cell.asked = False  # of the windows before nobody has asked
            cell.most = most

    def asked_places(self) -> list[tuple[Place, tuple[Soft, ...]]]:
        """List where callers are counted that have asked since their rows changed last."""
        return [(place, soft) for _, place, soft in self._places.values()]

    def place(self, caller: Caller, admitted: Admitted) -> tuple[Place, tuple[Soft, ...]]:
        """Return where a call is counted: its caller's place, and those of its end user and tags."""
        kept = self._places.get(caller.key)
        if kept is None or kept[0] is not caller:
            if len(self._places) > MOST_KEPT:
                self._places.clear()
            places = [self._place_of(holder) for holder in caller.holders]
            place = self._join([*places, self._tally(caller)], self._everybody())
            kept = self._places[caller.key] = caller, place, self._soft(caller.holders)
        place, soft = kept[1], kept[2]
        more = admitted.holders[len(caller.holders) :]
        if more and not admitted.customer:  # an end user who is not named is not counted, see ``counts_end_users``
            more = tuple([holder for holder in more if holder.kind != "customer"])
        if more:
            place = self._join([place, *(self._place_of(holder) for holder in more)], _NO_PLACE)
            soft = (*soft, *self._soft(more))
        if self._tags and admitted.tags:
            of_tags = [self._place_of_tag(tag) for tag in admitted.tags if tag in self._tags]
            if of_tags:
                place = self._join([place, *of_tags], _NO_PLACE)
        if admitted.customer or admitted.tags or admitted.user:
            more_accounts = [f"customer:{admitted.customer}"] if admitted.customer else []
            more_accounts += [f"user:{admitted.user}"] if admitted.user else []
            more_accounts += [f"tag:{tag}" for tag in admitted.tags]
            accounts = tuple(dict.fromkeys((*place.accounts, *more_accounts)))
            place = place._replace(accounts=accounts)
        return place, soft

    def _tally(self, caller: Caller) -> Place:
        """Return where a caller is counted whose budgets do not hold for it: the user of a team's key."""
        accounts = [f"user:{caller.user}"] if caller.user else []
        accounts += [f"member:{caller.team}/{caller.user}"] if caller.user and caller.team else []
        return Place((), {}, tuple(self._book.cell(account) for account in accounts), tuple(accounts))

    def _everybody(self) -> Place:
        caps = self._caps
        if not caps:
            return _NO_PLACE
        self._periods[GLOBAL] = tuple(cap.period for cap in caps)
        claims = tuple(self._book.claim(GLOBAL, cap) for cap in caps)
        return Place(claims, {}, tuple(claim.cell for claim in claims), (GLOBAL,))

    def _place_of_tag(self, tag: str) -> Place:
        """Return where the config's budgets of a tag are counted."""
        found = self._tag_places.get(tag)
        if found is None:
            account = f"tag:{tag}"
            claims = tuple(self._book.claim(account, cap, f"Tag={tag}") for cap in self._tags[tag])
            cells = tuple(dict.fromkeys((self._book.cell(account), *(claim.cell for claim in claims))))
            self._carry_over(claims)
            found = self._tag_places[tag] = Place(claims, {}, cells, (account,))
        return found

    def _place_of(self, holder: Holder) -> Place:
        name = holder.kind, holder.id
        kept = self._holders.get(name)
        if kept is not None and kept[0] == holder:
            return kept[1]
        if len(self._holders) > MOST_KEPT:
            self._holders.clear()
        account = f"{holder.kind}:{holder.id}"
        cells = [self._book.cell(account)]
        claims: list[Claim] = []
        by_model: dict[str, tuple[Claim, ...]] = {}
        accounts, periods = [account], dict[str, list[str]]({account: []})
        for cap in self._held(holder.caps):
            claim = self._book.claim(account, cap, named(holder))
            cell = claim.cell
            periods.setdefault(cell.account, []).append(cap.period)
            if cap.model:
                by_model[cap.model] = (*by_model.get(cap.model, ()), claim)
            else:
                claims.append(claim)
                cells.append(cell)
        self._carry_over(claims)
        self._periods.update((one, tuple(found)) for one, found in periods.items())
        place = Place(tuple(claims), by_model, tuple(dict.fromkeys(cells)), tuple(accounts))
        self._holders[name] = holder, place
        return place

    def _join(self, places: Sequence[Place], last: Place) -> Place:
        if len(places) == 1 and last is _NO_PLACE:
            return places[0]
        every = [*places, last]
        by_model: dict[str, tuple[Claim, ...]] = {}
        for place in every:
            for model, claims in place.by_model.items():
                by_model[model] = (*by_model.get(model, ()), *claims)
        return Place(
            tuple(claim for place in every for claim in place.claims),
            by_model,
            tuple(dict.fromkeys(cell for place in every for cell in place.cells)),
            tuple(dict.fromkeys(account for place in every for account in place.accounts)),
        )

    def _soft(self, holders: Sequence[Holder]) -> tuple[Soft, ...]:
        found = []
        for holder in holders:
            if holder.soft is not None:
                period = next((cap.period for cap in self._held(holder.caps) if not cap.model), "")
                cell = self._book.cell(f"{holder.kind}:{holder.id}", period)
                found.append(Soft(cell, holder.soft, named(holder)))
        return tuple(found)

    def periods(self, account: str) -> Sequence[str]:
        """Return the windows in which an account is counted: all of time, and those of its caps."""
        found = self._periods.get(account)
        if found is None:
            found = self._periods[account] = self._look_up(account)
        return dict.fromkeys(("", *found, *self._periods_of_tag(account))).keys()  # type: ignore[return-value]

    def _periods_of_tag(self, account: str) -> Iterator[str]:
        """Yield the windows of the budgets that the config gives to an account."""
        if self._tags and account.startswith("tag:"):
            for cap in self._tags.get(account[4:], ()):
                yield cap.period

    def _look_up(self, account: str) -> tuple[str, ...]:
        kind, _, rest = account.partition(":")
        id_, _, model = rest.partition("/model:")
        keyring = self._keyring()
        if account == GLOBAL:
            return tuple(cap.period for cap in self._caps)
        row = None if keyring is None else keyring.row(kind, id_)
        if keyring is None or row is None or b"budget" not in row.body:
            return ()  # most have none, and nothing need be read to see it
        try:
            said = _SAID(row.body)
            if said.budget_id is None:
                # Of 40,000 keys most say what others do, and are not read one by one for a list of them.
                parts = said.max_budget, said.budget_duration, said.budget_limits, said.of_models
                caps = _caps_of(*map(bytes, parts))
            else:
                caps = read_caps(msgspec.json.decode(row.body), keyring.body("budget", said.budget_id))
        except ValueError:  # a row that cannot be read lets nobody in, either
            return ()
        return tuple(cap.period for cap in self._held(caps) if cap.model == model)

    def main_cell(self, account: str) -> Cell | None:
        """Return where an account is counted in the window of its first cap; None where it was not yet."""
        found = self._periods.get(account)
        period = found[0] if found else next(self._periods_of_tag(account), "")
        return self._book.cells.get((account, period))

    def main_period(self, account: str) -> str:
        """Return the window of an account's first cap; "" for all of time."""
        found = self._periods.get(account)
        if found is None:
            found = self._periods[account] = self._look_up(account)
        return found[0] if found else next(self._periods_of_tag(account), "")

    def main_periods(self, accounts: Iterable[str]) -> list[str]:
        """Return the window of the first cap of each account, see ``main_period``."""
        known, look_up = self._periods, self.main_period
        return [found[0] if (found := known.get(account)) else look_up(account) for account in accounts]


_LABELS: Mapping[str, str] = {
    "key": "Key",
    "team": "Team",
    "user": "User",
    "organization": "Organization",
    "customer": "End User",
    "tag": "Tag",
}


def named(holder: Holder) -> str:
    """Name a holder as LiteLLM's messages do: ``Team=ID``."""
    if holder.kind == "member":
        team, _, user = holder.id.partition("/")
        return f"User={user} in Team={team}"
    shown = holder.alias or f"{holder.id[:12]}..." if holder.kind == "key" else holder.id
    return f"{_LABELS.get(holder.kind, holder.kind)}={shown}"

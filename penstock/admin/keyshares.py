"""Keys and teams that are promised their pace: with all that their owner has given to others it is within the owner's.

LiteLLM's ``rpm_limit_type`` and ``tpm_limit_type``: of ``guaranteed_throughput`` (``best_effort_throughput`` promises
nothing, and what ``dynamic`` means shows when a key is used).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.admit.holders import Bad, Holder, read_holder
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.admin.desk import Desk

PROMISED = "guaranteed_throughput"
_OF_TEAMS = (PROMISED, "best_effort_throughput")
_SLICE = 500  # rows that are read in one turn of the event loop
_OWNERS = {"key": ("team", "organization"), "team": ("organization",)}
_BOUNDS = {"rpm": "requests", "tpm": "tokens"}


async def check_promise(desk: Desk, kind: str, id_: str, body: Mapping[str, Any]) -> None:
    """Raise "bad_request" for a key or a team whose ``rpm_limit_type`` or ``tpm_limit_type`` promises more than is left
    of the pace of its team or organisation, all in all or in one model."""
    names = [name for name in _BOUNDS if _type_of(kind, name, body) == PROMISED]
    for owner in _OWNERS[kind] if names else ():
        field = f"{owner}_id"
        above = _read(desk, owner, body.get(field))
        wanted = [one for name in names for one in _paces(name, _read_body(desk, kind, id_, body))]
        told = {(name, model): _most_of(above, name, model) for name, model, _ in wanted}
        bounds = {one: most for one, most in told.items() if most is not None}
        if not bounds:
            continue
        given = dict.fromkeys(bounds, 0)
        for number, row in enumerate((await desk.find(kind, {field: body[field]})).rows):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if row.id != id_:
                other = _read_body(desk, kind, row.id, msgspec.json.decode(row.body))
                for name in names:
                    for _, model, pace in _paces(name, other):
                        if (name, model) in given:
                            given[name, model] += pace
        _check_sums(kind, owner, wanted, bounds, given)


def _check_sums(
    kind: str,
    owner: str,
    wanted: list[tuple[str, str, int]],
    bounds: Mapping[tuple[str, str], int],
    given: Mapping[tuple[str, str], int],
) -> None:
    for name, model, pace in wanted:
        most = bounds.get((name, model))
        if most is not None and given[name, model] + pace > most:
            what = f"{name.upper()} limit"
            text = f"Allocated {what}={given[name, model]} + {kind.capitalize()} {what}={pace} is greater than "
            text += f"{owner} {what}={most}"
            raise GatewayError("bad_request", text, param=f"model_{name}_limit" if model else f"{name}_limit")


def _type_of(kind: str, name: str, body: Mapping[str, Any]) -> Any:
    """Return what kind of limit a key or a team has; a key's is checked where its row is."""
    found = body.get(f"{name}_limit_type") or (body.get("metadata") or {}).get(f"{name}_limit_type")
    if kind == "team" and found not in (None, *_OF_TEAMS):
        text = f"{name}_limit_type: {found!r:.40} is none of {', '.join(_OF_TEAMS)}."
        raise GatewayError("bad_request", text, param=f"{name}_limit_type")
    return found


def _read(desk: Desk, kind: str, id_: Any) -> Holder | None:
    body = desk.keyring.body(kind, id_) if isinstance(id_, str) and id_ else None
    return None if body is None else _read_body(desk, kind, id_, body)


def _read_body(desk: Desk, kind: str, id_: str, body: Mapping[str, Any]) -> Holder | None:
    """Read a row's limits; None for one that cannot be read, which nobody is let in by."""
    budget_id = body.get("budget_id")
    try:
        return read_holder(kind, id_, body, desk.keyring.body("budget", budget_id) if budget_id else None)
    except Bad:
        return None


def _paces(name: str, holder: Holder | None) -> Iterator[tuple[str, str, int]]:
    """Yield a bound of somebody's pace by its name, with the model that it is for, "" for all."""
    if holder is not None:
        for model, pace in {"": holder.pace, **holder.by_model}.items():
            if (most := getattr(pace, _BOUNDS[name])) is not None:
                yield name, model, most


def _most_of(owner: Holder | None, name: str, model: str) -> int | None:
    """Return what an owner has: in a model what it has there, and no more than it has in all."""
    if owner is None:
        return None
    found = [getattr(owner.pace, _BOUNDS[name])]
    if model and model in owner.by_model:
        found.append(getattr(owner.by_model[model], _BOUNDS[name]))
    return min((most for most in found if most is not None), default=None)

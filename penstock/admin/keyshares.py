"""Keys that are promised their pace: those of a team, together, are promised no more than the team has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.admin.desk import Desk

PROMISED = "guaranteed_throughput"
_SLICE = 500  # keys that are read in one turn of the event loop


async def check_promise(desk: Desk, id_: str, body: Mapping[str, Any]) -> None:
    """Raise "bad_request" for a key whose ``rpm_limit_type`` or ``tpm_limit_type`` promises more than is left of its
    team's pace."""
    metadata = body.get("metadata") or {}
    names = [name for name in ("rpm", "tpm") if metadata.get(f"{name}_limit_type") == PROMISED]
    team = desk.keyring.body("team", body["team_id"]) if names and body.get("team_id") else None
    names = [name for name in names if team and team.get(f"{name}_limit") is not None and body.get(f"{name}_limit")]
    if not names or team is None:
        return
    given = dict.fromkeys(names, 0)
    for number, row in enumerate((await desk.find("key", {"team_id": body["team_id"]})).rows):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        if row.id != id_:
            other = msgspec.json.decode(row.body)
            kinds = other.get("metadata") or {}
            for name in (one for one in names if kinds.get(f"{one}_limit_type") == PROMISED):
                given[name] += int(other.get(f"{name}_limit") or 0)
    for name in names:
        wanted, most = int(body[f"{name}_limit"]), int(team[f"{name}_limit"])
        if given[name] + wanted > most:
            what = name.upper()
            text = (
                f"Allocated {what} limit={given[name]} + Key {what} limit={wanted} is greater than team {what} limit="
            )
            raise GatewayError("bad_request", f"{text}{most}", param=f"{name}_limit")

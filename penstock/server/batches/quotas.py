"""How much of the gateway's disk files and batches may take: a key's quota and its team's, and what is left free.

What is sent to a provider takes nothing here and counts in no quota, nor does anything of an admin's.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from penstock.core.batches.kept import Total
from penstock.core.errors import GatewayError
from penstock.runtime.http import out_of_files
from penstock.server.batches.common import stored

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller
    from penstock.server.batches.room import BatchRoom  # circle: a quota is what the room's settings say

MIB = 1024 * 1024
FREE_KEY, FREE = "min_free_disk_mb", 1024
_FILES, _MEGABYTES = "max_stored_files", "max_stored_files_mb"
_PER_TEAM = "_per_team"
_MOST_FILES, _MOST_MEGABYTES = 10_000, 10 * 1024  # of a key
_TEAMS = 10  # times as much has a team
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


class Quota(NamedTuple):
    """What somebody may keep, and keeps. ``whose``: as a message says it; ``suffix``: of the keys that set it."""

    whose: str
    suffix: str
    most_files: int
    most_bytes: int
    taken: Total

    def check(self, files: int, size: int) -> None:
        """Refuse so many files and bytes more, where they are too many. Raises "over_storage"."""
        taken = self.taken
        if taken.files + files > self.most_files:
            text = f"{self.whose} keeps {taken.files} files of at most {self.most_files}"
            key = _FILES
        elif taken.bytes + size > self.most_bytes:
            text = f"{self.whose} keeps {_shown(taken.bytes)} in files of at most {_shown(self.most_bytes)}"
            text += f", and {_shown(size)} more are too many" if size else ""
            key = _MEGABYTES
        else:
            return
        text += f" (general_settings.{key}{self.suffix}): delete what is no longer needed, or let it expire sooner."
        raise GatewayError("over_storage", text, param="file")


async def quotas_of(room: BatchRoom, caller: Caller) -> tuple[Quota, ...]:
    """Return the quotas that files of a caller count in. Raises "no_database"."""
    if caller.admin:
        return ()
    own, teams = await stored(room.store.taken_by(caller.tenant, caller.team))
    found = [Quota("This key", "", *most_kept(room), own)]
    if caller.team:
        found.append(Quota(f"The team {caller.team[:80]!r}", _PER_TEAM, *most_kept(room, _PER_TEAM, _TEAMS), teams))
    return tuple(found)


def most_kept(room: BatchRoom, suffix: str = "", times: int = 1) -> tuple[int, int]:
    """Return how many files and bytes of them may be kept. ``times`` as many where no setting says it."""
    most = room.setting(_FILES + suffix, times * _MOST_FILES)
    return most, room.megabytes(_MEGABYTES + suffix, times * _MOST_MEGABYTES)


async def check_quotas(room: BatchRoom, caller: Caller, files: int = 0, size: int = 0) -> None:
    """Refuse what would be over a quota. Raises "over_storage", "no_database"."""
    for quota in await quotas_of(room, caller):
        quota.check(files, size)


def kept_no_more(what: str, error: OSError) -> GatewayError:
    """Return what a client is told whose file or batch the disk did not take."""
    if error.errno in _FULL:
        text = f"{what} could not be kept: the gateway's disk is nearly full (general_settings.{FREE_KEY} stay free)."
        return GatewayError("disk_full", text, retry_after=60)
    text = f"{what} could not be kept on the gateway's disk: {out_of_files(error) or error.strerror}."
    return GatewayError("overloaded", text, retry_after=5)


def _shown(size: int) -> str:
    return f"{size / MIB:.1f} MB" if size >= MIB / 10 else f"{size} bytes"

"""Random ids: UUIDs, made in batches, since one system call serves many.

Those of calls begin with the time (version 7): a database adds to the end of its index of them, where random ones would
each change another page of it. All others are of version 4, and say nothing.
"""

from __future__ import annotations

import os
import re
import time

_BATCH = 256
# RFC 9562: the version is the upper half of byte 6, the variant the upper two bits of byte 8.
_VERSION = bytes(0x40 | byte & 0x0F for byte in range(256))
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))
_PARTS = re.compile("(.{8})(.{4})(.{4})(.{4})(.{12})").findall


class _Ids:
    """A stock of ids. Taken by ``list.pop``, which is one step for every thread: no two get the same."""

    def __init__(self) -> None:
        self._made: list[str] = []
        # A forked child must not hand out its parent's ids.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._made.clear)

    def next(self) -> str:
        """Return a fresh id."""
        try:
            return self._made.pop()
        except IndexError:
            data = bytearray(os.urandom(16 * _BATCH))
            self._mark(data)
            data[8::16] = data[8::16].translate(_VARIANT)
            made = ["-".join(parts) for parts in _PARTS(data.hex())]
            last = made.pop()
            self._made += made
            return last

    def _mark(self, data: bytearray) -> None:
        data[6::16] = data[6::16].translate(_VERSION)


class _TimedIds(_Ids):
    """Ids in the order in which they are taken: the time of their batch, and their number in it."""

    def _mark(self, data: bytearray) -> None:
        for place, byte in enumerate(int(time.time() * 1000).to_bytes(6)):
            data[place::16] = bytes((byte,)) * _BATCH
        data[6::16] = b"\x70" * _BATCH
        data[7::16] = bytes(range(_BATCH - 1, -1, -1))  # the last is taken first


new_id = _Ids().next
new_call_id = _TimedIds().next


def mint(prefix: str) -> str:
    """Return a fresh id with a dialect's prefix, e.g. ``msg_0f3c...``."""
    return prefix + new_id().replace("-", "")

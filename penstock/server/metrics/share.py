"""Workers of one gateway share what they count; made where a worker is told of the files (``runtime/tally_shared``)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

from penstock.runtime.tally_shared import SharedTally
from penstock.server.metrics.now import deployments, process

if TYPE_CHECKING:
    from penstock.server.gateway import Gateway


def share(gateway: Gateway, said: str) -> Callable[[], None]:
    """Share what a gateway counts. ``said``: which of the files is its own, and their descriptors: ``1:7,8,9``. Return
    what lets the others see what stands here, to be called about once a second."""
    mine, _, fds = said.partition(":")
    shared = SharedTally(gateway.tally, [int(fd) for fd in fds.split(",")], int(mine))
    gateway.tally.file = shared

    def tell() -> None:
        gateway.pulse.count(gateway.tally, gateway.callbacks)
        shared.tell(chain(process(gateway), deployments(gateway, False)))

    return tell

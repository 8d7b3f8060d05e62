"""What is looked at once a second, whether anybody asks or not: how late the event loop is, what CPU time was used, and
what became of records for sinks."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from penstock.runtime.tally import CPU, SINK, Event, Tally

if TYPE_CHECKING:
    from penstock.server.callbacks import Callbacks

SECONDS = 60
PERIOD = 1.0  # seconds between two looks, as ``Service`` has it
_RESULTS = ("written", "dropped", "refused", "lost")


class Pulse:
    """That of one process."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=SECONDS)
        self._last = self._used = 0.0
        self._sent: dict[tuple[str, str], int] = {}

    def beat(self, now: float) -> None:
        """Note how late it is: this was to happen a second after the last time. ``now``: the loop's clock."""
        if self._last:
            self._late.append(max(0.0, now - self._last - PERIOD))
        self._last = now

    @property
    def worst(self) -> float:
        """Return how late it was at worst in the last minute."""
        return max(self._late, default=0.0)

    def count(self, tally: Tally, callbacks: Callbacks | None) -> None:
        """Count what is new since the last look."""
        used = time.process_time()
        tally.count(Event(CPU, ()), used - self._used)
        self._used = used
        for destination in callbacks.observer.everybody if callbacks is not None else ():
            for result in _RESULTS:
                labels = destination.name, result
                sent, before = getattr(destination.shipper.counts, result), self._sent.get(labels, 0)
                if sent != before:  # fewer: it is another queue since a reload
                    tally.count(Event(SINK, labels), sent - before if sent > before else sent)
                    self._sent[labels] = sent

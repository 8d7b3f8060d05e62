"""What the calls of a service cost, summed up per model."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.core.record import Record

MOST_MODELS = 1000  # that have a sum of their own; names come from callers
OTHERS = "(others)"


@dataclass
class Sum:
    """Requests that went well, what they used, and what that cost in US dollars. ``cached``: those that were answered
    by what was kept, for nothing; ``unpriced``: those whose price nobody knows, which is not 0."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    cached: int = 0
    unpriced: int = 0

    def add(self, record: Record) -> None:
        """Add a request."""
        self.requests += 1
        self.cached += record.cache_hit
        if not record.cache_hit and record.usage is not None:
            self.prompt_tokens += record.usage.input
            self.completion_tokens += record.usage.output
        if record.cost is not None:
            self.cost += float(record.cost)
        elif not record.cache_hit:
            self.unpriced += 1


class Costs:
    """The sums of a service, by model. Records come from the SDK's loop, questions from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin at nothing."""
        with self._lock:
            self._all, self._failed = Sum(), 0
            self._models: dict[str, Sum] = {}

    def add(self, record: Record) -> None:
        """Add a request as it ended."""
        with self._lock:
            if record.error:
                self._failed += 1
            else:
                self._all.add(record)
            if record.error and record.cost is None:  # what failed and cost nothing names nobody's model
                return
            if record.error:
                self._all.cost += float(record.cost or 0)
            found = self._models.get(record.model)
            if found is None:
                name = record.model if len(self._models) < MOST_MODELS else OTHERS
                found = self._models.setdefault(name, Sum())
            if record.error:
                found.cost += float(record.cost or 0)
            else:
                found.add(record)

    def told(self) -> dict[str, Any]:
        """Return the sums: `total_cost`, `requests`, tokens, `failed`, and the same `by_model`."""
        with self._lock:
            every = asdict(self._all)
            by_model = {name: asdict(found) for name, found in self._models.items()}
            return {"total_cost": every.pop("cost"), **every, "failed": self._failed, "by_model": by_model}

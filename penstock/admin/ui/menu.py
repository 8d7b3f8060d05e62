"""The pages that there are, as the menu lists them: one row each."""

from __future__ import annotations

from typing import NamedTuple

from penstock.core.admit.caller import Caller
from penstock.runtime.gate import PAGE, PAGE_ADMIN, PAGE_VIEW


class Entry(NamedTuple):
    """A page of the menu. ``path``: below the base of all pages; ``role``: whom the gate lets in."""

    path: str
    title: str
    role: str = PAGE
    icon: str = "dot"

    def seen_by(self, caller: Caller) -> bool:
        """Tell whether a caller may open it."""
        return caller.admin if self.role == PAGE_ADMIN else caller.views if self.role == PAGE_VIEW else True


MENU: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    ("", (Entry("/", "Overview"), Entry("/requests", "Requests"), Entry("/sessions", "Sessions"))),
    (
        "Models",
        (
            Entry("/models", "Models"),
            Entry("/providers", "Providers", PAGE_VIEW),
            Entry("/playground", "Playground"),
            Entry("/engines", "Engines", PAGE_VIEW),
            Entry("/batches", "Batches"),
        ),
    ),
    (
        "Access",
        (
            Entry("/keys", "Keys"),
            Entry("/teams", "Teams"),
            Entry("/users", "Users", PAGE_VIEW),
            Entry("/organizations", "Organisations", PAGE_VIEW),
            Entry("/budgets", "Budgets", PAGE_VIEW),
        ),
    ),
    ("Money", (Entry("/spend", "Spend"), Entry("/reconcile", "Reconcile", PAGE_VIEW))),
    (
        "Gateway",
        (
            Entry("/guards", "Guards", PAGE_VIEW),
            Entry("/settings", "Settings", PAGE_VIEW),
            Entry("/audit", "Audit", PAGE_VIEW),
        ),
    ),
)
"""Groups of pages, each with its title."""

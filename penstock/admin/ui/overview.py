"""The first page: what runs, and what needs attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.admin.ui.rows import page
from penstock.admin.ui.view import render

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page


def show(gateway: Any, call: Call) -> Page:
    """Show what runs and what needs attention."""
    return render(gateway, call, "overview.html", models=gateway.names_for(call), active=len(gateway.active))


ROUTES = (page("", show),)

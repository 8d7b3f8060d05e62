"""The table of URLs that programs ask."""

from __future__ import annotations

from penstock.server.pages import ROUTES as ALL

# Pages for people are opened by sessions, and are not there without them: ``tests/ui/test_page_roles.py`` asks each.
ROUTES = tuple(row for row in ALL if not row.path.startswith("/ui"))

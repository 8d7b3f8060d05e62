"""Who gets an answer at the URLs of metrics; see ``test_roles.py``."""

from __future__ import annotations

from tests.server.roles_keys import WHO_SEE_ALL

ROLES: dict[tuple[str, str], set[str]] = {("GET", path): WHO_SEE_ALL for path in ("/metrics", "/metrics/series")}

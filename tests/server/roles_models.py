"""Who gets an answer at the URLs of providers and of tries; see ``test_roles.py``."""

from __future__ import annotations

from tests.server.roles_keys import WHO_MANAGE, WHO_SEE_ALL

ROLES: dict[tuple[str, str], set[str]] = {
    ("GET", "/providers"): WHO_SEE_ALL,
    ("POST", "/providers/{name}/test"): WHO_MANAGE,
    ("POST", "/health/test_connection"): WHO_MANAGE,
}

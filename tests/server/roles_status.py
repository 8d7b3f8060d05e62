"""Who gets an answer at the URLs that tell how the gateway stands; see ``test_roles.py``."""

from __future__ import annotations

from tests.server.roles_keys import WHO_SEE_ALL
from tests.server.roles_spend import WITH_A_KEY

ROLES: dict[tuple[str, str], set[str]] = {
    ("GET", "/gateway/status"): WHO_SEE_ALL,
    ("GET", "/gateway/top"): WITH_A_KEY - {"read_only"},  # his own
}

"""Who gets an answer at the URLs of settings and invitations; see ``test_roles.py``."""

from __future__ import annotations

from typing import Any

from tests.server.roles_keys import WHO_MANAGE, WHO_SEE_ALL
from tests.server.roles_teams import EVERY_KEY

EVERYBODY = EVERY_KEY | {"llm_only", "none", "wrong", "expired", "blocked"}
# Nothing is said of a user to who may not invite it: the same 400 as for one that is not there.
INVITES = EVERY_KEY - {"read_only"}
ASKED: dict[tuple[str, str], tuple[str, Any]] = {}
ROLES: dict[tuple[str, str], set[str]] = {
    ("POST", "/invitation/new"): INVITES,
    ("POST", "/invitation/update"): INVITES,
    ("POST", "/invitation/delete"): INVITES,
    ("GET", "/invitation/info"): WHO_SEE_ALL,
    ("GET", "/onboarding/get_token"): EVERYBODY,
    ("POST", "/onboarding/claim_token"): EVERYBODY,
}
WRITTEN = """
    /config/update /config/field/update /config/field/delete /config/callback/delete /add/allowed_ip /delete/allowed_ip
    /config/change /config/rollback
"""
SHOWN = "/get/allowed_ips /config/field/info /config/list /config/yaml /get/config/callbacks /config/section /config/revisions"
ROLES |= {("POST", path): WHO_MANAGE for path in WRITTEN.split()}
ROLES |= {("GET", path): WHO_SEE_ALL for path in SHOWN.split()}

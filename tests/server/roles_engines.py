"""Who gets an answer at the URLs of engines; see ``test_roles.py``."""

from __future__ import annotations

from tests.server.roles_keys import WHO_MANAGE, WHO_SEE_ALL

ROLES: dict[tuple[str, str], set[str]] = {
    **{("GET", path): WHO_SEE_ALL for path in ("/engines", "/engines/{name}", "/engines/{name}/logs")},
    **{("POST", f"/engines/{{name}}/{what}"): WHO_MANAGE for what in ("start", "stop", "unload")},
}

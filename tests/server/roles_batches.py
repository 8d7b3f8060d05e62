"""Who gets an answer at the URLs of files and batches; see ``test_roles.py``. Whose they are is in
``test_batches.py``."""

from __future__ import annotations

from typing import Any

from tests.server.roles_teams import EVERY_KEY

ASKS_MODELS = (EVERY_KEY | {"llm_only"}) - {"manager", "read_only"}
ASKED: dict[tuple[str, str], tuple[str, Any]] = {}
ROLES: dict[tuple[str, str], set[str]] = {("GET", "/api/v1/batch/{id}"): ASKS_MODELS}
for prefix in ("/v1", ""):
    ROLES |= {
        (method, prefix + path): ASKS_MODELS
        for method, paths in {
            "GET": "/files /files/{id} /files/{id}/content /batches /batches/{id}",
            "POST": "/files /batches /batches/{id}/cancel",
            "DELETE": "/files/{id}",
        }.items()
        for path in paths.split()
    }
ROLES |= {
    (method, "/v1/messages/batches" + path): ASKS_MODELS
    for method, path in (
        ("GET", ""), ("POST", ""), ("GET", "/{id}"), ("DELETE", "/{id}"), ("POST", "/{id}/cancel"), ("GET", "/{id}/results")
    )
}  # fmt: skip

"""Who gets an answer at the URLs of guards; see ``test_roles.py``."""

from __future__ import annotations

from typing import Any

from tests.server.roles_spend import WITH_A_KEY

ROLES: dict[tuple[str, str], set[str]] = {
    ("GET", "/guardrails/list"): WITH_A_KEY,
    ("GET", "/v2/guardrails/list"): WITH_A_KEY,
    ("POST", "/guardrails/apply_guardrail"): WITH_A_KEY,
}
ASKED: dict[tuple[str, str], tuple[str, Any]] = {
    ("POST", "/guardrails/apply_guardrail"): ("/guardrails/apply_guardrail", {"guardrail_name": "none", "text": "t"}),
}

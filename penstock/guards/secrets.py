"""Secrets in texts (LiteLLM's ``hide-secrets``): keys of vendors, private keys, tokens, values that look drawn by
lot."""

from __future__ import annotations

from msgspec.structs import replace

from penstock.config.guards import GuardSettings
from penstock.core.guarding.rules import MASK
from penstock.core.guarding.secrets import SECRETS
from penstock.guards.base import Guard, Unusable
from penstock.guards.content_filter import action_of, listed


class Secrets(Guard):
    """Masks what looks like a secret; ``action`` says otherwise. ``except_kinds``: kinds that are let through.
    ``replacement``: stands for each; absent: a placeholder with a number, so that two can be told apart."""

    def __init__(self, settings: GuardSettings) -> None:
        super().__init__(settings)
        params = settings.params
        action = action_of(params, "action", MASK)
        spared = {str(kind).upper() for kind in listed(params, "except_kinds")}
        known = {rule.kind for rule in SECRETS}
        if unknown := sorted(spared - known):
            raise Unusable("except_kinds", f"{unknown[0]!r} is no kind; known: {', '.join(sorted(known))}")
        put = str(params.get("replacement") or "")
        self.rules = tuple(replace(rule, action=action, put=put) for rule in SECRETS if rule.kind not in spared)

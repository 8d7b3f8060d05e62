"""The rules of a model in the words of a row: they hold whoever serves it, and in the same lane as across.

Worked out once for a target, so that a model without such rules costs a request nothing. Only what stands at the top
level of a request can be told here; what is within messages is fitted across dialects (``core.fit``).
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import Raw

from penstock.core.ir import Loss
from penstock.core.models import ModelFacts
from penstock.core.providers import fitting
from penstock.core.providers.spec import Quirks

_SAMPLING = frozenset(("temperature", "top_p", "top_k"))
_CHATS = frozenset(("openai_chat", "sap"))
_LIMITS = ("max_tokens", "max_completion_tokens")
# What OpenAI's reasoning models refuse, see ``fit.sampling``.
_NOT_WHILE_REASONING = frozenset(
    "temperature top_p presence_penalty frequency_penalty logprobs top_logprobs logit_bias".split()
)
_CLAUDES = frozenset((*_CHATS, "openai_responses", "anthropic"))


def with_model(quirks: Quirks, model: ModelFacts, dialect: str) -> Quirks:
    """Add to a row's quirks those of the model in one dialect."""
    if model.is_claude and dialect in _CLAUDES:
        if not model.takes_sampling:
            quirks = replace(quirks, refused=quirks.refused | _SAMPLING)
        elif dialect in _CHATS and model.thinks:
            quirks = replace(quirks, fit=_both(quirks.fit, fitting.claude))
    if not model.reasons:
        return quirks
    if dialect in _CHATS:
        more = _NOT_WHILE_REASONING if model.takes_stop else _NOT_WHILE_REASONING | {"stop"}
        renamed = {*quirks.rename, *quirks.rename.values()}
        if renamed.isdisjoint(_LIMITS):  # a row that renames them knows what its API calls them
            quirks = replace(quirks, rename={**quirks.rename, "max_tokens": "max_completion_tokens"})
        return replace(quirks, unsupported=quirks.unsupported | more)
    if dialect == "openai_responses":
        return replace(quirks, unsupported=quirks.unsupported | {"temperature", "top_p", "top_logprobs"})
    return quirks


def _both(first: fitting.Fit | None, second: fitting.Fit) -> fitting.Fit:
    if first is None:
        return second

    def fit(fields: dict[str, Raw], drop_unsupported: bool) -> list[Loss]:
        return first(fields, drop_unsupported) + second(fields, drop_unsupported)

    return fit

"""Wire formats. ``DIALECTS`` is the table; the rest of the gateway knows them by ``base.Dialect`` only.

``EDITORS``: the same-dialect lane of each that clients speak (see ``penstock.core.same``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from penstock.core.dialects import anthropic, bedrock, cohere, gemini, ollama, openai_chat, openai_responses, sap
from penstock.core.dialects.anthropic import same as anthropic_same
from penstock.core.dialects.base import Dialect
from penstock.core.dialects.cohere import same as cohere_same
from penstock.core.dialects.gemini import same as gemini_same
from penstock.core.dialects.ollama import generate as ollama_generate
from penstock.core.dialects.ollama import same as ollama_same
from penstock.core.dialects.openai_chat import same as chat_same
from penstock.core.dialects.openai_responses import same as responses_same
from penstock.core.ops import completions

DIALECTS: Mapping[str, Dialect] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "bedrock": bedrock,
    "ollama": ollama,
    "ollama_generate": ollama_generate,
    "cohere": cohere,
    "completions": completions,
    "sap": sap,
}
EDITORS: Mapping[str, ModuleType] = {
    "openai_chat": chat_same,
    "openai_responses": responses_same,
    "anthropic": anthropic_same,
    "gemini": gemini_same,
    "ollama": ollama_same,
    "ollama_generate": ollama_same,
    "sap": chat_same,  # for no client: none speaks it
    "cohere": cohere_same,
    "completions": chat_same,  # the places of model, usage and finish_reason are the same
}

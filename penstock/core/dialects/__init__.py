"""Wire formats. ``DIALECTS`` is the table; the rest of the gateway knows them by ``base.Dialect`` only.

``EDITORS``: the same-dialect lane of each that clients speak (see ``penstock.core.same``).
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.dialects import (
    anthropic,
    bedrock,
    cohere,
    completions,
    gemini,
    ollama,
    openai_chat,
    openai_responses,
    sap,
)
from penstock.core.dialects.anthropic import same as anthropic_same
from penstock.core.dialects.base import Dialect
from penstock.core.dialects.cohere import same as cohere_same
from penstock.core.dialects.gemini import same as gemini_same
from penstock.core.dialects.ollama import generate as ollama_generate
from penstock.core.dialects.ollama import same as ollama_same
from penstock.core.dialects.openai_chat import same as chat_same
from penstock.core.dialects.openai_responses import same as responses_same
from penstock.core.same import Editor

DIALECTS: Mapping[str, Dialect] = {
    "openai_chat": openai_chat.DIALECT,
    "openai_responses": openai_responses.DIALECT,
    "anthropic": anthropic.DIALECT,
    "gemini": gemini.DIALECT,
    "bedrock": bedrock.DIALECT,
    "ollama": ollama.DIALECT,
    "ollama_generate": ollama_generate.DIALECT,
    "cohere": cohere.DIALECT,
    "completions": completions.DIALECT,
    "sap": sap.DIALECT,
}
EDITORS: Mapping[str, Editor] = {
    "openai_chat": chat_same.EDITOR,
    "openai_responses": responses_same.EDITOR,
    "anthropic": anthropic_same.EDITOR,
    "gemini": gemini_same.EDITOR,
    "ollama": ollama_same.EDITOR,
    "ollama_generate": ollama_same.EDITOR,
    "sap": chat_same.EDITOR,  # for no client: none speaks it
    "cohere": cohere_same.EDITOR,
    "completions": chat_same.EDITOR,  # the places of model, usage and finish_reason are the same
}

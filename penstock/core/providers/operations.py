"""What the providers' servers want of the small operations: one row for who differs from OpenAI's own form.

Beside the providers' rows, since most of them have nothing to say here. How a form is written is ``core.ops``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from penstock.core import models


class Form(NamedTuple):
    """What an upstream takes in an embeddings request. ``limit``: inputs in one request, 0 = no limit is known.
    ``base64``: it knows ``encoding_format: base64``; else floats are asked for, by leaving the field out.
    ``dimensions``: its name of that field. ``ollama``: it is asked at /api/embed, in Ollama's words. ``watsonx``: it
    answers in IBM's. ``input``: its name of that field, which is a list of texts then. ``sap``: its answer has an
    envelope. ``messages``: it may take a conversation in place of the input (vLLM: docs.vllm.ai, "OpenAI-compatible
    server"). ``own``: another form of a vendor's, "cohere", or Hugging Face's at a "tei" server or at the "hub" (see
    ``ops.embeddings_own``)."""

    limit: int = 0
    base64: bool = False
    dimensions: str = "dimensions"
    ollama: bool = False
    watsonx: bool = False
    input: str = "input"
    sap: bool = False
    own: str = ""
    messages: bool = False


_PLAIN = Form()
_ANY = Form(messages=True)  # of a server of the user's, which may be vLLM
BATCH = 32
"""``--max-client-batch-size`` of text-embeddings-inference ("CLI arguments"), of a server that was not told another."""
_OPENAI = Form(limit=2048, base64=True)
# Limits: the vendors' reference pages of the operation.
_EMBEDDINGS: Mapping[str, Form] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    "hosted_vllm": Form(base64=True, messages=True),
    "openai_like": _ANY,
    "custom_openai": _ANY,
    "litellm_proxy": _ANY,
    "llama_cpp": Form(base64=True),
    "huggingface": Form(limit=BATCH),
    "tei": Form(limit=BATCH),
    "voyage": Form(limit=1000, dimensions="output_dimension"),
    "mistral": Form(dimensions="output_dimension"),
    "cohere": Form(limit=96),
    "cohere_chat": Form(limit=96),
    "gemini": Form(limit=100),
    "databricks": Form(limit=150),
    "watsonx": Form(limit=1000, watsonx=True, input="inputs"),
    "snowflake": Form(input="text"),
    "sap": Form(sap=True),
}
_OFFICIAL_ONLY = frozenset({"openai"})


def embeddings_form(provider: str, official: bool) -> Form:
    """Return the form of a provider's /embeddings. ``official``: it is the vendor's own host; behind ``openai/`` with
    another address may be any server."""
    return _ANY if provider in _OFFICIAL_ONLY and not official else _EMBEDDINGS.get(provider, _PLAIN)


Ranking = Literal["cohere", "jina", "voyage", "tei", "watsonx"]
_RANKINGS: Mapping[str, Ranking] = {
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "voyage": "voyage",
    "tei": "tei",
    "huggingface": "tei",
    "azure_ai": "cohere",
    "watsonx": "watsonx",
}


def ranking_form(provider: str) -> Ranking:
    """Return the form of a provider's /rerank; Jina's, which vLLM, llama.cpp and most others took over, where nothing
    else is known."""
    return _RANKINGS.get(provider, "jina")


NO_CHATS = frozenset({"infinity", "jina_ai", "voyage", "tei"})
"""Providers without a dialect that are served all the same: they embed and rank."""
TEI = frozenset({"tei", "huggingface"})
"""Providers whose servers are text-embeddings-inference."""
_ENGINES = frozenset(
    "hosted_vllm sglang trtllm llama_cpp llamafile lm_studio docker_model_runner lemonade xinference oobabooga "
    "together_ai fireworks_ai deepinfra featherless_ai hyperbolic".split()
)


def is_native(provider: str, model: str, official: bool, mode: str) -> bool | None:
    """Tell whether a target has /completions: True, False, or None for "ask it". ``mode`` is the deployment's own word
    ("completion" or "chat") and settles it."""
    if mode in ("completion", "chat"):
        return mode == "completion"
    return True if models.completes_prompts(model) else _completes_prompts(provider, official)


def _completes_prompts(provider: str, official: bool) -> bool | None:
    """Tell whether a provider has /completions beside chats: False, or None for servers that have it in all likelihood:
    one that turns out not to is asked as a chat. A vendor's own chat models answer 404 there."""
    return None if provider in _ENGINES or (provider == "openai" and not official) else False

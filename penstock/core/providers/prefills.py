"""Who goes on with an answer that has begun: a last turn of the assistant's, by itself or by a field of its own.

Only what is known. Where it is not, a server may take the turn for a finished one and answer it, or refuse the request
(Claude from 4.6 on: BerriAI/litellm issue 27967; llama.cpp while the model thinks: ggml-org/llama.cpp pull 22727).
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.ir import Reasoning
from penstock.core.models import ModelFacts
from penstock.core.providers.spec import Quirks

# vllm-project/vllm pull request 8942 (the one excludes the other), sgl-project/sglang pull request 4226.
_ENGINES: Mapping[str, bytes] = {
    "vllm": b'{"continue_final_message":true,"add_generation_prompt":false,',
    "sglang": b'{"continue_final_message":true,',
}
_BETA = "/beta"
_OFF = ("none", "disabled")


def prefill_of(dialect: str, model: ModelFacts, quirks: Quirks, guides: str, url: str) -> bytes | None:
    """Return what a request in ``dialect`` begins with that has a last turn of the assistant's and is to be gone on
    with; None where the target is not known to do so. ``guides``: the engine it is served by, if that is known.
    ``url``: where it is asked."""
    if dialect in ("anthropic", "bedrock"):
        known = model.is_claude and model.version > (0, 0)  # of a name that is new nobody knows
        return b"{" if known and model.takes_prefill else None
    if dialect in ("completions", "ollama"):  # ollama/ollama issue 6778
        return b"{"
    if dialect != "openai_chat":
        return None
    if quirks.prefill:
        # DeepSeek's is a beta, at a base of its own (https://api-docs.deepseek.com/guides/chat_prefix_completion).
        return b"{" if "deepseek" not in url or _BETA in url else None
    return _ENGINES.get(guides)


def thinks(reasoning: Reasoning | None) -> bool:
    """Tell whether a request asks for thoughts, before which no answer can have begun."""
    if reasoning is None or reasoning.mode in _OFF or reasoning.effort in _OFF:
        return False
    return bool(reasoning.mode or reasoning.effort or reasoning.budget)

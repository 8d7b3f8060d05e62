"""Words of the Chat dialect that more than one of its files needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Raw

from penstock.core.dialects.endings import Words, is_other
from penstock.core.ir import Opaque, Request

NAME = "openai_chat"
FAMILY = "openai"
SAMPLE: Mapping[str, Raw] = {"messages": Raw(b'[{"role":"user","content":"x"}]')}
"""The shortest conversation there is."""

# Signatures have no field of their own in Chat. LiteLLM's ``thinking_blocks`` are Anthropic's blocks, and Google's
# compatible endpoint keeps its signatures in ``extra_content``: a seal of another family is packed to fit in there.
THOUGHT_FAMILY = "anthropic"
CALL_FAMILY = "gemini"

# ``Opaque.kind`` of fields that belong to a message, to the content part before them, or to the call before them.
MESSAGE = "message."
PART = "part."
CALL = "call."
TOOL_CALL = "tool_call"  # an element of ``tool_calls`` of an unknown type
LEGACY = "functions"  # on a Tool: the client speaks the ``functions`` form of 2023 and wants answers in it
DELTA = "delta"  # on an event: ``{"index": choice, "delta": {...}}``

# Finish reasons: OpenAI's five, then words that compatible servers were seen to use for the same, in whatever case.
FINISH_IN = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_use",
    "content_filter": "filter",
    "function_call": "tool_use",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context",
    "complete": "stop",  # Cohere's and others' own words, which proxies pass on
    "completed": "stop",
    "stop_token": "stop",
    "tool_call": "tool_use",
    "max_output_tokens": "length",
    "max_length": "length",
    "repetition": "length",  # vLLM cuts off what repeats itself
    "error_limit": "context",
    "sensitive": "filter",  # Zhipu
    "content_filtered": "filter",
    "guardrail_intervened": "filter",
    "safety": "filter",
    "recitation": "filter",
}
# DeepSeek (api-docs.deepseek.com, "finish_reason"), Zhipu, vLLM and SGLang ("abort"), OpenRouter and Mistral ("error").
WORDS = Words(
    "finish_reason",
    FINISH_IN,
    {
        "error": "upstream_error",
        "abort": "upstream_error",
        "network_error": "upstream_error",
        "insufficient_system_resource": "upstream_unavailable",
        "malformed_function_call": "upstream_error",
    },
)
FINISH_OUT = {
    "stop": "stop",
    "length": "length",
    "tool_use": "tool_calls",
    "filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    "context": "length",
}


def finish_in(word: str, said: bool) -> str:
    """Return the neutral reason for a ``finish_reason``; see ``Words.read`` for what it raises."""
    return FINISH_IN.get(word) or WORDS.read(word.lower(), said)


def settled(reason: str, called: bool, refused: bool) -> str:
    """Return the reason of an answer that is complete. OpenAI says "stop" after a forced call and after a refusal,
    Ollama after any call: what the answer holds decides."""
    if reason == "stop":
        return "tool_use" if called else "refusal" if refused else "stop"
    return reason


def finish_out(reason: str, refused: bool, legacy: bool) -> str:
    """Return the nearest ``finish_reason``; for a reason that nobody knows that of an answer which was cut off."""
    if reason == "refusal" and refused:
        return "stop"
    if reason == "tool_use" and legacy:
        return "function_call"
    return "length" if is_other(reason) else FINISH_OUT[reason]


def is_legacy(request: Request | None) -> bool:
    """Tell whether the client sent ``functions`` and so expects ``function_call`` back."""
    if request is None or not request.tools:
        return False
    mark = request.tools[0].opaque
    return isinstance(mark, Opaque) and mark.dialect == NAME and mark.kind == LEGACY


def chat_id(own: str, mint: Callable[[str], str]) -> str:
    """Return the id of a chat's answer as clients know it, ``chatcmpl-...``: around the provider's ``own``, where it
    has one of another form."""
    if not own:
        return mint("chatcmpl-")
    return own if own.startswith("chatcmpl-") else f"chatcmpl-{own}"

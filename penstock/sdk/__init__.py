"""Penstock in your own program: what is known of models, without a gateway.

    from penstock.sdk import supports_vision, cost_per_token

Loaded at the first use of a name: importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.sdk.models import (
        UnknownModel,
        completion_cost,
        cost_per_token,
        get_llm_provider,
        get_max_tokens,
        get_model_info,
        register_model,
        supports,
        supports_audio_input,
        supports_audio_output,
        supports_computer_use,
        supports_function_calling,
        supports_native_streaming,
        supports_parallel_function_calling,
        supports_pdf_input,
        supports_prompt_caching,
        supports_reasoning,
        supports_response_schema,
        supports_system_messages,
        supports_tool_choice,
        supports_url_context,
        supports_vision,
        supports_web_search,
        token_counter,
    )

__all__ = [
    "UnknownModel",
    "completion_cost",
    "cost_per_token",
    "get_llm_provider",
    "get_max_tokens",
    "get_model_info",
    "register_model",
    "supports",
    "supports_audio_input",
    "supports_audio_output",
    "supports_computer_use",
    "supports_function_calling",
    "supports_native_streaming",
    "supports_parallel_function_calling",
    "supports_pdf_input",
    "supports_prompt_caching",
    "supports_reasoning",
    "supports_response_schema",
    "supports_system_messages",
    "supports_tool_choice",
    "supports_url_context",
    "supports_vision",
    "supports_web_search",
    "token_counter",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from penstock.sdk import models

    return getattr(models, name)


def __dir__() -> list[str]:
    return __all__

"""The provider under the import path of seed 1; it is `penstock.sdk.litellm_provider`."""

from penstock.sdk.litellm_provider import (
    LiteLLMProvider,
    LLMAuthenticationError,
    LLMConnectionError,
    LLMInvalidResponseError,
    LLMModelNotFoundError,
    LLMProviderError,
    LLMRateLimitError,
    LLMTimeoutError,
    get_llm_provider,
)

__all__ = [
    "LLMAuthenticationError",
    "LLMConnectionError",
    "LLMInvalidResponseError",
    "LLMModelNotFoundError",
    "LLMProviderError",
    "LLMRateLimitError",
    "LLMTimeoutError",
    "LiteLLMProvider",
    "get_llm_provider",
]

"""The service under the import path of seed 1; it is `penstock.sdk.service`."""

from penstock.sdk.service import LiteLLMConfig, LiteLLMService, ToolDefinition, get_litellm_service

__all__ = ["LiteLLMConfig", "LiteLLMService", "ToolDefinition", "get_litellm_service"]

"""`litellm.caching`: where answers are kept."""

from litellm.caching.caching import Cache, LiteLLMCacheType

__all__ = ["Cache", "LiteLLMCacheType"]

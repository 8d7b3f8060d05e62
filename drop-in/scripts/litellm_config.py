"""The gateway's config for one local engine."""

from penstock.engines.gateway import generate_litellm_config

__all__ = ["generate_litellm_config"]

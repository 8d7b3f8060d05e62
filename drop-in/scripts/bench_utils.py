"""Versions from `config/models.yaml`."""

from penstock.engines.defaults import get_litellm_version

__all__ = ["get_litellm_version"]

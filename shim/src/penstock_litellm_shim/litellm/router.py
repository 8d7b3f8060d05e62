"""`litellm.router`: `Router`."""

from penstock.sdk import Router

__all__ = ["Router"]

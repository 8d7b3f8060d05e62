"""`litellm.integrations.custom_logger`: what loggers derive from."""

from penstock.sdk import CustomLogger

__all__ = ["CustomLogger"]

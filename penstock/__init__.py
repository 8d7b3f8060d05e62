"""Penstock: one HTTP door in front of every LLM."""

__version__ = "0.1.0"

"""Penstock: one HTTP door in front of every LLM.

What belongs here: the version. ``import penstock`` loads nothing else.
"""

__version__ = "0.1.0"

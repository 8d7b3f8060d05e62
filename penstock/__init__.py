"""Penstock: one HTTP door in front of every LLM.

What belongs here: the version. ``import penstock`` loads nothing else.
"""

__version__ = "0.1.0"


def version_text() -> str:
    """Return the version, and whether hot modules are compiled: only the build of such a wheel makes `_words.py`."""
    from os.path import dirname, exists, join

    return f"{__version__} (compiled)" if exists(join(dirname(__file__), "_words.py")) else __version__

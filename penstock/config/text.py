"""Problems as text, for `penstock check` and for the log at a reload."""

from __future__ import annotations

from penstock.config.models import Loaded


def report(loaded: Loaded) -> str:
    """Render every problem on a line of its own, by file, line and path, then the count, such as `2 errors, 3
    warnings`."""
    lines = [problem.text(f"{problem.level}: ") for problem in loaded.problems]
    return "\n".join([*lines, summary(loaded)])


def summary(loaded: Loaded) -> str:
    """Count the problems, as `1 error, 0 warnings`."""
    return f"{_count(len(loaded.errors), 'error')}, {_count(len(loaded.warnings), 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""Names with ``*`` in them: what each star stands for in a name, and a model's name with the stars filled in."""

from __future__ import annotations


def match(pattern: str, name: str) -> tuple[str, ...] | None:
    """Find what each star of ``pattern`` stands for in ``name``: at least one character each, as many as can be from
    the left (LiteLLM's way). None when the name is none of the pattern's. Looks at each character a few times at most,
    whatever the name is."""
    first, *middle, last = pattern.split("*")
    if not name.startswith(first) or not name.endswith(last) or len(name) <= len(first) + len(last):
        return None
    end = len(name) - len(last)
    found: list[str] = []
    for part in reversed(middle):
        at = name.rfind(part, len(first) + 1, end - 1)
        if at < 0:
            return None
        found.append(name[at + len(part) : end])
        end = at
    if end <= len(first):
        return None
    return (name[len(first) : end], *reversed(found))


def fill(model: str, stars: tuple[str, ...]) -> str:
    """Put what the stars stand for in the place of the stars of ``model``, in their order. Where it has fewer, the last
    of them count: ``team-*/gpt-*`` at ``openai/gpt-*`` is ``gpt-5`` for ``team-a/gpt-5``."""
    first, *others = model.split("*")
    given = stars[-len(others) :] if others else ()
    filled = [*given, *("*" for _ in others[len(given) :])]
    return first + "".join(star + part for star, part in zip(filled, others, strict=True))


def fixed(pattern: str) -> int:
    """Count the characters of a pattern that are no star: the most of them make it the most specific one."""
    return len(pattern) - pattern.count("*")

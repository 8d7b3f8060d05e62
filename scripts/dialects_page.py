"""Prints docs/dialects.md: `python -m scripts.dialects_page > docs/dialects.md`."""

from __future__ import annotations

from penstock.core.dialects.matrix import page

print(page(), end="")

"""The page of what is carried is what the code carries."""

from __future__ import annotations

from pathlib import Path

from penstock.core.dialects import DIALECTS, matrix

PAGE = Path(__file__).parents[3] / "docs" / "dialects.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == matrix.page(), "run: python -m scripts.dialects_page > docs/dialects.md"


def test_no_cell_is_a_refusal_and_the_main_features_are_carried_everywhere() -> None:
    assert "refused:" not in matrix.page()
    shown = [DIALECTS[name] for name in matrix.NAMES]
    for client in shown:
        for target in shown:
            for name in ("system prompt", "image, inline", "function tools", "tool result: text", "JSON schema"):
                assert matrix.request_cell(matrix.REQUESTS[name], client, target) == "carried", (
                    name,
                    client.name,
                    target.name,
                )
            for name in ("text", "tool calls", "reasoning", "usage: cached reads, reasoning"):
                assert matrix.answer_cell(matrix.ANSWERS[name], client, target) == "carried", (
                    name,
                    client.name,
                    target.name,
                )

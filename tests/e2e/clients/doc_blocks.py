"""Blocks of docs/clients.md that need a client's own environment: run there, against a gateway without a config."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.clients.cli import Done, run
from tests.e2e.serving import ROOT, serving
from tests.rules.blocks import blocks


def run_block(python: Path, word: str, folder: Path) -> Done:
    """Runs the one Python block that has ``word`` in it."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    (block,) = [b for b in blocks("docs/clients.md", page) if b.language == "python" and word in b.text]
    folder.mkdir()
    with serving(folder, None) as gateway:
        text = block.text.replace("http://127.0.0.1:4000", gateway.url)
        return run([python, "-c", text], folder, LITELLM_LOCAL_MODEL_COST_MAP="True")

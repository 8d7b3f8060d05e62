from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from config_helpers import Check

from penstock.config import Loaded, load


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Loads a YAML text as `c.yaml` in an empty directory; further files by keyword, `a_yaml=` for a.yaml."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, env: Mapping[str, str] | None = None, resolve: object = None, **files: str) -> Loaded:
        Path("c.yaml").write_text(dedent(text), encoding="utf-8")
        for name, body in files.items():
            path = Path(name.replace("__", "/").replace("_", "."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(body), encoding="utf-8")
        return load(Path("c.yaml"), env or {}, resolve=resolve)  # type: ignore[arg-type]

    return run

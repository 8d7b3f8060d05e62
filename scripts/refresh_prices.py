"""Renew the snapshot of the public price map in penstock/data from a LiteLLM wheel or a JSON file.

    python scripts/refresh_prices.py litellm-1.109.1-py3-none-any.whl
    python scripts/refresh_prices.py model_prices_and_context_window.json --version main-2f3c1d0

Writes `prices.json.gz` (every entry and field, keys sorted, always the same bytes for the same source), `prices.toml`
(where it is from, when, checksums) and `LICENSE-prices`, the notice that has to stay beside it. Only MIT-licensed files
may go in: the map lies outside LiteLLM's `enterprise/` folder, and the licence is looked for in the wheel.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "penstock" / "data"
INSIDE_WHEEL = "litellm/model_prices_and_context_window_backup.json"
NOT_A_MODEL = "sample_spec"  # the file's own explanation of its fields, with words where numbers belong
FEWEST = 1000  # entries; fewer means that this is not the price map


def read_source(path: Path) -> tuple[bytes, str, str]:
    """The map's bytes, the version and the licence text ("" where the file does not tell)."""
    if path.suffix != ".whl":
        return path.read_bytes(), "", ""
    with zipfile.ZipFile(path) as wheel:
        info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        version = re.search(r"^Version: (.+)$", wheel.read(info).decode(), re.M)
        licence = next((name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE")), "")
        text = wheel.read(licence).decode() if licence else ""
        return wheel.read(INSIDE_WHEEL), version[1].strip() if version else "", text


def checked(raw: bytes) -> dict[str, dict[str, Any]]:
    """The entries. Raises ValueError when the file is not what it should be."""
    entries = json.loads(raw)
    if not isinstance(entries, dict) or len(entries) < FEWEST:
        raise ValueError(f"this is not the price map: it should be an object of {FEWEST} or more models")
    entries.pop(NOT_A_MODEL, None)
    odd = [name for name, entry in entries.items() if not isinstance(entry, dict)]
    if odd:
        raise ValueError(f"entries that are not objects: {odd[:5]}")
    negative = [
        f"{name}: {key}"
        for name, entry in entries.items()
        for key, value in entry.items()
        if "cost" in key and isinstance(value, int | float) and value < 0
    ]
    if negative:
        raise ValueError(f"negative prices: {negative[:5]}")
    return entries


def write(raw: bytes, version: str, date: str, origin: str) -> int:
    """Writes the snapshot and its description; returns the number of entries."""
    entries = checked(raw)
    packed = json.dumps(entries, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    squeezed = gzip.compress(packed, 9, mtime=0)
    (DATA / "prices.json.gz").write_bytes(squeezed)
    about = f'''# Written by scripts/refresh_prices.py. The licence of the data is in LICENSE-prices.
source = "{origin}"
file = "{INSIDE_WHEEL}"
version = "{version}"
taken = "{date}"
entries = {len(entries)}
sha256_of_source = "{hashlib.sha256(raw).hexdigest()}"
sha256_of_snapshot = "{hashlib.sha256(squeezed).hexdigest()}"
'''
    (DATA / "prices.toml").write_text(about, encoding="utf-8")
    return len(entries)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="a LiteLLM wheel, or the JSON file itself")
    parser.add_argument("--version", help="version of the source; a wheel tells it itself")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="when it was taken; today by default")
    parser.add_argument("--license", type=Path, help="licence file of the source; a wheel has it inside")
    given = parser.parse_args()
    try:
        raw, version, licence = read_source(given.source)
        if given.license:
            licence = given.license.read_text(encoding="utf-8")
        if licence and "MIT License" not in licence:
            raise ValueError("the licence of the source is not MIT any more; the snapshot was not renewed")
        version = given.version or version
        if not version:
            raise ValueError("say --version: a JSON file does not tell it")
        count = write(raw, version, given.date, "https://github.com/BerriAI/litellm")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"{given.source}: {error}", file=sys.stderr)
        return 1
    if licence:
        (DATA / "LICENSE-prices").write_text(licence, encoding="utf-8")
    print(f"{count} models of version {version}, taken {given.date}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m penstock` is the same as the `penstock` command."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # pip refuses there; whoever runs the source is told too
    sys.exit(f"penstock needs Python 3.11 or newer; this is {sys.version.split()[0]}.")

from penstock.cli.main import main

main()

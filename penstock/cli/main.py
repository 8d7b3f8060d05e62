"""The `penstock` console script: answers `--version` at once, hands everything else to the click group."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from penstock.cli.version import VERSION_FLAGS


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage. `argv` defaults to `sys.argv[1:]`."""
    args = list(sys.argv[1:] if argv is None else argv)
    if len(args) == 1 and args[0] in VERSION_FLAGS:
        from penstock import version_text

        print(f"penstock {version_text()}")
        return
    from penstock.cli.group import cli

    cli.main(args=args, prog_name="penstock")

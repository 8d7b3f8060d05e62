"""What is said to those who ask for a path that is not there."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime.gate import shown

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange


def no_route(exchange: Exchange, paths: list[str]) -> GatewayError:
    """Make a 404 with the nearest of ``paths``."""
    near = difflib.get_close_matches(exchange.path.rstrip("/"), paths, 1, 0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    return GatewayError("no_route", f"There is nothing at {exchange.method} {shown(exchange.path)}.{hint}")

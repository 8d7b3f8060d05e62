"""What is said to those who ask for a path or a model that is not there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime.gate import shown
from penstock.server.paths import nearest

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.state import State


def no_model(state: State, name: str) -> GatewayError:
    """Make a 404 for a model that a page was asked about, with the nearest names."""
    text = f"The model {shown(name)!r} does not exist here. {state.instead_of(name)}"
    return GatewayError("upstream_not_found", text, param="model")


def no_route(call: Call, paths: Iterable[str]) -> GatewayError:
    """Make a 404 with the nearest of ``paths``; below a mount, as it is called there."""
    exchange, style = call.exchange, call.mount_style
    near = nearest(call.path, paths)
    if near and style is not None:
        near = style.path_here(near)
    hint = f" Did you mean {call.below}{near.replace(':path}', '}')}?" if near else ""
    return GatewayError("no_route", f"There is nothing at {exchange.method} {shown(exchange.path)}.{hint}")

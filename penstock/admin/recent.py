"""Who may see the requests that this process has in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.recent import Recent


def need_recent(gateway: Any, call: Call) -> Recent:
    """Return the last requests. Raises "forbidden" for who does not see everything."""
    if not call.caller.views:
        raise GatewayError("forbidden", "Without a database only admins see the requests, which are in memory.")
    found: Recent = gateway.recent
    return found

"""Which routes a gateway has for anybody, which need no key, and which are for admins: the operator's three lists.

A list names paths (``/key/generate``, ``/key/{key}/regenerate``, ``/global/*``) and groups of routes by LiteLLM's
names, plain or as its documentation writes them: ``LiteLLMRoutes.public_routes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock.core.admit.access import INFO, LLM, MANAGEMENT, allows
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.core.admit.caller import Caller

_PREFIX = "LiteLLMRoutes."
PUBLIC_GROUP = "public_routes"
GROUPS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys("llm_api_routes openai_routes anthropic_routes google_routes mcp_routes".split(), (LLM,)),
    "info_routes": (INFO,),
    **dict.fromkeys("management_routes self_managed_routes internal_user_routes".split(), (MANAGEMENT,)),
    "key_management_routes": ("/key/*", "/v2/key/*"),
    "spend_tracking_routes": ("/spend/*", "/cost/estimate"),
    "global_spend_tracking_routes": ("/global/*",),
    "org_admin_only_routes": ("/organization/*",),
    PUBLIC_GROUP: (),  # what is open to everybody is so by itself, and under no list
}
"""LiteLLM's groups of routes -> what each is here: families of routes, and paths."""


class RouteRules(Struct, frozen=True):
    """``allowed``: all that there is for anybody, None for everything. ``public``: what needs no key. ``admin_only``:
    what is for proxy admins."""

    allowed: tuple[str, ...] | None = None
    public: tuple[str, ...] = ()
    admin_only: tuple[str, ...] = ()

    def opens(self, path: str, family: str) -> bool:
        """Tell whether a path needs no key. That of the same route with or without ``/v1`` is another one."""
        if self.admin_only and _any(self.admin_only, path, family):
            return False
        return any(allows(entry, path, family, twins=False) for entry in self.public)

    def check(self, caller: Caller, path: str, family: str) -> None:
        """Refuse a path that nobody may call, or admins alone. Raises "forbidden", in LiteLLM's words."""
        if self.allowed is not None and not _any(self.allowed, path, family):
            text = f"Access forbidden: Route {path[:200]} not allowed (general_settings.allowed_routes)."
            raise GatewayError("forbidden", text)
        if self.admin_only and not caller.admin and _any(self.admin_only, path, family):
            text = f"user not allowed to access this route. Route={path[:200]} is an admin only route"
            raise GatewayError("forbidden", f"{text} (general_settings.admin_only_routes).")


def _any(entries: Sequence[str], path: str, family: str) -> bool:
    return any(allows(entry, path, family) for entry in entries)


def expand(entry: str) -> tuple[str, ...]:
    """Return what an entry of a list stands for. Raises ``ValueError`` with what would be right, for one that names
    nothing."""
    text = entry.strip()
    if text.startswith("/"):
        return (text if text == "/" else text.rstrip("/"),)
    found = GROUPS.get(text.removeprefix(_PREFIX))
    if found is None:
        known = ", ".join(GROUPS)
        raise ValueError(f"expected a path that begins with a slash, such as /key/generate, or a group: {known}")
    return found

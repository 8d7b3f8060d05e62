"""Deployments that nobody wrote down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.config import Deployment


def deployment(public: str, provider: str, upstream: str, base: str | None, owner: str = "") -> Deployment:
    """Make the deployment that clients call ``public``. Its id is the same each time it is found."""
    from penstock.config import Deployment

    return Deployment(
        id=public.replace("/", "-").replace("*", "all"),
        model_name=public,
        model=public,
        provider=provider,
        upstream_model=upstream,
        api_base=base,
        info={"owned_by": owner} if owner else {},
    )

"""Where the password of Redis is a token of Google's: Memorystore with IAM authentication.

The token is that of the service account `gcp_service_account`, for which the machine's own account may ask
(`iamcredentials generateAccessToken`, as LiteLLM does). A connection is let in with the one that is good when it is
opened: https://cloud.google.com/memorystore/docs/cluster/about-iam-auth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from penstock.config.redis import RedisSettings
from penstock.core.errors import GatewayError, shed


def with_token(settings: RedisSettings) -> RedisSettings:
    """Add the function that gets the token of the settings' service account, if they have one. Raises "not_installed"
    without google-auth."""
    if not settings.service_account:
        return settings
    from penstock.runtime.cloud.vertex import tokens_as  # few configs ask for it

    try:
        tokens = tokens_as(settings.service_account)
    except ImportError:
        text = "gcp_service_account needs the package 'google-auth': pip install 'penstock[vertex]'."
        raise GatewayError("not_installed", text) from None
    return replace(settings, token=_bare(tokens.current))


def _bare(current: Callable[[], Awaitable[bytes]]) -> Callable[[], Awaitable[str]]:
    """Return what gets the token out of the header lines that carry it. It raises ``OSError``, as all that goes wrong
    with a connection does."""

    async def token() -> str:
        try:
            lines = await current()
        except GatewayError as error:
            shed(error)
            raise OSError(error.message) from None
        return lines.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()

    return token

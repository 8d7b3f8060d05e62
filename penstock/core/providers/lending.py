"""Whom the environment's keys are for. A variable such as ``OPENAI_API_KEY`` is the user's key at OpenAI, or at the
host that the variable of the base beside it names; an entry's ``api_base`` that leads elsewhere does not get it, unless
the entry says so itself (``api_key: os.environ/OPENAI_API_KEY``)."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.providers.google import VERTEX
from penstock.core.providers.spec import Provider
from penstock.core.providers.urls import host_of, is_home

_GOOGLE = ("VERTEXAI_CREDENTIALS", "VERTEX_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS")
# Variables that hold, or lead to, what a token is made of, beside those of ``Provider.keys``.
_MORE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(VERTEX, _GOOGLE),
    "snowflake": (
        "SNOWFLAKE_PRIVATE_KEY", "SNOWFLAKE_PRIVATE_KEY_PATH", "SNOWFLAKE_PRIVATE_KEY_FILE",
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", "PRIVATE_KEY_PASSPHRASE",
    ),
}  # fmt: skip


def is_foreign(provider: Provider, api_base: str | None, env: Mapping[str, str]) -> bool:
    """Tell whether an entry's address is neither the vendor's nor the one that the environment names for it. A row
    without a host of its own, or of a server that users run themselves, has no foreign ones."""
    if not api_base or not api_base.strip() or provider.local or provider.base is None:
        return False
    host = host_of(api_base.strip())
    if is_home(provider, api_base.strip()):
        return False
    return all(host_of(env.get(name, "").strip()) != host for name in provider.bases)


def withheld(provider: Provider, api_base: str | None, env: Mapping[str, str]) -> tuple[str, ...]:
    """Name the variables of the environment that hold a credential of the provider's and do not go to ``api_base``."""
    if not is_foreign(provider, api_base, env):
        return ()
    names = dict.fromkeys((*provider.keys, *_MORE.get(provider.name, ())))
    return tuple(name for name in names if env.get(name, "").strip())


def withheld_message(provider: Provider, model: str, api_base: str, names: tuple[str, ...]) -> str:
    """Say that a key is not sent, and what to write if it is for that host after all."""
    bases = f", or {provider.bases[0]} beside it" if provider.bases else ""
    return (
        f"Model {model!r}: {', '.join(names)} of the environment is not sent to {host_of(api_base)}, which is not "
        f"{provider.name}'s own host. If the key is for it, write api_key: os.environ/{names[0]} in the model's "
        f"litellm_params{bases}."
    )

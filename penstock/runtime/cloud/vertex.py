"""Access tokens for Vertex AI: a service account (file or inline JSON), workload identity, or what the machine has
(application default credentials). google-auth gets them, in a thread; requests find one that is ready.

Settings of a deployment, as LiteLLM names them: ``vertex_credentials`` (a path, JSON text or a mapping),
``vertex_project``, ``vertex_location``; else ``VERTEXAI_CREDENTIALS``, ``GOOGLE_APPLICATION_CREDENTIALS`` and the
machine's own. With ``api_key`` the key is sent as a Bearer token, and nothing is fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.errors import GatewayError
from penstock.core.providers.google import CLAUDE_VERSION, PLACES, PROJECTS, first_of, vertex_dialects
from penstock.runtime.cloud import tokens
from penstock.runtime.cloud.serving import Serving
from penstock.runtime.cloud.tokens import Token

if TYPE_CHECKING:
    from penstock.config import Deployment
    from penstock.runtime.account import Account

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_VARIABLES = ("VERTEXAI_CREDENTIALS", "VERTEX_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS")


def serving(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Tell what Vertex AI makes of a model: it serves many publishers', so the model tells the dialect, and the account
    stands in the URL."""
    env = environment(account.deployment, account.env)
    spoken = vertex_dialects(account.model)
    streams = {"anthropic": "anthropic_stream"}
    if spoken != ("anthropic",):
        return Serving(env=env, dialects=spoken, stream_names=streams)
    # The model stands in the URL, and a version in the body.
    version = {"anthropic_version": msgspec.Raw(msgspec.json.encode(CLAUDE_VERSION))}
    return Serving(env=env, dialects=spoken, stream_names=streams, body=version, drop=("model",))


def environment(deployment: Deployment, env: Mapping[str, str]) -> Mapping[str, str]:
    """Lay the project and the place of the deployment over ``env``; the project of the credentials where none is
    named."""
    made = dict(env)
    project = _word(deployment.params.get("vertex_project"))
    place = _word(deployment.params.get("vertex_location")) or _word(deployment.params.get("region_name"))
    if place:
        made[PLACES[0]] = place
    if not project and first_of(PROJECTS, env) is None:
        try:
            info = _info(_source(deployment, env))
        except GatewayError:  # told to the calls that need it
            info = {}
        project = _word(info.get("project_id")) or _word(info.get("quota_project_id"))
    if project:
        made[PROJECTS[0]] = project
    return made


def _word(value: object) -> str:
    return str(value).strip() if isinstance(value, (str, int)) else ""


def _source(deployment: Deployment, env: Mapping[str, str]) -> str | Mapping[str, Any]:
    """Return the credentials as they were given: a mapping, JSON text, a path, or "" for the machine's own."""
    given = deployment.params.get("vertex_credentials")
    reveal = getattr(given, "reveal", None)
    if reveal is not None:
        given = reveal()
    if isinstance(given, Mapping):
        return given
    return _word(given) or first_of(_VARIABLES, env) or ""


def _info(source: str | Mapping[str, Any]) -> dict[str, Any]:
    """Read the credentials as an object; {} for the machine's own. Raises "not_configured", never showing their
    content."""
    if isinstance(source, Mapping):
        return dict(source)
    if not source:
        return {}
    text, where = source, "vertex_credentials"
    if not source.startswith("{"):
        where = source
        try:
            with open(source, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise GatewayError(
                "not_configured",
                f"The Google Cloud credentials {source!r} cannot be read: {why}. Give vertex_credentials as the path "
                "of a JSON file, or as its text.",
            ) from None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise GatewayError("not_configured", f"The Google Cloud credentials in {where!r} are no JSON object.") from None


def signer(account: Account) -> Tokens | None:
    """Find the tokens of an account, shared by all that have the same credentials; None with a key of its own.
    Raises ``ImportError`` without google-auth, "not_configured" for credentials that cannot be read."""
    try:
        import google.auth  # noqa: F401
    except ImportError as error:
        raise ImportError(str(error), name="google-auth") from None
    if account.deployment.api_key is not None:
        return None
    source = _source(account.deployment, account.env)
    if account.foreign and not source:
        return None  # the machine's own account is for Google
    return tokens_of(source)


def tokens_of(source: str | Mapping[str, Any]) -> Tokens:
    """Find the tokens of credentials: a path, JSON text, a mapping, "" for the machine's own. Raises ``ImportError``
    without google-auth, "not_configured" for what cannot be read."""
    import google.auth  # noqa: F401

    info = _info(source)
    key = hashlib.sha256(msgspec.json.encode(info, order="deterministic")).hexdigest()
    found = _SHARED.get(key)
    if found is None:
        found = _SHARED[key] = Tokens(lambda: _load(info))
    return found


def tokens_as(account: str) -> Tokens:
    """Find the tokens of a service account, an address or `projects/-/serviceAccounts/ADDRESS`, for which the machine's
    own account asks. Raises ``ImportError`` without google-auth."""
    import google.auth  # noqa: F401

    address = account.rpartition("/")[2]
    found = _SHARED.get(f"as {address}")
    if found is None:
        found = _SHARED[f"as {address}"] = Tokens(lambda: _load_as(address))
    return found


def _load_as(address: str) -> Any:
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials(_load({}), address, [SCOPE])


def _load(info: Mapping[str, Any]) -> Any:
    """Make google-auth's credentials. Runs in a thread: finding out what the machine has may ask its metadata
    server."""
    import google.auth

    from penstock.runtime.cloud.google_transport import Transport

    if not info:
        return google.auth.default(scopes=[SCOPE], request=Transport())[0]
    kind = str(info.get("type"))
    module, maker = _KINDS.get(kind, ("", ""))
    if kind == "external_account":  # workload identity: who vouches for us?
        source = info.get("credential_source") or {}
        aws = str(source.get("environment_id", "")).startswith("aws")
        module = "google.auth.aws" if aws else "google.auth.pluggable" if "executable" in source else module
    if not module:
        known = ", ".join(sorted(_KINDS))
        raise GatewayError(
            "not_configured", f"Google Cloud credentials of type {kind[:60]!r} are not known; known are {known}."
        )
    return getattr(import_module(module).Credentials, maker)(dict(info), scopes=[SCOPE])


# The library's loader of any type is deprecated; these are the types' own.
_KINDS = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info"),
    "external_account": ("google.auth.identity_pool", "from_info"),
    "impersonated_service_account": (
        "google.auth.impersonated_credentials",
        "from_impersonated_service_account_info",
    ),
}


class Tokens(tokens.Tokens):
    """The header lines of one account. ``load`` makes google-auth's credentials; ``clock``: seconds since 1970."""

    def __init__(self, load: Callable[[], Any], clock: Callable[[], float] = time.time) -> None:
        super().__init__(self._new, clock)
        self._load = load
        self._credentials: Any = None

    async def _new(self) -> Token:
        token, ends_at, project = await asyncio.to_thread(self._ask)
        lines = b"authorization: Bearer %b\r\n" % token.encode()
        if project:
            lines += b"x-goog-user-project: %b\r\n" % project.encode("ascii", "replace")
        return Token(lines, ends_at)

    def _ask(self) -> tuple[str, float, str]:
        """Fetch a new token; return it, its end (seconds since 1970) and the project that is charged. Runs in a thread.
        Raises "connect" where the token endpoint cannot be reached and "not_configured" where it, or the library,
        refuses the credentials."""
        from google.auth import exceptions

        from penstock.runtime.cloud.google_transport import Transport

        try:
            if self._credentials is None:
                self._credentials = self._load()
            made = self._credentials
            made.refresh(Transport())
        except exceptions.TransportError as error:
            raise GatewayError("connect", f"No Google Cloud token: {_said(error)}") from None
        except exceptions.GoogleAuthError as error:
            kind = "connect" if getattr(error, "retryable", False) else "not_configured"
            raise GatewayError(kind, f"No Google Cloud token: {_said(error)}") from None
        except (ValueError, KeyError, TypeError) as error:  # a key file that is none, in the library's own words
            text = f"The Google Cloud credentials are not valid: {_said(error)}"
            raise GatewayError("not_configured", text) from None
        expiry = made.expiry
        ends_at = self._clock() + 300.0 if expiry is None else expiry.replace(tzinfo=UTC).timestamp()
        return str(made.token), ends_at, str(getattr(made, "quota_project_id", None) or "")


def _said(error: Exception) -> str:
    """Return the first words of a foreign error."""
    return str(error.args[0] if error.args else error)[:300]


_SHARED: dict[str, Tokens] = {}

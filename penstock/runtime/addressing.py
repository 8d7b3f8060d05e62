"""From an account to an endpoint: the URL of an operation, what signs its requests, and their head with the credential.

A missing key or address is no reason not to start; it is an error of the calls that need it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.core.errors import GatewayError
from penstock.core.providers.resolve import auth_headers, default_headers, missing_key_message, more_headers, needs_key
from penstock.core.providers.spec import NO_QUIRKS, Quirks
from penstock.core.providers.urls import endpoint as url_of
from penstock.runtime.cloud import signer_for
from penstock.runtime.endpoint import Endpoint
from penstock.runtime.http import Origin, render_head

if TYPE_CHECKING:
    from penstock.runtime.account import Account
    from penstock.runtime.endpoint import Signer

# Operations whose body is a form: its boundary, and so its content type, comes with each request.
FORMS = frozenset({"audio_transcriptions", "audio_translations", "images_edits"})


def endpoint_of(account: Account, what: str, path_model: str, quirks: Quirks) -> Endpoint:
    """Make the endpoint of a dialect or operation. ``path_model``: the model, where it stands in the URL. Raises
    "not_configured" naming the variable that is missing."""
    deployment = account.deployment
    names = frozenset(name.lower() for name in deployment.extra_headers)
    signer, key = _credential(account, "authorization" in names)
    try:
        url = url_of(
            account.provider,
            deployment.api_base,
            account.env,
            what,
            model=path_model,
            api_version=deployment.api_version,
        )
        parts = urlsplit(url)
        origin = Origin.parse(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        head = render_head(b"POST", path.encode(), origin, _headers(account, what, url, names, signer, key))
    except (LookupError, ValueError) as error:
        text = error.args[0] if error.args else str(error)
        raise GatewayError("not_configured", f"Model {deployment.model_name!r}: {text}") from None
    fallback = tuple(pair for pair in default_headers(what) if pair[0].decode() not in names)
    if replace(quirks, by_model=()) == NO_QUIRKS:
        quirks = NO_QUIRKS  # nothing to do is told by one comparison per request
    return Endpoint(origin, head, url, quirks, fallback, signer)


def _credential(account: Account, own: bool) -> tuple[Signer | None, str | None]:
    """Find what signs the requests, else the key. ``own``: the admin wrote an ``authorization`` header, so that no
    other is made and a key may be missing."""
    signer = None if own else signer_for(account)
    if signer is not None:
        return signer, None
    key = account.key
    if key is None and not own and needs_key(account.provider, account.deployment.api_base, account.env):
        raise GatewayError("not_configured", missing_key_message(account.provider))
    return None, key


def _headers(
    account: Account, what: str, url: str, names: frozenset[str], signer: Signer | None, key: str | None
) -> list[tuple[bytes, bytes]]:
    """List the headers of every request. The deployment's own (``names``, in lower case) win over ours."""
    provider, deployment, env = account.provider, account.deployment, account.env
    headers = [] if what in FORMS else [(b"content-type", b"application/json")]
    headers.append((b"user-agent", b"penstock"))
    if signer is None and not ("authorization" in names and key is None):
        headers += auth_headers(provider, key, what, url)
    headers += more_headers(provider, url)
    headers += [(n.encode(), env[v].encode()) for n, v in provider.headers.items() if env.get(v)]
    if deployment.organization and provider.organization_header:
        headers.append((provider.organization_header.encode(), deployment.organization.encode()))
    headers = [(n, v) for n, v in headers if n.decode() not in names]
    return headers + [(n.lower().encode(), v.encode()) for n, v in deployment.extra_headers.items()]

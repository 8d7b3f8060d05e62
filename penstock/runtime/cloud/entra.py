"""Access tokens of Microsoft Entra ID, for Azure OpenAI and Foundry: a given token, a service principal, workload
identity, a user's password, or the managed identity of the machine.

The requests are the four plain forms that Microsoft documents, so azure-identity (with msal, requests and
cryptography behind it) is not needed for them; what only it can do (certificates, ``az login``, Azure Arc) is not here.

* https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow (secret, and federated token)
* https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc (user name and password)
* https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
* https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token

Which is used: what the deployment itself says (``api_key``, ``azure_ad_token``, an account) goes before what the
environment says (``AZURE_API_KEY``, ``AZURE_AD_TOKEN``, an account, the platform's identity), each in that order.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from penstock.config import Deployment
from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.azure import AZURE
from penstock.core.providers.foundry import token_scope
from penstock.core.providers.resolve import credential
from penstock.runtime.account import Account
from penstock.runtime.cloud import oauth
from penstock.runtime.cloud.tokens import Fixed, Token, Tokens, shared

if TYPE_CHECKING:
    from penstock.runtime.endpoint import Signer
    from penstock.runtime.http import Tls

WHOSE = "Microsoft Entra ID"
LOGIN = "https://login.microsoftonline.com"
# Sovereign clouds, by the end of the resource's host.
_LOGINS = ((".azure.us", "https://login.microsoftonline.us"), (".azure.cn", "https://login.chinacloudapi.cn"))
IMDS = "http://169.254.169.254"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,253}")  # an id, a domain, or "organizations"
_OIDC = "oidc/"


def signer(account: Account) -> Signer | None:
    """Make what signs an account's requests; None where a key does, or where nothing is configured. Raises
    "not_configured" that names what is missing of an account."""
    given, env = _words(account), account.env
    if "api_key" in given:
        return None
    token = given.get("azure_ad_token")
    if token is None and not _ACCOUNT & set(given):
        key = credential(account.provider, None, {k: v for k, v in env.items() if k != "AZURE_AD_TOKEN"})
        if key is not None:
            return None
        token = env.get("AZURE_AD_TOKEN", "").strip() or None
    if token is not None and not token.startswith(_OIDC):
        return Fixed(oauth.header("Bearer", token))
    asking = _asking(account, given, token)
    return None if asking is None else shared(asking.parts(), lambda: Tokens(asking.fetch))


def tokens_for(scope: str, base: str, env: Mapping[str, str]) -> Tokens:
    """Find the tokens for an address that is no deployment's, of the account that the environment names, else of the
    machine's own. Raises "not_configured" for half an account."""
    provider = PROVIDERS[AZURE]
    deployment = Deployment(id="", model_name=base, model=base, provider=provider.name, api_base=base)
    managed = {"enable_azure_ad_token_refresh": True}
    account = Account(provider=provider, model=base, deployment=deployment, settings=managed, env=env)
    asking = _asking(account, {"azure_scope": scope}, None)
    assert asking is not None  # the machine's own is always there to be asked
    return shared(asking.parts(), lambda: Tokens(asking.fetch))


# Settings of a deployment that say which account is meant; the environment completes what is left out.
_ACCOUNT = frozenset(("tenant_id", "client_id", "client_secret", "azure_username", "azure_password"))
_SETTINGS = (*sorted(_ACCOUNT), "azure_scope", "azure_ad_token", "api_key")
_VARIABLES = {name: name.upper() if name.startswith("azure_") else f"AZURE_{name.upper()}" for name in sorted(_ACCOUNT)}


def _words(account: Account) -> dict[str, str]:
    """Collect the settings of the account that a deployment itself has, as texts; empty ones are left out."""
    found = {}
    for name in _SETTINGS:
        value = account.deployment.params.get(name)
        reveal = getattr(value, "reveal", None)
        value = value if reveal is None else reveal()
        if isinstance(value, (str, int)) and str(value).strip():
            found[name] = str(value).strip()
    return found


class Asking(NamedTuple):
    """One way to a token. ``file``: a federated token that is read anew each time, since Kubernetes renews it."""

    url: str
    form: tuple[tuple[str, str], ...] | None
    headers: tuple[tuple[str, str], ...] = ()
    file: str = ""
    metadata: bool = False
    env: Mapping[str, str] = {}
    tls: Tls | None = None

    def __repr__(self) -> str:
        return f"Asking({self.url.partition('?')[0]})"  # the rest holds secrets

    def parts(self) -> tuple[str, ...]:
        """Return what tells this account from every other."""
        flat = [word for pair in (self.form or ()) + self.headers for word in pair]
        return ("entra", self.url, self.file, repr(self.tls), *flat)

    async def fetch(self) -> Token:
        """Fetch a new token, as ``tokens.Tokens`` asks for it."""
        form = dict(self.form) if self.form is not None else None
        if self.file and form is not None:
            form["client_assertion"] = await asyncio.to_thread(_assertion, self.file, self.env)
        whose = "the managed identity" if self.metadata else WHOSE
        told = await oauth.fetch(
            whose, self.url, form, env=self.env, headers=dict(self.headers), tls=self.tls, metadata=self.metadata
        )
        return oauth.token_of(whose, told)


def _asking(account: Account, given: Mapping[str, str], oidc: str | None) -> Asking | None:
    """Choose how the account that is configured gets its tokens; None where nothing is configured. Raises
    "not_configured" for half an account."""
    env = account.env
    base = account.base or ""
    scope = given.get("azure_scope") or env.get("AZURE_SCOPE", "").strip() or token_scope(base)
    named = {name: given.get(name) or env.get(_VARIABLES[name], "").strip() for name in _ACCOUNT}
    tenant, client = named["tenant_id"], named["client_id"]
    file = oidc if oidc is not None else env.get("AZURE_FEDERATED_TOKEN_FILE", "").strip()
    form: list[tuple[str, str]] = [("client_id", client), ("scope", scope)]
    if named["client_secret"] and (tenant or client) and oidc is None:
        _complete(account, named, "tenant_id", "client_id", "client_secret")
        form += [("grant_type", "client_credentials"), ("client_secret", named["client_secret"])]
        file = ""
    elif named["azure_username"] or named["azure_password"]:
        _complete(account, named, "client_id", "azure_username", "azure_password")
        tenant, file = tenant or "organizations", ""
        form += [("grant_type", "password")]
        form += [("username", named["azure_username"]), ("password", named["azure_password"])]
    elif file and (oidc is not None or (tenant and client)):
        _complete(account, named, "tenant_id", "client_id")
        form += [("grant_type", "client_credentials"), ("client_assertion_type", ASSERTION)]
    else:
        found = _managed(account, scope, client)
        if found is None and _ACCOUNT & set(given):
            _complete(account, named, "tenant_id", "client_id", "client_secret")
        return found
    if not _TENANT.fullmatch(tenant):
        raise GatewayError("not_configured", f"{account.label}: tenant_id {tenant[:80]!r} is no tenant's id or domain.")
    login = (env.get("AZURE_AUTHORITY_HOST", "").strip() or _login(base)).rstrip("/")
    login = login if "://" in login else f"https://{login}"
    return Asking(f"{login}/{tenant}/oauth2/v2.0/token", tuple(form), file=file, env=env, tls=account.tls)


def _complete(account: Account, named: Mapping[str, str], *names: str) -> None:
    missing = [name for name in names if not named[name]]
    if missing:
        told = " and ".join(f"{name} (or {_VARIABLES[name]})" for name in missing)
        raise GatewayError(
            "not_configured", f"{account.label}: for a token of {WHOSE} also give {told} in litellm_params."
        )


def _managed(account: Account, scope: str, client: str) -> Asking | None:
    """Find the identity that the platform gives: where it says that it has one, or where the configuration says so,
    since elsewhere the address of a virtual machine's metadata service does not answer at all."""
    env = account.env
    resource = scope.removesuffix("/.default")
    chosen = env.get("AZURE_CREDENTIAL", "").strip()
    address, secret = env.get("IDENTITY_ENDPOINT", "").strip(), env.get("IDENTITY_HEADER", "").strip()
    query = {"resource": resource, **({"client_id": client} if client else {})}
    if address and secret:
        url = _with(address, {"api-version": "2019-08-01", **query})
        return Asking(url, None, (("X-IDENTITY-HEADER", secret),), metadata=True)
    asked = account.settings.get("enable_azure_ad_token_refresh") or chosen in _MANAGED
    if not asked:
        return None
    host = env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "").strip().rstrip("/") or IMDS
    url = _with(host + "/metadata/identity/oauth2/token", {"api-version": "2018-02-01", **query})
    return Asking(url, None, (("Metadata", "true"),), metadata=True)


_MANAGED = frozenset(("ManagedIdentityCredential", "DefaultAzureCredential"))


def _with(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query, quote_via=quote)}"


def _login(base: str) -> str:
    host = urlsplit(base).hostname or ""
    return next((login for end, login in _LOGINS if host.endswith(end)), LOGIN)


def _assertion(source: str, env: Mapping[str, str]) -> str:
    """Read the federated token: of a file, or LiteLLM's ``oidc/file/PATH``, ``oidc/env/NAME``, ``oidc/env_path/NAME``.
    Runs in a thread."""
    kind, _, rest = source.removeprefix(_OIDC).partition("/") if source.startswith(_OIDC) else ("file", "", source)
    if kind == "env":
        token = env.get(rest, "")
        where = rest
    elif kind in ("file", "env_path"):
        where = env.get(rest, "") if kind == "env_path" else rest
        try:
            with open(where, encoding="ascii") as file:
                token = file.read(64 * 1024)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise GatewayError("not_configured", f"The federated token {where!r} cannot be read: {why}.") from None
    else:
        known = "oidc/file/PATH, oidc/env/NAME, oidc/env_path/NAME"
        raise GatewayError("not_configured", f"azure_ad_token begins with oidc/{kind[:40]}; known are {known}.")
    if not token.strip():
        raise GatewayError("not_configured", f"The federated token in {where!r} is empty.")
    return token.strip()

"""Signing in to the pages by an identity provider: OpenID Connect's code flow, with PKCE (RFC 7636), state and nonce.

The provider says who somebody is and in which groups; the config says which role these give. Whoever comes for the
first time becomes a user of this gateway, and so has what users have: a budget, keys, a place in the audit log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from penstock.admin.ui.sessions import COOKIE, LASTS, Session, cookies
from penstock.admin.ui.view import base_of, go, render, sessions_of, set_cookie
from penstock.config.oidc import ROLES, OidcSettings, read_oidc
from penstock.core.admit.caller import MASTER
from penstock.core.errors import GatewayError
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.jwt_auth import ALGORITHMS, LARGEST, LEEWAY, LONGEST, PATIENCE
from penstock.runtime.route import JSON, Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call

log = logging.getLogger("penstock")
STARTED = b"penstock_oidc"
KIND = "oidc"
WITHIN = 600.0  # seconds between the two halves of a sign-in
KEPT = 600.0  # seconds that what the provider says of itself is kept
_MISSING = "it needs a package that is not installed; pip install 'penstock[jwt]'"
_AWAY = "The identity provider cannot be reached now. Sign in with a key, or try again later."


class Told(Exception):
    """Nobody is signed in; the message says why, to whom it may concern."""


class Provider:
    """What an identity provider says of itself, and its keys; read by blocking calls, in a thread."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._about: dict[str, Any] = {}
        self._read_at = 0.0

    def about(self) -> dict[str, Any]:
        """Return its own description. Raises ``OSError``, ``ValueError``."""
        if not self._about or time.monotonic() - self._read_at > KEPT:
            issuer = self.settings.issuer
            found = fetch(issuer.rstrip("/") + "/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != issuer.rstrip("/") and "{tenantid}" not in found["issuer"]:
                raise ValueError(f"it says that it is {found.get('issuer')!r:.100}, not {issuer!r:.100}")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if urlsplit(str(found.get(name))).scheme != "https" and not issuer.startswith("http://"):
                    raise ValueError(f"its {name} is no https address")
            self._about, self._read_at = found, time.monotonic()
        return self._about

    def claims(self, code: str, verifier: str, nonce: str, back: str) -> dict[str, Any]:
        """Return who signed in, for the code that the browser brought. Raises ``OSError``, ``ValueError``, ``Told``."""
        settings, about = self.settings, self.about()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        headers = {}
        if not settings.client_secret:
            form["client_id"] = settings.client_id
        elif "client_secret_basic" in about.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
            pair = urlencode({settings.client_id: settings.client_secret}).replace("=", ":", 1)
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        answer = fetch(about["token_endpoint"], form, headers)
        found = self._verified(str(answer.get("id_token") or ""), about)
        if not hmac.compare_digest(str(found.get("nonce", "")).encode(), nonce.encode()):
            raise ValueError("its token is of another sign-in")
        where = about.get("userinfo_endpoint")
        if where and answer.get("access_token") and not groups_of(found, settings.groups_claim):
            more = fetch(where, headers={"authorization": f"Bearer {answer['access_token']}"})
            if more.get("sub") == found["sub"]:
                found = {**more, **found}
        return found

    def _verified(self, token: str, about: Mapping[str, Any]) -> dict[str, Any]:
        """Check an identity token's signature, times and for whom it is; return its claims."""
        import jwt  # by the extra "jwt"

        if not token or len(token) > LONGEST:
            raise ValueError("it sent no token that could be read")
        try:
            head = jwt.get_unverified_header(token)
            if head.get("alg") not in ALGORITHMS:
                raise ValueError(f"its tokens are signed by {head.get('alg')!r:.20}, which is not taken")
            keys = [one for one in fetch(about["jwks_uri"]).get("keys", []) if one.get("use", "sig") == "sig"]
            fits = [one for one in keys if one.get("kid") == head.get("kid")] or (keys if len(keys) == 1 else [])
            if not fits:
                raise ValueError("it has no key by which its token could be signed")
            found: dict[str, Any] = jwt.decode(
                token, jwt.PyJWK(fits[0]), algorithms=[head["alg"]], audience=self.settings.client_id,
                options={"require": ["exp", "iat", "sub"]}, leeway=LEEWAY,
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise ValueError(f"its token is not good: {type(error).__name__}") from None
        wanted = str(about["issuer"]).replace("{tenantid}", str(found.get("tid", "")))
        if found.get("iss") != wanted:
            raise ValueError("its token was made by another one")
        if isinstance(found.get("aud"), list) and found.get("azp", self.settings.client_id) != self.settings.client_id:
            raise ValueError("its token was made for another program")
        return found


def fetch(url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Ask the provider for JSON; blocks. Raises ``OSError`` and ``ValueError``."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url[:80]!r} is no address")
    data = None if form is None else urlencode(form).encode()
    asked = urllib.request.Request(url, data, {"accept": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            body = answer.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode("utf-8", "replace")
        raise ValueError(f"{urlsplit(url).path} answered {error.code}: {said[:200]!r}") from None
    if len(body) > LARGEST:
        raise ValueError(f"{urlsplit(url).path} answered with over {LARGEST} bytes")
    found = msgspec.json.decode(body)
    if not isinstance(found, dict):
        raise ValueError(f"{urlsplit(url).path} answered with no object")
    return found


def provider_of(gateway: Any) -> Provider | None:
    """Return the provider by which people sign in; None where there is none, or nowhere to keep them."""
    settings, _ = read_oidc(gateway.state.config)
    sessions = sessions_of(gateway)
    if settings is None or gateway.desk is None:
        return None
    if not isinstance(sessions.provider, Provider) or sessions.provider.settings != settings:
        sessions.provider = Provider(settings)
    found: Provider = sessions.provider
    return found


def label(gateway: Any) -> str:
    """Return what stands on the button by which people sign in so; "" for no button."""
    provider = provider_of(gateway)
    if provider is None:
        return ""
    return provider.settings.name or urlsplit(provider.settings.issuer).hostname or "the identity provider"


async def begin(gateway: Any, call: Call) -> Page:
    """Send the browser to the identity provider."""
    provider = provider_of(gateway)
    if provider is None:
        raise GatewayError("no_route", "Nobody signs in by an identity provider here: see general_settings.oidc.")
    try:
        about = await asyncio.to_thread(provider.about)
    except (OSError, ValueError, KeyError) as error:
        return _refused(gateway, call, error)
    sessions, verifier = sessions_of(gateway), secrets.token_urlsafe(48)
    state, nonce = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {
        "response_type": "code", "client_id": provider.settings.client_id, "redirect_uri": _back(gateway, call),
        "scope": provider.settings.scopes, "state": state, "nonce": nonce, "code_challenge": challenge,
        "code_challenge_method": "S256",
    }  # fmt: skip
    where = about["authorization_endpoint"]
    started = sessions.sign(Session(KIND, state, f"{nonce}.{verifier}", time.time() + WITHIN, secrets.token_urlsafe(6)))
    line = f"{where}{'&' if '?' in where else '?'}{urlencode(asked)}".encode()
    head = b"text/plain\r\ncache-control: no-store\r\nlocation: %b" % line
    return Page(303, head + set_cookie(call, STARTED, started, WITHIN), b"")


async def back(gateway: Any, call: Call) -> Page:
    """Sign in whom the identity provider sends back."""
    provider, sessions = provider_of(gateway), sessions_of(gateway)
    if provider is None:
        raise GatewayError("no_route", "Nobody signs in by an identity provider here: see general_settings.oidc.")
    query = {name: values[0] for name, values in parse_qs(call.exchange.query.decode("latin-1")).items()}
    started = sessions.read(cookies(call.exchange.headers).get(STARTED, b""))
    try:
        if query.get("error"):
            raise Told(f"The identity provider says: {query.get('error_description') or query['error']:.200}")
        state = query.get("state", "")
        if started is None or started.kind != KIND or not hmac.compare_digest(started.id.encode(), state.encode()):
            raise Told("This sign-in was not begun here, or too long ago: begin again.")
        sessions.end(started)  # a code opens once
        nonce, _, verifier = started.proof.partition(".")
        claims = await asyncio.to_thread(provider.claims, query.get("code", ""), verifier, nonce, _back(gateway, call))
        user = await _user(gateway, call, provider.settings, claims)
    except (OSError, ValueError, KeyError, TypeError, ImportError, Told) as error:
        return _refused(gateway, call, error)
    body = gateway.identity.keyring.body("user", user)
    if body is None:
        return _refused(gateway, call, Told("You are known now, but not everywhere yet: sign in again in a moment."))
    sealed = sessions.sign(sessions.of_user(user, body))
    return go(call, "", more=set_cookie(call, COOKIE, sealed, LASTS) + set_cookie(call, STARTED, "", 0))


def role_of(settings: OidcSettings, claims: Mapping[str, Any]) -> str:
    """Return the strongest role that somebody's groups give, "" for none."""
    given = {settings.roles[group] for group in groups_of(claims, settings.groups_claim) if group in settings.roles}
    return next((role for role in ROLES if role in given), settings.default_role)


def groups_of(claims: Mapping[str, Any], claim: str) -> list[str]:
    """Read the groups that claims name; one that is a text names one, or several with spaces between."""
    found: Any = claims
    for part in claim.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return [found, *found.split()]
    return [str(one) for one in found] if isinstance(found, list) else []


async def _user(gateway: Any, call: Call, settings: OidcSettings, claims: Mapping[str, Any]) -> str:
    """Return the id of the user whom claims name, who is made or changed where that is needed. Raises ``Told``.

    Where groups give roles they do so at each sign-in: who left a group loses its role. Else only who is new gets
    one."""
    role = role_of(settings, claims)
    address = str(claims.get("email") or "").strip()
    if claims.get("email_verified") is False:
        address = ""  # anybody could claim somebody else's
    id_, keyring = str(claims["sub"]), gateway.identity.keyring
    body = keyring.body("user", id_)
    if body is None and address and (known := keyring.user_of_address(address)):
        id_, body = known, keyring.body("user", known)
    if body is not None and not settings.roles:
        role = str(body.get("user_role") or role)
    if not role:
        raise Told("You are who you say, but none of your groups may see these pages: ask an administrator.")
    wanted = {"user_id": id_, "user_role": role, "sso_user_id": str(claims["sub"])}
    if address and not (body or {}).get("user_email"):
        wanted["user_email"] = address
    if body is None:
        await _manage(gateway, call, "/user/new", {**wanted, "auto_create_key": False})
    elif any(body.get(name) != value for name, value in wanted.items()):
        await _manage(gateway, call, "/user/update", {k: v for k, v in wanted.items() if k != "sso_user_id"})
    return id_


async def _manage(gateway: Any, call: Call, path: str, body: Mapping[str, Any]) -> None:
    """Change a user as the gateway itself, with a line in the audit log that says so. Raises ``Told``."""
    inner = CollectedExchange(
        "POST", path, {b"content-type": JSON, b"x-litellm-changed-by": b"the identity provider"},
        msgspec.json.encode(body), client=call.exchange.client, started=gateway.clock(),
    )  # fmt: skip
    await gateway.serve_as(inner, MASTER)
    if inner.status != 200:
        log.error("oidc: a user could not be kept: %s", inner.answer[:300].decode("utf-8", "replace"))
        raise Told("You are who you say, but that could not be written down: ask an administrator.")


def _back(gateway: Any, call: Call) -> str:
    """Return the address to which the provider sends people back; it has to be registered there."""
    public = (gateway.state.config.environment.get("PROXY_BASE_URL") or "").rstrip("/")
    if public:
        return public + "/ui/oidc/back"
    headers = call.exchange.headers
    scheme = "https" if headers.get(b"x-forwarded-proto", b"").lower() == b"https" else "http"
    return f"{scheme}://{headers.get(b'host', b'').decode('latin-1')}{base_of(call)}/oidc/back"


def _refused(gateway: Any, call: Call, error: Exception) -> Page:
    if isinstance(error, Told):
        wrong = str(error)
    elif isinstance(error, ImportError):
        wrong = f"Nobody can sign in so: {_MISSING}."
    else:
        wrong = _AWAY
    log.warning("oidc: somebody at %s could not sign in: %s", call.exchange.client, error)
    return render(gateway, call, "signin.html", 401, next="", wrong=wrong, name="", provider=label(gateway))

"""AWS credentials: where they come from, kept, and renewed before they end.

Settings of a deployment, as LiteLLM names them: ``aws_access_key_id``, ``aws_secret_access_key``,
``aws_session_token``; ``aws_profile_name``; ``aws_role_name`` with ``aws_session_name``, ``aws_external_id``,
``aws_web_identity_token`` and ``aws_sts_endpoint``; else the environment, the shared files, the container's and the
machine's own, as botocore finds them.

botocore blocks, so it runs in a thread; a request waits for it once, when the first keys are fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.core.errors import GatewayError
from penstock.runtime.account import word

if TYPE_CHECKING:
    from penstock.config import Deployment

log = logging.getLogger("penstock")
EARLY = 600.0  # seconds before their end at which keys are renewed; a quarter of their life where that is shorter
LATE = 10.0  # seconds before their end at which keys are no longer used
AGAIN = 30.0  # seconds after a renewal failed
LOOK = 900.0  # seconds after which keys without an end are looked up again: files and the environment's rotate
_TIMES = {"connect_timeout": 5, "read_timeout": 15, "retries": {"max_attempts": 2}}
SESSION_NAME = "penstock"
_NAMES = (
    "aws_access_key_id aws_secret_access_key aws_session_token aws_profile_name aws_role_name aws_session_name "
    "aws_external_id aws_web_identity_token aws_sts_endpoint"
).split()
_OWN = ("aws_access_key_id", "aws_profile_name", "aws_role_name", "aws_web_identity_token")


class Keys(msgspec.Struct, frozen=True):
    """An account's keys. ``token``: of a session, "" for keys that last."""

    access: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Keys({self.access[:4]}...)"


class Fetched(NamedTuple):
    """Keys, and when they end (unix seconds; None: nobody knows)."""

    keys: Keys
    ends_at: float | None


class Settings(NamedTuple):
    """What a deployment says of its account, with the environment behind it. Empty text: nothing was said."""

    access: str = ""
    secret: str = ""
    token: str = ""
    profile: str = ""
    role: str = ""
    session: str = ""
    external_id: str = ""
    identity: str = ""
    sts: str = ""
    region: str = ""

    def __repr__(self) -> str:
        return f"Settings({self.profile or self.role or self.access[:4]})"


def names_account(deployment: Deployment) -> bool:
    """Tell whether a deployment says itself which account it is for: then no key of the environment is used instead."""
    return any(word(deployment.params.get(name)) for name in _OWN)


# Each of these sets of variables is an account: keys, a profile, a role of the machine's own identity.
_ACCOUNTS = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_PROFILE",),
    ("AWS_PROFILE_NAME",),
    ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
)


def names_account_in(env: Mapping[str, str]) -> bool:
    """Tell whether an environment names an account."""
    return any(all(env.get(name, "").strip() for name in names) for names in _ACCOUNTS)


def settings_of(deployment: Deployment, env: Mapping[str, str], region: str) -> Settings:
    """Collect the account's settings of a deployment. Keys of the environment stand in only where the deployment names
    no account. Raises "not_configured" for half a pair of keys."""
    given = [word(deployment.params.get(name)) for name in _NAMES]
    made = Settings(*given)._replace(region=region)
    if not made.access and not made.secret and not made.profile and not made.identity:
        made = made._replace(
            access=env.get("AWS_ACCESS_KEY_ID", "").strip(),
            secret=env.get("AWS_SECRET_ACCESS_KEY", "").strip(),
            token=env.get("AWS_SESSION_TOKEN", "").strip(),
        )
    if not made.access and not made.profile:
        made = made._replace(profile=(env.get("AWS_PROFILE_NAME") or env.get("AWS_PROFILE") or "").strip())
    if bool(made.access) != bool(made.secret):
        missing = "aws_secret_access_key" if made.access else "aws_access_key_id"
        raise GatewayError(
            "not_configured",
            f"Model {deployment.model_name!r} has only half of a pair of AWS keys: set {missing} (or the variable "
            f"{missing.upper()}), too.",
        )
    return made


def key_ring(settings: Settings) -> KeyRing:
    """Find the keys of an account, shared by all that have the same settings. Raises ``ImportError`` where botocore is
    needed and not there."""
    key = hashlib.sha256(msgspec.json.encode(settings)).hexdigest()
    found = _SHARED.get(key)
    if found is None:
        if settings.access and not settings.role:
            keys = Keys(settings.access, settings.secret, settings.token)
            found = KeyRing(lambda: Fetched(keys, None), first=keys)
        else:
            if find_spec("botocore") is None:  # it takes its time to load: that is the thread's business
                raise ImportError("no module named 'botocore'", name="botocore")

            found = KeyRing(lambda: _fetch(settings))
        _SHARED[key] = found
    return found


_SHARED: dict[str, KeyRing] = {}


class KeyRing:
    """Holds one account's keys, ready. ``fetch`` gets them, in a thread; ``first``: those that are there from the
    start, for good. ``clock``: the time of day in seconds."""

    def __init__(
        self, fetch: Callable[[], Fetched], clock: Callable[[], float] = time.time, first: Keys | None = None
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys = first
        self._renew_at = self._ends_at = 0.0 if first is None else float("inf")
        self._task: asyncio.Task[None] | None = None

    async def keys(self) -> Keys:
        """Return keys that are good now; renew them ahead of their end. Raises "not_configured" where there are none
        and "connect" where they cannot be had now."""
        now = self._clock()
        if now >= self._renew_at or self._keys is None:
            if now < self._ends_at and self._keys is not None:
                self._start().add_done_callback(_told)
            else:
                await asyncio.shield(self._start())  # whoever waits may leave; the others still want the keys
        assert self._keys is not None
        return self._keys

    def _start(self) -> asyncio.Task[None]:
        """Return the renewal that is under way, else start one."""
        loop = asyncio.get_running_loop()
        task = self._task
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._task = loop.create_task(self._renew())
        return task

    async def _renew(self) -> None:
        try:
            keys, ends_at = await asyncio.to_thread(self._fetch)
        except GatewayError:
            self._renew_at = min(self._clock() + AGAIN, self._ends_at)
            raise
        now = self._clock()
        self._keys = keys
        if ends_at is None:
            self._renew_at, self._ends_at = now + LOOK, float("inf")
            return
        life = max(ends_at - now, 0.0)
        self._ends_at = ends_at - min(LATE, life / 4)
        self._renew_at = ends_at - min(EARLY, life / 4)


def _told(task: asyncio.Task[None]) -> None:
    """Log a renewal ahead of time that failed: the old keys are good for a while, and a later request tries again."""
    if not task.cancelled() and task.exception() is not None:
        log.warning("%s", task.exception())


# botocore, in a thread ------------------------------------------------------------------------------------------------


def _fetch(settings: Settings) -> Fetched:
    from botocore import exceptions

    try:
        return _assumed(settings) if _assumes(settings) else _found(settings)
    except exceptions.ClientError as error:
        told = error.response.get("Error", {})
        text = f"AWS refused the credentials: {told.get('Code', '')}: {told.get('Message', '')}"
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise GatewayError("connect" if status >= 500 else "not_configured", text[:400]) from None
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        raise GatewayError("connect", f"No AWS credentials: {str(error)[:300]}") from None
    except (exceptions.BotoCoreError, ValueError, OSError) as error:
        raise GatewayError("not_configured", f"No AWS credentials: {str(error)[:300]}") from None


def _assumes(settings: Settings) -> bool:
    """Tell whether a role is to be assumed. One that the pod has already (IRSA: the same role in the environment) is
    the library's own business."""
    if not settings.role:
        return False
    given = settings.access or settings.profile or settings.identity
    same = os.environ.get("AWS_ROLE_ARN") == settings.role and "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ
    return bool(given) or not same


def session(profile: str) -> Any:
    """Make botocore's session for a profile ("": the default one). Raises botocore's ``ProfileNotFound``."""
    from botocore.session import Session

    return Session(profile=profile or None)


def _found(settings: Settings) -> Fetched:
    """Find the keys that the environment, the shared files, the container or the machine have."""
    found = session(settings.profile).get_credentials()
    if found is None:
        raise GatewayError(
            "not_configured",
            "No AWS credentials were found: give aws_access_key_id and aws_secret_access_key, aws_profile_name or "
            "aws_role_name in litellm_params, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set "
            "AWS_BEARER_TOKEN_BEDROCK.",
        )
    frozen = found.get_frozen_credentials()
    expiry = getattr(found, "_expiry_time", None)  # of credentials that end; botocore renews them when they are read
    keys = Keys(frozen.access_key, frozen.secret_key, frozen.token or "")
    return Fetched(keys, expiry.timestamp() if expiry is not None else None)


def _assumed(settings: Settings) -> Fetched:
    from botocore.config import Config

    made = session(settings.profile)
    if settings.access:
        made.set_credentials(settings.access, settings.secret, settings.token or None)
    region = settings.region or made.get_config_variable("region") or "us-east-1"
    options: dict[str, Any] = {"region_name": region, "endpoint_url": settings.sts or None}
    asked = {"RoleArn": settings.role, "RoleSessionName": settings.session or SESSION_NAME}
    if settings.identity:
        from botocore import UNSIGNED

        client = made.create_client("sts", config=Config(signature_version=UNSIGNED, **_TIMES), **options)
        answer = client.assume_role_with_web_identity(**asked, WebIdentityToken=identity_of(settings.identity))
    else:
        if settings.external_id:
            asked["ExternalId"] = settings.external_id
        answer = made.create_client("sts", config=Config(**_TIMES), **options).assume_role(**asked)
    told = answer["Credentials"]
    keys = Keys(told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"])
    return Fetched(keys, told["Expiration"].timestamp())


def identity_of(source: str) -> str:
    """Read a web identity's token: LiteLLM's ``oidc/file/PATH``, ``oidc/env/NAME`` (its value) and
    ``oidc/env_path/NAME`` (a path in it), a path, or the token itself. It is read anew each time: whoever issues it
    rotates it. Raises "not_configured"."""
    kind, _, rest = source.removeprefix("oidc/").partition("/")
    if source.startswith("oidc/"):
        if kind == "env":
            return _variable(rest)
        if kind not in ("file", "env_path"):
            raise GatewayError(
                "not_configured",
                f"aws_web_identity_token 'oidc/{kind[:40]}/...' is not known; known are oidc/file/PATH, "
                "oidc/env/NAME and oidc/env_path/NAME.",
            )
        path = _variable(rest) if kind == "env_path" else "/" + rest.lstrip("/")
    elif source.startswith(("/", "./", "~")):
        path = os.path.expanduser(source)
    else:
        return source
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise GatewayError("not_configured", f"The web identity token {path!r} cannot be read: {why}.") from None


def _variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise GatewayError("not_configured", f"The variable {name!r} of aws_web_identity_token is not set.")
    return value

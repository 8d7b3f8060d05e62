"""``custom_auth: module.function``: a function of the operator's own says who calls, in LiteLLM's form:
``async def f(request, api_key) -> UserAPIKeyAuth | str``."""

from __future__ import annotations

import asyncio
import inspect
import logging
import types
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from penstock.core.admit.caller import INTERNAL_USER, PROXY_ADMIN, ROLES, Caller
from penstock.core.admit.given import FIELDS
from penstock.core.admit.holders import Bad
from penstock.core.errors import GatewayError
from penstock.runtime.custom_code import load_named
from penstock.runtime.http import in_task

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.identity import Identity

log = logging.getLogger("penstock")
PATIENCE = 30.0  # seconds that the function may take
Ask = Callable[[Any, str], Any]


class UserAPIKeyAuth:
    """Whom such a function says that a caller is; LiteLLM's class of this name has more fields, which mean nothing
    here."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class ProxyException(Exception):
    """What such a function raises to refuse somebody in words and with a status of its own."""

    def __init__(self, message: str, type: str = "", param: str | None = None, code: int | str = 401, **_: Any) -> None:
        super().__init__(message)
        self.message, self.type, self.param, self.code = message, type, param, code


class SentRequest:
    """What such a function sees of a request: the part of Starlette's ``Request`` that is there before the body."""

    def __init__(self, exchange: Exchange) -> None:
        self.method = exchange.method
        self.headers = Headers(exchange.headers)
        self.query_params = dict(parse_qsl(exchange.query.decode("latin-1")))
        self.client = types.SimpleNamespace(host=exchange.client, port=0)
        self.url = Url(self.headers.get("host", "localhost"), exchange.path, exchange.query.decode("latin-1"))
        self.path_params: dict[str, str] = {}
        self.state = types.SimpleNamespace()
        self._body = exchange.body if exchange.coming is None else None

    async def body(self) -> bytes:
        """Return the body, where it came with the head."""
        if self._body is None:
            raise RuntimeError("the body is still on its way: who may call is judged by the head of a request")
        return self._body

    async def json(self) -> Any:
        return msgspec.json.decode(await self.body())


class Headers(dict[str, str]):
    """The headers of a request by name, in any case."""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        super().__init__({name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Url:
    """The address of a request. ``str`` gives all of it."""

    def __init__(self, host: str, path: str, query: str) -> None:
        self.path, self.query, self.netloc, self.scheme = path, query, host, "http"
        self.hostname = host.partition(":")[0]

    def __str__(self) -> str:
        return f"http://{self.netloc}{self.path}{'?' if self.query else ''}{self.query}"


class CustomAuth:
    """Asks the function. ``name``: of it, as the config says."""

    def __init__(self, name: str, ask: Ask) -> None:
        self.name = name
        self._ask = ask

    def takes(self, key: bytes) -> bool:
        """Tell whether it is asked about a key: it is, about all."""
        return True

    def known(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller | None:
        """Return whom a key belongs to, where nobody need be asked: the function always is."""
        return None

    async def identify(self, exchange: Exchange, key: bytes, identity: Identity) -> Caller:
        """Return whom the function says that a key belongs to; what it says is a key is looked up as one. Raises what
        refuses: its own errors are an "unauthorized"."""
        await in_task()
        text = key.decode("latin-1")
        try:
            async with asyncio.timeout(PATIENCE):
                told = self._ask(SentRequest(exchange), text)
                if inspect.isawaitable(told):
                    told = await told
        except (TimeoutError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            raise GatewayError("unauthorized", f"Authentication Error, {self.name} did not answer in time.") from None
        except Exception as error:  # boundary: the function is the operator's, and whatever it raises is a refusal
            raise self._refusal(error, text) from None
        if isinstance(told, str):
            return identity.look_up(told.encode())
        return self._caller(told, key, identity)

    def _caller(self, told: Any, key: bytes, identity: Identity) -> Caller:
        """Read what the function gave back."""
        if isinstance(told, Mapping):
            given = {name: told[name] for name in FIELDS if name in told}
            own = told.get("api_key") or told.get("token")
        else:
            given = {name: getattr(told, name, None) for name in FIELDS}
            own = getattr(told, "api_key", None) or getattr(told, "token", None)
        if told is None or (own is None and not any(value is not None for value in given.values())):
            raise GatewayError("unauthorized", f"Authentication Error, {self.name} let nobody in.")
        named = own.encode() if isinstance(own, str) and own else key
        try:
            return identity.described(named, given)
        except (Bad, ValueError) as error:
            log.error("custom_auth: what %s gave back cannot be read: %s", self.name, error)
            text = "Authentication Error, the limits of this caller cannot be read."
            raise GatewayError("unauthorized", text) from None

    def _refusal(self, error: Exception, key: str) -> GatewayError:
        """Make a refusal of what the function raised, with its status where it has one, and without the key."""
        said = getattr(error, "message", None) or getattr(error, "detail", None) or error
        text = str(said)[:500]
        if len(key) >= 8:
            text = text.replace(key, "***")
        code = getattr(error, "status_code", None) or getattr(error, "code", None)
        status = int(code) if isinstance(code, int | str) and str(code).isdigit() and len(str(code)) == 3 else 401
        log.info("custom_auth: %s refused a caller (%s)", self.name, type(error).__name__)
        return GatewayError("unauthorized", f"Authentication Error, {text}", status=status)


# Finding it -----------------------------------------------------------------------------------------------------------


def open_custom_auth(name: str, folder: Path) -> CustomAuth:
    """Load the function of a name: out of a module beside the config file, else one that is installed. One that cannot
    be loaded lets nobody in, and the log says why."""
    try:
        return CustomAuth(name, _load(name, folder))
    except Exception as error:  # boundary: the module is the operator's; it may raise anything while it is read
        log.error("general_settings.custom_auth: %s cannot be used, so nobody is let in: %s", name[:200], error)
        return CustomAuth(name, _closed)


async def _closed(request: object, api_key: str) -> None:
    raise ProxyException("who may call cannot be checked here; the gateway's log says why.", code=503)


def _load(name: str, folder: Path) -> Ask:
    found: Ask = load_named(name, folder, {"litellm.proxy._types": _TYPES})
    if not callable(found):
        raise ValueError(f"{name} is no function")
    return found


class LitellmUserRoles(StrEnum):
    """The roles of users by the names that LiteLLM's code has for them."""

    PROXY_ADMIN = PROXY_ADMIN
    PROXY_ADMIN_VIEW_ONLY = ROLES[1]
    ORG_ADMIN = ROLES[2]
    INTERNAL_USER = INTERNAL_USER
    INTERNAL_USER_VIEW_ONLY = ROLES[4]
    TEAM = ROLES[5]
    CUSTOMER = ROLES[6]


_TYPES: dict[str, Any] = {
    "UserAPIKeyAuth": UserAPIKeyAuth,
    "ProxyException": ProxyException,
    "LitellmUserRoles": LitellmUserRoles,
}
"""What such a module imports from LiteLLM, by the name of the class."""

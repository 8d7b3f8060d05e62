"""Who calls, and may they. One dict look-up's worth of work; every comparison of a secret takes constant time."""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Container, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from penstock.core.admit.caller import ANONYMOUS, MASTER, Caller, Reading
from penstock.core.admit.given import caller_of
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.runtime.keyring import Keyring

# What a proxy adds: its own address is no word about who asked it.
_PROXIED = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})  # what nearly all of them are
_ANY = frozenset({"0.0.0.0", "::"})  # where clients write the address that a server listens on: this machine
_ONLY_LOCAL = (
    "Authentication Error, no master key is configured, so only callers on this machine are served. Set "
    "general_settings.master_key (or LITELLM_MASTER_KEY) and send it, or start with --no-auth (PENSTOCK_NO_AUTH=true, "
    "general_settings.no_auth: true) to serve everybody."
)


# In the order in which LiteLLM looks (see the contract, 6.1).
_PLAIN_HEADERS = (b"api-key", b"x-api-key", b"x-goog-api-key")


def is_loopback(host: str) -> bool:
    """Tell whether a host is localhost, in 127.0.0.0/8, or ::1, with or without brackets."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_own(address: str) -> bool:
    """Tell whether an IP address is one of this machine's own. Nothing is sent: the system is asked from which address
    it would speak to that one, and it speaks to itself from the very same."""
    try:
        ip = ip_address(address.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_loopback:
            return True
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((str(ip), 9))
            return bool(asked.getsockname()[0] == str(ip))
    except (ValueError, OSError):
        return False


def is_this_machine(host: str) -> bool:
    """Tell whether a host is one by which programs on this machine call it, and that nobody else can point here:
    loopback, an address of its own, or that of any interface (0.0.0.0, ::), which is what a server is told to listen
    on, and what users then copy into their clients."""
    address = host.strip("[]")
    return is_loopback(host) or address in _ANY or is_own(address)


def is_local_page(origin: bytes) -> bool:
    """Tell whether an Origin is that of a page which this machine serves."""
    return is_this_machine(host_name(origin.decode("latin-1").partition("://")[2]))


def presented(headers: Mapping[bytes, bytes], own: bytes = b"") -> bytes | None:
    """Return the credential in a request's headers, None when there is none. ``own``: a header of the config's own,
    which goes before all others. Raises "unauthorized" for an unreadable one."""
    if own and (special := headers.get(own)) is not None:
        return special[7:].strip() if special[:7].lower() == b"bearer " else special
    special = headers.get(b"x-litellm-api-key")
    if special is not None:
        return special[7:].strip() if special[:7].lower() == b"bearer " else special
    authorization = headers.get(b"authorization")
    if authorization is not None:
        if authorization[:7].lower() != b"bearer ":
            raise GatewayError("unauthorized", "Authentication Error, the Authorization header must be 'Bearer <key>'.")
        return authorization[7:].strip()
    for name in _PLAIN_HEADERS:
        value = headers.get(name)
        if value is not None:
            return value
    return None


def in_query(query: bytes) -> bytes | None:
    """Return the credential in ``?key=``, which Google's clients may send instead of a header."""
    if b"key=" not in query:
        return None
    found = parse_qs(query.decode("latin-1")).get("key")
    return found[-1].encode() if found else None


class Identity:
    """Who may call. ``master_key`` None: nobody needs a key. ``guard_loopback``: then only requests that name this
    machine as their host, and come from no foreign web page, are served (DNS rebinding: a page's own name can be made
    to point at 127.0.0.1, and the browser then sends the page's requests here). ``local_only``: then only callers on
    this machine are served. ``pages``: origins of web pages that are not foreign (see ``web_pages``). ``keyring``: the
    virtual keys that open, too, where there are some. ``key_header``: see ``presented``.
    ``others``: somebody else says who calls, so nobody enters without saying who it is."""

    def __init__(
        self,
        master_key: str | None,
        guard_loopback: bool,
        local_only: bool = False,
        pages: Container[bytes] = (),
        keyring: Keyring | None = None,
        key_header: bytes = b"",
        others: bool = False,
    ) -> None:
        self._others = others
        self.keyring = keyring
        self.key_header = key_header
        self._pages = pages
        self._key = master_key.encode() if master_key else None
        self._guard = guard_loopback and not self.needs_key
        self._local_only = local_only and not self.needs_key
        self._good_hosts: set[bytes] = set()  # Host headers that passed: at most a few spellings of this machine

    @property
    def needs_key(self) -> bool:
        return self._key is not None or self._others

    @property
    def master(self) -> bytes | None:
        """Return the master key, None where there is none."""
        return self._key

    def check(self, headers: Mapping[bytes, bytes], query: bytes = b"", client: str = "") -> Caller:
        """Return the caller; raise "unauthorized" or "forbidden". ``query``: of the paths where a credential may stand
        in ``?key=`` (Google's); a header goes before it. ``client``: the address it comes from."""
        if self._key is None and not self._others:
            if self._local_only and not (
                headers.keys().isdisjoint(_PROXIED) and (client in _LOOPBACK or is_own(client))
            ):
                raise GatewayError("unauthorized", _ONLY_LOCAL)
            if self._guard and (b"origin" in headers or headers.get(b"host", b"") not in self._good_hosts):
                self._check_page(headers)
            return ANONYMOUS
        key = presented(headers, self.key_header) or in_query(query)
        if not key:
            raise GatewayError(
                "unauthorized",
                "Authentication Error, No api key passed in. "
                "Send 'Authorization: Bearer <key>', 'x-api-key' or 'api-key'.",
            )
        return self.look_up(key)

    def look_up(self, key: bytes) -> Caller:
        """Return whom a key belongs to: the master key, else a virtual one."""
        if self._key is not None and hmac.compare_digest(key, self._key):
            return MASTER
        if self.keyring is not None:
            return self.keyring.find(key)
        raise GatewayError("unauthorized", "Authentication Error, the api key is not valid for this gateway.")

    def described(self, key: bytes, given: Mapping[str, Any]) -> Caller:
        """Return the caller that somebody else describes, who came with that key. Raises ``Bad``."""
        if self.keyring is not None:
            return self.keyring.describe(key, given)
        return caller_of(hashlib.sha256(key).hexdigest(), given, _nothing, Reading())

    def stored(self, kind: str, id_: str) -> Mapping[str, Any] | None:
        """Return the row of a team or a user; None where there is none."""
        return None if self.keyring is None else self.keyring.body(kind, id_)

    def _check_page(self, headers: Mapping[bytes, bytes]) -> None:
        named = headers.get(b"host", b"")
        if named not in self._good_hosts:
            self._check_host(named)
        origin = headers.get(b"origin")
        if origin is not None and not is_local_page(origin) and origin.lower() not in self._pages:
            raise GatewayError(
                "forbidden",
                f"No key is configured, so requests from the web page {origin.decode('latin-1')[:200]!r} are refused. "
                "Set general_settings.master_key to serve web pages, or name this one in LITELLM_CORS_ORIGINS.",
            )

    def _check_host(self, named: bytes) -> None:
        host = host_name(named.decode("latin-1"))
        if host and not is_this_machine(host):
            raise GatewayError(
                "forbidden",
                f"No key is configured, so only requests to localhost are served; this one names the host {host!r}. "
                "Set general_settings.master_key to serve other names.",
            )
        if len(self._good_hosts) < 100:
            self._good_hosts.add(named)


def _nothing(kind: str, id_: str) -> None:
    return None


def host_name(value: str) -> str:
    """Return the host of ``host[:port]``; IPv6 in brackets. All of it when that is not its form: two Host headers come
    joined, and the first of them must not speak for both."""
    host, end, port = value.partition("]") if value.startswith("[") else value.partition(":")
    if value.startswith("["):
        host, port = host + end, port.removeprefix(":")
    return host if not port or port.isdigit() else value

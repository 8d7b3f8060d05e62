"""Scheme, host and port: what a connection is made to and pooled by."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\.?")


class Origin(msgspec.Struct, frozen=True, eq=False):
    """Where to connect. ``Origin("https", "api.example.com", 443)`` or `Origin.parse`.

    host is lower case and ASCII (IDNA), without brackets for IPv6. key identifies the origin in look-ups (a str keeps
    its hash). host_header is what goes after ``host: ``; the scheme's own port is left out.
    """

    scheme: str
    host: str
    port: int
    key: str = ""
    host_header: bytes = b""

    def __post_init__(self) -> None:
        if self.scheme not in _PORTS:
            raise ValueError(f"scheme {self.scheme!r} is not supported, use http or https")
        if not 0 < self.port < 65536:
            raise ValueError(f"port {self.port} is out of range, use 1 to 65535")
        key = f"[{self.host}]" if ":" in self.host else self.host
        msgspec.structs.force_setattr(self, "key", f"{self.scheme}://{key}:{self.port}")
        name = self.host.partition("%")[0]  # a zone ("fe80::1%eth0") means something on this machine only
        netloc = f"[{name}]" if ":" in name else name
        if self.port != _PORTS[self.scheme]:
            netloc = f"{netloc}:{self.port}"
        msgspec.structs.force_setattr(self, "host_header", netloc.encode("ascii"))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and self.key == other.key

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header.decode('ascii')}"

    def __repr__(self) -> str:
        return f"Origin({str(self)!r})"

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Parse the origin of ``url``; path, query and fragment are ignored.

        ValueError says what is wrong: no scheme, no host, bad port, bad host, or credentials in the address (they
        would end in logs; the message never repeats them).
        """
        if not url.isprintable():
            raise ValueError(f"address {_shown(url)!r}: control characters in the host, port or path")
        scheme, sep, _ = url.partition("://")
        if not sep:
            raise ValueError(f"address {_shown(url)!r} has no scheme, write http://... or https://...")
        scheme = scheme.lower()
        if scheme not in _PORTS:
            raise ValueError(f"scheme {scheme!r} is not supported, use http or https")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise ValueError(f"address {_shown(url)!r}: {exc}") from exc
        if parts.username is not None:
            raise ValueError("the address carries credentials before '@'; send them in a header instead")
        if not host:
            raise ValueError(f"address {_shown(url)!r} has no host")
        return cls(scheme, _ascii_host(host), _PORTS[scheme] if port is None else port)

    @property
    def is_loopback(self) -> bool:
        """Tell whether the host is localhost, a name under .localhost, in 127.0.0.0/8, or ::1."""
        name = self.host.rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def _ascii_host(host: str) -> str:
    if ":" in host or host.replace(".", "").isdigit():
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError(f"host {host!r} is not a valid IP address") from None
    try:
        name = host.lower() if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise ValueError(f"host {host!r} is not a valid internationalised name: {exc}") from exc
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise ValueError(f"host {host!r} is not a valid host name")
    return name


def _shown(url: str) -> str:
    """Return the address as far as it can be shown: without anything that may be a credential or a query."""
    return url.split("?", 1)[0].rpartition("@")[2][:200]

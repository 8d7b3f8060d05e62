"""Which proxy an origin is reached through: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from penstock.runtime.http.origin import Origin

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxy:
    """One proxy. ``problem`` says why it cannot be used (shown in a ProxyError when a request would need it).

    authorization is the value of Proxy-Authorization, None without credentials; repr never shows it.
    """

    __slots__ = ("authorization", "host", "port", "problem", "scheme")

    def __init__(
        self, scheme: str, host: str, port: int, authorization: bytes | None = None, problem: str | None = None
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.authorization = authorization
        self.problem = problem

    def __repr__(self) -> str:
        return f"Proxy({self.scheme}://{self.host}:{self.port})"

    @classmethod
    def parse(cls, variable: str, url: str) -> Proxy:
        """Parse ``http://user:password@host:port``; the scheme may be missing, the port is 80 or 443 then as in curl's
        rule.

        Never raises: a desktop's ``ALL_PROXY=socks5://...`` must not stop a gateway that talks to local engines only.
        """
        if "://" not in url:
            url = "http://" + url
        scheme = url.partition("://")[0].lower()
        if scheme not in ("http", "https"):
            return cls(
                scheme, "", 0, None, f"{variable}: {scheme!r} proxies are not supported, use http:// or https://"
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host:
            return cls(scheme, "", 0, None, f"{variable}: not a proxy address, write http://host:port")
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = b"Basic " + base64.b64encode(pair.encode("utf-8"))
        return cls(scheme, host, port or (443 if scheme == "https" else 80), authorization)


class Proxies:
    """The choice of a proxy per origin.

    Loopback hosts (localhost, *.localhost, 127.0.0.0/8, ::1) are never proxied, as in Go's and browsers' rule: a
    gateway's local engines live there, and a proxy elsewhere would reach its own loopback. All else follows NO_PROXY:
    a list split at commas and spaces of ``*`` (everything), host names (with their subdomains; a leading ``.`` or
    ``*.`` changes nothing), IP addresses and CIDR blocks (they match addresses in the URL, names are not resolved),
    each with an optional ``:port``.
    """

    __slots__ = ("_all", "_by_scheme", "_names", "_networks")

    def __init__(self, http: Proxy | None = None, https: Proxy | None = None, no_proxy: str = "") -> None:
        self._by_scheme = {"http": http, "https": https}
        self._all = False
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[_Network, int | None]] = []
        for entry in re.split(r"[,\s]+", no_proxy.strip().lower()):
            self._add(entry)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Proxies:
        """Read the proxies of an environment mapping; lower case wins over upper case, as in curl.

        Upper-case HTTP_PROXY is ignored where REQUEST_METHOD is set: in a CGI process a client sets it by sending a
        ``Proxy:`` header (CVE-2016-5385, "httpoxy").
        """

        def pick(name: str, *, upper: bool = True) -> Proxy | None:
            for variable in (name, name.upper()) if upper else (name,):
                value = environ.get(variable, "").strip()
                if value:
                    return Proxy.parse(variable, value)
            return None

        fallback = pick("all_proxy")
        return cls(
            pick("http_proxy", upper="REQUEST_METHOD" not in environ) or fallback,
            pick("https_proxy") or fallback,
            environ.get("no_proxy", "").strip() or environ.get("NO_PROXY", ""),
        )

    def for_origin(self, origin: Origin) -> Proxy | None:
        """Return the proxy to use for ``origin``, None for a direct connection."""
        proxy = self._by_scheme[origin.scheme]
        if proxy is None or self._all or origin.is_loopback:
            return None
        return None if self._bypassed(origin.host.rstrip("."), origin.port) else proxy

    def _bypassed(self, host: str, port: int) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return any(
                (host == name or host.endswith("." + name)) and only in (None, port) for name, only in self._names
            )
        return any(
            address.version == network.version and address in network and only in (None, port)
            for network, only in self._networks
        )

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._all = True
        network = _network(entry)
        if network is not None:
            self._networks.append((network, None))
            return
        host, _, digits = entry.rpartition(":")
        port = int(digits) if host and digits.isdigit() else None
        if port is not None:
            network = _network(host.strip("[]"))
            if network is not None:
                self._networks.append((network, port))
                return
            entry = host
        name = entry.removeprefix("*").strip(".")
        if name:
            self._names.append((name, port))


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None

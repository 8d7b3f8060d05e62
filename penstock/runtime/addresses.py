"""Where a request comes from, behind proxies that say so, and from where any may come at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from penstock.core.errors import GatewayError

Network = IPv4Network | IPv6Network
# Who is believed where nobody says who is: proxies of the same machine or the same private network.
PRIVATE = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7")
MOST_HOPS = 50
_FORWARDED = b"x-forwarded-for"


def read_networks(name: str, texts: Iterable[str], problems: list[str]) -> tuple[Network, ...]:
    """Read addresses and networks; collect a sentence for each that is none. ``name``: the key that has them."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError:
            problems.append(f"{name}: {text[:60]!r} is no address or network such as 10.0.0.0/8; it is left out.")
    return tuple(found)


class Addresses:
    """``trusted``: proxies whose X-Forwarded-For is believed, None where nobody's is. ``allowed``: networks from which
    requests that need a key may come; None: from anywhere."""

    def __init__(self, trusted: tuple[Network, ...] | None, allowed: tuple[Network, ...] | None) -> None:
        self.trusted = trusted
        self.allowed = allowed

    def client_of(self, headers: Mapping[bytes, bytes], peer: str) -> str:
        """Return the address that a request comes from: the last that a proxy names which is not one of ours. What
        stands before it anybody could have written."""
        if self.trusted is None or _FORWARDED not in headers or not _within(peer, self.trusted):
            return peer
        client = peer
        hops = headers[_FORWARDED].decode("latin-1").split(",")
        for hop in reversed(hops[-MOST_HOPS:]):
            named = _bare(hop.strip())
            if _address(named) is None:
                break  # from here on it is no list of addresses
            client = named
            if not _within(named, self.trusted):
                break
        return client

    def check(self, client: str) -> None:
        """Refuse an address from which nobody may call. Raises "forbidden"."""
        if self.allowed is not None and not _within(client, self.allowed):
            text = f"Access forbidden: requests from {client[:60]} are not allowed (general_settings.allowed_ips)."
            raise GatewayError("forbidden", text)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _within(text: str, networks: tuple[Network, ...]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in networks)


def _bare(text: str) -> str:
    """Return the address of ``address:port`` or ``[address]:port``, as some proxies write it."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text

"""Addresses at which clouds tell any caller the keys of the machine, in all their spellings."""

from __future__ import annotations

import re
import socket
import unicodedata
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

# Link-local: AWS, Google, Azure, Oracle, DigitalOcean and most others. Behind them what AWS has in IPv6, Alibaba's,
# Azure's agent, and Oracle's older one.
_NETWORKS = tuple(
    map(ip_network, "169.254.0.0/16 fe80::/10 fd00:ec2::/32 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32".split())
)
_NAMES = frozenset("metadata metadata.google.internal metadata.goog instance-data instance-data.ec2.internal".split())
_NAT64 = ip_network("64:ff9b::/96")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]{2,}([^/\\\s?#\"'<>]*)")


def hosts_in(text: str) -> Iterator[str]:
    """Yield the hosts of the URLs in a text."""
    for found in _URL.finditer(text):
        try:
            host = urlsplit(f"//{found[1]}").hostname
        except ValueError:
            host = None
        yield host or found[1]


def is_metadata(host: str) -> bool:
    """Tell whether a host, by its name or as an address in any spelling, is a cloud's metadata service."""
    name = unicodedata.normalize("NFKC", host).replace("\u3002", ".").strip("[]").partition("%")[0].rstrip(".").lower()
    address = _address(name)
    if address is None:
        return name in _NAMES
    return any(address in network for network in _NETWORKS if network.version == address.version)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """Read a host as an address, as a resolver does: `0xa9fea9fe`, `2852039166` and `169.254.43518` are one. An IPv4
    address within an IPv6 one is that address."""
    try:
        found = ip_address(name)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(name)) if name[:1].isdigit() else None
        except OSError:
            return None
    if isinstance(found, IPv6Address):
        within = found.ipv4_mapped or found.sixtofour
        if within is None and found in _NAT64:
            within = IPv4Address(int(found) & 0xFFFFFFFF)
        return within or found
    return found

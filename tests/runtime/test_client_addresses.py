"""Where a request comes from: what a proxy says counts, and what its client said before it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.runtime.addresses import PRIVATE, Addresses, read_networks


def networks(*texts: str):
    problems: list[str] = []
    found = read_networks("k", texts, problems)
    assert problems == []
    return found


BEHIND = Addresses(networks(*PRIVATE), None)
ADDRESSES = st.ip_addresses().map(str)
OUTSIDE = ADDRESSES.filter(lambda text: BEHIND.client_of({b"x-forwarded-for": b"1.1.1.1"}, text) == text)


@pytest.mark.parametrize(
    ("said", "peer", "client"),
    [
        ("203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.3", "10.0.0.2", "203.0.113.9"),
        ("1.2.3.4, 203.0.113.9", "10.0.0.2", "203.0.113.9"),  # the first was the client's own word
        ("203.0.113.9", "198.51.100.7", "198.51.100.7"),  # no proxy of ours says it
        ("203.0.113.9:4711", "10.0.0.2", "203.0.113.9"),
        ("[2001:db8::1]:443", "::1", "2001:db8::1"),
        ("2001:db8::1", "::ffff:10.0.0.2", "2001:db8::1"),
        ("unknown", "10.0.0.2", "10.0.0.2"),
        ("203.0.113.9, rubbish", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.9, 10.0.0.3", "10.0.0.2", "10.0.0.9"),
        ("", "10.0.0.2", "10.0.0.2"),
    ],
)
def test_whose_word_counts(said: str, peer: str, client: str) -> None:
    assert BEHIND.client_of({b"x-forwarded-for": said.encode()}, peer) == client
    assert BEHIND.client_of({}, peer) == peer
    assert Addresses(None, None).client_of({b"x-forwarded-for": said.encode()}, peer) == peer


@given(st.lists(st.text(max_size=20) | ADDRESSES, max_size=5), OUTSIDE)
def test_a_client_cannot_choose_its_address(invented: list[str], real: str) -> None:
    """Whatever it writes itself, what the proxy adds behind it stays the last word."""
    said = ",".join([*invented, real]).encode("latin-1", "replace")
    assert BEHIND.client_of({b"x-forwarded-for": said}, "127.0.0.1") == real
    assert BEHIND.client_of({b"x-forwarded-for": said}, real) == real


def test_who_is_not_allowed_is_told_the_key() -> None:
    rule = Addresses(None, networks("10.0.0.0/8", "2001:db8::/32"))
    for good in ("10.2.3.4", "::ffff:10.2.3.4", "2001:db8::9"):
        rule.check(good)
    for bad in ("11.0.0.1", "", "nonsense", "2001:db9::1"):
        with pytest.raises(GatewayError, match="allowed_ips"):
            rule.check(bad)


def test_what_is_no_network_is_named_and_lets_nobody_in() -> None:
    problems: list[str] = []
    found = read_networks("general_settings.allowed_ips", ["10.0.0.0/99", "::1"], problems)
    assert len(found) == 1 and "'10.0.0.0/99' is no address or network" in problems[0]
    with pytest.raises(GatewayError):
        Addresses(None, read_networks("k", ["all"], [])).check("10.0.0.1")

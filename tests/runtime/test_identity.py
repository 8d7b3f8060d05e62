"""Who may call: keys in every place, in constant time; and, without a key, only this machine's own."""

from __future__ import annotations

import hmac
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.runtime import identity
from penstock.runtime.identity import ANONYMOUS, MASTER, Identity, is_loopback, is_own, presented

KEY = "sk-right-key"
LOCKED = Identity(KEY, guard_loopback=True)
OPEN = Identity(None, guard_loopback=True)


def knows(identity: Identity, headers, client: str = "") -> bool:
    """Tell whether somebody would be let in."""
    try:
        identity.check(headers, client=client)
    except GatewayError:
        return False
    return True


def check(who: Identity, **headers: str | bytes):
    return who.check(
        {n.replace("_", "-").encode(): v if isinstance(v, bytes) else v.encode() for n, v in headers.items()}
    )


def kind(who: Identity, **headers: str | bytes) -> str:
    try:
        check(who, **headers)
    except GatewayError as error:
        assert KEY not in error.message
        return error.kind
    return ""


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x_api_key": KEY},
        {"api_key": KEY},
        {"x_goog_api_key": KEY},
        {"x_litellm_api_key": KEY},
        {"x_litellm_api_key": f"Bearer {KEY}"},
    ],
)
def test_the_key_in_each_place(headers):
    assert check(LOCKED, **headers) is MASTER
    for name, value in headers.items():
        assert kind(LOCKED, **{name: value.replace(KEY, "sk-wrong-key")}) == "unauthorized"
        assert kind(LOCKED, **{name: value.replace(KEY, KEY + "x")}) == "unauthorized"
        assert kind(LOCKED, **{name: value.replace(KEY, KEY[:-1])}) == "unauthorized"
        assert kind(LOCKED, **{name: value.replace(KEY, "")}) == "unauthorized"


ORDER = ["x-litellm-api-key", "authorization", "api-key", "x-api-key", "x-goog-api-key"]


@given(st.sets(st.sampled_from(ORDER), min_size=1))
def test_of_several_places_the_first_in_litellm_s_order_counts(names):
    headers = {n.encode(): (b"Bearer " if n == "authorization" else b"") + n.encode() for n in names}
    assert presented(headers) == min(names, key=ORDER.index).encode()


@pytest.mark.parametrize("value", ["", "Basic dXNlcjpwYXNz", KEY, "Token x", "Bearer"])
def test_an_authorization_that_is_no_bearer_is_refused_whatever_else_is_there(value):
    assert kind(LOCKED, authorization=value, x_api_key=KEY) == "unauthorized"


def test_no_key_at_all():
    with pytest.raises(GatewayError, match="No api key passed in"):
        check(LOCKED)
    assert kind(LOCKED, authorization=f"Bearer {KEY}, Bearer other") == "unauthorized", "a doubled header is neither"
    assert LOCKED.needs_key and not OPEN.needs_key


@given(st.binary(max_size=30))
def test_any_bytes_are_a_wrong_key_and_no_crash(value):
    assert kind(LOCKED, x_api_key=value) == ("" if value == KEY.encode() else "unauthorized")
    assert kind(LOCKED, authorization=b"Bearer " + value) in ("unauthorized", "")


def test_keys_are_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest

    def compare(one, other):
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(identity.hmac, "compare_digest", compare)
    assert check(LOCKED, x_api_key=KEY) is MASTER
    assert kind(LOCKED, x_api_key="sk-wrong") == "unauthorized"
    assert compared == [(KEY.encode(), KEY.encode()), (b"sk-wrong", KEY.encode())]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("notlocalhost", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_what_this_machine_is_called(host, local):
    assert is_loopback(host) is local


GOOD_HOSTS = [
    "0.0.0.0:4000",
    "localhost",
    "localhost:4000",
    "127.0.0.1:4000",
    "[::1]:4000",
    "[::1]",
    "LocalHost:1",
    "a.localhost:80",
    "0.0.0.0:4000",
    "[::]",
    "",
]
BAD_HOSTS = [
    "evil.example",
    "evil.example:4000",
    "localhost.evil.example",
    "127.0.0.1.nip.io:4000",
    "[2001:db8::1]:4000",
    "localhost:80, evil.example",
    "evil.example, localhost:80",
    "[::1]:80, evil.example",
    "localhost@evil.example",
    "0.0.0.1:4000",
    "192.168.1.5",
]


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_hosts_that_are_this_machine(host):
    assert check(OPEN, host=host) is ANONYMOUS
    assert check(OPEN, host=host) is ANONYMOUS, "known by now"


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_hosts_that_are_not(host):
    assert kind(OPEN, host=host) == kind(OPEN, host=host) == "forbidden"
    assert kind(LOCKED, host=host, x_api_key=KEY) == "", "a key is enough"
    assert kind(Identity(None, guard_loopback=False), host=host) == ""


@pytest.mark.parametrize(
    ("origin", "kind_"),
    [
        ("http://localhost:3000", ""),
        ("https://127.0.0.1", ""),
        ("http://[::1]:8080", ""),
        ("null", "forbidden"),
        ("", "forbidden"),
        ("https://evil.example", "forbidden"),
        ("http://localhost.evil.example", "forbidden"),
        ("http://localhost:80@evil.example", "forbidden"),
        ("file://", "forbidden"),
        ("chrome-extension://abcdef", "forbidden"),
        ("localhost", "forbidden"),
    ],
)
def test_pages_that_may_call_without_a_key(origin, kind_):
    assert kind(OPEN, host="localhost:4000", origin=origin) == kind_
    assert kind(LOCKED, host="localhost", origin=origin, x_api_key=KEY) == ""


@given(st.text(max_size=40))
def test_any_host_or_origin_is_judged_and_no_crash(text):
    value = text.encode("utf-8", "replace")
    assert kind(OPEN, host=value) in ("", "forbidden")
    assert kind(OPEN, host="localhost", origin=value) == ("" if "localhost" in text else "forbidden")


def test_good_hosts_are_remembered_in_a_bounded_set():
    who = Identity(None, guard_loopback=True)
    for number in range(500):
        assert check(who, host=f"a{number}.localhost") is ANONYMOUS
    assert len(who._good_hosts) <= 100


def test_knows_is_check_without_the_error():
    assert (
        knows(LOCKED, {b"x-api-key": KEY.encode()})
        and not knows(LOCKED, {})
        and not knows(OPEN, {b"host": b"evil.example"})
    )


@pytest.mark.parametrize(
    ("client", "headers", "served"),
    [
        ("127.0.0.1", {}, True),
        ("127.9.9.9", {}, True),
        ("::1", {}, True),
        ("::ffff:127.0.0.1", {}, True),
        ("192.0.2.7", {}, False),
        ("2001:db8::7", {}, False),
        ("", {}, False),
        ("nonsense", {}, False),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, False),
        ("127.0.0.1", {"forwarded": "for=192.0.2.7"}, False),
        ("127.0.0.1", {"via": "1.1 proxy"}, False),
        ("127.0.0.1", {"x-real-ip": "127.0.0.1"}, False),
    ],
)
def test_without_a_key_only_callers_on_this_machine_are_served(client, headers, served):
    raw = {b"host": b"localhost", **{name.encode(): value.encode() for name, value in headers.items()}}
    who = Identity(None, guard_loopback=True, local_only=True)
    assert knows(who, raw, client) is served
    assert knows(Identity(None, guard_loopback=False), raw, client), "with --no-auth everybody"
    if not served:
        with pytest.raises(GatewayError) as caught:
            who.check(raw, client=client)
        assert caught.value.kind == "unauthorized"
        assert "master_key" in caught.value.message and "--no-auth" in caught.value.message
    keyed = Identity(KEY, guard_loopback=True, local_only=True)
    assert knows(keyed, {**raw, b"x-api-key": KEY.encode()}, client) and not knows(keyed, raw, client)


def test_this_machine_s_own_addresses_are_local():
    """What a connection from here to there comes from, and what clients here write for the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        own = asked.getsockname()[0]
    who = Identity(None, guard_loopback=True, local_only=True)
    assert is_own(own) and knows(who, {b"host": own.encode() + b":4000"}, own)
    assert knows(who, {b"host": b"0.0.0.0:4000"}, "127.0.0.1") and knows(who, {b"host": b"[::]:4000"}, "127.0.0.1")
    assert not knows(who, {b"host": b"192.0.2.7"}, own) and not is_own("192.0.2.7")

"""Pure parts: origins, request heads, the choice of a proxy, error values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime.http import Origin, Proxies, Tls, TlsError, TransportError, render_head, render_header
from penstock.runtime.http.proxies import Proxy


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "header"),
    [
        ("https://api.example.com/v1?x=y#z", "https", "api.example.com", 443, b"api.example.com"),
        ("HTTP://API.Example.COM:8080", "http", "api.example.com", 8080, b"api.example.com:8080"),
        ("http://localhost:80/", "http", "localhost", 80, b"localhost"),
        ("https://host:80", "https", "host", 80, b"host:80"),
        ("http://[::1]:8080/x", "http", "::1", 8080, b"[::1]:8080"),
        ("http://[2001:DB8:0:0::1]", "http", "2001:db8::1", 80, b"[2001:db8::1]"),
        ("http://10.0.0.1:11434", "http", "10.0.0.1", 11434, b"10.0.0.1:11434"),
        ("https://bücher.example", "https", "xn--bcher-kva.example", 443, b"xn--bcher-kva.example"),
        ("http://my_service.internal.", "http", "my_service.internal.", 80, b"my_service.internal."),
    ],
)
def test_origin(url: str, scheme: str, host: str, port: int, header: bytes) -> None:
    origin = Origin.parse(url)
    assert (origin.scheme, origin.host, origin.port, origin.host_header) == (scheme, host, port, header)
    twin = Origin(scheme, host, port)
    assert origin == twin and hash(origin) == hash(twin) and {origin: 1}[twin] == 1
    assert str(origin) == f"{scheme}://{header.decode()}"
    assert Origin.parse(str(origin)) == origin
    with pytest.raises(AttributeError):
        origin.host = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("api.example.com/v1", "has no scheme"),
        ("ftp://example.com", "'ftp' is not supported"),
        ("https://", "has no host"),
        ("https:///path", "has no host"),
        ("http://host:99999", "ort"),
        ("http://host:0", "out of range"),
        ("http://host:abc", "ort"),
        ("http://ho st", "not a valid host name"),
        ("http://ho\nst", "control characters"),
        ("http://exa mple.com\r\nx: y", "control characters"),
        ("http://-x.com", "not a valid host name"),
        ("http://1.2.3", "not a valid IP address"),
        ("http://300.1.1.1", "not a valid IP address"),
        ("http://[::1", "nvalid IPv6"),
        ("http://" + "a" * 300, "not a valid host name"),
    ],
)
def test_origin_refuses(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Origin.parse(url)


def test_origin_never_shows_credentials() -> None:
    for url in (
        "https://user:s3cret@host",
        "https://user:s3cret@ho st",
        "https://user:s3cret@host:abc",
        "u:s3cret@host",
    ):
        with pytest.raises(ValueError) as info:
            Origin.parse(url)
        assert "s3cret" not in str(info.value)


def test_loopback() -> None:
    for host in ("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]"):
        assert Origin.parse(f"http://{host}").is_loopback, host
    for host in ("localhost.example.com", "128.0.0.1", "mylocalhost", "[::2]", "10.0.0.1"):
        assert not Origin.parse(f"http://{host}").is_loopback, host


def test_head() -> None:
    origin = Origin.parse("https://host:8443")
    assert render_head(b"GET", b"/", origin, []) == (
        b"GET / HTTP/1.1\r\nhost: host:8443\r\naccept-encoding: identity\r\n"
    )
    given_own = render_head(b"GET", b"/", origin, [(b"Accept-Encoding", b"gzip"), (b"Host", b"other")])
    assert given_own == b"GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\nHost: other\r\n"


@pytest.mark.parametrize("value", [b"s3cret\r\nx: y", b"s3cret\n", b"\rs3cret", b"s3cret\0"])
def test_head_refuses_splitting_and_names_the_header_only(value: bytes) -> None:
    origin = Origin.parse("http://host")
    for call in (
        lambda: render_head(b"GET", b"/", origin, [(b"x-key", value)]),
        lambda: render_header(b"x-key", value),
    ):
        with pytest.raises(ValueError, match="'x-key'") as info:
            call()
        assert "s3cret" not in str(info.value)


@pytest.mark.parametrize("name", [b"", b"x y", b"x:", b"x\r\n", b"\xe9", b"x\0", b"(x)"])
def test_head_refuses_bad_names(name: bytes) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        render_head(b"GET", b"/", Origin.parse("http://host"), [(name, b"v")])


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding"])
def test_head_refuses_framing(name: bytes) -> None:
    with pytest.raises(ValueError, match="set from the body"):
        render_head(b"GET", b"/", Origin.parse("http://host"), [(name, b"1")])


@pytest.mark.parametrize("target", [b"", b"/a b", b"/\r\nx: y", b"/\x00", b"/\x7f"])
def test_head_refuses_bad_targets(target: bytes) -> None:
    with pytest.raises(ValueError, match="request target"):
        render_head(b"GET", target, Origin.parse("http://host"), [])
    with pytest.raises(ValueError, match="method"):
        render_head(b"GE T", b"/", Origin.parse("http://host"), [])


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=12)), max_size=4), st.binary(max_size=8))
def test_head_has_exactly_the_lines_that_were_asked_for(headers: list[tuple[bytes, bytes]], target: bytes) -> None:
    try:
        head = render_head(b"POST", b"/" + target, Origin.parse("http://host"), headers)
    except ValueError:
        return
    added = 3 - sum(name.lower() in (b"host", b"accept-encoding") for name in {n.lower() for n, _ in headers})
    assert head.count(b"\n") == head.count(b"\r\n") == len(headers) + added
    assert b"\r\n\r\n" not in head


PROXY = {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:2"}


@pytest.mark.parametrize(
    ("no_proxy", "url", "proxied"),
    [
        ("", "https://example.com", True),
        ("*", "https://example.com", False),
        ("example.com", "https://example.com", False),
        ("example.com", "https://api.example.com", False),
        (".example.com", "https://api.example.com", False),
        (".example.com", "https://example.com", False),
        ("*.example.com", "https://api.example.com", False),
        ("EXAMPLE.com", "https://Example.COM.", False),
        ("example.com", "https://badexample.com", True),
        ("example.com", "https://example.com.evil.net", True),
        ("example.com:8443", "https://example.com:8443", False),
        ("example.com:8443", "https://example.com", True),
        ("a.com, b.com c.com", "https://c.com", False),
        ("a.com,,b.com", "http://b.com", False),
        ("10.0.0.0/8", "http://10.1.2.3", False),
        ("10.0.0.0/8", "http://11.1.2.3", True),
        ("10.0.0.0/8:80", "http://10.1.2.3:81", True),
        ("10.1.2.3", "http://10.1.2.3:5000", False),
        ("10.1.2.3:5000", "http://10.1.2.3:5000", False),
        ("10.1.2.3:5000", "http://10.1.2.3:5001", True),
        ("fd00::/8", "http://[fd12::1]", False),
        ("[fd12::1]:81", "http://[fd12::1]:81", False),
        ("[fd12::1]:81", "http://[fd12::1]:82", True),
        ("::1", "http://[2001::1]", True),
        ("10.0.0.0/8", "http://ten.example", True),
        ("", "http://localhost:8080", False),
        ("", "http://127.0.0.1:8080", False),
        ("", "http://[::1]:8080", False),
        (".", "https://example.com", True),
    ],
)
def test_no_proxy(no_proxy: str, url: str, proxied: bool) -> None:
    proxies = Proxies.from_env({**PROXY, "NO_PROXY": no_proxy})
    assert (proxies.for_origin(Origin.parse(url)) is not None) is proxied


def test_which_variable_counts() -> None:
    http, https = Origin.parse("http://e.com"), Origin.parse("https://e.com")

    def ports(env: dict[str, str]) -> list[int | None]:
        proxies = Proxies.from_env(env)
        return [
            None if proxy is None else proxy.port for proxy in (proxies.for_origin(http), proxies.for_origin(https))
        ]

    assert ports({}) == [None, None]
    assert ports(PROXY) == [1, 2]
    assert ports({**PROXY, "http_proxy": "http://p:3"}) == [3, 2]
    assert ports({"ALL_PROXY": "http://p:4", "HTTPS_PROXY": "http://p:2"}) == [4, 2]
    assert ports({**PROXY, "REQUEST_METHOD": "GET"}) == [None, 2], "httpoxy"
    assert ports({"http_proxy": "http://p:3", "REQUEST_METHOD": "GET"}) == [3, None]
    assert ports({"HTTP_PROXY": " "}) == [None, None]
    assert ports({**PROXY, "no_proxy": "other", "NO_PROXY": "*"}) == [1, 2], "lower case wins"


def test_proxy_addresses() -> None:
    proxy = Proxy.parse("X", "http://us%40er:p%3Ass@proxy.corp:3128/")
    assert (proxy.scheme, proxy.host, proxy.port, proxy.problem) == ("http", "proxy.corp", 3128, None)
    assert proxy.authorization == b"Basic dXNAZXI6cDpzcw=="
    assert "p%3A" not in repr(proxy) and "p:ss" not in repr(proxy)
    assert Proxy.parse("X", "proxy:8080").port == 8080
    assert [Proxy.parse("X", url).port for url in ("http://p", "https://p")] == [80, 443]
    for url, problem in (
        ("socks5://u:s3cret@p:1", "ALL_PROXY: 'socks5' proxies are not supported"),
        ("http://u:s3cret@:80", "ALL_PROXY: not a proxy address"),
        ("http://u:s3cret@p:x", "ALL_PROXY: not a proxy address"),
    ):
        found = Proxy.parse("ALL_PROXY", url).problem
        assert found is not None and problem in found and "s3cret" not in found


def test_errors_show_where_and_what() -> None:
    error = TlsError("certificate has expired", phase="tls", origin=Origin.parse("https://host"))
    assert str(error) == "https://host: certificate has expired"
    assert (error.sent, error.phase, isinstance(error, TransportError)) == (False, "tls", True)
    assert str(TransportError("plain", phase="pool")) == "plain"


@pytest.mark.parametrize("name", ["", ".example.com"])
def test_tls_server_name(name: str) -> None:
    with pytest.raises(ValueError, match="server_name"):
        Tls(server_name=name)

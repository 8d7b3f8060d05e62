"""How a connection comes about: TLS, proxies, happy eyeballs."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme

from penstock.runtime.http import (
    ConnectError,
    ConnectTimeout,
    Origin,
    Proxies,
    ProxyError,
    StallTimeout,
    Timeouts,
    Tls,
    TlsError,
    TransportError,
)
from penstock.runtime.http.proxies import Proxy

from .upstream import (
    CHUNKED,
    OK,
    FullBacklog,
    Net,
    Peer,
    Upstream,
    answer,
    eventually,
    fetch,
    open_sockets,
    rested,
    send,
    silent,
)

pytestmark = pytest.mark.asyncio


class Pki:
    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.client_file = str(folder / "client.pem")
        self.ca.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(self.client_file)

    def server(self, *names: str, client: bool = False, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        context.set_alpn_protocols(list(alpn))
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


# -- TLS


async def test_tls(net: Net, pki: Pki) -> None:
    alpn: list[str | None] = []
    sni: list[str | None] = []

    async def handler(peer: Peer) -> None:
        alpn.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answer(OK)(peer)

    context = pki.server("127.0.0.1", "localhost")
    context.sni_callback = lambda sock, name, _: sni.append(name)
    up = await net.serve(handler, tls=context)
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    assert [await fetch(pool, up.origin) for _ in range(3)] == [(200, b"ok")] * 3
    named = Origin("https", "localhost", up.port)
    assert await fetch(pool, named) == (200, b"ok")
    assert (up.accepted, alpn, sni[-1]) == (2, ["http/1.1"] * 2, "localhost")


@pytest.mark.parametrize("size", [100_000, 3_000_000])
async def test_tls_large_bodies_both_ways(net: Net, pki: Pki, size: int) -> None:
    async def handler(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    up = await net.serve(handler, tls=pki.server("127.0.0.1"))
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    body = bytes(range(250)) * (size // 250)
    for _ in range(2):
        assert await fetch(pool, up.origin, body=body) == (200, body)
        await rested(pool)
    assert up.accepted == 1


async def test_unknown_ca(net: Net, pki: Pki) -> None:
    up = await net.serve(silent, tls=pki.server("127.0.0.1"))
    pool = net.pool()
    with pytest.raises(TlsError, match="TLS handshake failed: .*(local issuer|self.signed)") as info:
        await fetch(pool, up.origin)
    assert (info.value.phase, info.value.sent) == ("tls", False) and isinstance(info.value.__cause__, ssl.SSLError)
    assert pool.stats() == {}


async def test_no_verification_when_told_so(net: Net, pki: Pki) -> None:
    up = await net.serve(answer(OK), tls=pki.server("other.example"))
    assert await fetch(net.pool(tls=Tls(verify=False)), up.origin) == (200, b"ok")


async def test_wrong_host_name(net: Net, pki: Pki) -> None:
    up = await net.serve(answer(OK), tls=pki.server("other.example"))
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    with pytest.raises(TlsError, match="IP address mismatch.*127.0.0.1"):
        await fetch(pool, up.origin)
    with pytest.raises(TlsError, match="Hostname mismatch.*localhost"):
        await fetch(pool, Origin("https", "localhost", up.port))
    named = Tls(ca_file=pki.ca_file, server_name="other.example")
    assert await fetch(pool, up.origin, tls=named) == (200, b"ok")


async def test_client_certificate(net: Net, pki: Pki) -> None:
    up = await net.serve(answer(OK), tls=pki.server("127.0.0.1", client=True))
    with_cert = Tls(ca_file=pki.ca_file, client_cert=pki.client_file)
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    assert await fetch(pool, up.origin, tls=with_cert) == (200, b"ok")
    with pytest.raises(TransportError):  # TLS 1.3 tells the client only after its handshake is through
        await fetch(pool, up.origin)
    assert await fetch(pool, up.origin, tls=with_cert) == (200, b"ok"), "TLS settings do not share connections"


@pytest.mark.parametrize(
    "tls", [Tls(ca_file="/no/such/ca.pem"), Tls(verify=False, client_cert="/no/such/cert.pem"), Tls(ca_file=__file__)]
)
async def test_unusable_tls_settings(net: Net, pki: Pki, tls: Tls) -> None:
    up = await net.serve(answer(OK), tls=pki.server("127.0.0.1"))
    pool = net.pool(tls=tls)
    with pytest.raises(TlsError, match="TLS settings") as info:
        await fetch(pool, up.origin)
    assert not info.value.sent and pool.stats() == {}
    await asyncio.sleep(0.02)
    assert up.accepted == 0, "no connection is opened for settings that cannot work"


async def test_tls_to_a_plain_port(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    up = await net.serve(handler)
    pool = net.pool()
    with pytest.raises(TlsError):
        await fetch(pool, Origin("https", "127.0.0.1", up.port))
    assert pool.stats() == {}


async def test_tls_handshake_that_never_ends(net: Net) -> None:
    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        gone.append(await peer.gone())

    up = await net.serve(handler)
    pool = net.pool()
    origin = Origin("https", "127.0.0.1", up.port)
    with pytest.raises(ConnectTimeout, match=r"\(tls\)") as info:
        await fetch(pool, origin, timeouts=Timeouts(connect=0.5))  # TCP's part of it is short, but not on a busy machine
    assert info.value.phase == "tls"
    assert await eventually(lambda: len(gone) == 1)
    task = asyncio.create_task(fetch(pool, origin))
    await eventually(lambda: up.accepted == 2)
    began = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await eventually(lambda: len(gone) == 2) and gone[1] - began < 0.1
    assert pool.stats() == {}


async def test_tls_cancel_in_the_body(net: Net, pki: Pki) -> None:
    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"1\r\nx\r\n")
        gone.append(await peer.gone())

    up = await net.serve(handler, tls=pki.server("127.0.0.1"))
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    resp = await send(pool, up.origin)
    task = asyncio.create_task(resp.read(100))
    await asyncio.sleep(0.01)
    began = monotonic()
    task.cancel()
    assert await eventually(lambda: bool(gone)) and gone[0] - began < 0.1
    assert pool.stats() == {}


async def test_tls_slow_reading_upstream(net: Net, pki: Pki) -> None:
    async def handler(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    up = await net.serve(handler, tls=pki.server("127.0.0.1"))
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    with pytest.raises(StallTimeout, match="request body") as info:
        await fetch(pool, up.origin, body=b"x" * 20_000_000, timeouts=Timeouts(stall=0.2))
    assert (info.value.phase, pool.stats()) == ("write", {})


async def test_tls_peer_that_never_says_goodbye(net: Net, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the pool does not wait for close_notify for long (asyncio's default is 30 s)."""
    monkeypatch.setattr("penstock.runtime.http.connect._GOODBYE", 0.2)

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    up = await net.serve(handler, tls=pki.server("127.0.0.1"))
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    assert await fetch(pool, up.origin) == (200, b"ok")
    began = monotonic()
    await pool.close()
    assert monotonic() - began < 1.0 and not pool._connections


async def test_tls_upstream_closes_while_idle(net: Net, pki: Pki) -> None:
    up = await net.serve(answer(OK, hold=False), tls=pki.server("127.0.0.1"))
    pool = net.pool(tls=Tls(ca_file=pki.ca_file))
    for _ in range(2):
        assert await fetch(pool, up.origin) == (200, b"ok")
        assert await eventually(lambda: pool.stats() == {})


async def test_system_cas_honour_ssl_cert_file(net: Net, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca_file)
    up = await net.serve(answer(OK), tls=pki.server("127.0.0.1"))
    assert await fetch(net.pool(), up.origin) == (200, b"ok")


# -- proxies


class RelayProxy:
    """A real proxy in a few lines: CONNECT and absolute-form requests, all to one upstream."""

    def __init__(self, target: Callable[[], int], auth: str | None = None, refuse: bytes = b"") -> None:
        self.target = target
        self.auth = auth and "Basic " + base64.b64encode(auth.encode()).decode()
        self.refuse = refuse
        self.heads: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        wanted = self.auth and f"proxy-authorization: {self.auth}\r\n".encode()
        if self.refuse or (wanted and wanted not in head):
            await peer.send(
                self.refuse or b"HTTP/1.1 407 Auth\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n"
            )
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target())
        if head.startswith(b"CONNECT "):
            await peer.send(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
        else:
            writer.write(head)
        try:
            await asyncio.gather(self._relay(peer.reader, writer), self._relay(reader, peer.writer))
        finally:
            writer.transport.abort()

    @staticmethod
    async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def through(proxy: Upstream, auth: str = "") -> Proxies:
    url = f"{proxy.origin.scheme}://{auth}127.0.0.1:{proxy.port}"
    return Proxies.from_env({"HTTP_PROXY": url, "HTTPS_PROXY": url})


async def test_connect_tunnel(net: Net, pki: Pki) -> None:
    up = await net.serve(answer(OK), tls=pki.server("upstream.test"))
    relay = RelayProxy(lambda: up.port, auth="me:s3cret")
    proxy = await net.serve(relay)
    pool = net.pool(tls=Tls(ca_file=pki.ca_file), proxies=through(proxy, "me:s3cret@"))
    origin = Origin("https", "upstream.test", 8443)
    assert [await fetch(pool, origin) for _ in range(3)] == [(200, b"ok")] * 3
    assert len(relay.heads) == 1 and relay.heads[0].startswith(
        b"CONNECT upstream.test:8443 HTTP/1.1\r\nhost: upstream.test:8443\r\n"
    )
    assert pool.stats()[origin.key]["idle"] == 1


async def test_absolute_form(net: Net) -> None:
    up = await net.serve(answer(OK))
    relay = RelayProxy(lambda: up.port, auth="me:s3cret")
    proxy = await net.serve(relay)
    pool = net.pool(proxies=through(proxy, "me:s3cret@"))
    assert await fetch(pool, Origin("http", "upstream.test", 80), body=None) == (200, b"ok")
    assert relay.heads[0].startswith(b"POST http://upstream.test/x HTTP/1.1\r\nhost: upstream.test\r\n")
    assert relay.heads[0].count(b"proxy-authorization: ") == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("auth", ["", "me:wr0ng@"])
async def test_proxy_wants_other_credentials(net: Net, pki: Pki, scheme: str, auth: str) -> None:
    proxy = await net.serve(RelayProxy(lambda: 0, auth="me:s3cret"))
    pool = net.pool(tls=Tls(ca_file=pki.ca_file), proxies=through(proxy, auth))
    with pytest.raises(ProxyError, match="407") as info:
        await fetch(pool, Origin(scheme, "upstream.test", 8443))
    assert info.value.phase == "proxy" and info.value.sent is (scheme == "http")
    assert "wr0ng" not in str(info.value) and "wr0ng" not in repr(info.value)
    assert all(row["active"] == row["connecting"] == 0 for row in pool.stats().values())


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "refused: '502 Bad Gateway'"),
        (b"HTTP/1.1 403 Forbidden by policy\r\n\r\n", "refused: '403 Forbidden by policy'"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurplus", "followed by other data"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000, "over 16384 bytes"),
        (b"HTTP/1.1 200 O", "closed the connection"),
    ],
)
async def test_tunnel_refused(net: Net, refuse: bytes, message: str) -> None:
    proxy = await net.serve(RelayProxy(lambda: 0, refuse=refuse))
    pool = net.pool(proxies=through(proxy))
    with pytest.raises(ProxyError) as info:
        await fetch(pool, Origin("https", "upstream.test", 443))
    assert message in str(info.value) and f"127.0.0.1:{proxy.port}" in str(info.value)
    assert (info.value.phase, info.value.sent, pool.stats()) == ("proxy", False, {})


async def test_proxy_refuses_the_connection(net: Net) -> None:
    proxy = await net.serve(silent)
    await proxy.close()
    for scheme in ("http", "https"):
        with pytest.raises(ProxyError, match="cannot connect by way of the proxy 127.0.0.1"):
            await fetch(net.pool(proxies=through(proxy)), Origin(scheme, "upstream.test", 443))


async def test_silent_proxy(net: Net) -> None:
    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        gone.append(await peer.gone())

    proxy = await net.serve(handler)
    pool = net.pool(proxies=through(proxy))
    origin = Origin("https", "upstream.test", 443)
    with pytest.raises(ConnectTimeout, match=r"\(proxy\)"):
        await fetch(pool, origin, timeouts=Timeouts(connect=0.5))
    task = asyncio.create_task(fetch(pool, origin))
    await eventually(lambda: proxy.accepted == 2)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await eventually(lambda: len(gone) == 2, 0.1) and pool.stats() == {}


async def test_unsupported_proxy_fails_only_when_used(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool(proxies=Proxies.from_env({"ALL_PROXY": "socks5://u:s3cret@127.0.0.1:1"}))
    assert await fetch(pool, up.origin) == (200, b"ok"), "loopback is direct"
    with pytest.raises(ProxyError, match="ALL_PROXY: 'socks5' proxies are not supported"):
        await fetch(pool, Origin("http", "upstream.test", 80))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_https_proxy(net: Net, pki: Pki, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the proxy is TLS itself; for an https origin that is TLS within TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca_file)
    up = await net.serve(answer(OK), tls=pki.server("upstream.test") if scheme == "https" else None)
    proxy = await net.serve(RelayProxy(lambda: up.port), tls=pki.server("127.0.0.1"))
    pool = net.pool(proxies=through(proxy))
    for _ in range(2):
        assert await fetch(pool, Origin(scheme, "upstream.test", 443)) == (200, b"ok")
    assert proxy.accepted == 1


async def test_https_proxy_with_a_wrong_certificate(net: Net, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca_file)
    proxy = await net.serve(silent, tls=pki.server("other.test"))
    with pytest.raises(ProxyError, match="IP address mismatch"):
        await fetch(net.pool(proxies=through(proxy)), Origin("https", "upstream.test", 443))


async def test_proxy_objects_can_be_given_without_an_environment(net: Net) -> None:
    up = await net.serve(answer(OK))
    relay = RelayProxy(lambda: up.port)
    proxy = await net.serve(relay)
    pool = net.pool(proxies=Proxies(http=Proxy("http", "127.0.0.1", proxy.port), no_proxy="direct.test"))
    assert await fetch(pool, Origin("http", "upstream.test", 80), body=None) == (200, b"ok")
    assert len(relay.heads) == 1


@pytest.mark.parametrize("way", ["plain", "tls", "tunnel", "https proxy"])
async def test_cancel_at_every_step_of_opening_leaves_no_socket(
    net: Net, pki: Pki, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca_file)
    up = await net.serve(answer(OK), tls=None if way == "plain" else pki.server("127.0.0.1", "upstream.test"))
    proxies, origin = None, up.origin
    if way in ("tunnel", "https proxy"):
        proxy = await net.serve(RelayProxy(lambda: up.port), tls=pki.server("127.0.0.1") if way != "tunnel" else None)
        proxies, origin = through(proxy), Origin("https", "upstream.test", 443)
    before = open_sockets()  # the listeners', the loop's, and what other tests of this process keep
    pool = net.pool(proxies=proxies)
    assert await fetch(pool, origin) == (200, b"ok")
    await pool.close()
    assert await eventually(lambda: open_sockets() <= before)
    pool = net.pool(proxies=proxies)
    done = 0
    for steps in range(40):
        task = asyncio.create_task(fetch(pool, origin))
        for _ in range(steps):
            await asyncio.sleep(0 if steps < 25 else 0.0005)
        done += task.done()
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            assert task.result() == (200, b"ok")
        for conn in list(pool._connections):
            conn.abort()
        assert pool.stats() == {}
    assert done < 40
    assert await eventually(lambda: not pool._connections and open_sockets() <= before)


# -- happy eyeballs


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[Any, ...]) -> list[str]:
    """Makes the running loop resolve every name to ``addresses``."""
    asked: list[str] = []

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return list(addresses)

    monkeypatch.setattr("penstock.runtime.http.names.resolve", getaddrinfo)
    return asked


def ipv4(port: int) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))


async def test_dead_address_first(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    up = await net.serve(answer(OK))
    dead = await net.serve(silent)
    await dead.close()
    asked = resolve_to(monkeypatch, ipv4(dead.port), ipv4(up.port))
    assert await fetch(net.pool(), Origin("http", "name.test", 80)) == (200, b"ok")
    assert asked == ["name.test"]


async def test_silent_address_first(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address drops SYNs: the second is tried after 250 ms, long before the connect timeout."""
    up = await net.serve(answer(OK))
    with FullBacklog() as hole:
        resolve_to(monkeypatch, ipv4(hole.port), ipv4(up.port))
        began = monotonic()
        assert await fetch(net.pool(), Origin("http", "name.test", 80), timeouts=Timeouts(connect=5.0)) == (200, b"ok")
        assert 0.2 < monotonic() - began < 1.0


async def test_all_addresses_dead(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [(await net.serve(silent)).port for _ in range(2)]
    for dead in net.upstreams:
        await dead.close()
    resolve_to(monkeypatch, *map(ipv4, ports))
    with pytest.raises(ConnectError, match=f"{ports[0]}.*{ports[1]}"):
        await fetch(net.pool(), Origin("http", "name.test", 80))

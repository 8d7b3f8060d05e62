"""Connections to Redis and Valkey: one server, a cluster, or whom sentinels name; over TCP, TLS or a socket.

redis-py is an extra of the package and is imported when the first client is made. Nothing is tried again in here: who
asks knows whether a second try is worth its time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penstock.config.redis import RedisSettings
from penstock.config.secret import Secret
from penstock.stores.ending import finish

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub
    from redis.credentials import CredentialProvider

MISSING = "Redis needs the package redis: pip install 'penstock[redis]'"
LONGEST_CLOSE = 1.0  # seconds: a server that hangs does not keep a gateway from stopping
_RESP2 = 2  # the older protocol: proxies in front of Redis know no other, and nothing of the newer one is needed


class Unreachable(OSError):
    """Redis cannot be reached, or does not do what it is asked. The message says why and holds no secret."""


class NotInstalled(Unreachable):
    """The package redis is missing; the message names what to install."""


def connect(settings: RedisSettings) -> Redis:
    """Make a client; it connects with its first command. A cluster's client has the same commands. Raises
    ``NotInstalled`` without the package redis."""
    with _package():
        if settings.nodes:
            return _cluster(settings)
        if settings.sentinels:
            return _by_sentinels(settings)
        return _single(settings, settings.host, settings.port)


async def open_channel(client: Redis, settings: RedisSettings, channel: str) -> tuple[PubSub, Redis | None]:
    """Subscribe to a channel; return what hears it, and the client that is to be closed with it, if it has one of its
    own: in a cluster every node hears everything, and one of them is enough."""
    with told():
        own = None
        if settings.nodes:
            cluster: Any = client
            await cluster.initialize()
            node = cluster.get_random_node()
            own = _single(settings, node.host, node.port)
        hears = (own or client).pubsub()
        try:
            await hears.subscribe(channel)
        except BaseException:
            await close_channel(hears, own)
            raise
        return hears, own


async def close_channel(hears: PubSub, own: Redis | None) -> None:
    """Close what ``open_channel`` has opened."""
    with _quietly():
        await finish(hears.aclose(), LONGEST_CLOSE)
    if own is not None:
        await close(own)


async def close(client: Redis) -> None:
    """Close a client and all of its connections; one that does not close in time is let go."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for one in (client, *(manager.sentinels if manager is not None else ())):
        with _quietly():
            await finish(one.aclose(), LONGEST_CLOSE)


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong inside into ``Unreachable``."""
    from redis.exceptions import RedisError

    try:
        yield
    except Unreachable:
        raise
    except (RedisError, OSError, TimeoutError, EOFError) as error:
        raise Unreachable(_reason(error)) from None


def _reason(error: BaseException) -> str:
    """Say in one line what went wrong. Messages of the server's are its own words and hold no password."""
    text = " ".join(str(error).split())[:200]
    return text.rstrip(".") or type(error).__name__


@contextmanager
def _quietly() -> Iterator[None]:
    """Ignore what goes wrong when connections are closed that nobody needs any more."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError, RuntimeError):
        return


@contextmanager
def _package() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise NotInstalled(MISSING) from None


def _single(settings: RedisSettings, host: str, port: int) -> Redis:
    from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection

    options = _options(settings) | {"db": settings.db}
    if settings.socket_path:
        options.pop("socket_keepalive")
        kind: type = UnixDomainSocketConnection
        options["path"] = settings.socket_path
    else:
        kind = SSLConnection if settings.tls else Connection
        options |= {"host": host, "port": port} | (_tls(settings) if settings.tls else {})
    # One that waits for a connection that is free: a burst is no fault.
    pool = BlockingConnectionPool(
        max_connections=settings.connections, timeout=settings.timeout, connection_class=kind, **options
    )
    return Redis.from_pool(pool)


def _by_sentinels(settings: RedisSettings) -> Redis:
    from redis.asyncio.sentinel import Sentinel

    options = _options(settings)
    secure = {"ssl": True, **_tls(settings)} if settings.tls else {}
    of_sentinels = options | secure | {"credential_provider": _credentials(None, settings.sentinel_password)}
    sentinel = Sentinel(list(settings.sentinels), sentinel_kwargs=of_sentinels)
    client: Redis = sentinel.master_for(
        settings.service, db=settings.db, max_connections=settings.connections, **options, **secure
    )
    return client


def _cluster(settings: RedisSettings) -> Redis:
    from redis.asyncio.cluster import ClusterNode, RedisCluster

    options = _options(settings) | ({"ssl": True, **_tls(settings)} if settings.tls else {})
    nodes = [ClusterNode(host, port) for host, port in settings.nodes]
    # Keys of the nodes that are there can be used while others are not.
    cluster: Any = RedisCluster(
        startup_nodes=nodes, require_full_coverage=False, max_connections=settings.connections, **options
    )
    return cluster  # type: ignore[no-any-return]


def _options(settings: RedisSettings) -> dict[str, Any]:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return {
        "credential_provider": _credentials(settings.username, settings.password, settings.token),
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.connect_timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": _RESP2,
    }


def _credentials(
    username: str | None, password: Secret | None, token: Callable[[], Awaitable[str]] | None = None
) -> CredentialProvider | None:
    """Wrap what must not be seen: a pool of redis-py 6 and 7 shows the arguments of its connections."""
    from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider

    class Tokens(CredentialProvider):
        """Gets the password of a connection when that is opened: it is not the same for long."""

        def __init__(self, token: Callable[[], Awaitable[str]]) -> None:
            self._token = token

        def get_credentials(self) -> tuple[str]:
            raise NotImplementedError("a token is waited for")

        async def get_credentials_async(self) -> tuple[str]:
            return (await self._token(),)

    if token is not None:
        return Tokens(token)
    if username is None and password is None:
        return None
    return UsernamePasswordCredentialProvider(username, password.reveal() if password is not None else None)


def _tls(settings: RedisSettings) -> dict[str, Any]:
    return {
        "ssl_ca_certs": settings.ca_file,
        "ssl_certfile": settings.cert_file,
        "ssl_keyfile": settings.key_file,
        "ssl_cert_reqs": settings.check,
        "ssl_check_hostname": settings.check_hostname and settings.check == "required",
    }

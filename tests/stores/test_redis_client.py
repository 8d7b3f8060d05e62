"""Every way to reach a Redis: alone, over TLS, over a socket, by a sentinel, a cluster; and what is said when not."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import trustme
from msgspec import structs

from penstock.config.redis import RedisSettings
from penstock.core.route.spent import Spent
from penstock.stores.base import Figure, Mark
from penstock.stores.redis_board import RedisBoard, RedisStore, open_shared
from penstock.stores.redis_client import MISSING, NotInstalled, Unreachable, close, connect
from tests.redis_servers import RedisServer, by_sentinel, cluster, free_port, running, settings, until, with_tls

PASSWORD = "a-long-password-77aa31"


@contextmanager
def _alone(folder: Path) -> Iterator[RedisSettings]:
    with running(RedisServer(folder, password=PASSWORD)) as server:
        yield server.settings()


@contextmanager
def _over_a_socket(folder: Path) -> Iterator[RedisSettings]:
    path = folder / "r.sock"
    with running(RedisServer(folder, "--unixsocket", str(path))):
        yield settings(url=f"unix://{path}?db=2")


@contextmanager
def _tls(folder: Path) -> Iterator[RedisSettings]:
    with with_tls(folder) as (_, found):
        yield found


@contextmanager
def _sentinel(folder: Path) -> Iterator[RedisSettings]:
    with by_sentinel(folder, PASSWORD) as (_, found):
        yield found


@contextmanager
def _cluster(folder: Path) -> Iterator[RedisSettings]:
    with cluster(folder) as (_, found):
        yield found


WAYS: dict[str, Callable[[Path], object]] = {
    "alone": _alone, "socket": _over_a_socket, "tls": _tls, "sentinel": _sentinel, "cluster": _cluster,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_everything_works_each_way(way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ExitStack() as stack:
        found = stack.enter_context(WAYS[way](tmp_path))  # type: ignore[arg-type]
        one, other = open_shared(found), open_shared(found)
        heard: list[str] = []
        other.on_cooled = lambda live_id, seconds, why: heard.append(live_id)
        for view in (one, other):
            view.spent = Spent()
            view.spent.ask({"openai": (1.0, 60.0)})
            view.start()
        await until(lambda: one.connected and other.connected and other._heard, 3.0)
        one.count("d", 1, 5)
        other.count("d", 1, 5)
        one.cooled("d", 5.0, "Timeout")
        await until(lambda: one.total("d") == other.total("d") == (2, 10) and heard == ["d"], 2.0)
        assert one.spent is not None and other.spent is not None
        one.spent.add("openai", Decimal(1), time.monotonic(), 60.0)
        await until(lambda: "openai" in other.spent.broke({"openai": (1.0, 60.0)}, time.monotonic()), 2.0)
        await one._board.compare([Figure("d", True, 0.5, 0.0)], 1.0)
        assert [figure.key for figure in await other._board.compare([], 5.0)] == ["d"]
        for number in range(20):  # over all slots of a cluster
            await one.values.put(f"k{number}", b"%d" % number, 5.0)
        assert [await other.values.get(f"k{number}") for number in range(20)] == [
            b"%d" % number for number in range(20)
        ]
        await one.stop()
        await other.stop()
        assert PASSWORD not in caplog.text + one.where + str(one.told())
    assert one._board._client is None, "closed"


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with with_tls(tmp_path) as (_, found):
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        for wrong in (
            structs.replace(found, ca_file=str(tmp_path / "other.pem")),
            structs.replace(found, ca_file=None),
            structs.replace(found, host="127.0.0.1"),  # the certificate is for localhost
        ):
            board = RedisBoard(wrong)
            with pytest.raises(Unreachable, match="(?i)certificate"):
                await board.marks()
            await board.close()
        for lenient in (
            structs.replace(found, host="127.0.0.1", check_hostname=False),
            structs.replace(found, ca_file=None, check="none"),
        ):
            board = RedisBoard(lenient)
            assert await board.marks() == []
            await board.close()


async def test_what_is_wrong_is_told_and_no_password_is(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, password=PASSWORD)) as server:
        wrong = {
            "invalid username-password pair|invalid password": settings(
                url=f"redis://:another-{PASSWORD}@127.0.0.1:{server.port}"
            ),
            "Authentication required": settings(host="127.0.0.1", port=server.port),
            "out of range": settings(url=f"redis://:{PASSWORD}@127.0.0.1:{server.port}/99"),
        }
        for message, found in wrong.items():
            board = RedisBoard(found)
            with pytest.raises(Unreachable, match=message) as error:
                await board.count(1, "aa", [("x", 1)])
            assert PASSWORD not in str(error.value) + repr(error.value) + repr(board.client)
            await board.close()


async def test_nobody_there_is_told_soon() -> None:
    board = RedisBoard(settings(host="127.0.0.1", port=free_port()))
    began = time.monotonic()
    with pytest.raises(Unreachable):
        await board.tell([Mark("rests", "d", "", 1.0)])
    with pytest.raises(Unreachable):
        async for _ in board.changes():
            pass
    store = RedisStore(board)
    for asked in (store.get("k"), store.put("k", b"v"), store.delete("k")):
        with pytest.raises(OSError):
            await asked
    assert time.monotonic() - began < 1.0
    await board.close()


async def test_who_accepts_and_says_nothing_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = connect(settings(host="127.0.0.1", port=port, socket_timeout=0.1, socket_connect_timeout=0.2))
    began = time.monotonic()
    with pytest.raises(Exception, match="(?i)timeout"):
        await client.get("k")
    assert time.monotonic() - began < 2.0
    await close(client)
    server.close()


async def test_the_package_is_not_needed_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    for given in ({"host": "h"}, {"startup_nodes": ["h"]}, {"sentinel_nodes": ["h"], "service_name": "m"}):
        with pytest.raises(NotInstalled, match="pip install 'penstock.redis.'"):
            connect(settings(**given))
    shared = open_shared(settings(host="h"))
    shared.start()
    await until(lambda: shared.trouble == MISSING, 1.0)
    await shared.stop()


async def test_messages_that_are_none_of_ours_are_left_out(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        board = RedisBoard(server.settings())
        heard: list[Mark | None] = []

        async def listen() -> None:
            async for change in board.changes():
                heard.append(change)

        task = asyncio.create_task(listen())
        await until(lambda: heard, 2.0)
        for odd in ("", "x", "[]", '["a","b","c",-1]', '["a","b","c",1e300]', '{"a":1}', "\x00" * 70_000, "[" * 1000):
            server.ask("PUBLISH", "penstock:marks:0", odd)
        server.ask("HSET", "penstock:marks", "odd", "99999999999999 x", '["rests","d"]', "no number", "n", "9")
        await board.tell([Mark("rests", "d", "v" * 5000, 5.0)])
        await until(lambda: len(heard) > 1, 2.0)
        assert heard == [None, Mark("rests", "d", "v" * 500, 5.0)]
        assert [mark.key for mark in await board.marks()] == ["d"]
        task.cancel()
        await board.close()


async def test_every_key_has_an_end(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        board = RedisBoard(server.settings())
        await board.count(7, "aa", [("x", 1)])
        await board.tell([Mark("rests", "d", "", 5.0), Mark("rests", "e", "", 1.0)])
        await RedisStore(board).put("k", b"v", 3.0)
        left = {key: await board.client.pttl(key) for key in await board.client.keys("*")}
        assert sorted(left) == [b"penstock:counts:7", b"penstock:marks", b"penstock:values:k"]
        assert 100_000 < left[b"penstock:counts:7"] <= 120_000
        assert 4_000 < left[b"penstock:marks"] <= 5_000 and 2_000 < left[b"penstock:values:k"] <= 3_000
        await board.close()

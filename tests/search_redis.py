"""A stand-in for a Redis with a search module, over RESP2: hashes with an end, transactions, and FT.CREATE, FT.SEARCH and
FT._LIST as Redis and Valkey document them, with vectors that are really compared. ``module`` False: it has no FT.*."""

from __future__ import annotations

import asyncio
import math
import re
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fnmatch import translate
from typing import Any

QUERY = re.compile(rb"\(@(\w+):\{([0-9A-Za-z]+)\}\)=>\[KNN (\d+) @(\w+) \$(\w+) AS (\w+)\]")


class Refused(Exception):
    """What the server answers with as an error."""


class Index:
    """One index: ``fields`` are (type, dimensions) by name."""

    def __init__(self, prefix: bytes, fields: dict[bytes, tuple[bytes, int]]) -> None:
        self.prefix, self.fields = prefix, fields


class SearchRedis:
    """``hashes`` by key: (fields, end); ``asked``: the words of each command; ``compared``: keys whose vectors a search
    looked at; ``password``: what AUTH must say."""

    def __init__(self, module: bool = True, password: str = "") -> None:
        self.module, self.password = module, password
        self.hashes: dict[bytes, tuple[dict[bytes, bytes], float]] = {}
        self.indexes: dict[bytes, Index] = {}
        self.asked: list[list[bytes]] = []
        self.compared: list[bytes] = []
        self.said: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queued: list[list[bytes]] | None = None
        known = not self.password
        try:
            while (line := await reader.readline())[:1] == b"*":
                words = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                name = words[0].upper()
                if name == b"AUTH":
                    self.said.append(words[-1])
                    known = words[-1] == self.password.encode()
                    writer.write(b"+OK\r\n" if known else b"-WRONGPASS invalid username-password pair\r\n")
                elif not known:
                    writer.write(b"-NOAUTH Authentication required.\r\n")
                elif name == b"MULTI":
                    queued = []
                    writer.write(b"+OK\r\n")
                elif name == b"EXEC":
                    writer.write(told([self._run(one) for one in queued or ()]))
                    queued = None
                elif queued is not None:
                    queued.append(words)
                    writer.write(b"+QUEUED\r\n")
                else:
                    writer.write(told(self._run(words)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _run(self, words: list[bytes]) -> Any:
        self.asked.append(words)
        method = getattr(self, f"do_{words[0].decode().upper().replace('.', '_')}", None)
        if method is None or (words[0].upper().startswith(b"FT.") and not self.module):
            return Refused(f"ERR unknown command '{words[0].decode()}', with args beginning with: ")
        try:
            return method(*words[1:])
        except Refused as refused:
            return refused

    def _held(self, key: bytes) -> dict[bytes, bytes]:
        fields, ends = self.hashes.get(key, ({}, 0.0))
        if fields and time.monotonic() >= ends:
            del self.hashes[key]
            return {}
        return fields

    def do_PING(self) -> Any:
        return "PONG"

    def do_CLIENT(self, *words: bytes) -> Any:
        return "OK"

    do_SELECT = do_CLIENT

    def do_INFO(self) -> Any:
        return b"redis_version:8.0.0\r\nconnected_clients:1\r\n"

    def do_HGET(self, key: bytes, field: bytes) -> Any:
        return self._held(key).get(field)

    def do_HSET(self, key: bytes, *words: bytes) -> Any:
        fields = self._held(key)
        fields.update(zip(words[::2], words[1::2], strict=True))
        self.hashes[key] = (fields, self.hashes.get(key, (0, math.inf))[1])
        return len(words) // 2

    def do_PEXPIRE(self, key: bytes, ms: bytes) -> Any:
        self.hashes[key] = (self._held(key), time.monotonic() + int(ms) / 1000)
        return 1

    def do_DEL(self, *keys: bytes) -> Any:
        return sum([bool(self._held(key)) and self.hashes.pop(key) is not None for key in keys])

    def do_SCAN(self, cursor: bytes, *words: bytes) -> Any:
        given = dict(zip(words[::2], words[1::2], strict=True))
        pattern = re.compile(translate(re.sub(r"\\(.)", r"[\1]", given[b"MATCH"].decode())))
        return [b"0", [key for key in self.hashes if pattern.match(key.decode())]]

    def do_FT__LIST(self) -> Any:
        return list(self.indexes)

    def do_FT_CREATE(self, name: bytes, *words: bytes) -> Any:
        if name in self.indexes:
            raise Refused("Index already exists")
        on, kind, prefix, count, start, schema, *rest = words
        assert (on, kind, prefix, count, schema) == (b"ON", b"HASH", b"PREFIX", b"1", b"SCHEMA"), words
        fields: dict[bytes, tuple[bytes, int]] = {}
        while rest:
            field, type_, *rest = rest
            if type_ == b"VECTOR":
                algorithm, number, *rest = rest
                options = dict(zip(rest[: int(number) : 2], rest[1 : int(number) : 2], strict=True))
                assert algorithm in (b"HNSW", b"FLAT") and options[b"TYPE"] == b"FLOAT32"
                assert options[b"DISTANCE_METRIC"] == b"COSINE"
                fields[field], rest = (type_, int(options[b"DIM"])), rest[int(number) :]
            else:
                assert type_ == b"TAG", words
                fields[field] = (type_, 0)
        self.indexes[name] = Index(start, fields)
        return "OK"

    def do_FT_SEARCH(self, name: bytes, query: bytes, *words: bytes) -> Any:
        index = self.indexes.get(name)
        if index is None:
            raise Refused(f"{name.decode()}: no such index")
        found = QUERY.fullmatch(query)
        if found is None:
            raise Refused(f"Syntax error at offset 0 near {query.decode()}")
        tag, wanted, most, field, param, alias = found.groups()
        assert index.fields[tag][0] == b"TAG" and index.fields[field][0] == b"VECTOR"
        at = words.index(b"PARAMS")
        given = dict(zip(words[at + 2 : at + 2 + int(words[at + 1]) : 2], words[at + 3 : at + 2 + int(words[at + 1]) : 2], strict=True))
        assert words[words.index(b"DIALECT") + 1] == b"2"
        assert words[words.index(b"RETURN") + 1 : words.index(b"RETURN") + 3] == (b"1", alias)
        asked, size = given[param], index.fields[field][1]
        if len(asked) != size * 4:
            raise Refused(f"Error parsing vector similarity query: query vector blob size ({len(asked)}) does not match index's expected size ({size * 4}).")
        rows = []
        for key in list(self.hashes):
            fields = self._held(key)
            if not key.startswith(index.prefix) or fields.get(tag, b"").lower() != wanted.lower() or field not in fields:
                continue
            self.compared.append(key)
            rows.append((1.0 - cosine(asked, fields[field]), key))
        rows = sorted(rows)[: int(most)]
        return [len(rows), *(part for distance, key in rows for part in (key, [alias, b"%.12g" % distance]))]


def cosine(one: bytes, other: bytes) -> float:
    a, b = (struct.unpack(f"<{len(blob) // 4}f", blob) for blob in (one, other))
    return sum(map(lambda x, y: x * y, a, b)) / (math.hypot(*a) * math.hypot(*b))


def told(value: Any) -> bytes:
    """A value as RESP2 writes it."""
    if isinstance(value, Refused):
        return f"-{value}\r\n".encode()
    if isinstance(value, str):
        return f"+{value}\r\n".encode()
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(told, value))


@asynccontextmanager
async def open_search_redis(module: bool = True, password: str = "") -> AsyncIterator[SearchRedis]:
    redis = SearchRedis(module, password)
    server = await asyncio.start_server(redis.serve, "127.0.0.1", 0, limit=1 << 24)
    redis.port = server.sockets[0].getsockname()[1]
    try:
        yield redis
    finally:
        server.close()

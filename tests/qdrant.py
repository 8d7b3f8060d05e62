"""A stand-in for Qdrant, over HTTP: collections, points and filters, as far as answers are kept there. Each request must
have the shape that https://api.qdrant.tech/api-reference gives, else it is a 400 or 422 as there; vectors are really
compared."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

QUANTIZED = {"binary": {"always_ram"}, "scalar": {"type", "quantile", "always_ram"}, "product": {"compression", "always_ram"}}


class Bad(Exception):
    """What Qdrant refuses: a status, and why."""


class Qdrant:
    """``collections`` by name: shape, indexes, and points by id; ``asked``: method, path and body of each request;
    ``compared``: ids whose vectors a query looked at; ``key``: what ``api-key`` must say."""

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.collections: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.compared: list[str] = []
        self.refuses = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").strip().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                status, result = self._answered(method, target, headers, raw)
                body = json.dumps({"result": result, "status": "ok", "time": 0.0} if status == 200 else {"status": {"error": result}, "time": 0.0}).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answered(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> tuple[int, Any]:
        if headers.get("api-key", "") != self.key:
            return 401, "Must provide an API key or an Authorization bearer token"
        if self.refuses:
            return self.refuses, "Service internal error"
        parts = urlsplit(target)
        body = json.loads(raw) if raw else None
        assert not raw or headers["content-type"] == "application/json"
        self.asked.append((method, parts.path, body))
        assert set(parse_qs(parts.query)) <= {"wait"}
        _, root, name, *rest = parts.path.split("/")
        assert root == "collections", target
        try:
            return 200, self._run(method, name, "/".join(rest), body)
        except Bad as bad:
            return bad.args

    def _run(self, method: str, name: str, rest: str, body: Any) -> Any:
        if rest == "exists" and method == "GET":
            return {"exists": name in self.collections}
        if rest == "" and method == "PUT":
            return self._create(name, body)
        held = self.collections.get(name)
        if held is None:
            raise Bad(404, f"Not found: Collection `{name}` doesn't exist!")
        if rest == "" and method == "GET":
            return {"status": "green", "config": {"params": {"vectors": held["vectors"]}}}
        run: Callable[[dict[str, Any], Any], Any] = {
            ("PUT", "index"): self._index,
            ("PUT", "points"): self._upsert,
            ("POST", "points"): self._retrieve,
            ("POST", "points/query"): self._query,
            ("POST", "points/delete"): self._delete,
            ("POST", "points/count"): self._count,
        }[method, rest]
        return run(held, body)

    def _create(self, name: str, body: Any) -> Any:
        if name in self.collections:
            raise Bad(409, f"Wrong input: Collection `{name}` already exists!")
        assert set(body) == {"vectors", "quantization_config"} and set(body["vectors"]) == {"size", "distance"}
        assert body["vectors"]["distance"] == "Cosine" and isinstance(body["vectors"]["size"], int)
        [(kind, settings)] = body["quantization_config"].items()
        assert set(settings) == QUANTIZED[kind]
        self.collections[name] = {"vectors": body["vectors"], "points": {}, "indexed": {}}
        return True

    def _index(self, held: dict[str, Any], body: Any) -> Any:
        assert set(body) == {"field_name", "field_schema"} and body["field_schema"] in ("keyword", "float")
        held["indexed"][body["field_name"]] = body["field_schema"]
        return {"operation_id": 0, "status": "completed"}

    def _upsert(self, held: dict[str, Any], body: Any) -> Any:
        assert set(body) == {"points"}
        for point in body["points"]:
            assert set(point) == {"id", "vector", "payload"} and str(uuid.UUID(point["id"])) == point["id"]
            if len(point["vector"]) != held["vectors"]["size"]:
                raise Bad(400, f"Wrong input: Vector dimension error: expected dim: {held['vectors']['size']}, got {len(point['vector'])}")
            held["points"][point["id"]] = point
        return {"operation_id": 1, "status": "completed"}

    def _retrieve(self, held: dict[str, Any], body: Any) -> Any:
        assert set(body) == {"ids", "with_payload", "with_vector"} and body["with_vector"] is False
        return [{"id": id, "payload": held["points"][id]["payload"]} for id in body["ids"] if id in held["points"]]

    def _query(self, held: dict[str, Any], body: Any) -> Any:
        assert set(body) == {"query", "filter", "limit", "with_payload", "params"}, body
        if len(body["query"]) != held["vectors"]["size"]:
            raise Bad(400, "Wrong input: Vector dimension error")
        found = []
        for point in held["points"].values():
            if self._passes(held, body["filter"], point["payload"]):
                self.compared.append(point["id"])
                found.append((cosine(body["query"], point["vector"]), point))
        found.sort(key=lambda one: -one[0])
        fields = body["with_payload"]
        return {
            "points": [
                {"id": point["id"], "version": 1, "score": score, "payload": {name: point["payload"][name] for name in fields}}
                for score, point in found[: body["limit"]]
            ]
        }

    def _delete(self, held: dict[str, Any], body: Any) -> Any:
        assert set(body) in ({"points"}, {"filter"})
        gone = body["points"] if "points" in body else [
            id for id, point in held["points"].items() if self._passes(held, body["filter"], point["payload"])
        ]
        for id in gone:
            held["points"].pop(id, None)
        return {"operation_id": 2, "status": "completed"}

    def _count(self, held: dict[str, Any], body: Any) -> Any:
        return {"count": sum(self._passes(held, body["filter"], point["payload"]) for point in held["points"].values())}

    def _passes(self, held: dict[str, Any], filter: Any, payload: dict[str, Any]) -> bool:
        assert set(filter) == {"must"}
        for condition in filter["must"]:
            kind = held["indexed"].get(condition["key"])
            if kind is None:  # as in the strict mode of Qdrant's cloud
                raise Bad(400, f"Bad request: Index required but not found for \"{condition['key']}\"")
            value = payload.get(condition["key"])
            if "match" in condition:
                assert kind == "keyword" and set(condition) == {"key", "match"}
                if value != condition["match"]["value"]:
                    return False
            else:
                assert kind == "float" and set(condition) == {"key", "range"}
                [(how, bound)] = condition["range"].items()
                if not {"gt": value > bound, "lte": value <= bound}[how]:
                    return False
        return True


def cosine(one: list[float], other: list[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


@asynccontextmanager
async def open_qdrant_server(key: str = "") -> AsyncIterator[Qdrant]:
    qdrant = Qdrant(key)
    server = await asyncio.start_server(qdrant.serve, "127.0.0.1", 0, limit=1 << 24)
    qdrant.port = server.sockets[0].getsockname()[1]
    try:
        yield qdrant
    finally:
        server.close()

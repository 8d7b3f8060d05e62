"""Stand-ins of the services that records are sent to: each takes what the service documents, and refuses the rest.

They know nothing of the sinks: what a body must have is written down here from the services' own documentation
(https://api.reference.langfuse.com, https://docs.helicone.ai, https://opentelemetry.io/docs/specs/otlp)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

PUBLIC, SECRET = "pk-lf-1234567890", "sk-lf-very-secret-0987"
DATADOG = "dd-key-very-secret-12"
OTEL = "otel-very-secret-41"
HELICONE, TOKEN = "sk-helicone-very-secret-77", "mlflow-token-very-secret-5"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Vendor:
    """A service on loopback. ``mood``: "well", "slow" (answers after ``pause``), "hangs", a status, or "cut" (closes the
    connection). ``asked``: what came; ``taken``: ids of the requests that it was told of; ``wrong``: what was no good."""

    def __init__(self) -> None:
        self.mood: str | int = "well"
        self.pause = 0.0
        self.asked: list[Asked] = []
        self.taken: list[str] = []
        self.wrong: list[str] = []
        self.retry_after = ""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        asked = Asked(first.split()[1], headers, await reader.readexactly(int(headers["content-length"])))
        self.asked.append(asked)
        if self.mood == "hangs":
            await asyncio.sleep(60)
        if self.mood == "slow":
            await asyncio.sleep(self.pause)
        if self.mood == "cut":
            raise ConnectionError
        status, body = (self.mood, b"no") if isinstance(self.mood, int) else self._judge(asked)
        more = f"retry-after: {self.retry_after}\r\n" if self.retry_after else ""
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body)
        await writer.drain()

    def _judge(self, asked: Asked) -> tuple[int, bytes]:
        try:
            return self.take(asked)
        except (AssertionError, KeyError, TypeError, ValueError, IndexError) as error:
            self.wrong.append(f"{asked.path}: {error!r}")
            return 400, repr(error).encode()

    def take(self, asked: Asked) -> tuple[int, bytes]:
        """Take what is good; raise for the rest."""
        raise NotImplementedError


class LangfuseStandIn(Vendor):
    """``POST /api/public/ingestion``. ``bad``: ids of traces that are refused one by one."""

    bad: frozenset[str] = frozenset()
    bad_status = 400

    def take(self, asked: Asked) -> tuple[int, bytes]:
        assert asked.path == "/api/public/ingestion" and asked.headers["content-type"] == "application/json"
        kind, _, token = asked.headers["authorization"].partition(" ")
        if kind != "Basic" or base64.b64decode(token).decode() != f"{PUBLIC}:{SECRET}":
            return 401, b'{"message":"Invalid credentials. Confirm that you\'ve configured the correct host."}'
        assert len(asked.body) <= 3_500_000
        told = asked.json
        assert told.keys() <= {"batch", "metadata"} and told["batch"]
        successes, errors, traces = [], [], set()
        for event in told["batch"]:
            assert event.keys() == {"id", "type", "timestamp", "body"} and _TIME.fullmatch(event["timestamp"])
            body = event["body"]
            assert isinstance(body["id"], str)
            assert None not in body.values()
            if event["type"] == "trace-create":
                assert body.keys() <= set(
                    "id timestamp name userId sessionId release version metadata tags environment input output public".split()
                )
                assert all(isinstance(tag, str) for tag in body["tags"])
                traces.add(body["id"])
            else:
                assert event["type"] == "generation-create"
                assert body["traceId"] in traces, "a generation belongs to a trace that is known"
                self._check_generation(body)
            if body.get("traceId", body["id"]) in self.bad:
                errors.append({"id": event["id"], "status": self.bad_status, "message": "Invalid request data"})
            else:
                successes.append({"id": event["id"], "status": 201})
                if event["type"] == "generation-create":
                    self.taken.append(body["traceId"])
        return 207, json.dumps({"successes": successes, "errors": errors}).encode()

    def _check_generation(self, body: dict[str, Any]) -> None:
        assert body.keys() <= set(
            "id traceId parentObservationId name startTime endTime completionStartTime model modelParameters input output usage "
            "usageDetails costDetails level statusMessage version environment metadata promptName promptVersion".split()
        )
        assert all(_TIME.fullmatch(body[name]) for name in ("startTime", "endTime"))
        assert body["level"] in ("DEBUG", "DEFAULT", "WARNING", "ERROR")
        for value in body["modelParameters"].values():
            assert value is None or isinstance(value, str | int | float | bool)
        if "usage" in body:
            usage, details = body["usage"], body["usageDetails"]
            assert usage["unit"] == "TOKENS" and usage["total"] == usage["input"] + usage["output"]
            assert all(isinstance(count, int) and count >= 0 for count in details.values())
            assert sum(count for name, count in details.items() if name != "total") == details["total"]


class HeliconeStandIn(Vendor):
    """``POST /oai/v1/log``, ``/anthropic/v1/log`` and ``/custom/v1/log``."""

    def take(self, asked: Asked) -> tuple[int, bytes]:
        if asked.headers.get("authorization") != f"Bearer {HELICONE}":
            return 401, b'{"error":"Invalid API key"}'
        assert asked.path in ("/oai/v1/log", "/anthropic/v1/log", "/custom/v1/log")
        told = asked.json
        assert told.keys() == {"providerRequest", "providerResponse", "timing"}
        request, response, timing = told["providerRequest"], told["providerResponse"], told["timing"]
        assert request.keys() == {"url", "json", "meta"} and isinstance(request["json"]["model"], str)
        assert (request["url"] == "custom-model-nopath") == (asked.path == "/custom/v1/log")
        assert all(isinstance(value, str) for value in request["meta"].values())
        assert isinstance(response["status"], int) and isinstance(response["json"], dict)
        for name in ("startTime", "endTime"):
            moment = timing[name]
            assert moment.keys() == {"seconds", "milliseconds"} and 0 <= moment["milliseconds"] < 1000
        self.taken.append(request["meta"]["Helicone-Request-Id"])
        return 200, b"{}"


class MLflowStandIn(Vendor):
    """``POST /v1/traces`` in OTLP's protobuf, and how experiments are found and made."""

    experiments: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.experiments = {"Default": "0"}

    def take(self, asked: Asked) -> tuple[int, bytes]:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, b"You are not authenticated."
        if asked.path == "/api/2.0/mlflow/experiments/search":
            found = re.fullmatch(r"name = '(.*)'", asked.json["filter"])
            assert found is not None and asked.json["max_results"] > 0
            name = found[1].replace("''", "'")
            rows = [{"experiment_id": self.experiments[name], "name": name}] if name in self.experiments else []
            return 200, json.dumps({"experiments": rows} if rows else {}).encode()
        if asked.path == "/api/2.0/mlflow/experiments/create":
            self.experiments[asked.json["name"]] = number = str(len(self.experiments))
            return 200, json.dumps({"experiment_id": number}).encode()
        assert asked.path == "/v1/traces" and asked.headers["content-type"] == "application/x-protobuf"
        if asked.headers["x-mlflow-experiment-id"] not in self.experiments.values():
            return 404, b"No Experiment"
        for resource in fields(asked.body)[1]:
            assert attributes(fields(resource)[1][0], 1)["service.name"]
            for scope in fields(resource)[2]:
                for span in fields(scope)[2]:
                    found = fields(span)
                    assert len(found[1][0]) == 16 and len(found[2][0]) == 8 and found[5][0] and 4 not in found
                    start, end = found[7][0], found[8][0]
                    assert 1_600_000_000 * 10**9 < start <= end
                    status = fields(found[15][0])
                    assert status[3][0] in (1, 2)
                    told = attributes(span, 9)
                    assert told["mlflow.spanType"] in ("CHAT_MODEL", "LLM", "EMBEDDING", "RERANKER")
                    self.taken.append(told["litellm_call_id"])
                    self.spans.append(told)
        return 200, b""

    @property
    def spans(self) -> list[dict[str, Any]]:
        return self.__dict__.setdefault("_spans", [])


class OtelStandIn(Vendor):
    """A receiver of OTLP over HTTP (``POST /v1/traces``, protobuf). ``spans``: what came, read by a reader of its own."""

    credential = f"Bearer {OTEL}"

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[dict[str, Any]] = []
        self.rejects = 0

    def take(self, asked: Asked) -> tuple[int, bytes]:
        if asked.headers.get("authorization") != self.credential:
            return 401, b"no"
        assert asked.path.endswith("/v1/traces") and asked.headers["content-type"] == "application/x-protobuf"
        for resource in fields(asked.body)[1]:
            who = attributes(fields(resource)[1][0], 1)
            assert who["service.name"]
            for scope in fields(resource)[2]:
                assert fields(fields(scope)[1][0])[1][0] == b"penstock"
                for data in fields(scope)[2]:
                    span = self._span(data)
                    self.spans.append(span | {"service": who["service.name"]})
                    call = span["attributes"]["penstock.call_id"]
                    if call not in self.taken:
                        self.taken.append(call)
        if self.rejects:
            return 200, b"\x0a\x05\x08" + bytes((self.rejects,)) + b"\x12\x01x"
        return 200, b""

    def _span(self, data: bytes) -> dict[str, Any]:
        found = fields(data)
        assert len(found[1][0]) == 16 and len(found[2][0]) == 8 and found[5][0] and found[6][0] in (2, 3)
        assert 1_600_000_000 * 10**9 < found[7][0] <= found[8][0]
        status = fields(found[15][0])
        events = [fields(event) for event in found.get(11, [])]
        assert all(found[7][0] - 10**9 < event[1][0] <= found[8][0] + 10**9 for event in events)
        return {
            "trace": found[1][0].hex(),
            "id": found[2][0].hex(),
            "state": found.get(3, [b""])[0].decode(),
            "parent": found.get(4, [b""])[0].hex(),
            "name": found[5][0].decode(),
            "kind": {2: "server", 3: "client"}[found[6][0]],
            "start": found[7][0],
            "end": found[8][0],
            "events": [event[2][0].decode() for event in events],
            "status": status.get(3, [0])[0],
            "message": status.get(2, [b""])[0].decode(),
            "attributes": attributes(data, 9),
        }


class LangfuseOtelStandIn(OtelStandIn):
    """Langfuse as a receiver of OTLP, at ``/api/public/otel``."""

    credential = "Basic " + base64.b64encode(f"{PUBLIC}:{SECRET}".encode()).decode()

    def take(self, asked: Asked) -> tuple[int, bytes]:
        assert asked.path == "/api/public/otel/v1/traces"
        return super().take(asked)


class DatadogStandIn(Vendor):
    """``POST /api/v2/logs``: at most 1,000 entries, 5 MB in all, 1 MB each."""

    def take(self, asked: Asked) -> tuple[int, bytes]:
        if asked.headers.get("dd-api-key") != DATADOG:
            return 403, b'{"errors":[{"status":"403","title":"Forbidden"}]}'
        assert asked.path == "/api/v2/logs" and asked.headers["content-type"] == "application/json"
        assert 0 < len(asked.json) <= 1000 and len(asked.body) < 5_000_000
        for entry in asked.json:
            assert entry.keys() == {"ddsource", "ddtags", "hostname", "message", "service", "status"}
            assert all(isinstance(value, str) and value for value in entry.values()) and len(entry["message"]) < 1_000_000
            assert all(":" in tag for tag in entry["ddtags"].split(",")) and entry["status"] in ("info", "error")
            told = json.loads(entry["message"])
            assert entry["status"] == ("error" if told["status"] == "failure" else "info")
            self.taken.append(told["litellm_call_id"])
        return 202, b"{}"


class DatadogLLMStandIn(Vendor):
    """``POST /api/intake/llm-obs/v1/trace/spans``."""

    def take(self, asked: Asked) -> tuple[int, bytes]:
        if asked.headers.get("dd-api-key") != DATADOG:
            return 403, b"{}"
        assert asked.path == "/api/intake/llm-obs/v1/trace/spans"
        assert asked.json["data"]["type"] == "span"
        told = asked.json["data"]["attributes"]
        assert told["ml_app"] and isinstance(told["tags"], list)
        for span in told["spans"]:
            assert span["parent_id"] == "undefined" and int(span["trace_id"]) > 0 and int(span["span_id"]) > 0
            assert span["start_ns"] > 1_600_000_000 * 10**9 and span["duration"] >= 0 and span["name"]
            meta = span["meta"]
            assert meta["kind"] in ("llm", "embedding") and (span["status"] == "error") == ("error" in meta)
            for side in ("input", "output"):
                for message in meta[side]["messages"]:
                    assert isinstance(message["role"], str) and isinstance(message["content"], str)
            assert all(isinstance(value, int | float) for value in span["metrics"].values())
            self.taken.append(meta["metadata"]["call_id"])
        return 202, b""


class BucketStandIn(Vendor):
    """Objects of S3's (``PUT /bucket/name``, signed), or of Google's (``POST /upload/storage/v1/b/bucket/o``)."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Any] = {}

    def take(self, asked: Asked) -> tuple[int, bytes]:
        parts = urlsplit(asked.path)
        if parts.path.startswith("/upload/"):
            assert parts.path == "/upload/storage/v1/b/records/o"
            query = parse_qs(parts.query)
            assert query["uploadType"] == ["media"]
            [name] = query["name"]
        else:
            if f"Credential={PUBLIC}/" not in asked.headers.get("authorization", ""):
                return 403, b"<Error><Code>InvalidAccessKeyId</Code></Error>"
            assert asked.headers["authorization"].startswith("AWS4-HMAC-SHA256 ") and parts.path.startswith("/records/")
            name = unquote(parts.path.removeprefix("/records/"))
        told = asked.json
        day, _, last = name.removeprefix("logs/").partition("/")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", day) and told["litellm_call_id"] in last
        if name not in self.objects:
            self.objects[name] = told
            self.taken = sorted([*self.taken, told["litellm_call_id"]], key=lambda call: int(call.rpartition("-")[2], 16))
        return 200, b"{}"


class WebhookStandIn(Vendor):
    """Takes lists of payloads."""

    def take(self, asked: Asked) -> tuple[int, bytes]:
        assert asked.headers["x-own"] == "yes"
        for payload in asked.json:
            assert isinstance(payload["metadata"], dict) and payload["status"] in ("success", "failure")
            self.taken.append(payload["litellm_call_id"])
        return 200, b"ok"


# A reader of protobuf's wire of its own: fields by number, in their order. ----------------------------------------------


def fields(data: bytes) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            value: Any = varint()
        elif kind == 1:
            value = int.from_bytes(data[at : at + 8], "little")
            at += 8
        else:
            assert kind == 2
            size = varint()
            value = data[at : at + size]
            assert len(value) == size
            at += size
        found.setdefault(number, []).append(value)
    return found


def attributes(message: bytes, number: int) -> dict[str, Any]:
    rows = [fields(row) for row in fields(message).get(number, [])]
    return {row[1][0].decode(): _value(row[2][0]) for row in rows}


def _value(data: bytes) -> Any:
    found = fields(data)
    if not found:
        return None
    (kind, [value]), = found.items()
    if kind == 1:
        return value.decode()
    if kind == 2:
        return bool(value)
    if kind == 3:
        return value - 2**64 if value >= 2**63 else value
    if kind == 4:
        return struct.unpack("<d", value.to_bytes(8, "little"))[0]
    if kind == 5:
        return [_value(one) for one in fields(value).get(1, [])]
    return attributes(value, 1)


@asynccontextmanager
async def open_vendor(vendor: Vendor) -> AsyncIterator[Vendor]:
    """Serve a stand-in."""
    await vendor.start()
    try:
        yield vendor
    finally:
        await vendor.stop()

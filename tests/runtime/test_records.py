"""The log: the exact shape of a line, one line per record whatever a client calls itself, and nothing lost."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.ir import Usage
from penstock.core.record import Record
from penstock.runtime import output, records
from penstock.runtime.record_text import as_json, as_text
from penstock.runtime.records import LogSink, Records

CALL = Record(
    at=1795165200.1239,
    call_id="c-1",
    request_id="r-1",
    key="master",
    client="127.0.0.1",
    method="POST",
    path="/v1/chat/completions",
    model="m",
    target="openai/gpt-4o",
    status=200,
    ms=12.345,
    ttft_ms=4.06,
    tries=1,
    stream=True,
    usage=Usage(fresh=7, cache_read=2, output=3),
    bytes_out=812,
    cost=Decimal("0.00005"),
)
FAILED = replace(
    CALL,
    status=502,
    error="broken_stream",
    message="It's\nbroken",
    usage=None,
    cost=None,
    ttft_ms=None,
    dropped=("n",),
    key="",
)
PAGE = Record(at=0.0, call_id="c-2", request_id="", key="", client="", method="GET", path="/v1/models", status=200)


def test_a_line_of_text():
    assert as_text(CALL) == (
        "2026-11-20T09:00:00.123Z call=c-1 key=master model=m target=openai/gpt-4o 200 12.3ms ttft=4.1ms"
        " in=9 out=3 cost=0.00005 bytes=812\n"
    )
    assert as_text(replace(CALL, usage=Usage(fresh=1, estimated=True))).endswith(
        " in=1 out=0~ cost=0.00005 bytes=812\n"
    )
    assert as_text(FAILED) == (
        "2026-11-20T09:00:00.123Z call=c-1 key=- model=m target=openai/gpt-4o 502 12.3ms"
        ' bytes=812 error=broken_stream "It\'s\\nbroken"\n'
    )
    assert as_text(PAGE) == "1970-01-01T00:00:00.000Z call=c-2 key=- GET /v1/models 200 0.0ms bytes=0\n"


def test_a_line_of_json():
    assert json.loads(as_json(CALL)) == {
        "time": "2026-11-20T09:00:00.123Z",
        "level": "INFO",
        "call_id": "c-1",
        "request_id": "r-1",
        "key": "master",
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "m",
        "target": "openai/gpt-4o",
        "status": 200,
        "ms": 12.345,
        "ttft_ms": 4.06,
        "tokens_in": 9,
        "tokens_out": 3,
        "bytes": 812,
        "stream": True,
        "tries": 1,
        "cost": 0.00005,
    }
    failed = json.loads(as_json(FAILED))
    assert failed["level"] == "ERROR" and failed["error"] == "broken_stream" and failed["dropped"] == ["n"]
    assert failed["tokens_in"] is failed["ttft_ms"] is failed["key"] is None


AWKWARD = st.text(max_size=30) | st.sampled_from(
    ["a\nb", "a\r\n2026-11-20T09:00:00.000Z call=x key=master", "\x1b[2J", "m key=x"]
)


@given(AWKWARD, AWKWARD, AWKWARD)
def test_a_client_writes_no_lines_of_its_own(model, path, message):
    record = replace(FAILED, model=model, path=path, message=message)
    for line in (as_text(record), as_text(replace(record, model=""))):
        assert line.endswith("\n") and len(line.splitlines()) == 1
        assert line[:-1].isprintable()
        assert line.split()[1:3] == ["call=c-1", "key=-"]
    line = as_json(record)
    assert line.count("\n") == 1 and json.loads(line)["path"] == path


def test_a_giant_of_a_path_is_cut():
    assert len(as_text(replace(PAGE, path="/" + "x" * 50_000))) < 500


def lines_of(count: int) -> list[Record]:
    return [replace(PAGE, call_id=f"c-{n}") for n in range(count)]


def test_nothing_is_lost_and_order_is_kept_when_the_reader_is_slow():
    reader, writer = os.pipe()
    sink = LogSink(as_text, os.fdopen(writer, "w"))
    due: list = []
    sink.call_later = lambda after, flush: due.append((after, flush))
    got = io.BytesIO()

    def read() -> None:
        time.sleep(0.05)  # the pipe is full by then: 64 KB
        while data := os.read(reader, 50_000):
            got.write(data)
            time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    began = time.perf_counter()
    for record in lines_of(3000):
        sink.put(record)
    assert time.perf_counter() - began < 1.0, "nobody waits for the reader"
    sink.line("the end\n")
    sink.close()
    sink.output._stream.close()
    thread.join(5)
    lines = got.getvalue().decode().splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [f"call=c-{n}" for n in range(3000)]
    assert lines[-1] == "the end"
    assert due and due[0][0] == records.FLUSH_AFTER


class Stuck(io.StringIO):
    """A reader that does not read until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait(5)
        return super().write(text)


def test_lines_over_the_bound_are_counted_and_the_count_is_told(monkeypatch):
    monkeypatch.setattr(output, "KEEP_AT_MOST", 50)
    stream = Stuck()
    sink = LogSink(as_text, stream)
    for record in lines_of(80):
        sink.put(record)
    stream.go.set()
    sink.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 51 and lines[-1] == "30 lines were not written: nobody read the log"
    sink.put(PAGE)
    sink.close()
    assert stream.getvalue().splitlines()[-1] == as_text(PAGE)[:-1], "there is a reader again"


def test_the_bound_counts_right_over_many_batches(monkeypatch):
    """Once one counter was changed by two threads: it crept up until lines were dropped for good."""
    monkeypatch.setattr(output, "KEEP_AT_MOST", 5000)
    stream = io.StringIO()
    sink = LogSink(as_text, stream)
    for _ in range(4):
        for record in lines_of(2000):
            sink.put(record)
        end = time.monotonic() + 5
        while sink.output.waiting and time.monotonic() < end:
            time.sleep(0.001)
    sink.close()
    assert len(stream.getvalue().splitlines()) == 8000


def test_the_writer_ends_with_the_sink():
    sink = LogSink(as_text, io.StringIO())
    sink.put(PAGE)
    thread = sink.output._thread
    assert thread is not None and thread.daemon
    sink.close()
    assert not thread.is_alive()
    assert sum(t.name == "log" and t is thread for t in threading.enumerate()) == 0


def test_a_stuck_reader_does_not_keep_the_gateway_from_ending(monkeypatch):
    stream = Stuck()
    sink = LogSink(as_text, stream)
    sink.put(PAGE)
    assert sink.output._thread is not None
    joined = []
    monkeypatch.setattr(sink.output._thread, "join", joined.append)
    sink.close()
    assert joined == [2.0]
    stream.go.set()


@pytest.mark.parametrize("trouble", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_closed_output_ends_the_log_and_nothing_else(trouble):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise trouble

    sink = LogSink(as_text, Closed())
    for record in lines_of(10):
        sink.put(record)
    sink.close()
    assert sink.output._written == sink.output.lost == 10


def test_letters_that_the_output_does_not_have_are_escaped():
    raw = io.BytesIO()
    sink = LogSink(as_text, io.TextIOWrapper(raw, "latin-1"))
    sink.put(replace(PAGE, path="/漢"))
    sink.put(PAGE)
    sink.close()
    assert b"GET /\\u6f22 200" in raw.getvalue() and b"GET /v1/models" in raw.getvalue()


def test_a_record_goes_to_every_sink_once():
    class Kept(list):
        closed = False

        def put(self, record: Record) -> None:
            self.append(record)

        def close(self) -> None:
            self.closed = True

    sinks = [Kept(), Kept()]
    fan = Records(sinks)
    fan.put(PAGE)
    fan.close()
    assert sinks == [[PAGE], [PAGE]] and all(sink.closed for sink in sinks)

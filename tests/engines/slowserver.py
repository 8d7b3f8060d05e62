"""A stand-in for any model server: it loads for a while, and what a message says decides how its answer goes.

`--port N [--load SECONDS] [--model NAME] [--fail FILE]`: with ``--fail`` it ends while it loads for as long as the file
is there. Words of the last message: `slow S` takes S seconds; `crash` ends the server in the middle of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = ""
    ready = False

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _send(self, status: int, body: object, kind: str = "application/json") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self._send(200 if self.ready and self.path == "/up" else 503, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = str(body["messages"][-1]["content"]).split()
        print(f"asked for {' '.join(words)}", flush=True)
        seconds = float(words[1]) if words[:1] == ["slow"] else 0.0
        if body.get("stream"):
            self._stream(words, seconds)
            return
        time.sleep(seconds)
        if words == ["crash"]:
            self._crash()
        message = {"role": "assistant", "content": f"{self.model} says hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.model}
        self._send(200, {**answer, "choices": [choice], "usage": usage})

    def _stream(self, words: list[str], seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        steps = max(2, int(seconds / 0.2))
        for number in range(steps):
            self._event({"role": "assistant", "content": f"{number} "})
            if number == 1 and words == ["crash"]:
                self._crash()
            time.sleep(seconds / steps)
        self._event({}, "stop")
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, delta: dict[str, Any], end: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": self.model, "choices": [choice]}
        self._chunk(b"data: " + json.dumps(told).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _crash(self) -> None:
        print("GGML_ASSERT: the server met a bug", flush=True)
        os._exit(9)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--load", type=float, default=0.1)
    parser.add_argument("--model", default="m")
    parser.add_argument("--fail", type=Path)
    found = parser.parse_args()
    Handler.model = found.model

    def load() -> None:
        print(f"loading {found.model} with {os.environ.get('CUDA_VISIBLE_DEVICES', 'no')} devices", flush=True)
        time.sleep(found.load)
        if found.fail is not None and found.fail.exists():
            print("error: out of memory", file=sys.stderr, flush=True)
            os._exit(3)
        Handler.ready = True

    server = ThreadingHTTPServer(("127.0.0.1", found.port), Handler)
    threading.Thread(target=load, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()

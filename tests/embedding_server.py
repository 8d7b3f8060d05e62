"""An upstream that embeds texts by the words in them: texts with the same words are near, those with others are not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

SIZE = 64


class EmbeddingServer:
    """``asked``: the bodies of all requests; ``vectors``: of texts whose vectors are not made of their words; ``delay``
    and ``status``: of all answers; ``answer``: instead of vectors."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.words: dict[str, int] = {}
        self.vectors: dict[str, list[float]] = {}
        self.delay, self.status, self.port = 0.0, 200, 0
        self.answer: Any = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def vector(self, text: str) -> list[float]:
        made = [0.0] * SIZE
        for word in text.lower().replace("?", "").split():
            made[self.words.setdefault(word, len(self.words)) % SIZE] += 3.0  # of no length in particular
        return self.vectors.get(text, made)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = dict(line.lower().split(": ", 1) for line in head.decode("latin-1").strip().split("\r\n")[1:])
                body = json.loads(await reader.readexactly(int(lines["content-length"])))
                self.asked.append(body)
                await asyncio.sleep(self.delay)
                texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
                rows = [{"object": "embedding", "index": n, "embedding": self.vector(t)} for n, t in enumerate(texts)]
                told: Any = {"object": "list", "data": rows, "model": body["model"], "usage": {"prompt_tokens": 5, "total_tokens": 5}}
                if self.status != 200:
                    told = {"error": {"message": "no vectors today", "type": "x", "code": None, "param": None}}
                data = json.dumps(told if self.answer is None else self.answer).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (self.status, len(data), data))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def open_embedding_server() -> AsyncIterator[EmbeddingServer]:
    made = EmbeddingServer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()

"""The engine without a server: a call that comes in by an exchange of this process, and nothing of the server loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from penstock.mock import Mock
from tests.rules.repo import ROOT

PROGRAM = """
import asyncio, json, sys
from penstock.config import load
from penstock.core.admit.caller import NOBODY
from penstock.core.providers.resolve import resolve
from penstock.runtime.call import Call
from penstock.runtime.chats import CHAT, MESSAGES
from penstock.runtime.engine import Engine
from penstock.runtime.exchange import CollectedExchange
from penstock.runtime.gate import Gate
from penstock.runtime.http import Pool
from penstock.runtime.identity import Identity
from penstock.runtime.records import Records
from penstock.runtime.state import State

class Kept:
    def __init__(self): self.records = []
    def put(self, record): self.records.append(record)
    def close(self): pass

async def main(path, body, surface):
    config = load(path, {}, resolve=resolve).config
    kept, pool = Kept(), Pool()
    engine = Engine(pool, Records([kept]))
    gate, state = Gate(Identity(None, guard_loopback=False)), State(config, {})
    exchange = CollectedExchange(body=body)
    call = exchange.call = Call(exchange, engine.means, NOBODY, surface)
    assert gate.admit(call, surface) is None
    await engine.handle(call, state)
    await asyncio.sleep(0)
    await pool.close()
    [record] = kept.records
    loaded = [name for name in sys.modules if name.startswith(("penstock.server", "uvicorn"))]
    print(json.dumps({
        "status": exchange.status, "finished": exchange.finished, "answer": exchange.answer.decode(),
        "head": exchange.head.decode(), "lane": record.lane, "model": record.model, "loaded": loaded,
    }))

surface = {"chat": CHAT, "messages": MESSAGES}[sys.argv[3]]
asyncio.run(main(__import__("pathlib").Path(sys.argv[1]), sys.argv[2].encode(), surface))
"""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("surface", "lane"), [("chat", "same"), ("messages", "cross")])
async def test_the_engine_answers_without_the_server(tmp_path, surface, lane, stream):
    async with Mock() as mock:
        config = tmp_path / "config.yaml"
        entry = {
            "model_name": "m",
            "litellm_params": {"model": "openai/x", "api_base": f"{mock.url}/v1", "api_key": "k"},
        }
        config.write_text(json.dumps({"model_list": [entry]}))
        body = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        command = [sys.executable, "-c", PROGRAM, str(config), json.dumps(body), surface]
        from asyncio import create_subprocess_exec

        process = await create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    told = json.loads(out)
    assert told["loaded"] == [], "the server's modules are the server's"
    assert told["status"] == 200 and told["finished"] and told["lane"] == lane and told["model"] == "m"
    assert "x-litellm-call-id: " in told["head"]
    if not stream:
        assert json.loads(told["answer"])["model"] == "m"
    elif surface == "chat":
        assert told["answer"].endswith("data: [DONE]\n\n")
    else:
        assert told["answer"].rstrip().endswith('{"type":"message_stop"}')

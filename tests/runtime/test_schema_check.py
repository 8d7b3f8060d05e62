"""The check itself, here and in the other process; a schema that takes for ever holds up nobody."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from penstock.runtime import children, schema_check
from penstock.runtime.schema_check import Bad, Check, Slow, fault

CITY = b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'


@pytest.mark.parametrize(
    ("check", "text", "why"),
    [
        (Check("json_schema", CITY), '{"city": "Rome"}', None),
        (Check("json_schema", CITY), '{"city": 5}', '$.city: the value is not of type "string"'),
        (Check("json_schema", CITY), "{}", '$: "city" is a required property'),
        (Check("json_schema", CITY), '{"city": "Ro', "it is not JSON"),
        (Check("json_schema", CITY), '```json\n{"city": "Rome"}\n```', "it is not JSON"),
        (Check("json_schema", b'{"items":{"type":"integer"}}'), '[1, "x"]', "$[1]: the value is not of type"),
        (Check("json_schema", CITY), "[" * 100_000, "it is nested too deeply"),
        (Check("json_schema", b'{"const":1}'), "NaN", "it is not JSON"),
        (Check("json_object", b""), "[]", "not an object"),
        (Check("json_object", b""), "{}", None),
        (Check("choice", b'["a","b\\n"]'), "b\n", None),
        (Check("choice", b'["a","b"]'), "a ", "none of the 2 choices"),
        (Check("regex", b"a|bc"), "bc", None),
        (Check("regex", b"a|bc"), "abc", "does not match"),
        (Check("regex", b"a"), "a\n", "does not match"),
        (Check("regex", rb"(?=a)\w+"), "abc", None),
    ],
)
def test_faults(check, text, why):
    found = fault(check, text)
    assert found is None if why is None else found is not None and why in found


@pytest.mark.parametrize("wanted", [b'{"type":"objct"}', b'{"$ref":"http://h/x"}', b'{"pattern":"("}'])
def test_a_bad_schema_says_why(wanted):
    with pytest.raises(Bad, match="."):
        schema_check.compile_(Check("json_schema", wanted))


def test_an_expression_that_backtracks_for_ever_ends():
    began = time.monotonic()
    assert fault(Check("regex", rb"(a+)+(?!x)b"), "a" * 5000) == "it does not match the expression"
    assert time.monotonic() - began < 2


def _endless() -> bytes:
    defs: dict[str, object] = {"n0": {"type": "integer"}}
    for n in range(1, 60):
        defs[f"n{n}"] = {"anyOf": [{"properties": {"a": {"$ref": f"#/$defs/n{n - 1}"}}, "required": ["a"]}] * 2}
    branch = {"anyOf": [{"items": {"$ref": "#/$defs/deep"}, "minItems": 1}, {"items": {"$ref": "#/$defs/deep"}, "maxItems": 9}]}
    defs["deep"] = {"anyOf": [{"type": "integer"}, {"type": "array", "allOf": [branch]}]}
    return json.dumps({"$defs": defs, "$ref": "#/$defs/deep"}).encode()


async def test_a_schema_that_takes_for_ever_ends_and_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(schema_check, "DEADLINE", 3.0)
    text = "[" * 40 + '"x"' + "]" * 40
    late = 0.0

    async def beat() -> None:
        nonlocal late
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            late = max(late, time.monotonic() - before)

    heart = asyncio.create_task(beat())
    with pytest.raises(Slow):
        await schema_check.run(Check("json_schema", _endless()), text)
    heart.cancel()
    assert late < 2
    good = Check("json_schema", b'{"$ref":"#/$defs/a","$defs":{"a":{"type":"integer"}}}')
    assert await schema_check.run(good, "1") is None, "a new process took the place of the old"
    assert "not of type" in str(await schema_check.run(good, '"x"'))


def _environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to look into a process")
async def test_large_texts_go_to_the_other_process_which_knows_no_keys(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(schema_check, "CHILDREN", children.Children(1))
    check = Check("json_schema", b'{"type":"array","items":{"type":"integer"}, "description": "%s"}' % (b"x" * 2000))
    large = json.dumps(list(range(100_000)))
    assert await schema_check.run(check, large) is None
    (pid,) = schema_check.CHILDREN.pids
    assert pid != os.getpid() and b"sk-secret" not in _environment(pid)
    schema_check.CHILDREN.close()


async def test_slow_checks_leave_the_pool_of_credentials_and_uploads_alone(monkeypatch):
    monkeypatch.setattr(schema_check, "DEADLINE", 2.0)
    text = "[" * 40 + '"x"' + "]" * 40
    checks = [asyncio.create_task(schema_check.run(Check("json_schema", _endless()), text)) for _ in range(40)]
    await asyncio.sleep(0.3)
    begun = time.monotonic()
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "a token"), 1.0) == "a token"
    assert time.monotonic() - begun < 1.0
    assert len(schema_check.CHILDREN.pids) <= 2
    told = await asyncio.gather(*checks, return_exceptions=True)
    assert {type(one) for one in told} == {Slow}, "those that were never begun, too, in a bounded time"
    assert time.monotonic() - begun < 3 * 2.0 + 3

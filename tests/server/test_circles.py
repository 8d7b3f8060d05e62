"""No way in which a request can end leaves a circle of references: all that is its own is freed at once, by counts, at
both doors; nothing of it is held on to, and what was counted as held is given back.

A circle waits for the collector, which then stops every other request for some milliseconds, and which counts objects
and not bytes: bodies of 30 MB waited for it by the dozen. Here the collector is off; what it finds afterwards of our own
is what was left."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import types
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.core.errors import GatewayError
from penstock.mock import Script
from penstock.runtime.attempt import Attempt
from penstock.runtime.call import Call
from penstock.runtime.exchange import Exchange
from penstock.runtime.ops.upload import Upload
from penstock.runtime.outlet import Outlet
from tests.door import Door, open_door
from tests.server.test_asgi import under_uvicorn
from tests.server.ways import CONFIG, KEY, WAYS, Way, put


def ours(found: object) -> str:
    """What an object is, if it is of our making: a type of ours, a function or a frame of our code. "" for others'."""
    if type(found) in weakref.ProxyTypes:  # a look at one asks what it stands for, which may be gone
        return ""
    if isinstance(found, types.FrameType):
        path = Path(found.f_code.co_filename)
        inside = path.is_relative_to(Path(penstock.__file__).parent) and "mock" not in path.parts
        return f"a frame of {found.f_code.co_qualname}" if inside else ""
    if isinstance(found, types.FunctionType | types.CoroutineType | types.MethodType):
        kind = f"{type(found).__name__} {getattr(found, '__qualname__', repr(found))}"
        module = getattr(found, "__module__", None) or str(getattr(found, "cr_code", None))
    else:
        kind, module = type(found).__name__, type(found).__module__
    if isinstance(found, types.CoroutineType):
        inside = f'"{Path(penstock.__file__).parent}{os.sep}' in module
        return kind if inside and f"{os.sep}mock{os.sep}" not in module else ""
    return kind if module.startswith("penstock.") and not module.startswith("penstock.mock") else ""


OWN = (Exchange, Call, Attempt, Outlet, Upload)
_TESTS = Path(__file__).parents[1]
BEGINS = (b'{"model": "m"', b'{"messages"')


def holds_body(found: object) -> bool:
    """Whether an object of whatever type holds a body as it came from the client, or its first part."""
    # By type: to ask isinstance is to look through a weak reference, at what may be gone.
    if type(found) is types.FrameType and Path(found.f_code.co_filename).is_relative_to(_TESTS):
        return False  # the client's, whose sending broke off
    held = (one for one in gc.get_referents(found) if type(one) in (bytes, bytearray) and len(one) > 1_000)
    return any(one.startswith(BEGINS) for one in held)


def alive() -> Counter[str]:
    """What is held on to: all that lives of a request."""
    own = (one for one in gc.get_objects() if type(one) not in weakref.ProxyTypes)
    return Counter(type(one).__name__ for one in own if isinstance(one, OWN))


async def left_by(way: Way, door: Door) -> Counter[str]:
    """What the collector finds of ours after a request has gone this way, what lives on, and what still counts as
    held."""
    door.mock.script = Script()
    await way(door)
    await door.settle()
    door.mock.script = Script()
    for _ in range(20):  # connections are told of their ends, records are written
        await asyncio.sleep(0.001)
    held = Counter({"held": door.gateway.held.size} if door.gateway.held.size else {})
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        bodies = Counter(f"a body in a {type(one).__name__}" for one in gc.garbage if holds_body(one))
        return Counter(filter(None, map(ours, gc.garbage))) + bodies + held
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()  # what was kept to be looked at


PLACES = [(door, name) for door in ("quick", "asgi") for name in WAYS]


@pytest.mark.parametrize(("place", "name"), PLACES)
async def test_nothing_is_left_for_the_collector(place, name, tmp_path):
    way = WAYS[name]
    env = {"OPENAI_API_KEY": "sk-upstream-secret", "OPENAI_API_BASE": "{mock}/v1"}
    more: dict[str, Any] = {"yaml": CONFIG, "master_key": KEY, "env": env}
    async with open_door(tmp_path, **more) if place == "quick" else under_uvicorn(tmp_path, "httptools", **more) as door:
        await left_by(way, door)  # the first time things are loaded and built
        gc.disable()
        try:
            before = alive()
            left = await left_by(way, door)
            kept = alive() - before
        finally:
            gc.enable()
        assert not left and not kept


@pytest.fixture(scope="module", autouse=True)
def nothing_else_is_looked_at() -> Iterator[None]:
    """What stands before the first test is no concern of the collector's: each look at it took 0.3 s. It stays so:
    there is one frozen generation, and tests/conftest.py has put all tests there. And the log is off: pytest keeps what
    is logged, with the frames of what was raised."""
    gc.collect()
    gc.freeze()
    with put(logging.getLogger("penstock"), "disabled", True):
        yield


async def test_a_circle_would_be_found(tmp_path):
    gc.collect()
    async with open_door(tmp_path, CONFIG, master_key=KEY) as door:

        async def way(door: Door) -> None:
            await WAYS["whole, same lane"](door)
            error = GatewayError("connect", "it holds itself")
            error.__cause__ = GatewayError("connect", "which holds it")
            error.__cause__.__cause__ = error

        assert await left_by(way, door) == {"GatewayError": 2}

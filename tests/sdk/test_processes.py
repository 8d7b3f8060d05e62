"""The SDK in programs of all kinds: threads, several loops, forks, the end of the interpreter; and what it costs to import."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock, Rule, Script, Step, ThreadMock
from penstock.sdk import background
from tests.sdk.conftest import ASKED

MODEL = "openai/gpt-4o-mini"


def run(program: str, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def test_importing_costs_nothing_and_loads_nothing() -> None:
    program = "import sys; before = set(sys.modules); import penstock, penstock.sdk\n"
    program += "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('penstock')))\n"
    program += "print([name for name in sys.modules if name.startswith('penstock.')])"
    loaded, ours = run(program).stdout.splitlines()
    assert ours == "['penstock.sdk']"
    assert not {"asyncio", "msgspec", "openai", "httpx"} & set(loaded.split())


def test_many_threads_have_their_answers(to: dict[str, Any]) -> None:
    found: dict[int, str] = {}

    def work(number: int) -> None:
        for turn in range(5):
            asked = [{"role": "user", "content": f"{number}.{turn}"}]
            if turn % 2:
                text = "".join(one.choices[0].delta.content for one in sdk.completion(MODEL, asked, stream=True, **to))
            else:
                text = sdk.completion(MODEL, asked, **to).choices[0].message.content
            assert text == f"mock/echo: {number}.{turn}"
            found[number] = text

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 16


def test_threads_loops_and_dropped_streams_at_once_have_their_own_answers(to: dict[str, Any]) -> None:
    """Whoever calls alone waits at a bell, the others at locks, loops by events: all of it at the same time."""
    wrong: list[object] = []

    def ask(number: int) -> None:
        for turn in range(20):
            said = [{"role": "user", "content": f"{number}.{turn}"}]
            if turn % 5 == 4:
                dropped = sdk.completion(MODEL, said, stream=True, **to)
                next(dropped)
                del dropped
            if turn % 7 == 6:
                time.sleep(0.002)  # others are alone for a moment
            if number % 3:
                answer = sdk.completion(MODEL, said, **to)
            else:
                answer = asyncio.run(sdk.acompletion(MODEL, said, **to))
            if answer.choices[0].message.content != f"mock/echo: {number}.{turn}":
                wrong.append(answer)
        wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, wrong)) == [str(number) for number in range(9)]
    there, until = background.background(), time.monotonic() + 5
    while there.active and time.monotonic() < until:  # a dropped stream's request is being cancelled
        time.sleep(0.01)
    assert not there.active and not there._due
    assert len(there._bells) == (os.name == "posix")


def test_a_call_that_comes_in_while_the_sdk_is_closed_ends(to: dict[str, Any]) -> None:
    """No thread is left waiting at a bell that nobody rings."""
    ended: list[str] = []

    def ask() -> None:
        for _ in range(40):
            try:
                ended.append(sdk.completion(MODEL, ASKED, **to).choices[0].message.content)
            except RuntimeError as error:
                ended.append(str(error))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and len(ended) < 120:
        sdk.close()
        time.sleep(0.003)
    for thread in threads:
        thread.join(30)
    assert len(ended) == 120 and "mock/echo: hello" in ended
    assert set(ended) <= {"mock/echo: hello", background._CLOSED}


INTERRUPTED = """
import os, signal, sys, threading, time
from penstock import sdk
from penstock.sdk.background import background
class Late(Exception):
    pass
def alarm(*_):
    raise Late
to = {"api_base": sys.argv[1], "api_key": "k"}
ask = lambda text: sdk.completion("openai/x", [{"role": "user", "content": text}], **to).choices[0].message.content
ask("first")
signal.signal(signal.SIGALRM, alarm)
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever is started in the background ignores Ctrl-C
for number, (kind, send) in enumerate([
    (KeyboardInterrupt, lambda: threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()),
    (Late, lambda: signal.setitimer(signal.ITIMER_REAL, 0.2)),
]):
    began = time.monotonic()
    send()
    try:
        ask("slow")
    except kind:
        print(time.monotonic() - began < 3)
    print(ask(f"after {number}"))
time.sleep(0.2)
print(len(background().active))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarms")
def test_a_signal_ends_the_wait_and_the_next_call_has_its_own_answer() -> None:
    """What was interrupted may still be told of its end: that must not be taken for the end of the next."""

    slow = Rule(contains="slow", step=Step(latency_ms=20_000))
    with ThreadMock(Script(rules=(slow,))) as mock:
        done = run(INTERRUPTED, f"{mock.url}/v1")
    assert done.stdout.split("\n")[:-1] == ["True", "mock/echo: after 0", "True", "mock/echo: after 1", "0"], (
        done.stderr
    )


def test_one_loop_after_another_uses_the_same_connections(to: dict[str, Any], mock: Mock) -> None:
    for _ in range(3):
        asyncio.run(sdk.acompletion(MODEL, ASKED, **to))
    sdk.completion(MODEL, ASKED, **to)
    assert len({one.connection_id for one in mock.received}) == 1


def test_a_closed_sdk_begins_anew(to: dict[str, Any]) -> None:
    sdk.completion(MODEL, ASKED, **to)
    before = background.background()
    sdk.close()
    assert before.loop.is_closed() and not before._thread.is_alive()
    assert sdk.completion(MODEL, ASKED, **to).choices[0].message.content == "mock/echo: hello"
    assert background.background() is not before


def test_a_call_to_a_closed_loop_is_refused() -> None:
    there, ended = background.Background(), list[str]()
    there.close()

    def ask() -> None:
        with pytest.raises(RuntimeError, match="closed"):
            there.call(asyncio.sleep(0))
        ended.append("refused")

    thread = threading.Thread(target=ask, daemon=True)  # which may wait for ever, where this fails
    thread.start()
    thread.join(10)
    assert ended == ["refused"] and not there.active


FORK = """
import os, sys
from penstock import sdk
to = {"api_base": sys.argv[1], "api_key": "k"}
ask = lambda: sdk.completion("openai/x", [{"role": "user", "content": "hello"}], **to).choices[0].message.content
assert ask() == "mock/echo: hello"
stream = sdk.completion("openai/x", [{"role": "user", "content": "hello"}], stream=True, **to)
next(stream)
child = os.fork()
if child == 0:
    try:
        stream._events.clear()
        next(stream)
        code = 3
    except RuntimeError as error:
        code = 0 if "fork" in str(error) and ask() == "mock/echo: hello" else 4
    except StopIteration:
        code = 0 if ask() == "mock/echo: hello" else 5
    sys.stdout.flush()
    os._exit(code)
_, status = os.waitpid(child, 0)
rest = "".join(chunk.choices[0].delta.content for chunk in stream)
print(os.waitstatus_to_exitcode(status), rest.endswith("hello"), ask())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_fork_begins_anew_and_its_parent_goes_on(mock: Mock) -> None:
    done = run(FORK, f"{mock.url}/v1")
    assert done.stdout.strip() == "0 True mock/echo: hello", done.stderr


EXIT = """
import atexit, sys
from penstock import sdk
heard = []
@atexit.register
def last():
    print("told", len(heard), flush=True)
to = {"api_base": sys.argv[1], "api_key": "k", "stream": True}
sdk.success_callback = [lambda response: heard.append(response)]
list(sdk.completion("openai/gpt-4o-mini", [{"role": "user", "content": "hello"}], **to))
left = sdk.completion("openai/gpt-4o-mini", [{"role": "user", "content": "hello"}], **to)
next(left)
KEPT = left
print("end", flush=True)
"""


def test_the_end_of_the_program_is_quick_and_quiet(mock: Mock) -> None:
    began = time.monotonic()
    done = run(EXIT, f"{mock.url}/v1")
    assert done.returncode == 0 and time.monotonic() - began < 20
    assert done.stdout.splitlines()[0] == "end"
    assert done.stderr == ""


def test_the_sdk_s_own_loop_refuses_to_wait_for_itself() -> None:
    async def inside() -> str:
        with pytest.raises(RuntimeError, match="async form"):
            sdk.completion("openai/x", ASKED, mock_response="x")
        return "refused"

    assert background.background().call(inside()) == "refused"

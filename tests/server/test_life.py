"""The life of `penstock serve` as a process: start, reload, drain, workers, its lines on standard output."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from penstock.mock import Mock, Rule, Script, Step
from tests.e2e.serving import ROOT, Served, clean_env, free_port, get, run_serve, serving, until

pytestmark = pytest.mark.serial  # signals and grace periods: each test is about who is first

KEY = "sk-life-master-51c0de77aa"
UPSTREAM = "sk-life-upstream-0b9a8c7d"
WORDS = "one two three four five six seven eight nine ten"


def config(url: str, more: str = "", model: str = "m") -> str:
    return f"""
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/real-model, api_base: "{url}/v1", api_key: {UPSTREAM}}}
router_settings: {{num_retries: 0}}
general_settings: {{master_key: {KEY}}}
{more}"""


@pytest.fixture
def mock() -> Iterator[Mock]:
    with Mock.thread() as running:
        yield running


@pytest.fixture
def served(tmp_path):
    with ExitStack() as stack:
        yield lambda yaml=None, *arguments, **env: stack.enter_context(serving(tmp_path, yaml, *arguments, **env))


class Asked:
    """A POST over a socket of its own, read as it comes."""

    def __init__(self, served: Served, stream: bool = False, model: str = "m", key: str | None = KEY, **fields: object):
        self.socket = socket.create_connection(("127.0.0.1", served.port), 5)
        self.got = b""
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream, **fields}
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n"
        head += f"authorization: Bearer {key}\r\n" if key else ""
        self.socket.sendall(head.encode() + b"\r\n" + data)

    def until(self, text: bytes, seconds: float = 5.0) -> bytes:
        """Reads until ``text`` is there (b"": to the end)."""
        self.socket.settimeout(seconds)
        while not text or text not in self.got:
            part = self.socket.recv(65536)
            if not part:
                assert not text, self.got
                break
            self.got += part
        return self.got


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: the listener went while this one stood in its line
        return True
    return False


# Stopping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_lets_streams_finish_and_refuses_newcomers(served, mock, number):
    mock.script = Script.always(text=WORDS, tokens_per_second=12)  # about 0.8 s
    gateway = served(config(mock.url))
    idle = socket.create_connection(("127.0.0.1", gateway.port))
    streams = [Asked(gateway, stream=True), Asked(gateway, stream=True), Asked(gateway)]
    for stream in streams[:2]:
        stream.until(b"one")
    mock.wait(3)
    gateway.send(number)
    until(lambda: refused(gateway.port), 2, "new connections are refused")
    idle.settimeout(2)
    assert idle.recv(1) == b"", "idle connections are closed"
    for stream in streams[:2]:
        told = stream.until(b"")
        assert told.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and b'"error"' not in told
    assert streams[2].until(b"").startswith(b"HTTP/1.1 200")
    assert gateway.process.wait(5) == 0
    assert gateway.output().count(" 200 ") == 3, gateway.output()
    assert "Traceback" not in gateway.output() and "rror" not in gateway.output()


def test_after_the_grace_period_streams_end_in_an_error_event(served, mock):
    slow = [Rule(stream=True, step=Step(stall_after_events=3)), Rule(stream=False, step=Step(latency_ms=60_000))]
    mock.script = Script(rules=slow)
    gateway = served(config(mock.url), "--grace", "0.4")
    stream = Asked(gateway, stream=True)
    stream.until(b"data: ")
    whole = Asked(gateway)
    mock.wait(2)
    began = time.monotonic()
    gateway.send(signal.SIGTERM)
    told = stream.until(b"")
    assert 0.3 < time.monotonic() - began < 2
    assert b"[DONE]" not in told and told.endswith(b"\n\n\r\n0\r\n\r\n")
    event = json.loads(told.split(b"data: ")[-1].split(b"\n\n")[0])
    assert event["error"]["code"] == "503" and "shutting down" in event["error"]["message"]
    answer = whole.until(b"")
    assert b" 503 " in answer.split(b"\r\n")[0] and b"shutting down" in answer and b"retry-after: 1" in answer
    assert gateway.process.wait(5) == 0
    mock.wait(2, complete=True)
    assert all(got.closed_early for got in mock.received), "the upstreams were told"
    assert gateway.output().count("error=draining") == 2


@pytest.mark.parametrize(
    ("number", "again"), [(signal.SIGINT, "Ctrl-C again ends it now"), (signal.SIGTERM, "a second signal ends it now")]
)
def test_a_second_signal_ends_the_grace_period(served, mock, number, again):
    mock.script = Script.always(stall_after_events=3)
    gateway = served(config(mock.url))
    stream = Asked(gateway, stream=True)
    stream.until(b"data: ")
    gateway.send(number)
    gateway.says(f"WARNING penstock: waiting for 1 request to finish (at most 30 s); {again}")
    gateway.send(number)  # a wrapper passes on what the terminal sent already: this is the same press
    time.sleep(0.7)
    assert gateway.process.poll() is None
    gateway.send(number)
    assert gateway.process.wait(3) == 0
    assert b"shutting down" in stream.until(b"")
    assert gateway.output().count("waiting for") == 1


def test_what_is_waited_for_is_a_line_of_the_log_and_nothing_is_no_line(served, mock):
    mock.script = Script.always(text=WORDS, tokens_per_second=12)
    gateway = served(config(mock.url), "--log-format", "json", "--grace", "5")
    streams = [Asked(gateway, stream=True) for _ in range(2)]
    for stream in streams:
        stream.until(b"one")
    gateway.send(signal.SIGINT)
    assert gateway.process.wait(5) == 0
    told = [line for line in map(as_object, gateway.output().splitlines()) if "waiting" in line.get("message", "")]
    text = "waiting for 2 requests to finish (at most 5 s); Ctrl-C again ends it now"
    assert [(line["level"], line["message"]) for line in told] == [("WARNING", text)]

    idle = served(config(mock.url))
    assert idle.stop(signal.SIGINT) == 0
    assert "waiting" not in idle.output()


def as_object(line: str) -> dict:
    return json.loads(line) if line.startswith("{") else {}


def test_a_draining_gateway_takes_no_new_work_on_old_connections(served, mock):
    mock.script = Script.always(text=WORDS, tokens_per_second=15)
    gateway = served(config(mock.url))
    stream = Asked(gateway, stream=True)
    stream.until(b"one")
    gateway.send(signal.SIGTERM)
    until(lambda: refused(gateway.port), 2)
    # A second request on the busy connection: it is behind the answer, and the connection closes after that.
    data = b'{"model":"m","messages":[{"role":"user","content":"late"}]}'
    stream.socket.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b" % (KEY.encode(), len(data), data)
    )
    told = stream.until(b"")
    assert b"data: [DONE]" in told and b"late" not in told
    assert gateway.process.wait(5) == 0
    assert len(mock.received) == 1


# Reloading ------------------------------------------------------------------------------------------------------------


def test_sighup_takes_a_good_config_and_keeps_the_old_one_for_a_bad_one(served, mock, tmp_path):
    gateway = served(config(mock.url))
    path = tmp_path / "config.yaml"
    assert b'"m"' in models(gateway)

    mock.queue([Step(text=WORDS, tokens_per_second=12)])
    inflight = Asked(gateway, stream=True)
    inflight.until(b"one")
    path.write_text(config(mock.url, model="new-name"))
    gateway.send(signal.SIGHUP)
    gateway.says("reloaded, 1 models")
    assert b'"new-name"' in models(gateway) and b'"m"' not in models(gateway)
    Asked(gateway, model="new-name").until(b"mock/echo: hello")
    assert b"data: [DONE]" in inflight.until(b"[DONE]"), "what was under way goes on under the old config"
    assert b'"model":"m"' in inflight.got and b"new-name" not in inflight.got

    path.write_text("model_list: [}")
    gateway.send(signal.SIGHUP)
    assert re.search(r"config\.yaml:\d+: ", gateway.says("the old config stays")), "where it is wrong"
    path.write_text(
        config(mock.url, "router_settings: {num_retries: many}\n").replace("router_settings: {num_retries: 0}\n", "")
    )
    gateway.send(signal.SIGHUP)
    gateway.says("router_settings.num_retries")
    until(lambda: gateway.output().count("the old config stays") == 2)
    path.unlink()
    gateway.send(signal.SIGHUP)
    until(lambda: gateway.output().count("the old config stays") == 3, what="the reason for keeping the old config")
    assert re.search(r"No such file|not found|does not exist|cannot be read", gateway.output())
    assert b'"new-name"' in models(gateway)
    Asked(gateway, model="new-name").until(b"mock/echo: hello")

    path.write_text(config(mock.url).replace(KEY, KEY + "-new"))
    gateway.send(signal.SIGHUP)
    until(lambda: gateway.output().count("reloaded, 1 models") == 2)
    assert get(f"{gateway.url}/v1/models", authorization=f"Bearer {KEY}")[0] == 401, "the master key is reloaded, too"
    assert get(f"{gateway.url}/v1/models", authorization=f"Bearer {KEY}-new")[0] == 200
    assert KEY not in gateway.output() and UPSTREAM not in gateway.output()
    assert gateway.stop() == 0


def models(gateway: Served) -> bytes:
    status, body = get(f"{gateway.url}/v1/models", authorization=f"Bearer {KEY}")
    assert status == 200
    return body


def test_sighup_never_removes_the_key_from_an_open_address(served, mock, tmp_path):
    """A reload that drops the master key would open a public gateway: it is refused like a start would be."""
    gateway = served(config(mock.url), "--host", "0.0.0.0")
    (tmp_path / "config.yaml").write_text(config(mock.url).replace(f"master_key: {KEY}", "set_verbose: false"))
    gateway.send(signal.SIGHUP)
    gateway.says("the old config stays")
    assert get(f"{gateway.url}/v1/models")[0] == 401
    assert get(f"{gateway.url}/v1/models", authorization=f"Bearer {KEY}")[0] == 200


def test_sighup_without_a_config_looks_again(served, tmp_path):
    gateway = served()
    assert b"openai/*" not in get(f"{gateway.url}/v1/models")[1]
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-from-dotenv\n")
    gateway.send(signal.SIGHUP)
    gateway.says("SIGHUP: the environment and local engines reloaded, ")
    assert b"openai/*" in get(f"{gateway.url}/v1/models")[1]
    assert b"HTTP/1.1 200" in Asked(gateway, model="mock/echo", key=None).until(b'"usage"')
    assert gateway.stop() == 0 and "sk-from-dotenv" not in gateway.output()


def test_sighup_with_an_empty_file_takes_no_model_away(served, mock, tmp_path):
    gateway = served(config(mock.url))
    (tmp_path / "config.yaml").write_text("")
    gateway.send(signal.SIGHUP)
    gateway.says("names no models any more (if that is meant, restart); what it gave last stays")
    gateway.says("SIGHUP: the old config stays")
    assert b'"m"' in models(gateway)
    Asked(gateway).until(b"mock/echo: hello")


def test_sighup_changes_the_size_of_bodies_and_the_form_of_the_log(served, mock, tmp_path):
    gateway = served(config(mock.url))
    limits = config(mock.url).replace("general_settings: {", "general_settings: {max_request_size_mb: 0.001, ")
    (tmp_path / "config.yaml").write_text(limits + "litellm_settings: {json_logs: true}\n")
    assert Asked(gateway, user="u" * 2000).until(b'"usage"').startswith(b"HTTP/1.1 200")
    gateway.send(signal.SIGHUP)
    gateway.says("reloaded, 1 models")
    assert Asked(gateway, user="u" * 2000).until(b"max_request_size_mb").startswith(b"HTTP/1.1 413")
    until(lambda: [line["status"] for line in gateway.records()] == [413])


# Workers --------------------------------------------------------------------------------------------------------------


def children(pid: int) -> set[int]:
    told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return {int(word) for word in told.split()}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes with ps --ppid")
def test_workers_share_the_port_are_replaced_and_all_stop(served, mock):
    gateway = served(config(mock.url), "--workers", "2")
    workers = until(lambda: len(children(gateway.pid)) == 2 and children(gateway.pid), 10)
    ports = until(lambda: spread(mock, gateway), 10, "both workers answer")
    assert len(ports) >= 2

    stream = Asked(gateway, stream=True)
    stream.until(b"[DONE]")
    victim = min(workers)
    subprocess.run(["kill", "-KILL", str(victim)], check=True)
    gateway.says("starting another", 10)
    now = until(lambda: len(children(gateway.pid) - {victim}) == 2 and children(gateway.pid) - {victim}, 10)
    assert now != workers
    assert Asked(gateway).until(b"mock/echo: hello")

    mock.script = Script.always(text=WORDS, tokens_per_second=15)
    streams = [Asked(gateway, stream=True) for _ in range(4)]
    for stream in streams:
        stream.until(b"one")
    gateway.send(signal.SIGTERM)
    for stream in streams:
        assert stream.until(b"").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert gateway.process.wait(10) == 0
    until(lambda: refused(gateway.port), 2)
    assert not any(alive(pid) for pid in now | workers)


def spread(mock: Mock, gateway: Served) -> set[int]:
    """Upstream connections in use: each worker has its own pool."""
    mock.reset()
    mock.script = Script.always(latency_ms=50)
    asked = [Asked(gateway) for _ in range(8)]
    for one in asked:
        one.until(b"mock/echo: hello")
    seen = {pid for pid in children(gateway.pid) if sockets(pid)}
    return seen if len(seen) == 2 else set()


def sockets(pid: int) -> int:
    """Open sockets of a process beside its listening one and its loop's own pair."""
    from pathlib import Path

    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return count > 3


def alive(pid: int) -> bool:
    return subprocess.run(["kill", "-0", str(pid)], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes with ps --ppid")
def test_sighup_reaches_all_workers(served, mock, tmp_path):
    gateway = served(config(mock.url), "--workers", "2")
    until(lambda: spread(mock, gateway), 10, "both workers answer")
    mock.script = Script()
    (tmp_path / "config.yaml").write_text(config(mock.url, model="other"))
    gateway.send(signal.SIGHUP)
    until(lambda: gateway.output().count("reloaded, 1 models") == 2, 5, "both workers reload")
    assert {get(f"{gateway.url}/v1/models/other", authorization=f"Bearer {KEY}")[0] for _ in range(12)} == {200}
    assert gateway.stop(signal.SIGINT) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes with ps --ppid")
def test_no_sighup_ends_a_worker_that_still_starts(served, mock):
    gateway = served(config(mock.url), "--workers", "2")
    before = until(lambda: len(children(gateway.pid)) == 2 and children(gateway.pid), 10)
    subprocess.run(["kill", "-KILL", str(min(before))], check=True)
    for _ in range(100):  # some of them meet the new worker while it starts
        gateway.send(signal.SIGHUP)
        time.sleep(0.02)
    until(lambda: len(children(gateway.pid) - before) == 1, 10)
    assert gateway.output().count("starting another") == 1
    assert gateway.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes with ps --ppid")
def test_one_stop_signal_to_all_processes_lets_streams_finish(served, mock):
    """As the terminal and systemd send it: the workers hear of it twice, from there and from their parent."""
    mock.script = Script.always(text=WORDS, tokens_per_second=12)
    gateway = served(config(mock.url), "--workers", "2")
    streams = [Asked(gateway, stream=True) for _ in range(4)]
    for stream in streams:
        stream.until(b"one")
    for pid in (*children(gateway.pid), gateway.pid):
        subprocess.run(["kill", "-INT", str(pid)], check=True)
    for stream in streams:
        assert stream.until(b"").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert gateway.process.wait(10) == 0


def test_workers_without_a_key_are_guarded_like_one_process(served):
    gateway = served(None, "--workers", "2")
    assert {get(f"{gateway.url}/v1/models", host="evil.example")[0] for _ in range(6)} == {403}
    assert {get(f"{gateway.url}/v1/models", origin="https://evil.example")[0] for _ in range(6)} == {403}
    assert get(f"{gateway.url}/v1/models")[0] == 200


# Starting -------------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path, mock):
    taken = mock.url.rpartition(":")[2]
    done = run_serve(tmp_path, "--port", taken)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and f"127.0.0.1:{taken} is already in use" in done.stderr
    done = run_serve(tmp_path, "--port", taken, "--workers", "2")
    assert done.returncode == 1 and "already in use" in done.stderr


def test_port_0_takes_a_free_port_and_names_it(tmp_path):
    command = [sys.executable, "-m", "penstock", "serve", "--port", "0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=clean_env(tmp_path), stdout=log, stderr=log)
    gateway = Served(process, 0, tmp_path / "log")
    try:
        found = re.search(r"at http://127\.0\.0\.1:([1-9]\d*)", gateway.says("Try it:", 20))
        assert found and get(f"http://127.0.0.1:{found[1]}/health")[0] == 200
        assert gateway.stop() == 0
    finally:
        process.kill()
        process.wait()


def test_other_addresses_with_a_key(served, tmp_path):
    port = str(free_port())
    done = run_serve(tmp_path, "--host", "0.0.0.0", "--port", port, "--config", str(tmp_path / "missing.yaml"))
    assert done.returncode != 0 and "missing.yaml" in done.stderr

    keyed = served(None, "--host", "0.0.0.0", PENSTOCK_MASTER_KEY=KEY)
    assert "warning" not in keyed.output()
    assert get(f"{keyed.url}/v1/models")[0] == 401
    assert get(f"{keyed.url}/v1/models", authorization=f"Bearer {KEY}")[0] == 200


def test_a_well_known_key_serves_with_a_warning(served):
    gateway = served(None, LITELLM_MASTER_KEY="sk-1234")
    gateway.says("a key that everybody knows")
    assert get(f"{gateway.url}/v1/models")[0] == 401
    assert get(f"{gateway.url}/v1/models", authorization="Bearer sk-1234")[0] == 200
    assert "sk-1234" not in gateway.output()


def test_without_config_and_environment_the_mock_answers(tmp_path):
    """`env -i PATH HOME`: the emptiest machine there is."""
    port = free_port()
    bare = clean_env(tmp_path)
    command = ["env", "-i", f"PATH={bare['PATH']}", f"HOME={tmp_path}", sys.executable, "-m", "penstock", "serve"]
    with (tmp_path / "log").open("wb") as log:
        # PYTHONPATH would be one variable more: the checkout is the working directory instead
        process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, stdout=log, stderr=log)
    gateway = Served(process, port, tmp_path / "log")
    try:
        until(lambda: get(f"{gateway.url}/health")[0] == 200, 20, "a start")
        told = Asked(gateway, model="mock/echo", key=None).until(b'"usage"')
        assert b"HTTP/1.1 200" in told and b"mock" in told
        told = Asked(gateway, stream=True, model="mock/echo", key=None).until(b"[DONE]")
        assert b'"model":"mock/echo"' in told
        assert "mock/echo (a mock)" in gateway.output() and "curl " in gateway.output()
        assert gateway.stop() == 0
    finally:
        process.kill()
        process.wait()


def test_a_foreign_database_is_left_alone(served, mock):
    """An application's own DATABASE_URL is in many environments; `database_url: null` says it is not ours."""
    knocked = []
    database = socket.create_server(("127.0.0.1", 0))
    database.settimeout(0.1)

    def listen() -> None:
        while not over.is_set():
            try:
                knocked.append(database.accept())
            except TimeoutError:
                continue

    over = threading.Event()
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    url = f"postgresql://app:secret-of-the-app@127.0.0.1:{database.getsockname()[1]}/app"
    yaml = config(mock.url).replace(f"{{master_key: {KEY}}}", f"{{master_key: {KEY}, database_url: null}}")
    gateway = served(yaml, DATABASE_URL=url)
    Asked(gateway).until(b"mock/echo: hello")
    assert get(f"{gateway.url}/health/readiness")[0] == 200
    assert gateway.stop() == 0
    over.set()
    thread.join()
    database.close()
    assert knocked == [] and "secret-of-the-app" not in gateway.output()
    assert (gateway.log.parent / "config.yaml").exists() and not list(gateway.log.parent.glob("*.db"))

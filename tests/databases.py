"""Starts a PostgreSQL and a MariaDB for the tests: unprivileged, on the loopback, in a folder that goes with the test run.

The workers of pytest-xdist share one of each: whoever comes first starts it, and who is the last to leave ends it. What
is missing is installed as Debian's packages where that can be done; else the tests are skipped with the reason."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.migrate import upgrade
from penstock.stores.sql.schema import ABOUT, METADATA, REVISION

SECONDS = 60.0  # a start may take so long on a busy machine
INSTALL_SECONDS = 300
PASSWORD = "pw-of-the-tests-81"
_HOME = Path(tempfile.gettempdir())


class Server:
    """A kind of database server. ``packages``: Debian's; ``user``: who it runs as where root starts it; ``make`` and
    ``command`` return what makes its folder, and what starts it at a port; ``ask``: a query of a database by a driver;
    ``address``: of a database."""

    name = ""
    packages: tuple[str, ...] = ()
    user = ""

    def find(self) -> Path | None:
        raise NotImplementedError

    def make(self, folder: Path) -> list[str]:
        raise NotImplementedError

    def command(self, folder: Path, port: int) -> list[str]:
        raise NotImplementedError

    def ask(self, port: int, statement: str) -> None:
        raise NotImplementedError

    def address(self, port: int, database: str) -> str:
        raise NotImplementedError


class Postgres(Server):
    name = "postgres"
    packages = ("postgresql",)
    user = "postgres"

    def find(self) -> Path | None:
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
        return places[-1] if places else None

    def make(self, folder: Path) -> list[str]:
        (folder / "password").write_text(PASSWORD)
        path = self.find()
        assert path is not None
        return [str(path.with_name("initdb")), "-D", str(folder / "data"), "-U", "tests", "-A", "scram-sha-256",
                "--pwfile", str(folder / "password"), "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]  # fmt: skip

    def command(self, folder: Path, port: int) -> list[str]:
        settings = {
            "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "max_connections": 200, "max_prepared_transactions": 0,
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.find()), "-D", str(folder / "data"), *words]

    def ask(self, port: int, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.address(port, "postgres"), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def address(self, port: int, database: str) -> str:
        return f"postgresql://tests:{PASSWORD}@127.0.0.1:{port}/{database}"


class MariaDb(Server):
    name = "mariadb"
    packages = ("mariadb-server-core", "mariadb-client-core")
    user = "nobody"

    def find(self) -> Path | None:
        found = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
        return Path(found) if found and shutil.which("mariadb-install-db") else None

    def make(self, folder: Path) -> list[str]:
        return ["mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal",
                "--skip-test-db"]  # fmt: skip

    def command(self, folder: Path, port: int) -> list[str]:
        (folder / "begin.sql").write_text(
            f"CREATE USER IF NOT EXISTS 'tests'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON *.* TO 'tests'@'127.0.0.1';\n"
        )
        return [str(self.find()), "--no-defaults", f"--datadir={folder / 'data'}", f"--port={port}",
                "--bind-address=127.0.0.1", "--skip-name-resolve", f"--socket={folder / 's'}",
                f"--init-file={folder / 'begin.sql'}", "--innodb-flush-log-at-trx-commit=0",
                f"--pid-file={folder / 'pid'}", "--character-set-server=latin1"]  # fmt: skip

    def ask(self, port: int, statement: str) -> None:
        import pymysql

        connection = pymysql.connect(
            host="127.0.0.1", port=port, user="tests", password=PASSWORD, connect_timeout=5, autocommit=True
        )
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def address(self, port: int, database: str) -> str:
        return f"mysql://tests:{PASSWORD}@127.0.0.1:{port}/{database}"


SERVERS: dict[str, Server] = {server.name: server for server in (Postgres(), MariaDb())}


class Running:
    """A server that runs. ``fresh`` makes an empty database and returns its address."""

    def __init__(self, server: Server, port: int, pid: int) -> None:
        self.server, self.port, self.pid = server, port, pid
        self._made = 0

    def fresh(self) -> str:
        self._made += 1
        name = f"t{os.getpid()}_{self._made}_{time.monotonic_ns() % 10**6}"
        self.server.ask(self.port, f"CREATE DATABASE {name}")
        return self.server.address(self.port, name)


@cache
def installed(name: str) -> str:
    """Install a server where it is missing. Return why it is not there, "" for one that is."""
    return install(name, SERVERS[name].find, SERVERS[name].packages)


def install(name: str, find: Callable[[], object], packages: Sequence[str]) -> str:
    """Install Debian's packages where ``find`` finds nothing. Return why it is not there, "" where it is."""
    if find() is not None:
        return ""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"{name} is not installed: apt-get install {' '.join(packages)}"
    # RUNLEVEL=1: a package must not start a service of its own.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        try:
            done = subprocess.run(
                ["apt-get", "-qq", *words], env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired:
            return f"{name} could not be installed within {INSTALL_SECONDS} s"
    if find() is None:
        return f"{name} could not be installed: {done.stderr.strip()[-300:]}"
    return ""


def started(name: str) -> Running | str:
    """Return the server of this test run, or why there is none."""
    server = SERVERS[name]
    with _register(name) as register:
        if why := installed(name):
            return why
        register["users"] = [pid for pid in register.get("users", []) if _lives(pid)]
        if not _lives(register.get("pid", 0)):
            _start(server, register)
        register["users"].append(os.getpid())
        return Running(server, register["port"], register["pid"])


def left(running: Running) -> None:
    """End a server where nobody uses it any more."""
    with _register(running.server.name) as register:
        register["users"] = [pid for pid in register.get("users", ()) if pid != os.getpid() and _lives(pid)]
        if register["users"] or not _lives(running.pid):
            return
        os.kill(running.pid, signal.SIGINT if running.server.name == "postgres" else signal.SIGTERM)
        _wait(lambda: not _lives(running.pid), "it does not end")
        shutil.rmtree(register["folder"], ignore_errors=True)
        register.clear()


@contextmanager
def _register(name: str) -> Iterator[dict]:
    """What the processes of this user know of a server, for one of them at a time."""
    with open(_HOME / f"penstock-tests-{name}-{os.getuid()}.json", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        register = json.loads(text) if text else {}
        try:
            yield register
        finally:
            file.seek(0)
            file.truncate()
            json.dump(register, file)
            file.flush()


def _start(server: Server, register: dict) -> None:
    # Nobody's folder: the server may not run as root, and may not look into the home of whoever runs the tests.
    folder = Path(tempfile.mkdtemp(prefix=f"penstock-{server.name}-", dir=_HOME))
    user = server.user if os.geteuid() == 0 else ""
    (folder / "data").mkdir(mode=0o700)
    making, port = server.make(folder), free_port()
    command = server.command(folder, port)
    if user:
        owner = pwd.getpwnam(user)
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    more = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    done = subprocess.run(making, cwd=folder, capture_output=True, text=True, timeout=SECONDS * 2, check=False, **more)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **more
        )
    register |= {"pid": process.pid, "port": port, "folder": str(folder), "users": []}

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        try:
            server.ask(port, "SELECT 1")
        except Exception:  # whichever driver: it is not there yet
            return False
        return True

    _wait(answers, f"no answer: {(folder / 'log')}")


def _wait(true: Callable[[], bool], text: str) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, text
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else "X"
    except OSError:
        return False
    return state not in "XZ"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


_IN_USE: dict[str, list[Running]] = {}  # by this process: each folder of tests has a fixture of its own


def _running(name: str) -> Iterator[Running]:
    users = _IN_USE.setdefault(name, [])
    found = users[0] if users else started(name)
    if isinstance(found, str):
        pytest.skip(found)
    users.append(found)
    yield found
    users.pop()
    if not users:
        left(found)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Running]:
    yield from _running("postgres")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Running]:
    yield from _running("mariadb")


class Emptied:
    """A database with its tables, which is empty before each test: making it anew takes a hundred times as long."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(read_address(url))
        upgrade(self.database)

    def empty(self) -> str:
        self.database.write_now(_forget_all)
        return self.url


def _forget_all(connection: sa.Connection) -> None:
    for table in METADATA.tables.values():
        if table not in (REVISION, ABOUT):
            connection.execute(sa.delete(table))
    connection.execute(sa.update(REVISION).values(value=0))


@pytest.fixture(scope="session")
def session_postgres(postgres: Running) -> Emptied:
    return Emptied(postgres.fresh())


@pytest.fixture(scope="session")
def session_mariadb(mariadb: Running) -> Emptied:
    return Emptied(mariadb.fresh())


@pytest.fixture(scope="session")
def session_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Emptied:
    return Emptied(f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/penstock.db")


@pytest.fixture
def empty_postgres(session_postgres: Emptied) -> str:
    """The address of an empty database with its tables."""
    return session_postgres.empty()


@pytest.fixture
def empty_mariadb(session_mariadb: Emptied) -> str:
    """The same of MariaDB."""
    return session_mariadb.empty()


@pytest.fixture
def empty_sqlite(session_sqlite: Emptied) -> str:
    """The same of SQLite."""
    return session_sqlite.empty()


KINDS = ("sqlite", *SERVERS)

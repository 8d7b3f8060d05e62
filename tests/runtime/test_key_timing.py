"""How long a key is looked at says nothing of how near it was to one that opens: whatever it is, it is digested the same
number of times, and nothing but digests is compared. `make timing` measures it."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.runtime import keyring
from penstock.runtime.identity import Identity
from penstock.runtime.keyring import LONGEST, Keyring
from penstock.stores.base import Changes
from tests.runtime.test_keyring import KEY, SECRET, row

MASTER = b"sk-master-0123456789"
OLD, GONE, PLAIN = b"sk-was-replaced-1", b"sk-was-replaced-2", b"sk-from-litellm-1"


class Secret(bytes):
    """Bytes that nobody compares, and that are no key of a table: both take as long as they are alike."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a key was compared")

    def __hash__(self) -> int:
        raise AssertionError("a key was looked up by itself")

    def __contains__(self, part: object) -> bool:
        raise AssertionError("a key was searched")


class Counted:
    """``hashlib`` with a list of what was digested."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def sha256(self, data: bytes = b"") -> Any:
        self.calls.append("sha256")
        return hashlib.sha256(data)


@pytest.fixture(params=[False, True], ids=["ours", "with-litellm"])
def identity(request: pytest.FixtureRequest) -> Identity:
    """The identity of a gateway; with keys from LiteLLM, too."""
    keys, now = Keyring(SECRET), time.time()
    digests = [{"digest": keys.digest(KEY)}, {"digest": keys.digest(OLD), "until": now + 99}]
    digests += [{"digest": keys.digest(GONE), "until": now - 99}]
    rows = [
        row("key", "k1", token="k1", digests=digests),
        row("key", "k2", token="k2", blocked=True, digests=[{"digest": keys.digest(b"sk-blocked-1")}]),
    ]
    if request.param:
        rows.append(
            row("key", "k3", token="k3", digests=[{"digest": hashlib.sha256(PLAIN).hexdigest(), "form": "sha256"}])
        )
    keys.take(Changes(1, tuple(rows)))
    return Identity(MASTER.decode(), True, keyring=keys)


def work_of(identity: Identity, key: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """Return what a look-up digested, and how it ended, without what is shown of the key."""
    counted = Counted()
    digest = Keyring.digest
    with monkeypatch.context() as patch:
        patch.setattr(keyring, "hashlib", counted)
        patch.setattr(Keyring, "digest", lambda self, key: (counted.calls.append("digest"), digest(self, key))[1])
        try:
            identity.look_up(Secret(key))
        except GatewayError as error:
            return counted.calls, f"{error.kind} {error.status} {error.message.rpartition(':')[0]}"
    return counted.calls, "in"


def near(key: bytes) -> list[bytes]:
    """List keys that are nearly that one."""
    other = bytes([key[-1] ^ 1])
    return [
        key[:-1] + other,
        key[:3] + bytes([key[3] ^ 1]) + key[4:],
        key[:-1],
        key + b"x",
        key.upper().replace(b"SK-", b"sk-"),
    ]


WRONG = [
    *near(KEY),
    *near(OLD),
    *near(PLAIN),
    *near(MASTER),
    GONE,
    b"sk-",
    b"sk-quite-another",
    b"sk-" + b"x" * (LONGEST - 3),
]


def test_all_that_do_not_open_are_digested_alike_and_told_alike(identity, monkeypatch):
    alike = {(tuple(calls), how) for calls, how in (work_of(identity, key, monkeypatch) for key in WRONG)}
    assert len(alike) == 1, alike
    [(calls, how)] = alike
    assert how.startswith("key_unknown") and calls.count("digest") == 1


def test_what_opens_takes_no_way_of_its_own(identity, monkeypatch):
    for key in (KEY, OLD, b"sk-blocked-1"):  # blocked: the gate says so, to who has the key
        assert work_of(identity, key, monkeypatch) == (["digest"], "in")
    assert work_of(identity, MASTER, monkeypatch) == ([], "in"), "compared in constant time"


@given(st.binary(min_size=0, max_size=60).map(lambda more: b"sk-" + more))
def test_any_key_at_all_is_digested_alike(key):
    with pytest.MonkeyPatch.context() as patch:
        keys = Keyring(SECRET)
        keys.take(Changes(1, (row("key", "k1", token="k1", digests=[{"digest": keys.digest(KEY)}]),)))
        calls, how = work_of(Identity(MASTER.decode(), True, keyring=keys), key, patch)
        assert calls == ["digest"] and (how == "in") == (key == KEY)


def test_who_names_a_key_that_is_not_there_is_told_the_same_as_of_anothers(identity):
    """``/key/info?key=``: a key, an id or a digest; what is none is looked up in the same tables."""
    keys = identity.keyring
    assert keys is not None
    assert keys.id_of(KEY.decode()) == keys.id_of("k1") == keys.id_of(keys.digest(KEY)) == "k1"
    for key in (*near(KEY), b"k9"):
        assert keys.id_of(key.decode()) is None

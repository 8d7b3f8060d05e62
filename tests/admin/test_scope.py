"""Who may see and change what, as a pure question to the keyring: laws over all roles and places of a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.admin.scope import Scope
from penstock.core.admit.caller import MASTER, ROLES, Caller
from penstock.runtime.keyring import Keyring
from penstock.stores.base import Changes, Row

ROWS: dict[tuple[str, str], dict[str, Any]] = {
    ("team", "t"): {"organization_id": "o", "team_member_permissions": ["/key/update"]},
    ("team", "t2"): {"organization_id": "o2"},
    ("member", "t/lead"): {"role": "admin"},
    ("member", "t/member"): {"role": "user"},
    ("member", "t2/other"): {"role": "admin"},
    ("organization_member", "o/head"): {"user_role": "org_admin"},
    ("organization_member", "o/member"): {"user_role": "internal_user"},
    ("user", "boss"): {"user_role": "proxy_admin"},
}
RING = Keyring(b"s")
RING.take(Changes(1, tuple(Row(kind, id_, json.dumps(body).encode()) for (kind, id_), body in ROWS.items())))
USERS = ("", "lead", "member", "other", "head", "boss", "nobody")
CALLERS = st.builds(
    lambda user, role, key, team: Caller("x", role == "proxy_admin", role=role, user=user, key=key, team=team),
    st.sampled_from(USERS),
    st.sampled_from(("", *ROLES)),
    st.sampled_from(("", "k1", "k2")),
    st.sampled_from(("", "t", "t2", "gone")),
)
KEYS = st.fixed_dictionaries(
    {"token": st.sampled_from(("k1", "k2", "k3"))},
    optional={
        "user_id": st.sampled_from((None, *USERS)),
        "team_id": st.sampled_from((None, "", "t", "t2", "gone")),
        "organization_id": st.sampled_from((None, "o", "o2", 7)),
    },
)


def scope(user: str = "", **more: Any) -> Scope:
    return Scope(Caller("x", False, user=user, **more), RING)


@given(CALLERS, KEYS, st.sampled_from(("/key/update", "/key/generate", "")))
def test_who_may_do_more_may_do_less(caller, key, route):
    asks = Scope(caller, RING)
    if asks.changes_key(key, route):
        assert asks.sees_key(key) or not key.get("user_id")
    if asks.governs_key(key):
        assert asks.sees_key(key)
        assert asks.changes_key(key, route) or caller.role in ("proxy_admin_viewer", "internal_user_viewer")
    if caller.admin:
        assert asks.changes_key(key, route) and asks.governs_key(key) and asks.takes_key(key)


@given(CALLERS, KEYS)
def test_a_caller_of_nobody_changes_nothing(caller, key):
    if not caller.user and not caller.admin:
        asks = Scope(caller, RING)
        assert not asks.changes_key(key) and not asks.governs_key(key)


@given(KEYS)
def test_the_master_key_may_everything(key):
    asks = Scope(MASTER, RING)
    assert asks.sees_key(key) and asks.changes_key(key) and asks.governs_key(key) and asks.takes_key(key)


@pytest.mark.parametrize(
    ("user", "key", "sees", "changes", "governs"),
    [
        ("lead", {"team_id": "t", "user_id": "member"}, True, True, True),
        ("head", {"team_id": "t", "user_id": "member"}, True, True, True),
        ("head", {"team_id": "t2"}, False, False, False),
        ("head", {"organization_id": "o"}, True, True, True),
        ("other", {"team_id": "t"}, False, False, False),
        ("member", {"team_id": "t", "user_id": "member"}, True, True, False),  # the team lets them
        ("member", {"team_id": "t", "user_id": "lead"}, False, False, False),
        ("member", {"team_id": "t"}, True, False, False),  # a program's
        ("other", {"team_id": "t2", "user_id": "nobody"}, True, True, True),
        ("nobody", {"user_id": "nobody"}, True, True, False),
        ("nobody", {"user_id": "nobody", "organization_id": "o"}, True, False, False),
        ("nobody", {}, False, False, False),
        ("nobody", {"user_id": ""}, False, False, False),
        ("", {"user_id": ""}, False, False, False),
        ("", {}, False, False, False),
    ],
)
def test_whose_key_is_whose(user, key, sees, changes, governs):
    asks = scope(user, role="internal_user")
    assert (asks.sees_key(key), asks.changes_key(key, "/key/update"), asks.governs_key(key)) == (sees, changes, governs)


def test_nobody_takes_the_secret_of_somebody_greater():
    assert not scope("lead").takes_key({"team_id": "t", "user_id": "boss"})
    assert scope("lead").takes_key({"team_id": "t", "user_id": "member"}) and scope("lead").takes_key({"team_id": "t"})
    assert scope("boss", role="proxy_admin").takes_key({"user_id": "boss"})

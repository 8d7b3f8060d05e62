"""Virtual keys in memory: who a key belongs to, what bars it, and that nothing of it can be read back."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from penstock.core.admit.access import check_model, check_route, check_standing
from penstock.core.errors import GatewayError
from penstock.runtime.keyring import Keyring
from penstock.stores.base import Changes, Gone, Row

SECRET = b"a secret of the gateway's"
KEY = b"sk-0123456789abcdef"


def row(kind: str, id_: str, **fields: Any) -> Row:
    return Row(kind, id_, json.dumps(fields).encode())


def ring(*rows: Row, key: bytes = KEY, **fields: Any) -> Keyring:
    keys = Keyring(SECRET)
    digests = fields.pop("digests", [{"digest": keys.digest(key)}])
    keys.take(Changes(1, (row("key", "k1", token="k1", key_alias="mine", digests=digests, **fields), *rows)))
    return keys


def refused(what, *args) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        what(*args)
    return caught.value


def test_a_key_opens_with_all_that_stands_behind_it():
    keys = ring(
        row("team", "t", team_alias="red", organization_id="o", max_budget=5, budget_duration="30d"),
        row("organization", "o", budget_id="b"),
        row("budget", "b", max_budget=100, rpm_limit=7),
        row("user", "u", user_role="internal_user", max_budget=1),
        row("member", "t/u", max_budget=2),
        team_id="t",
        user_id="u",
        rpm_limit=10,
    )
    caller = keys.find(KEY)
    assert (caller.alias, caller.key, caller.team, caller.user, caller.organization) == ("mine", "k1", "t", "u", "o")
    # A user's own budget is for keys without a team, as LiteLLM has it.
    assert [holder.kind for holder in caller.holders] == ["key", "team", "member", "organization"]
    assert caller.holders[0].pace.requests == 10 and caller.holders[3].pace.requests == 7
    assert caller.holders[1].caps[0].most == 5 * 10**12 and caller.holders[1].caps[0].period == "30d"
    assert not caller.admin and keys.find(KEY) is caller


def test_a_key_that_is_none_is_told_masked():
    keys = ring()
    error = refused(keys.find, b"sk-another-key-of-somebody")
    assert error.kind == "key_unknown" and "body" in error.message and "another-key" not in error.message
    assert "start with 'sk-'" in refused(keys.find, b"hello").message
    assert refused(keys.find, b"sk-" + b"x" * 10**6).kind == "key_unknown"


def test_what_is_kept_cannot_be_used():
    keys = ring()
    kept = keys.row("key", "k1").body
    assert KEY not in kept and hashlib.sha256(KEY).hexdigest().encode() not in kept
    assert refused(keys.find, keys.digest(KEY).encode()).status == 401


@pytest.mark.parametrize("secret", [b"short", b"s" * 64, b"s" * 65, bytes(range(256))])
@pytest.mark.parametrize("key", [b"", b"sk-1234", b"k" * 64, b"k" * 1024])
def test_what_is_kept_is_an_hmac(secret, key):
    assert Keyring(secret).digest(key) == hmac.new(secret, key, "sha256").hexdigest()


def test_a_key_of_litellm_opens_and_is_to_be_kept_anew():
    digests = [{"digest": hashlib.sha256(KEY).hexdigest(), "form": "sha256"}]
    keys = ring(digests=digests)
    assert keys.find(KEY).key == "k1" and keys.old == {"k1": (digests[0]["digest"], keys.digest(KEY))}


def test_a_key_that_was_replaced_opens_for_a_while():
    keys = Keyring(SECRET)
    new = b"sk-the-new-one-0123456"
    now = time.time()
    for until, opens in ((now + 60, True), (now - 1, False)):
        keys = Keyring(SECRET)
        digests = [{"digest": keys.digest(new)}, {"digest": keys.digest(KEY), "until": until}]
        keys.take(Changes(1, (row("key", "k1", digests=digests),)))
        assert keys.find(new).key == "k1"
        assert (keys.find(KEY).key == "k1") if opens else refused(keys.find, KEY).kind == "key_unknown"


def test_a_change_holds_at_once_and_a_key_that_is_gone_opens_nothing():
    keys = ring()
    keys.find(KEY)
    digests = [{"digest": keys.digest(KEY)}]
    keys.take(Changes(2, (row("key", "k1", blocked=True, digests=digests),)))
    assert "blocked" in refused(check_standing, keys.find(KEY), 0.0, "").message
    keys.take(Changes(3, (), (Gone("key", "k1", 2),)))
    assert refused(keys.find, KEY).kind == "key_unknown"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"expires": "2020-01-01T00:00:00Z"}, "key_expired"),
        ({"blocked": True}, "unauthorized"),
        ({"team_id": "gone"}, "unauthorized"),
        ({"allowed_ips": ["10.0.0.0/8"]}, "forbidden"),
    ],
)
def test_what_bars_a_key(fields, kind):
    assert refused(check_standing, ring(**fields).find(KEY), time.time(), "192.168.1.1").kind == kind


def test_a_limit_that_cannot_be_read_lets_nobody_in():
    assert refused(ring(max_budget="much").find, KEY).status == 401
    assert refused(ring(row("team", "t", budget_duration="soon", max_budget=1), team_id="t").find, KEY).status == 401


def no_groups(model: str) -> tuple[str, ...]:
    return ("cheap",) if model == "small" else ()


@pytest.mark.parametrize(
    ("models", "model", "may"),
    [
        ([], "any", True),
        (["gpt-4o"], "gpt-4o", True),
        (["gpt-4o"], "gpt-4o-mini", False),
        (["openai/*"], "openai/gpt-4o", True),
        (["openai/*"], "anthropic/claude", False),
        (["cheap"], "small", True),
        (["cheap"], "large", False),
        (["all-proxy-models"], "any", True),
        (["no-default-models"], "any", False),
    ],
)
def test_models_of_a_key(models, model, may):
    caller = ring(models=models).find(KEY)
    if may:
        check_model(caller, model, no_groups)
    else:
        error = refused(check_model, caller, model, no_groups)
        assert (error.status, error.param, error.row.openai) == (403, "model", "key_model_access_denied")


def test_a_teams_models_bind_its_keys():
    caller = ring(row("team", "t", models=["a"]), team_id="t", models=["all-team-models"]).find(KEY)
    check_model(caller, "a", no_groups)
    assert refused(check_model, caller, "b", no_groups).row.openai == "team_model_access_denied"


@pytest.mark.parametrize(
    ("fields", "path", "family", "may"),
    [
        ({}, "/v1/chat/completions", "llm_api_routes", True),
        ({"key_type": "llm_api"}, "/v1/chat/completions", "llm_api_routes", True),
        ({"key_type": "llm_api"}, "/key/generate", "management_routes", False),
        ({"key_type": "read_only"}, "/key/info", "info_routes", True),
        ({"key_type": "read_only"}, "/v1/chat/completions", "llm_api_routes", False),
        ({"key_type": "management"}, "/key/info", "info_routes", True),
        ({"key_type": "no such"}, "/v1/chat/completions", "llm_api_routes", False),
        ({"allowed_routes": ["/v1/embeddings"]}, "/embeddings", "llm_api_routes", True),
        ({"allowed_routes": ["/v1/embeddings"]}, "/v1/chat/completions", "llm_api_routes", False),
        ({"allowed_routes": ["/anthropic/*"]}, "/anthropic/v1/messages", "llm_api_routes", True),
    ],
)
def test_routes_of_a_key(fields, path, family, may):
    caller = ring(**fields).find(KEY)
    if may:
        check_route(caller, path, family)
    else:
        assert refused(check_route, caller, path, family).status == 403

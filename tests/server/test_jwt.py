"""Bearer tokens of an identity provider: which are good, whom they name, and what their keys cost requests."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from penstock.config.jwt_auth import JwtSettings
from penstock.runtime.identity import Identity
from penstock.runtime.jwt_auth import JwtAuth
from tests.door import HELLO, Door
from tests.server.keyed import MASTER, key, open_keyed
from tests.server.test_limits import CONFIG

CHAT = "/v1/chat/completions"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
ROWS: dict[str, dict[str, dict[str, Any]]] = {
    "key": {"a": {}},
    "user": {"ann": {"rpm_limit": 2}, "out": {"blocked": True}},
    "team": {"red": {"models": ["m"]}, "blue": {"models": ["n"]}},
    "customer": {"e": {"rpm_limit": 1}},
}
NAMES: dict[str, Any] = {
    "user_id_jwt_field": "sub",
    "team_ids_jwt_field": "org.teams",
    "end_user_id_jwt_field": "for",
    "roles_jwt_field": "roles",
    "role_mappings": ({"role": "viewer", "internal_role": "proxy_admin_viewer"},),
}


def public(private: Any, kid: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if private is not CURVE else jwt.algorithms.ECAlgorithm
    return {**json.loads(kind.to_jwk(private.public_key())), "kid": kid, "use": "sig"}

DAY = 86400.0  # seconds: tokens are made before the first test runs, and the last one may be half an hour later


def token(private: Any = RSA, kid: str | None = "one", alg: str = "RS256", **claims: Any) -> str:
    told = {"sub": "ann", "exp": time.time() + DAY, "aud": "gw", "iss": "idp", **claims}
    told = {name: value for name, value in told.items() if value is not None}
    return jwt.encode(told, private, algorithm=alg, headers={"kid": kid} if kid else {})


class Keys:
    """Serves keys and counts who asks."""

    def __init__(self) -> None:
        self.keys = [public(RSA, "one"), public(CURVE, "curve"), {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}]
        self.asked = 0
        self.fails = False

    def __call__(self, url: str) -> bytes:
        self.asked += 1
        if self.fails:
            raise OSError("away")
        return json.dumps({"keys": self.keys}).encode()


def take(door: Door, keys: Keys | None = None, wall=time.time, **names: Any) -> JwtAuth:
    settings = JwtSettings(urls=("https://idp/keys",), audience="gw", issuer="idp", **{**NAMES, **names})
    found = JwtAuth(settings, keys or Keys(), wall)
    door.gateway.identity = Identity(MASTER, False, keyring=door.gateway.keyring, others=True)
    door.gateway.gate.others = found
    return found


async def ask(door: Door, bearer: str, model: str = "m", path: str = CHAT, **headers: str) -> tuple[int, str]:
    status, _, answer = await door.post({**HELLO, "model": model}, path, authorization=f"Bearer {bearer}", **headers)
    return status, answer.decode()


async def test_a_good_token_opens_and_keys_do_as_before(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        keys = Keys()
        take(door, keys)
        for bearer in (token(), token(CURVE, "curve", "ES256"), key("a"), MASTER):
            assert (await ask(door, bearer))[0] == 200
        assert keys.asked == 1
        status, told = await ask(door, token())
        assert status == 429 and "Rate limit exceeded for user: ann" in told


BAD: dict[str, str] = {
    "over": token(exp=time.time() - 60),
    "of another key": token(OTHER),
    "of an unknown key": token(OTHER, "two"),
    "for another service": token(aud="other"),
    "of another issuer": token(iss="evil"),
    "without an end": token(exp=None),
    "not yet": token(nbf=time.time() + DAY),
    "of nobody": token(sub=None),
    "of a stranger": token(sub="eve"),
    "of who is blocked": token(sub="out"),
    "signed with a shared secret": jwt.encode(
        {"sub": "ann", "exp": time.time() + DAY, "aud": "gw", "iss": "idp"}, b"secret" * 8, headers={"kid": "shared"}
    ),
    "unsigned": jwt.encode({"sub": "ann", "exp": time.time() + DAY}, None, algorithm="none"),
    "cut": token()[:-9],
    "long": token(more="x" * 20_000),
    "rubbish": "eyJ.eyJ.x",
}


@pytest.mark.parametrize("which", BAD)
async def test_a_token_that_is_not_good_is_refused(which: str, tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        take(door)
        status, told = await ask(door, BAD[which])
        assert status == 401 and BAD[which] not in told, told
        assert ("expired_key" in told) == (which == "over")
        assert door.mock.requests == 0


async def test_the_team_of_several_that_is_known_or_asked_for(tmp_path) -> None:
    async with open_keyed(tmp_path, {**ROWS, "user": {"ann": {}}}, CONFIG) as door:
        take(door)
        bearer = token(org={"teams": ["gone", "red", "blue"]})
        assert (await ask(door, bearer, "m"))[0] == 200 and (await ask(door, bearer, "n"))[0] == 403
        blue = {"x-litellm-team-id": "blue"}
        assert (await ask(door, bearer, "n", **blue))[0] == 200 and (await ask(door, bearer, "m", **blue))[0] == 403
        assert (await ask(door, bearer, "m", **{"x-litellm-team-id": "green"}))[0] == 403
        assert (await ask(door, token(org={"teams": ["gone"]})))[0] == 401


async def test_scopes_and_roles(tmp_path) -> None:
    async with open_keyed(tmp_path, {**ROWS, "user": {"ann": {}}}, CONFIG) as door:
        take(door, scope_mappings=({"scope": "chat", "models": ["n"]},), enforce_scope_based_access=True)
        live = "/health?live=true"

        async def may_ask(bearer: str) -> int:
            return (await door.ask("GET", live, b"", {"authorization": f"Bearer {bearer}"}))[0]

        assert await may_ask(token(scope="other litellm_proxy_admin")) == 200
        assert await may_ask(token(scope="chat")) == 403
        assert (await ask(door, token(scope="chat"), "n"))[0] == 200
        assert (await ask(door, token(scope="chat"), "m"))[0] == 403
        assert (await ask(door, token(), "n"))[0] == 403


async def test_the_end_user_of_a_token_goes_before_what_a_request_says(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        take(door)
        bearer = token(**{"for": "e"})
        for status in (200, 429):
            body = {**HELLO, "user": "another"}
            assert (await door.post(body, CHAT, authorization=f"Bearer {bearer}"))[0] == status


async def test_keys_are_fetched_anew_behind_the_requests(tmp_path) -> None:
    now = [time.time()]
    async with open_keyed(tmp_path, {**ROWS, "user": {"ann": {}}}, CONFIG) as door:
        keys = Keys()
        take(door, keys, wall=lambda: now[0])
        assert (await ask(door, token()))[0] == 200 and keys.asked == 1
        keys.keys = [public(OTHER, "two")]  # the provider has another one now
        assert (await ask(door, token(OTHER, "two")))[0] == 401, "just asked: a stranger cannot have it asked at will"
        assert keys.asked == 1
        now[0] += 31
        assert (await ask(door, token(OTHER, "two", exp=now[0] + 900)))[0] == 200 and keys.asked == 2
        keys.fails = True
        now[0] += 601
        for _ in range(3):  # old keys do until there are new ones
            assert (await ask(door, token(OTHER, "two", exp=now[0] + 600)))[0] == 200
        await asyncio.sleep(0.05)
        assert keys.asked >= 3


async def test_without_keys_it_is_said_that_nothing_can_be_checked(tmp_path) -> None:
    async with open_keyed(tmp_path, ROWS, CONFIG) as door:
        keys = Keys()
        keys.fails = True
        take(door, keys)
        status, told = await ask(door, token())
        assert status == 503 and "could not be fetched" in told
        keys.fails = False
        assert (await ask(door, token()))[0] == 200


async def test_a_token_is_checked_once_and_forgotten_with_what_it_stood_for(tmp_path, monkeypatch) -> None:
    async with open_keyed(tmp_path, {**ROWS, "user": {"ann": {}}}, CONFIG) as door:
        auth = take(door)
        bearer = token()
        assert (await ask(door, bearer))[0] == 200
        monkeypatch.setattr(auth, "_verify", lambda token: 1 / 0)
        for _ in range(2):
            assert (await ask(door, bearer))[0] == 200
        monkeypatch.undo()
        from penstock.stores.base import Changes, Row

        ring = door.gateway.keyring
        assert ring is not None
        ring.take(Changes(2, (Row("user", "ann", b'{"blocked": true}', 2),)))
        assert (await ask(door, bearer))[0] == 401


def test_settings_that_mean_nothing_are_named() -> None:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from penstock.config import load
    from penstock.config.jwt_auth import read_jwt
    from penstock.core.providers.resolve import resolve

    with TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(
            "general_settings: {enable_jwt_auth: true, litellm_jwtauth: {user_id_jwt_field: sub, team_id_jwt_field: 5, "
            "user_allowed_roles: [a], team_id_upsert: true, public_key_ttl: 60, teem: x}}\n"
        )
        config = load(path, {"JWT_AUDIENCE": "gw"}, resolve=resolve).config
    assert config is not None
    settings, problems = read_jwt(config)
    assert settings is not None and settings.user_id_jwt_field == "sub" and settings.team_id_upsert
    assert settings.user_allowed_roles == ("a",) and settings.public_key_ttl == 60.0 and settings.audience == "gw"
    text = "\n".join(problems)
    assert "teem means nothing here" in text and "team_id_jwt_field must be a text" in text
    assert "JWT_PUBLIC_KEY_URL names no address" in text and len(problems) == 3

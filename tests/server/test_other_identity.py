"""Identity by other means: a header of the config's own, addresses behind proxies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.config import load
from penstock.core.providers.resolve import resolve
from penstock.server.effect import SETTINGS, InEffect
from penstock.server.options import ServeOptions
from tests.door import HELLO, Door
from tests.server.keyed import MASTER, key, lead, open_keyed, ring_of
from tests.server.test_limits import CONFIG

CHAT = "/v1/chat/completions"


def put(door: Door, folder: Path, general: str) -> None:
    """Puts settings into effect as the service does at a start."""
    path = folder / "more.yaml"
    path.write_text(f"general_settings: {general}\n")
    config = load(path, {}, resolve=resolve).config
    assert config is not None
    to = InEffect(ServeOptions(), door.gateway, None, memory=1 << 30)  # type: ignore[arg-type]
    for row in SETTINGS:
        if row.apply is not None and row.option not in ("json_logs", "verbose") and "log" not in row.name:
            row.apply(to, config)


async def test_a_key_may_stand_in_a_header_of_the_config_s_own(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        put(door, tmp_path, f"{{master_key: {MASTER}, litellm_key_header_name: X-Gateway-Key}}")
        for headers, status in [
            ({"x-gateway-key": key("a")}, 200),
            ({"x-gateway-key": f"Bearer {key('a')}"}, 200),
            ({"x-gateway-key": key("a"), "authorization": "Basic an-upstream-s"}, 200),  # the other one is not ours
            ({"authorization": f"Bearer {key('a')}"}, 200),
            ({"x-gateway-key": "sk-wrong", "authorization": f"Bearer {key('a')}"}, 401),
            ({}, 401),
        ]:
            assert (await door.post(HELLO, CHAT, **headers))[0] == status, headers


async def test_the_key_of_such_a_header_goes_no_further(tmp_path) -> None:
    yaml = CONFIG + 'environment_variables: {OPENAI_API_KEY: sk-o, OPENAI_API_BASE: "{mock}/v1"}\n'
    async with open_keyed(tmp_path, {"key": {"a": {}}}, yaml) as door:
        put(door, tmp_path, f"{{master_key: {MASTER}, litellm_key_header_name: X-Gateway-Key}}")
        status, _, _ = await door.post(HELLO, "/openai/v1/chat/completions", **{"x-gateway-key": key("a")})
        assert status == 200 and key("a") not in str(door.mock.received[-1].headers)


async def asked_from(door: Door, address: str, alias: str = "a") -> int:
    status, _, _ = await door.post(HELLO, CHAT, authorization=f"Bearer {key(alias)}", **{"x-forwarded-for": address})
    return status


@pytest.mark.parametrize("where", ["general", "key"])
async def test_only_from_where_it_may_come(where: str, tmp_path) -> None:
    body: dict[str, Any] = {"allowed_ips": ["203.0.113.0/24"]} if where == "key" else {}
    allowed = ", allowed_ips: [203.0.113.0/24]" if where == "general" else ""
    async with open_keyed(tmp_path, {"key": {"a": body}}, CONFIG) as door:
        put(door, tmp_path, f"{{master_key: {MASTER}, use_x_forwarded_for: true{allowed}}}")
        assert await asked_from(door, "203.0.113.7") == 200
        assert await asked_from(door, "198.51.100.1") == 403
        assert await asked_from(door, "203.0.113.7, 198.51.100.1") == 403, "the first is the client's own word"
        assert (await door.ask("GET", "/health/liveliness"))[0] == 200, "a load balancer asks as ever"
        await door.settle()
        assert [record.client for record in door.records][:2] == ["203.0.113.7", "198.51.100.1"]


async def test_who_is_no_trusted_proxy_is_the_client(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"allowed_ips": ["203.0.113.0/24"]}}}, CONFIG) as door:
        put(door, tmp_path, f"{{master_key: {MASTER}, use_x_forwarded_for: true, trusted_proxy_ranges: [10.0.0.0/8]}}")
        assert await asked_from(door, "203.0.113.7") == 403


async def test_a_reload_keeps_the_keys(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {"rpm_limit": 1}}}, CONFIG) as door:
        for status in (200, 429):
            put(door, tmp_path, f"{{master_key: {MASTER}}}")
            assert (await door.post(HELLO, CHAT, authorization=f"Bearer {key('a')}"))[0] == status, "and what they used"
        lead(door, ring_of({"key": {"b": {}}}))
        assert (await door.post(HELLO, CHAT, authorization=f"Bearer {key('a')}"))[0] == 401

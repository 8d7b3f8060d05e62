"""Pages: the landing page, health, model lists in three vendors' shapes. None of them asks an upstream anything."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from penstock.core.errors import GatewayError
from tests.door import open_door

KEY = "sk-the-master-key"
MODELS = """
model_list:
  - {model_name: gpt, litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1?api-key=sk-query", api_key: sk-up}}
  - {model_name: claude, litellm_params: {model: anthropic/claude-3, api_base: "{mock}", api_key: sk-up}}
  - {model_name: "100%/x", litellm_params: {model: openai/x, api_base: "{mock}", api_key: sk-up}}
  - {model_name: "vllm/*", litellm_params: {model: "hosted_vllm/*", api_base: "{mock}"}}
  - {model_name: nokey, litellm_params: {model: mistral/m}}
router_settings: {model_group_alias: {fast: gpt, hushed: {model: gpt, hidden: true}}}
"""
ALL = ["gpt", "claude", "100%/x", "nokey", "fast", "vllm/*"]


async def get(door, path, **headers):
    status, told, body = await door.ask("GET", path, headers={n.replace("_", "-"): v for n, v in headers.items()})
    assert told["content-type"].startswith(("application/json", "text/html")) and told["x-litellm-call-id"]
    return status, json.loads(body) if "json" in told["content-type"] else body.decode()


class Page(HTMLParser):
    """Strict about what it opens and closes."""

    VOID = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


async def test_the_landing_page(tmp_path):
    async with open_door(tmp_path, MODELS, master_key=KEY, guard=False) as door:
        status, headers, body = await door.ask(
            "GET", "/", headers={"host": 'gate.example:80"><script>alert(1)</script>'}
        )
        text = body.decode()
        page = Page(text)
        assert status == 200 and text.startswith("<!doctype html>") and {"html", "head", "title", "body"} <= page.seen
        assert headers["x-frame-options"] == "DENY" and "script" not in page.seen
        assert not [link for link in page.links if not link.startswith("/")], "nothing is loaded from elsewhere"
        assert "Bearer YOUR_KEY" in text
        for secret in (KEY, "sk-up", "sk-query", "gpt", "claude"):
            assert secret not in text, "who has no key learns nothing"
        for link in page.links:
            assert (await door.ask("GET", link))[0] in (200, 401)
    async with open_door(tmp_path, MODELS) as door:
        _, text = await get(door, "/")
        assert '"model": "gpt"' in text and "Bearer" not in text and f"http://127.0.0.1:{door.port}/v1" in text


SEVEN = {
    "status",
    "models",
    "providers",
    "healthy_endpoints",
    "unhealthy_endpoints",
    "healthy_count",
    "unhealthy_count",
}


async def test_health(tmp_path):
    async with open_door(tmp_path, MODELS) as door:
        status, told = await get(door, "/health")
        assert status == 200 and set(told) == SEVEN and told["status"] == "healthy"
        assert told["models"] == len(ALL) and told["providers"] == ["anthropic", "hosted_vllm", "mistral", "openai"]
        assert told["healthy_count"] == len(told["healthy_endpoints"]) == 5 and told["unhealthy_count"] == 0
        assert "sk-" not in json.dumps(told)
        for number, target in enumerate(door.gateway.state.targets):
            door.live(target).health.failed(f"trouble {number}", "upstream_error", door.gateway.clock())
        status, told = await get(door, "/health")
        assert (
            status == 200
            and told["status"] == "healthy"
            and told["unhealthy_count"] == 5
            and told["healthy_count"] == 0
        )
        assert told["unhealthy_endpoints"][0]["error"] == "trouble 0"
        assert (await get(door, "/health/readiness"))[0] == 503
        door.live(door.gateway.state.targets[2]).health.succeeded()
        assert (await get(door, "/health/readiness")) == (200, {"status": "healthy", "db": "Not connected"})
        door.gateway.draining = True
        assert (await get(door, "/health/readiness"))[0] == 503
        for path in ("/health/liveliness", "/health/liveness"):
            assert await get(door, path) == (200, "I'm alive!")
        assert door.mock.received == [] and door.records == []


async def test_health_tells_details_to_those_who_hold_the_key(tmp_path):
    async with open_door(tmp_path, MODELS, master_key=KEY) as door:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "nonsense"}):
            status, told = await get(door, "/health", **headers)
            assert status == 200 and set(told) == {"status", "models", "providers"}
        assert set((await get(door, "/health", authorization=f"Bearer {KEY}"))[1]) == SEVEN
    async with open_door(tmp_path, MODELS) as door:
        assert set((await get(door, "/health", host="evil.example"))[1]) == {"status", "models", "providers"}


async def test_models_in_openai_s_shape(tmp_path):
    async with open_door(tmp_path, MODELS) as door:
        status, told = await get(door, "/v1/models")
        assert status == 200 and told["object"] == "list" and [m["id"] for m in told["data"]] == ALL
        assert all(set(m) == {"id", "object", "created", "owned_by"} and m["object"] == "model" for m in told["data"])
        assert all(isinstance(m["created"], int) and m["owned_by"] for m in told["data"])
        assert (await get(door, "/models"))[1] == told
        for name, path in (
            ("gpt", "gpt"),
            ("100%/x", "100%25/x"),
            ("fast", "fast"),
            ("vllm/any", "vllm/any"),
            ("hushed", "hushed"),
        ):
            status, one = await get(door, f"/v1/models/{path}")
            assert status == 200 and one["id"] == name and one["object"] == "model"
        status, told = await get(door, "/v1/models/gptt")
        assert (
            status == 404
            and "Nearest names here: gpt" in told["error"]["message"]
            and told["error"]["param"] == "model"
        )
        assert {r.path for r in door.records} >= {"/v1/models"} and door.mock.received == []


async def test_models_in_anthropic_s_shape_page_by_page(tmp_path):
    rows = "".join(f"  - {{model_name: m{n:02}, litellm_params: {{model: openai/m, api_key: k}}}}\n" for n in range(45))
    async with open_door(tmp_path, "model_list:\n" + rows) as door:

        async def page(query: str = ""):
            status, told = await get(door, f"/v1/models{query}", anthropic_version="2023-06-01")
            assert status == 200 and set(told) == {"data", "has_more", "first_id", "last_id"}
            ids = [model["id"] for model in told["data"]]
            assert all(set(m) == {"type", "id", "display_name", "created_at"} for m in told["data"])
            assert (told["first_id"], told["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
            return ids, told["has_more"]

        names = [f"m{n:02}" for n in range(45)]
        assert await page() == (names[:20], True)
        assert await page("?after_id=m19") == (names[20:40], True)
        assert await page("?after_id=m39") == (names[40:], False)
        assert await page("?after_id=m44") == ([], False)
        assert await page("?before_id=m05") == (names[:5], False)
        assert await page("?before_id=m30&limit=10") == (names[20:30], True)
        assert await page("?limit=1000") == (names, False)
        for odd in ("0", "-1", "x", "%C2%B2", "", "9" * 5000, "1.5"):
            ids, more = await page(f"?limit={odd}")
            assert ids and more == (len(ids) < 45), odd
        status, one = await get(door, "/v1/models/m01", anthropic_version="2023-06-01")
        assert status == 200 and one["type"] == "model" and one["id"] == "m01"
        status, told = await get(door, "/v1/models/none", anthropic_version="2023-06-01")
        assert status == 404 and told["error"]["type"] == "not_found_error"


async def test_models_in_google_s_shape(tmp_path):
    async with open_door(tmp_path, MODELS, master_key=KEY) as door:
        _, told = await get(door, "/v1/models", x_goog_api_key=KEY)
        assert [m["name"] for m in told["models"]] == [f"models/{name}" for name in ALL if "*" not in name]


async def test_who_may_not_call_sees_no_models(tmp_path):
    async with open_door(tmp_path, MODELS, master_key=KEY) as door:
        for path in ("/v1/models", "/models", "/v1/models/gpt", "/v1/models/none", "/nothing", "/v1/responses/x"):
            status, headers, body = await door.ask("GET", path)
            assert status == 401 and headers["www-authenticate"] == "Bearer" and b"gpt" not in body
        assert (await door.ask("HEAD", "/"))[0] == 200


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/v1/models/gpt"])
async def test_pages_are_read_and_nothing_else(tmp_path, path):
    async with open_door(tmp_path, MODELS) as door:
        for method in ("POST", "DELETE", "PUT"):
            status, headers, _ = await door.ask(method, path)
            assert status == 405 and headers["allow"] == "GET, HEAD"


async def test_a_page_that_fails_is_a_500_with_a_record_and_not_a_hanging_client(tmp_path, monkeypatch):
    async with open_door(tmp_path, MODELS) as door:
        monkeypatch.setattr(door.gateway.state.catalog, "names", lambda: 1 / 0, raising=False)
        status, headers, body = await door.ask("GET", "/v1/models")
        told = json.loads(body)["error"]
        assert (
            status == 500
            and "ZeroDivisionError" in told["message"]
            and headers["x-litellm-call-id"] in door.records[0].call_id
        )
        assert [record.error for record in door.records] == ["gateway_bug"]
        monkeypatch.undo()

        async def broken(*_):
            raise GatewayError("no_such_kind", "x")

        monkeypatch.setattr(door.gateway.engine, "handle", broken)
        status, _, body = await door.post({"model": "gpt", "messages": [{}]})
        assert status == 500 and "KeyError" in json.loads(body)["error"]["message"]
        assert [record.error for record in door.records] == ["gateway_bug"] * 2
        await door.settle()

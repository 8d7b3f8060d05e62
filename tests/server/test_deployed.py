"""The URLs behind the pages of models: deployments as they stand, tries of them, providers and their keys."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.mock import Script, Step
from tests.served import open_service
from tests.server.managing import CONFIG, SECRET, chat, entry


async def groups(door: Any, query: str = "") -> dict[str, Any]:
    status, told = await door.call(f"/deployments{query}")
    assert status == 200, told
    found: dict[str, Any] = told
    return found


async def test_deployments_stand_by_their_public_names(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door, "m"))
        await door.call("/model/new", entry(door, "other", id="i2", tags=["cheap"]))
        told = await groups(door)
        assert [(group["model_name"], len(group["deployments"])) for group in told["data"]] == [("m", 2), ("other", 1)]
        assert (told["total"], told["total_deployments"], told["pages"]) == (2, 3, 1)
        by_id = {row["id"]: row for group in told["data"] for row in group["deployments"]}
        assert ":" in by_id["of-the-file"]["place"] and not by_id["of-the-file"]["stored"]
        assert by_id["i1"]["stored"] and SECRET not in str(told)
        for query, names in (
            ("?search=CHEAP", ["other"]), ("?model=m", ["m"]), ("?provider=anthropic", []), ("?size=1&page=2", ["other"]),
            ("?trouble=true", []),
        ):  # fmt: skip
            assert [group["model_name"] for group in (await groups(door, query))["data"]] == names, query
        status, one = await door.call("/deployments/i2")
        assert status == 200 and one == by_id["i2"]
        assert (await door.call("/deployments/none"))[0] == 404


@pytest.mark.parametrize("query", ["page=0", "page=x", "size=501", "size=-1"])
async def test_a_page_that_is_none_is_refused(tmp_path, query):
    async with open_service(tmp_path, CONFIG) as door:
        status, told = await door.call(f"/deployments?{query}")
        assert status == 400 and query.partition("=")[0] in told["error"]["message"]


async def test_what_traffic_tells_is_told(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        assert (await door.call("/deployments/of-the-file"))[1]["live"]["state"] in ("unknown", "well")
        assert await chat(door, "m") == 200
        assert (await door.call("/deployments/of-the-file"))[1]["live"]["state"] == "well"
        await door.call("/model/new", entry(door, "m"))
        door.mock.script = Script(default=Step(status=401))
        await chat(door, "m")
        rows = (await groups(door, "?trouble=true"))["data"][0]["deployments"]
        live = rows[0]["live"]
        assert live["state"] in ("resting", "unwell") and live["why"], live
        await door.call("/model/i1/update", {"model_info": {"blocked": True}}, "PATCH")
        assert (await door.call("/deployments/i1"))[1]["live"]["state"] == "blocked"


async def test_a_deployment_is_tried(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        door.mock.script = Script(default=Step(text="pong"))
        status, told = await door.call("/health/test_connection", {"model_info": {"id": "of-the-file"}})
        assert (status, told["status"], told["result"]["text"]) == (200, "success", "pong"), told
        assert told["result"]["response_time_ms"] > 0 and told["result"]["error"] is None
        assert len(door.mock.received) == 1
        for body, param in (({}, "litellm_params"), ({"model_info": {"id": "none"}}, "model_info.id")):
            status, told = await door.call("/health/test_connection", body)
            assert status == 400 and told["error"]["param"] == param


async def test_one_that_is_to_be_is_tried_and_leaves_nothing(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        params = entry(door)["litellm_params"]
        before = set(door.gateway.engine.means.lives)
        status, told = await door.call("/health/test_connection", {"litellm_params": params})
        assert (status, told["status"]) == (200, "success"), told
        door.mock.script = Script(default=Step(status=401))
        status, told = await door.call("/health/test_connection", {"litellm_params": params})
        assert (status, told["status"], told["result"]["status"]) == (200, "error", 401), told
        assert SECRET not in str(told)
        assert set(door.gateway.engine.means.lives) == before
        assert [group["model_name"] for group in (await groups(door))["data"]] == ["m"]
        for params, word in (({"model": "openai/x", "rpm": "many"}, "rpm"), ({"model": "openai/x", "api_key": "os.environ/HOME"}, "api_key")):
            status, told = await door.call("/health/test_connection", {"litellm_params": params})
            assert status == 400 and word in told["error"]["message"], told
        told = await door.call("/health/test_connection", {"model_info": {"id": "of-the-file"}, "mode": "image_generation"})
        assert told[0] == 400 and told[1]["error"]["param"] == "mode"


async def test_providers_say_where_their_keys_are(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        status, told = await door.call("/providers")
        rows = {row["id"]: row for row in told["data"]}
        assert status == 200 and len(rows) == told["total"] > 150
        assert rows["ollama"]["key"] == "none" and rows["bedrock"]["key"] == "account" and rows["groq"]["key"] == "missing"
        assert rows["openai"]["deployments"] == 1 and rows["openai"]["key_variables"] == ["OPENAI_API_KEY"]
        assert SECRET not in str(told)
        found = (await door.call("/providers?search=groq_api"))[1]["data"]
        assert [row["id"] for row in found] == ["groq"]
        assert "groq" not in {row["id"] for row in (await door.call("/providers?used=true"))[1]["data"]}


async def test_a_provider_is_asked_for_its_models(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        status, told = await door.call("/providers/openai/test", {})
        assert status == 200 and told["status"] == "success" and told["result"]["count"] == 1, told
        assert [one.path for one in door.mock.received] == ["/v1/models"]
        door.mock.script = Script(default=Step(status=500))
        assert (await door.call("/providers/none/test", {}))[0] == 404
        status, told = await door.call("/providers/groq/test", {})
        assert (status, told.get("status")) == (400, None) or told["status"] == "error", told
        assert "GROQ_API_KEY" in str(told)

"""Models that are added, changed and deleted while the gateway runs: what is served, what stays, what is told."""

from __future__ import annotations

import asyncio
import json
import re

from penstock.admin.registry import merged
from penstock.mock import Rule, Script, Step
from penstock.runtime import state as states
from penstock.stores.base import StoredModel
from penstock.stores.models import SharedModelStore, make_shared_file
from tests.door import HELLO
from tests.served import MASTER, open_service
from tests.server.managing import CONFIG, SECRET, chat, entry, names, rows, sent_key

# What is served -------------------------------------------------------------------------------------------------------


async def test_a_model_is_served_from_the_moment_that_it_was_added(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        assert await chat(door, "new") == 400
        sent = entry(door, rpm=7) | {"model_info": {"id": "i1", "mode": "chat", "note": "mine"}}
        status, told = await door.call("/model/new", sent)
        assert status == 200 and (told["model_id"], told["model_name"]) == ("i1", "new")
        assert told["litellm_params"]["model"] == "openai/other-model" and told["litellm_params"]["rpm"] == 7
        assert told["model_info"] == {"id": "i1", "db_model": True, "mode": "chat", "note": "mine"}
        assert told["created_by"] == told["updated_by"] == "master" and told["created_at"].endswith("Z")
        assert await names(door) == ["m", "new"]
        info = await rows(door)
        assert info["i1"]["model_info"]["created_by"] == "master"
        assert info["i1"]["model_info"]["db_model"] is True and info["of-the-file"]["model_info"]["db_model"] is False
        groups = {row["model_group"]: row for row in (await door.call("/model_group/info"))[1]["data"]}
        assert groups["new"]["rpm"] == 7
        assert await chat(door, "new") == 200 and await chat(door, "m") == 200
        assert sent_key(door, 0) == SECRET
        assert json.loads(door.mock.received[0].body)["model"] == "other-model"


async def test_a_model_that_has_the_name_of_another_joins_its_group_and_leaves_it(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door, "m"))
        assert {target.id for target in door.gateway.state.plan("m").targets["m"]} == {"of-the-file", "i1"}
        assert (await door.call("/model/delete", {"id": "i1"}))[1] == {"message": "Model: i1 deleted successfully"}
        assert [target.id for target in door.gateway.state.plan("m").targets["m"]] == ["of-the-file"]
        assert await chat(door, "m") == 200


async def test_an_id_is_made_where_none_is_given_and_says_nothing_of_the_key(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        made = {(await door.call("/model/new", entry(door, id=None)))[1]["model_id"] for _ in range(2)}
        assert len(made) == 2 and all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id) for id in made)
        assert made < set(await rows(door))


async def test_a_change_lays_over_what_is_there(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        first = (await door.call("/model/new", entry(door, rpm=7, temperature=0.5)))[1]
        change = {"model_name": "newer", "litellm_params": {"rpm": 8, "temperature": None}, "model_info": {"id": "i1"}}
        status, told = await door.call("/model/update", change)
        assert status == 200 and told["litellm_params"]["rpm"] == 8 and told["created_at"] == first["created_at"]
        assert await names(door) == ["m", "newer"]
        assert await chat(door, "newer") == 200 and await chat(door, "new") == 400
        sent = json.loads(door.mock.received[-1].body)
        assert sent["temperature"] == 0.5, "LiteLLM's /model/update leaves what is null"
        patch = {"litellm_params": {"temperature": None, "api_key": None, "rpm": None}}
        assert (await door.call("/model/i1/update", patch, "PATCH"))[0] == 200
        assert await chat(door, "newer") == 200
        assert "temperature" not in json.loads(door.mock.received[-1].body)
        assert sent_key(door) == SECRET, "a credential is never taken away"
        assert door.gateway.state.built["i1"].target.rpm is None


async def test_what_was_shown_and_comes_back_is_no_change(tmp_path):
    """Dashboards send back all of what they were shown: prices of the list, the address without its query."""
    async with open_service(tmp_path, CONFIG) as door:
        base = f"{door.mock.url}/v1?tenant=a"
        await door.call("/model/new", entry(door, model="openai/gpt-4o", api_base=base))
        before = door.gateway.state.built["i1"].deployment
        shown = (await rows(door))["i1"]
        assert shown["model_info"]["input_cost_per_token"] and "tenant" not in shown["litellm_params"]["api_base"]
        shown["model_info"]["note"] = "new"
        assert (await door.call("/model/i1/update", shown, "PATCH"))[0] == 200
        after = door.gateway.state.built["i1"].deployment
        assert after.params == before.params and after.api_base == base
        assert dict(after.info).keys() - before.info.keys() == {"note"}
        [stored] = (await door.service.models.read_all()).models
        assert json.loads(stored.entry)["model_info"] == {"id": "i1", "note": "new"}


def test_patches_are_laid_key_by_key():
    known = {"model_name": "a", "litellm_params": {"model": "x", "api_key": "k", "rpm": 1}}
    patch = {"model_name": None, "litellm_params": {"rpm": None, "api_key": None, "tpm": 2}, "model_info": {"mode": "chat"}}
    told = {"model_name": "a", "litellm_params": {"model": "x", "api_key": "k", "tpm": 2}, "model_info": {"mode": "chat"}}
    assert merged(known, patch, clears=True) == told
    assert merged(known, patch, clears=False)["litellm_params"]["rpm"] == 1
    assert merged(known, {}, clears=True) == known


# What stays -----------------------------------------------------------------------------------------------------------


async def test_a_reload_keeps_the_stored_models_and_what_is_known_of_all(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        await door.call("/model/new", entry(door, "dead", "i2", api_base="http://127.0.0.1:9/v1"))
        assert await chat(door, "dead") == 500 and await chat(door, "m") == 200
        lives = door.gateway.engine.means.lives
        known = {id: lives[id] for id in ("of-the-file", "i2")}
        assert lives["i2"].health.ill
        door.path.write_text(door.path.read_text().replace("model_name: m", "model_name: renamed"))
        await door.service.read_again()
        assert await names(door) == ["renamed", "new", "dead"] and await chat(door, "new") == 200
        await door.call("/model/i1/update", {"litellm_params": {"rpm": 1}}, "PATCH")
        assert all(lives[id] is live for id, live in known.items()) and lives["i2"].health.ill
        await door.call("/model/delete", {"id": "i2"})
        assert "i2" not in lives and lives["of-the-file"] is known["of-the-file"]


async def test_a_broken_config_file_takes_no_stored_model_away_and_hinders_no_change(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        door.path.write_text("model_list: [")
        await door.service.read_again()
        assert "the old config stays" in "".join(door.lines)
        assert await names(door) == ["m", "new"]
        assert (await door.call("/model/new", entry(door, "more", "i2")))[0] == 200
        assert await names(door) == ["m", "new", "more"]


async def test_the_files_fallbacks_and_aliases_lead_to_stored_models(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        router = "router_settings: {num_retries: 0, fallbacks: [{m: [new]}], model_group_alias: {other: new, no: nobody}}"
        door.path.write_text(door.path.read_text().replace("router_settings: {num_retries: 0}", router))
        await door.service.read_again()
        said = "".join(door.lines)
        assert "no model named 'nobody'" in said and "no model named 'new'" not in said
        door.path.write_text(door.path.read_text().replace(", no: nobody", ""))
        await door.service.read_again()
        assert await chat(door, "other") == 200
        door.mock.script = Script(rules=[Rule(model="real-model", step=Step(status=500))])
        assert await chat(door, "m") == 200, "it fell back to the stored one"
        await door.call("/model/delete", {"id": "i1"})
        assert await chat(door, "m") == 500 and await chat(door, "other") == 400
        await door.call("/model/new", entry(door))
        assert await chat(door, "m") == 200 and await chat(door, "other") == 200


async def test_an_id_that_the_file_takes_later_is_the_files(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        door.path.write_text(door.path.read_text().replace("id: of-the-file", "id: i1"))
        await door.service.read_again()
        assert await names(door) == ["m"] and "the deployment 'i1' is left out" in "".join(door.lines)
        door.path.write_text(door.path.read_text().replace("id: i1", "id: of-the-file"))
        await door.service.read_again()
        assert await names(door) == ["m", "new"]


async def test_a_stored_model_whose_permission_is_gone_is_left_out_and_told(tmp_path):
    may = CONFIG.replace("general_settings: {", "general_settings: {stored_models_may_read: [UP], ")
    async with open_service(tmp_path, may, {"UP": "sk-of-the-variable"}) as door:
        assert (await door.call("/model/new", entry(door, api_key="os.environ/UP")))[0] == 200
        assert await chat(door, "new") == 200
        assert sent_key(door) == "sk-of-the-variable"
        door.path.write_text(CONFIG.replace("{mock}", door.mock.url))
        await door.service.read_again()
        said = "".join(door.lines)
        assert await names(door) == ["m"] and "i1: litellm_params.api_key: names the variable 'UP'" in said
        assert (await door.call("/model/delete", {"id": "i1"}))[0] == 200


async def test_a_running_stream_goes_on_with_what_it_began_with(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        door.mock.script = Script(default=Step(text="one two three four five six", tokens_per_second=20))
        asked = asyncio.create_task(door.call("/v1/chat/completions", {**HELLO, "model": "new"}))
        body = {**HELLO, "model": "new", "stream": True}
        streamed = asyncio.create_task(door.post(body, authorization=f"Bearer {MASTER}"))
        while len(door.mock.received) < 2:
            await asyncio.sleep(0.01)
        assert (await door.call("/model/delete", {"id": "i1"}))[0] == 200
        assert await chat(door, "new") == 400
        status, _, told = await streamed
        assert status == 200 and told.endswith(b"data: [DONE]\n\n") and b"error" not in told
        assert (await asked)[0] == 200
        await door.settle()


async def test_only_what_changed_is_built_again(tmp_path, monkeypatch):
    many = "\n".join(f"  - {{model_name: n{i}, litellm_params: {{model: openai/x, api_key: sk-n{i}}}}}" for i in range(300))
    async with open_service(tmp_path, CONFIG.replace("credential_list:", many + "\ncredential_list:")) as door:
        built: list[str] = []
        real = states.build_target

        def counted(deployment, *args, **more):
            built.append(deployment.model_name)
            return real(deployment, *args, **more)

        monkeypatch.setattr(states, "build_target", counted)
        before = door.gateway.state
        await door.call("/model/new", entry(door))
        await door.call("/model/new", entry(door, "second", "i2"))
        await door.call("/model/delete", {"id": "i1"})
        after = door.gateway.state
        # Once to be checked, and once to be served.
        assert built == ["new", "new", "second", "second"]
        assert all(one is other for one, other in zip(before.targets, after.targets, strict=False))
        assert [target.id for target in after.targets[-1:]] == ["i2"] and len(after.targets) == len(before.targets) + 1


async def test_what_the_config_says_of_all_deployments_holds_for_stored_ones(tmp_path):
    yaml = CONFIG.replace("router_settings: {", "router_settings: {default_litellm_params: {temperature: 0.25}, ")
    async with open_service(tmp_path, yaml) as door:
        await door.call("/model/new", entry(door))
        assert await chat(door, "new") == 200
        assert json.loads(door.mock.received[-1].body)["temperature"] == 0.25


async def test_a_deployment_that_rests_goes_on_resting_when_another_is_changed(tmp_path):
    yaml = CONFIG.replace("router_settings: {", "router_settings: {allowed_fails: 1, cooldown_time: 60, ")
    async with open_service(tmp_path, yaml) as door:
        await door.call("/model/new", entry(door, "m", "i1"))  # a group of two, or none of them may rest
        door.mock.script = Script(rules=[Rule(model="real-model", step=Step(status=500))])
        while not any(json.loads(one.body)["model"] == "real-model" for one in door.mock.received):
            await chat(door, "m")
        before = len(door.mock.received)
        assert [await chat(door, "m") for _ in range(12)] == [200] * 12
        await door.call("/model/new", entry(door, "other", "i2"))
        await door.call("/model/i1/update", {"litellm_params": {"tpm": 5000}}, "PATCH")
        await door.service.read_again()
        assert [await chat(door, "m") for _ in range(12)] == [200] * 12
        assert {json.loads(one.body)["model"] for one in door.mock.received[before:]} == {"other-model"}


async def test_where_the_settings_around_them_changed_all_are_built_again(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        before = door.gateway.state
        door.path.write_text(door.path.read_text() + "litellm_settings: {request_timeout: 7}\n")
        await door.service.read_again()
        assert [target.timeouts.total for target in door.gateway.state.targets] == [7, 7]
        assert before.targets[0] is not door.gateway.state.targets[0]


async def test_changes_at_once_are_all_there(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        sent = [entry(door, f"n{i}", f"i{i}") for i in range(12)]
        told = await asyncio.gather(*(door.call("/model/new", one) for one in sent), door.service.read_again())
        assert all(answer[0] == 200 for answer in told[:-1])
        assert set(await names(door)) == {"m", *(f"n{i}" for i in range(12))}
        patches = [{"litellm_params": {key: 5}} for key in ("rpm", "tpm", "max_retries", "weight", "timeout")]
        done = await asyncio.gather(*(door.call("/model/i0/update", patch, "PATCH") for patch in patches))
        assert all(answer[0] == 200 for answer in done)
        deployment = door.gateway.state.built["i0"].deployment
        assert [deployment.rpm, deployment.tpm, deployment.max_retries, deployment.weight, deployment.timeout] == [5] * 5


async def test_streams_and_requests_go_on_while_fifty_models_come_and_go(tmp_path):
    """Ten streams are open all the time, and requests come at 200 a second, to a model that stays and to those that are
    there just then: none fails, and no stream is cut."""
    async with open_service(tmp_path, CONFIG) as door:
        door.mock.script = Script(rules=[Rule(stream=True, step=Step(text="word " * 40, tokens_per_second=25))])
        body = {**HELLO, "stream": True}
        streams = [asyncio.create_task(door.post(body, authorization=f"Bearer {MASTER}")) for _ in range(10)]
        while len(door.mock.received) < len(streams):
            await asyncio.sleep(0.01)
        there: list[str] = []
        failed: list[tuple[str, int]] = []
        asked = 0
        done = asyncio.Event()

        async def one(model: str) -> None:
            if (status := await chat(door, model)) != 200:
                failed.append((model, status))

        async def ask() -> None:
            nonlocal asked
            running: set[asyncio.Task[None]] = set()
            while not done.is_set():
                task = asyncio.create_task(one(there[asked % len(there)] if asked % 2 and there else "m"))
                running.add(task)
                task.add_done_callback(running.discard)
                asked += 1
                await asyncio.sleep(0.005)
            await asyncio.gather(*running)

        asking = asyncio.create_task(ask())
        for number in range(50):
            assert (await door.call("/model/new", entry(door, f"n{number}", f"i{number}")))[0] == 200
            there.append(f"n{number}")
            await door.call(f"/model/i{number}/update", {"litellm_params": {"rpm": number + 1}}, "PATCH")
            if len(there) > 3:
                leaving = there.pop(0)
                await asyncio.sleep(0.02)  # who was told of it a moment ago asks now
                assert (await door.call("/model/delete", {"id": "i" + leaving[1:]}))[0] == 200
        done.set()
        await asking
        assert failed == [] and asked > 100
        for status, _, told in await asyncio.gather(*streams):
            assert status == 200 and told.endswith(b"data: [DONE]\n\n") and told.count(b"word") == 40 and b"error" not in told
        assert await names(door) == ["m", *there]
        await door.settle()


# Several workers ------------------------------------------------------------------------------------------------------


async def test_workers_share_what_is_stored(tmp_path):
    """Two services on one file, as two workers have it."""
    fd = make_shared_file()
    one_path, other_path = tmp_path / "one", tmp_path / "other"
    one_path.mkdir(), other_path.mkdir()
    async with open_service(one_path, CONFIG, models_fd=fd) as one:
        await one.call("/model/new", entry(one, "early", "i0"))
        async with open_service(other_path, CONFIG, models_fd=fd) as other:
            await other.service._find_the_rest()
            assert await names(other) == ["m", "early"], "one that starts later has what was there"
            looks = asyncio.create_task(other.service._look_at_models())
            began = asyncio.get_running_loop().time()
            await one.call("/model/new", entry(one))
            while "new" not in await names(other):
                await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - began < 1
            status, told = await other.call("/model/new", entry(other, "again"))
            assert status == 400 and told["error"]["param"] == "model_info.id"
            await other.call("/model/i1/update", {"litellm_params": {"rpm": 3}}, "PATCH")
            await one.call("/model/i1/update", {"litellm_params": {"tpm": 4}}, "PATCH")  # before it has looked
            [_, stored] = (await SharedModelStore(fd).read_all()).models
            params = json.loads(stored.entry)["litellm_params"]
            assert (params["rpm"], params["tpm"], stored.version) == (3, 4, 3)
            looks.cancel()


# What is told ---------------------------------------------------------------------------------------------------------


async def test_no_credential_comes_back_and_none_is_in_the_log(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        secrets = {
            "api_key": SECRET, "extra_headers": {"X-Api-Key": f"{SECRET}-2"}, "aws_secret_access_key": f"{SECRET}-3",
            "unheard_of_token": f"{SECRET}-4", "extra_body": {"password": f"{SECRET}-5"},
        }  # fmt: skip
        sent = entry(door, **secrets)
        told = [
            await door.call("/model/new", sent),
            await door.call("/model/i1/update", {"litellm_params": secrets}, "PATCH"),
            await door.call("/model/update", {"litellm_params": secrets, "model_info": {"id": "i1"}}),
            await door.call("/model/info"),
            await door.call("/v1/model/info?litellm_model_id=i1"),
            await door.call("/model_group/info"),
        ]
        assert [status for status, _ in told] == [200] * 6
        assert SECRET not in json.dumps(told) and SECRET not in "".join(door.lines)


async def test_an_upstream_that_repeats_the_new_key_is_masked_at_once(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        assert door.gateway.state.mask  # made before: what comes later is added to it
        await door.call("/model/new", entry(door, api_key="plainlookingword77"))
        door.mock.script = Script(default=Step(status=401, error="no: plainlookingword77"))
        status, told = await door.call("/v1/chat/completions", {**HELLO, "model": "new"})
        assert status >= 400 and "plainlookingword77" not in json.dumps(told) and "redacted" in json.dumps(told)


async def test_what_does_not_hold_is_told_with_the_answer(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        sent = entry(door, cooldown_time=5, somebodys_own_key=1)
        sent["litellm_params"].pop("api_key")
        sent["litellm_params"].pop("api_base")
        status, told = await door.call("/model/new", sent)
        warnings = "\n".join(told["warnings"])
        assert status == 200
        assert "litellm_params.somebodys_own_key: unknown key" in warnings
        assert "OPENAI_API_KEY" in warnings, "a key that is missing is no surprise of the first request"
        assert told["persisted"] is False and "gone when the gateway is restarted" in warnings


async def test_changes_are_lines_of_the_log_with_their_author(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))
        await door.call("/model/delete", {"id": "i1"})
        said = "".join(door.lines)
        assert "the model 'new' was added by master (i1)" in said and "the model 'i1' was deleted by master" in said


# A store that cannot be reached ---------------------------------------------------------------------------------------


async def test_a_store_that_is_away_takes_no_model_away_and_is_a_503(tmp_path, monkeypatch):
    async with open_service(tmp_path, CONFIG) as door:
        await door.call("/model/new", entry(door))

        async def away(*_: object) -> None:
            raise ConnectionRefusedError(111, "Connection refused")

        for name in ("read_all", "put", "delete"):
            monkeypatch.setattr(door.service.models, name, away)
        for path, body in (("/model/new", entry(door, "x", "i2")), ("/model/delete", {"id": "i1"})):
            status, told = await door.call(path, body)
            assert status == 503 and "The store of models cannot be used: Connection refused" in told["error"]["message"]
        await door.service.read_again()
        assert "what it gave last stays" in "".join(door.lines)
        assert await names(door) == ["m", "new"] and await chat(door, "new") == 200
        monkeypatch.undo()
        assert (await door.call("/model/delete", {"id": "i1"}))[0] == 200 and await names(door) == ["m"]


async def test_a_client_that_leaves_in_the_middle_of_a_change_leaves_nothing_half_done(tmp_path, monkeypatch):
    async with open_service(tmp_path, CONFIG) as door:
        real, waiting, go_on = door.service.take_changes, asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            waiting.set()
            await go_on.wait()
            await real()

        monkeypatch.setattr(door.gateway.registry, "_serve", slow)
        data = json.dumps(entry(door)).encode()
        head = f"POST /model/new HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {MASTER}\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        await waiting.wait()
        writer.transport.abort()
        while door.gateway.active:
            await asyncio.sleep(0.01)
        go_on.set()
        while door.gateway.registry._serving:
            await asyncio.sleep(0.01)
        assert await names(door) == ["m", "new"]
        assert (await door.call("/model/delete", {"id": "i1"}))[0] == 200


async def test_many_stored_models_are_read_beside_the_loop(tmp_path):
    async with open_service(tmp_path, CONFIG) as door:
        for number in range(120):
            await door.service.models.put(
                StoredModel(f"i{number}", json.dumps(entry(door, f"n{number}", f"i{number}")).encode(), 1, 0, "me", 0, "me")
            )
        await door.service.take_changes()
        assert len(await names(door)) == 121 and await chat(door, "n119") == 200

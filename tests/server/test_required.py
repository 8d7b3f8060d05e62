"""``enforced_params`` of the config, of keys, teams and service accounts, at every surface that reads a body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.server.surfaces import PATTERNS, SURFACES, find
from tests.door import HELLO, open_door
from tests.server.keyed import MASTER, key, open_keyed
from tests.server.managed import open_managed
from tests.server.test_limits import CONFIG

CHAT = "/v1/chat/completions"
PATHS = [*SURFACES, *(path.replace("{model:path}", "m") for row in PATTERNS for path in row.templates)]
BODY = {**HELLO, "max_tokens": 9, "input": "hello", "prompt": "hello", "documents": ["a"], "query": "b", "model": "m"}
BODY |= {"contents": [{"parts": [{"text": "hi"}]}], "content": {"parts": [{"text": "hi"}]}, "texts": ["a"]}
BODY |= {"requests": [{"model": "models/m", "content": {"parts": [{"text": "hi"}]}}]}


async def ask(door, path: str = CHAT, who: str = "a", body: Any = HELLO, **more: Any):
    bearer = MASTER if who == "master" else key(who)
    status, _, answer = await door.post({**body, **more}, path, authorization=f"Bearer {bearer}")
    return status, answer.decode()


@pytest.mark.parametrize("path", PATHS)
async def test_every_surface_refuses_who_does_not_say_it_in_the_shape_of_its_dialect(path: str, tmp_path) -> None:
    settings = 'general_settings: {enforced_params: ["metadata.generation_name"]}\n'
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG + settings) as door:
        surface = SURFACES.get(path) or find(path)
        assert surface is not None
        if surface.read is not None:  # a form, in which a dotted name is a field with an object
            pytest.skip("forms are asked below")
        body = {name: value for name, value in BODY.items() if name != "messages" or "embed" not in path}
        for who in ("a", "master"):
            status, answer = await ask(door, path, who, body)
            assert status == 400 and "param=[metadata][generation_name]" in answer, answer
        error = json.loads(answer)
        told = error if "message" in error else error["error"]
        if isinstance(told, dict) and "param" in told:
            assert told["param"] == "metadata.generation_name"
        assert door.mock.requests == 0
        status, answer = await ask(door, path, "a", body, metadata={"generation_name": "x"})
        assert "please pass param" not in answer


async def test_a_form_says_it_in_a_field(tmp_path) -> None:
    settings = "general_settings: {enforced_params: [user]}\n"
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG + settings) as door:
        for user, good in (("", False), ("x", True)):
            more = f'--b\r\ncontent-disposition: form-data; name="user"\r\n\r\n{user}\r\n' if user else ""
            head = 'content-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav'
            form = f'{more}--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n{head}\r\n\r\nRIFF\r\n--b--\r\n'
            sent = {"content-type": "multipart/form-data; boundary=b", "authorization": f"Bearer {key('a')}"}
            _, _, answer = await door.ask("POST", "/v1/audio/transcriptions", form.encode(), sent)
            assert (b"please pass param=user" not in answer) == good, answer


async def test_keys_and_teams_demand_it_of_their_own(tmp_path) -> None:
    rows = {
        "key": {
            "a": {"metadata": {"enforced_params": ["user"]}},
            "b": {"team_id": "t"},
            "c": {},
            "s": {"metadata": {"service_account_id": "robot"}},
        },
        "team": {"t": {"metadata": {"enforced_params": ["metadata.ticket"]}}},
    }
    settings = "general_settings: {service_account_settings: {enforced_params: [seed]}}\n"
    async with open_keyed(tmp_path, rows, CONFIG + settings) as door:
        assert (await ask(door))[0] == 400 and (await ask(door, user=None))[0] == 400
        assert (await ask(door, user="u"))[0] == 200
        assert (await ask(door, who="b", metadata={"tick": 1}))[0] == 400
        assert (await ask(door, who="b", metadata={"ticket": "7"}))[0] == 200
        assert (await ask(door, who="b", litellm_metadata={"ticket": "7"}))[0] == 200
        assert (await ask(door, who="c"))[0] == (await ask(door, who="master"))[0] == 200
        assert (await ask(door, who="s"))[0] == 400 and (await ask(door, who="s", seed=1))[0] == 200
        assert (await ask(door, who="a", body={**HELLO, "model": "gone"}))[0] in (400, 404)


async def test_it_holds_where_nothing_is_stored(tmp_path) -> None:
    from penstock.config.admission import read_admission
    from penstock.runtime.admission import Admission

    settings = "general_settings: {enforced_params: [user]}\n"
    async with open_door(tmp_path, CONFIG + settings) as door:
        engine = door.gateway.engine
        read, problems = read_admission(door.gateway.state.config)
        assert read.demands and problems == []
        engine.admission = Admission(None, engine.means.clock, read)
        assert (await door.post(HELLO))[0] == 400 and (await door.post({**HELLO, "user": "u"}))[0] == 200


async def test_an_owner_does_not_free_a_key_of_it(tmp_path) -> None:
    async with open_managed(tmp_path) as managed:
        await managed.put("user", "u", user_id="u", user_role="internal_user")
        await managed.key("own", user_id="u", enforced_params=["user"])
        for change in ({"enforced_params": None}, {"enforced_params": []}, {"metadata": {}}):
            status, message, _ = await managed.bad("/key/update", {"key": managed.keys["own"], **change}, key="own")
            assert status == 403, (change, message)
        body = managed.desk.keyring.body("key", managed.id("own"))
        assert body is not None and body["metadata"]["enforced_params"] == ["user"]
        status, message, param = await managed.bad("/key/generate", {"metadata": {"enforced_params": "user"}})
        assert status == 400 and param == "enforced_params", message

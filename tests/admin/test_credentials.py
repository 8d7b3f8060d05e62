"""Credentials and models that are kept in a database: sealed there, never told again, used by who means them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from penstock.stores.sealing import Sealer
from tests.admin.desks import managed
from tests.door import HELLO
from tests.served import open_service
from tests.server.managing import CONFIG, SECRET, entry, sent_key


def on_disk(tmp_path: Path) -> bytes:
    """All that is written down, the journal of the database as well."""
    return b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())


async def test_a_stored_credential_is_used_changed_and_never_told(tmp_path):
    async with open_service(tmp_path, CONFIG, state_dir=tmp_path / "state") as door:
        sent = {"credential_name": "mine", "credential_values": {"api_key": SECRET}, "credential_info": {"by": "me"}}
        assert (await door.call("/credentials", sent))[0] == 200
        made = entry(door, name="n", id="i1", litellm_credential_name="mine")
        del made["litellm_params"]["api_key"]
        status, told = await door.call("/model/new", made)
        assert status == 200 and told["persisted"] is True, told
        assert (await door.call("/v1/chat/completions", {**HELLO, "model": "n"}))[0] == 200 and sent_key(door) == SECRET
        patch = {"credential_values": {"api_key": "sk-a-newer-one-7712", "api_base": None}}
        assert (await door.call("/credentials/mine", patch, "PATCH"))[0] == 200
        assert (await door.call("/v1/chat/completions", {**HELLO, "model": "n"}))[0] == 200
        assert sent_key(door) == "sk-a-newer-one-7712"
        echo = {"credential_values": {"api_key": "****"}}
        assert (await door.call("/credentials/mine", echo, "PATCH"))[0] == 200
        assert (await door.call("/v1/chat/completions", {**HELLO, "model": "n"}))[0] == 200
        assert sent_key(door) == "sk-a-newer-one-7712"
        answers = [await door.call(path) for path in ("/credentials", "/credentials/by_name/mine", "/credentials/by_model/i1", "/audit", "/credentials/by_name/shared")]
        assert [status for status, _ in answers] == [200] * 5
        assert {one["credential_name"] for one in answers[0][1]["credentials"]} == {"mine", "shared"}
        assert answers[1][1] == {"credential_name": "mine", "credential_values": {"api_key": "****"}, "credential_info": {"by": "me"}}
        for text in (SECRET, "sk-a-newer-one-7712", "sk-of-the-list-22"):
            assert text not in json.dumps(answers)
            assert text not in "".join(door.lines)
        status, told = await door.call("/credentials/mine", None, "DELETE")
        assert status == 400 and "means this credential" in told["error"]["message"]
        assert (await door.call("/model/delete", {"id": "i1"}))[0] == 200
        assert (await door.call("/credentials/mine", None, "DELETE"))[0] == 200
        assert (await door.call("/credentials/by_name/mine"))[0] == 404
        written = on_disk(tmp_path)
    assert SECRET.encode() not in written and b"sk-a-newer-one-7712" not in written and b"sealed1:" in written


async def test_stored_models_are_there_after_a_restart_and_not_with_another_secret(tmp_path):
    state = tmp_path / "state"
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        base = door.mock.url
        assert (await door.call("/model/new", entry(door, name="n", id="i1")))[0] == 200
        assert SECRET.encode() not in on_disk(tmp_path)
        changes = (await door.call("/audit?table_name=LiteLLM_ProxyModelTable"))[1]["audit_logs"]
        assert [one["action"] for one in changes] == ["created"] and SECRET not in json.dumps(changes)
        assert (await door.call(f"/audit/{changes[0]['id']}"))[1] == changes[0]
        assert changes[0]["object_id"] == "i1" and changes[0]["changed_by"] == "master"
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        await door.service._find_the_rest()
        status, told = await door.call("/model/info?litellm_model_id=i1")
        assert status == 200 and told["data"][0]["litellm_params"]["api_base"].startswith(base)
    with sqlite3.connect(state / "penstock.db") as database:
        (body,) = next(database.execute("select body from penstock_models"))
        body = json.loads(body)
        body["entry"] = Sealer(b"a secret that was").seal(b"{}", "model/i1/entry")
        database.execute("update penstock_models set body = ?", (json.dumps(body),))
    async with open_service(tmp_path, CONFIG, state_dir=state) as door:
        await door.service._find_the_rest()
        assert (await door.call("/model/info?litellm_model_id=i1"))[0] == 400


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"api_key": "os.environ/SECRET_OF_THE_HOST"}, "names the variable"),
        ({"vertex_credentials": "/etc/passwd"}, "names a file"),
        ({"api_base": "http://169.254.169.254/"}, "metadata service"),
        ({"api_kye": "x"}, "api_kye"),
        ({}, "give the values"),
    ],
)
async def test_values_that_would_be_read_here_or_that_nobody_knows_are_refused(tmp_path, values, text):
    async with managed(tmp_path) as gate:
        sent = {"credential_name": "c", "credential_values": values}
        assert text in await gate.refused(400, "/credentials", sent)
        assert await gate.rows("credential") == {}


async def test_a_credential_that_was_sealed_with_another_secret_says_so(tmp_path):
    async with managed(tmp_path) as gate:
        await gate.good("/credentials", {"credential_name": "c", "credential_values": {"api_key": SECRET}})
        gate.desk.sealer = Sealer(b"another one")
        told = await gate.good("/credentials/by_name/c")
        assert "another secret" in told["unusable"] and SECRET not in json.dumps(told)
        gate.desk.sealer = None
        assert "penstock[credentials]" in await gate.refused(501, "/credentials", {"credential_name": "d", "credential_values": {"api_key": "sk-x-123456"}})


async def test_the_audit_log_tells_who_changed_what_and_from_what(tmp_path):
    async with managed(tmp_path) as gate:
        await gate.good("/team/new", {"team_id": "t", "max_budget": 1})
        await gate.good("/team/update", {"team_id": "t", "max_budget": 2})
        await gate.good("/team/delete", {"team_ids": ["t"]})
        view, plain = await gate.user("v", "proxy_admin_viewer"), await gate.user("p")
        told = await gate.good("/audit?object_id=t&page_size=2", key=view)
        assert (told["total"], told["total_pages"], told["page"]) == (3, 2, 1)
        last, before = told["audit_logs"]
        assert (last["action"], last["updated_values"], last["before_value"]["max_budget"]) == ("deleted", None, 2)
        assert (before["before_value"]["max_budget"], before["updated_values"]["max_budget"]) == (1, 2)
        assert before["table_name"] == "LiteLLM_TeamTable" and before["changed_by"] == "master"
        assert await gate.good(f"/audit/{last['id']}") == last
        assert (await gate.good("/audit?action=created&table_name=LiteLLM_TeamTable"))["total"] == 1
        await gate.refused(403, "/audit", key=plain)
        await gate.refused(404, "/audit/none")
        assert "page_size" in await gate.refused(422, "/audit?page_size=1000")
        keys = await gate.good("/audit?table_name=LiteLLM_VerificationToken&page_size=100")
        assert keys["total"] == 2 and "digest" not in json.dumps(keys)


async def test_a_model_of_the_config_file_serves_with_a_stored_credential(tmp_path):
    """Once the credential is there, with what it says now, after a restart, and no more without it."""
    of_file = CONFIG.replace("model_list:", """model_list:
  - {model_name: later, litellm_params: {model: openai/of-the-file, api_base: "{mock}/v1", litellm_credential_name: mine}}""")  # fmt: skip
    ask = {**HELLO, "model": "later"}
    async with open_service(tmp_path, of_file, state_dir=tmp_path / "state") as door:
        waits = [p.text() for p in door.service.sources[0].last.problems]
        assert any("no credential named 'mine'" in text and "/credentials" in text for text in waits)
        assert (await door.call("/v1/chat/completions", ask))[0] in (400, 404)
        sent = {"credential_name": "mine", "credential_values": {"api_key": SECRET}}
        assert (await door.call("/credentials", sent))[0] == 200
        assert (await door.call("/v1/chat/completions", ask))[0] == 200 and sent_key(door) == SECRET
        patch = {"credential_values": {"api_key": "sk-a-newer-one-7712"}}
        assert (await door.call("/credentials/mine", patch, "PATCH"))[0] == 200
        assert (await door.call("/v1/chat/completions", ask))[0] == 200 and sent_key(door) == "sk-a-newer-one-7712"
        status, told = await door.call("/credentials/mine", None, "DELETE")
        assert status == 400 and "'later'" in told["error"]["message"]
        await door.service.read_again()
        assert (await door.call("/v1/chat/completions", ask))[0] == 200
    async with open_service(tmp_path, of_file, state_dir=tmp_path / "state") as door:
        await door.service._find_the_rest()
        assert (await door.call("/v1/chat/completions", ask))[0] == 200 and sent_key(door) == "sk-a-newer-one-7712"
        door.path.write_text(CONFIG.replace("{mock}", door.mock.url))
        await door.service.read_again()
        assert (await door.call("/credentials/mine", None, "DELETE"))[0] == 200

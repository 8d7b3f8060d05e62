"""A budget for each session of an agent: it ends in the agent's own dialect, as an answer and not as an error."""

from __future__ import annotations

import json

import pytest

from penstock.core.dialects import DIALECTS
from penstock.core.ir import Text
from tests.server.books import MASTER, YAML, open_books

SAYS = {"messages": [{"role": "user", "content": "hello"}]}
EMBEDDING = """
  - {model_name: e, litellm_params: {model: openai/embed, api_base: "{mock}/v1", api_key: sk-up},
     model_info: {input_cost_per_token: 0.001}}"""
CHATS = {
    "openai_chat": ("/v1/chat/completions", {"model": "m", "max_tokens": 20, **SAYS}, b"data: [DONE]"),
    "anthropic": ("/v1/messages", {"model": "m", "max_tokens": 20, **SAYS}, b"event: message_stop"),
    "openai_responses": ("/v1/responses", {"model": "m", "max_output_tokens": 20, "input": "hello"},
                         b"event: response.completed"),
    "gemini": ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "hello"}]}],
               "generationConfig": {"maxOutputTokens": 20}}, b'"finishReason":"STOP"'),
    "ollama": ("/api/chat", {"model": "m", "options": {"num_predict": 20}, **SAYS}, b'"done":true'),
}  # fmt: skip
SPENT = "This session has a budget of $0.00001, and $"


async def ask(door, key, path, body, session="s-1", **headers):
    if session:
        headers["x-litellm-session-id"] = session
    status, _, answer = await door.post(body, path, authorization=f"Bearer {key}", **headers)
    return status, answer


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CHATS)
async def test_an_agent_is_told_in_its_dialect_that_the_budget_is_used_up(tmp_path, name, streams) -> None:
    path, body, end = CHATS[name]
    async with open_books(tmp_path) as door:
        key = await door.key("a", metadata={"max_budget_per_session": 0.00001})
        if name == "gemini":
            path = path.replace(":generateContent", ":streamGenerateContent?alt=sse") if streams else path
        else:
            body = {**body, "stream": streams}
        before = door.mock.requests
        status, answer = await ask(door, key, path, body)
        assert status == 200, answer
        assert door.mock.requests == before, "nobody is asked"
        assert b"This session has a budget of $0.00001" in b"".join(answer.split(b"\\n")), answer
        assert b"error" not in answer.replace(b'"error":null', b"")
        if streams:
            assert end in answer.replace(b'": "', b'":"').replace(b'": t', b'":t'), answer
        else:
            said = DIALECTS[name].parse_response(answer)
            assert said.choices[0].finish == "stop"
            (block,) = said.choices[0].blocks
            assert isinstance(block, Text) and block.text.startswith(SPENT)


async def test_a_session_spends_its_budget_and_no_more_and_another_one_begins_anew(tmp_path) -> None:
    path, body, _ = CHATS["openai_chat"]
    async with open_books(tmp_path) as door:
        key = await door.key("a", metadata={"max_budget_per_session": 0.0006})
        answers = [await ask(door, key, path, body) for _ in range(12)]
        assert [status for status, _ in answers] == [200] * 12
        ended = [b"This session" in answer for _, answer in answers]
        good = ended.index(True)
        assert good >= 2 and all(ended[good:]), "once it is used up it stays so"
        status, answer = await ask(door, key, path, body, "s-2")
        assert status == 200 and b"This session" not in answer
        other = await door.key("b", metadata={"max_budget_per_session": 0.0006})
        assert b"This session" not in (await ask(door, other, path, body))[1], "the same name, another key"
        assert b"This session" not in (await ask(door, key, path, body, ""))[1], "a request of no session"
        assert b"This session" not in (await ask(door, MASTER, path, body))[1], "a key without such a budget"
        entries = await door.stored(12 + 4)
        of_it = [one for one in entries if one.session == "s-1" and one.cost and one.key == door.account(key)[4:]]
        assert len(of_it) == good and sum(one.cost for one in of_it) <= 0.0006 * 10**12
        refused = [one for one in entries if one.error == "over_budget"]
        assert len(refused) == 12 - good and all(one.cost == 0 for one in refused), "the log tells why"


@pytest.mark.parametrize(
    "user_id",
    [
        "user_abc_account__session_0e5dbd0c-3a7e-4b51-9d2a-7f5a0a3f7a11",
        json.dumps({"device_id": "d", "session_id": "0e5dbd0c-3a7e-4b51-9d2a-7f5a0a3f7a11"}),
    ],
)
async def test_claude_codes_sessions_are_known_by_their_metadata(tmp_path, user_id) -> None:
    path, body, _ = CHATS["anthropic"]
    async with open_books(tmp_path) as door:
        key = await door.key("a", metadata={"max_budget_per_session": 0.00001})
        status, answer = await ask(door, key, path, {**body, "metadata": {"user_id": user_id}}, "")
        assert status == 200 and json.loads(answer)["content"][0]["text"].startswith(SPENT)
        assert json.loads(answer)["stop_reason"] == "end_turn"


async def test_a_teams_budget_for_sessions_holds_for_its_keys_and_the_tighter_one_counts(tmp_path) -> None:
    path, body, _ = CHATS["openai_chat"]
    async with open_books(tmp_path) as door:
        await door.desk.add("team", "t", {"team_id": "t", "metadata": {"max_budget_per_session": 0.00001}}, "test")
        key = await door.key("a", team_id="t", metadata={"max_budget_per_session": 5})
        assert SPENT.encode() in (await ask(door, key, path, body))[1]


async def test_what_is_no_chat_gets_the_error(tmp_path) -> None:
    async with open_books(tmp_path, YAML.replace("\nrouter", EMBEDDING + "\nrouter")) as door:
        key = await door.key("a", metadata={"max_budget_per_session": 0.00001})
        status, answer = await ask(door, key, "/v1/embeddings", {"model": "e", "input": "hello there"})
        assert status == 422 and json.loads(answer)["error"]["message"].startswith(SPENT)


async def test_an_amount_that_is_none_lets_nobody_in(tmp_path) -> None:
    path, body, _ = CHATS["openai_chat"]
    async with open_books(tmp_path) as door:
        key = await door.key("a", metadata={"max_budget_per_session": "much"})
        status, answer = await ask(door, key, path, body)
        assert status in (401, 403) and b"This session" not in answer

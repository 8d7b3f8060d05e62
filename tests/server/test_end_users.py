"""Whom a request is for: every place in which it may say so, in LiteLLM's order, and the limits that follow from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.config.admission import STANDARD
from penstock.stores.base import Changes, Gone, Row
from tests.door import HELLO, Door
from tests.server.keyed import MASTER, FixedBudgets, key, open_keyed
from tests.server.test_limits import CONFIG

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
TALK = {**HELLO, "max_tokens": 50}
MAPPED = (
    CONFIG
    + """
general_settings:
  user_header_name: X-Older-Name
  user_header_mappings:
    - {header_name: X-OpenWebUI-User-Id, litellm_user_role: internal_user}
    - {header_name: X-OpenWebUI-User-Email, litellm_user_role: customer}
"""
)


def auth(alias: str = "a") -> dict[str, str]:
    return {"authorization": f"Bearer {key(alias)}"}


async def asked(door: Door, body: dict[str, Any], path: str = CHAT, **headers: str) -> Any:
    """What a request was admitted with."""
    budgets = FixedBudgets()
    admission = door.gateway.engine.admission
    assert admission is not None
    admission.budgets = budgets
    status, _, answer = await door.post(body, path, **auth(), **headers)
    assert status == 200, answer
    [admitted] = budgets.reserved
    return admitted


# Each place, the first before those behind it.
PLACES: list[tuple[dict[str, str], dict[str, Any]]] = [
    *(({name.decode(): "who"}, {}) for name in STANDARD),
    ({"x-openwebui-user-email": "who"}, {}),
    ({"x-older-name": "who"}, {}),
    ({}, {"user": "who"}),
    ({}, {"litellm_metadata": {"user": "who"}}),
    ({}, {"metadata": {"user_id": "who"}}),
    ({}, {"safety_identifier": "who"}),
]


@pytest.mark.parametrize("place", range(len(PLACES)))
async def test_every_place_names_the_end_user_before_those_behind_it(place: int, tmp_path) -> None:
    headers, fields = dict(PLACES[place][0]), dict(PLACES[place][1])
    for more, body in PLACES[place + 1 :]:
        headers |= {name: "another" for name in more if name not in headers}
        for name, value in body.items():
            inner = dict.fromkeys(value, "another") if isinstance(value, dict) else "another"
            fields.setdefault(name, inner)
    async with open_keyed(tmp_path, {"key": {"a": {}}}, MAPPED) as door:
        assert (await asked(door, {**HELLO, **fields}, **headers)).customer == "who"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, HELLO),
        (MESSAGES, TALK),
        (RESPONSES, {"model": "m", "input": "hi"}),
        ("/v1/embeddings", {"model": "m", "input": "hi"}),
    ],
)
async def test_every_surface_knows_its_end_users(path: str, body: dict[str, Any], tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        assert (await asked(door, body, path)).customer == ""
        assert (await asked(door, body, path, **{"x-litellm-end-user-id": "e"})).customer == "e"
        named = {"metadata": {"user_id": "e"}} if path == MESSAGES else {"user": "e"}
        assert (await asked(door, {**body, **named}, path)).customer == "e"


async def test_a_mapped_header_names_a_user_of_ours(tmp_path) -> None:
    rows = {"key": {"a": {}}, "user": {"u": {"rpm_limit": 1}}}
    async with open_keyed(tmp_path, rows, MAPPED) as door:
        found = await asked(door, HELLO, **{"x-openwebui-user-id": "u", "x-openwebui-user-email": "e"})
        assert (found.user, found.customer) == ("u", "e") and found.holders[-1].kind == "user"
        status, _, answer = await door.post(HELLO, CHAT, **auth(), **{"x-openwebui-user-id": "u"})
        assert status == 429 and b"Rate limit exceeded for user: u" in answer
        assert (await asked(door, HELLO, **{"x-openwebui-user-id": "somebody else"})).user == "somebody else"


@pytest.mark.parametrize("user", ["x" * 1025, "x" * 400_000])
async def test_a_digest_stands_for_an_id_that_is_too_long_to_keep(user: str, tmp_path) -> None:
    """The provider takes any, so the request goes on; limits hold by the digest."""
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        first, again, other = [(await asked(door, {**HELLO, "user": one})).customer for one in (user, user, user + "y")]
        assert first == again != other and first.startswith("long:") and len(first) < 50
        assert json.loads(door.mock.received[-1].body)["user"] == user + "y"


async def test_whatever_is_no_id_is_nobody(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        for value in ("", "  ", None):
            found = await asked(door, {**HELLO, "user": value, "litellm_metadata": {"user": value}})
            assert found.customer == ""


async def test_an_end_user_who_is_blocked_is_refused_whoever_asks(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}, "customer": {"e": {"blocked": True}}}, CONFIG) as door:
        for bearer in (key("a"), MASTER):
            status, _, answer = await door.post({**HELLO, "user": "e"}, CHAT, authorization=f"Bearer {bearer}")
            assert status == 403 and b"User blocked from making LLM API Calls. User=e" in answer
        assert door.mock.requests == 0


async def test_end_users_without_a_budget_have_the_default_one(tmp_path) -> None:
    yaml = CONFIG + "litellm_settings: {max_end_user_budget_id: usual}\n"
    rows = {
        "key": {"a": {}},
        "budget": {"usual": {"rpm_limit": 1, "max_budget": 3}, "more": {"rpm_limit": 2}},
        "customer": {"known": {"alias": "K"}, "paying": {"budget_id": "more"}},
    }
    async with open_keyed(tmp_path, rows, yaml) as door:
        for user, most in (("stranger", 1), ("known", 1), ("paying", 2)):
            for left in range(most):
                status, head, _ = await door.post({**HELLO, "user": user}, CHAT, **auth())
                assert status == 200 and head["x-ratelimit-end_user-remaining-requests"] == str(most - left - 1)
            assert (await door.post({**HELLO, "user": user}, CHAT, **auth()))[0] == 429
        found = await asked(door, {**HELLO, "user": "another"})
        assert found.holders[-1].id == "another" and found.holders[-1].caps[0].most == 3 * 10**12


async def test_a_budget_for_all_end_users_needs_no_row(tmp_path) -> None:
    async with open_keyed(
        tmp_path, {"key": {"a": {}}}, CONFIG + "litellm_settings: {max_end_user_budget: 0.5}\n"
    ) as door:
        holder = (await asked(door, {**HELLO, "user": "e"})).holders[-1]
        assert (holder.kind, holder.id, holder.caps[0].most) == ("customer", "e", 5 * 10**11)


async def test_a_default_budget_that_is_not_there_is_said_once(tmp_path, caplog) -> None:
    yaml = CONFIG + "litellm_settings: {max_end_user_budget_id: gone}\n"
    async with open_keyed(tmp_path, {"key": {"a": {}}}, yaml) as door:
        for _ in range(3):
            assert len((await asked(door, {**HELLO, "user": "e"})).holders) == 1
        assert len([line for line in caplog.records if "max_end_user_budget_id" in line.getMessage()]) == 1


async def test_limits_that_cannot_be_read_are_no_limits_for_nobody(tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}, "customer": {"e": {"rpm_limit": "many"}}}, CONFIG) as door:
        status, _, answer = await door.post({**HELLO, "user": "e"}, CHAT, **auth())
        assert status == 403 and b"cannot be read" in answer and door.mock.requests == 0


async def test_who_must_name_an_end_user_is_told_so(tmp_path) -> None:
    yaml = CONFIG + "general_settings: {enforce_user_param: true}\n"
    async with open_keyed(tmp_path, {"key": {"a": {}}}, yaml) as door:
        status, _, answer = await door.post(HELLO, CHAT, **auth())
        assert status == 400 and json.loads(answer)["error"]["param"] == "user"
        assert (await door.post({**HELLO, "user": "e"}, CHAT, **auth()))[0] == 200


KNOWN = {
    "key": {"a": {}},
    "customer": {"customer one": {}},
    "user": {"u": {"user_email": "Ann@Example.com"}, "v": {"user_email": "bob@example.com"}},
}
VALIDATED = CONFIG + "litellm_settings: {validate_end_user_id_in_db: true}\n"


@pytest.mark.parametrize(
    ("named", "known"),
    [
        ("customer one", True),
        ("u", True),
        ("ann@example.com", True),
        ("BOB@EXAMPLE.COM", True),
        ("carl@example.com", False),
        ("nobody", False),
        ('{"device_id": "x", "session_id": "y"}', False),
        ("[1]", False),
        ("{not json", False),
    ],
)
async def test_an_end_user_who_is_not_known_counts_as_none(named: str, known: bool, tmp_path) -> None:
    async with open_keyed(tmp_path, KNOWN, VALIDATED) as door:
        for number in range(len(PLACES)):
            headers, fields = PLACES[number]
            if any(name.startswith(("x-openwebui", "x-older")) for name in headers):
                continue
            headers = dict.fromkeys(headers, named)
            body = {k: dict.fromkeys(v, named) if isinstance(v, dict) else named for k, v in fields.items()}
            admitted = await asked(door, {**HELLO, **body}, **headers)
            assert admitted.customer == (named if known else "")
        await door.settle()


async def test_where_unknown_end_users_have_a_budget_they_are_kept(tmp_path) -> None:
    yaml = CONFIG + "litellm_settings: {validate_end_user_id_in_db: true, max_end_user_budget_id: b}\n"
    rows = {**KNOWN, "budget": {"b": {"max_budget": 3}}}
    async with open_keyed(tmp_path, rows, yaml) as door:
        assert (await asked(door, {**HELLO, "user": "nobody"})).customer == "nobody"
        assert (await asked(door, {**HELLO, "user": '{"session_id": "y"}'})).customer == ""


async def test_who_is_known_follows_what_changes(tmp_path) -> None:
    async with open_keyed(tmp_path, KNOWN, VALIDATED) as door:
        ring = door.gateway.keyring
        assert ring is not None and not ring.has_address("new@example.com")
        row = Row("user", "w", b'{"user_id": "w", "user_email": "new@example.com"}')
        ring.take(Changes(ring.revision + 1, (row,)))
        assert ring.has_address("NEW@example.com") and (await asked(door, {**HELLO, "user": "w"})).customer == "w"
        ring.take(Changes(ring.revision + 1, (), (Gone("user", "w", 1),)))
        assert not ring.has_address("new@example.com")
        assert (await asked(door, {**HELLO, "user": "w"})).customer == ""


# Tags -----------------------------------------------------------------------------------------------------------------

TAGGED: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"x-litellm-tags": "x, y"}, {}),
    ({}, {"tags": ["x", "y"]}),
    ({}, {"metadata": {"tags": ["x", "y"]}}),
    ({}, {"litellm_metadata": {"tags": ["x", "y"]}}),
]


@pytest.mark.parametrize("place", range(len(TAGGED)))
async def test_tags_of_a_request_its_key_and_its_team_count(place: int, tmp_path) -> None:
    headers, fields = TAGGED[place]
    rows = {
        "key": {"a": {"team_id": "t", "tags": ["k", "x"]}},
        "team": {"t": {"metadata": {"tags": ["of team"]}}},
        "tag": {"y": {"max_budget": 1}, "of team": {"max_budget": 2}},
    }
    async with open_keyed(tmp_path, rows, CONFIG) as door:
        found = await asked(door, {**HELLO, **fields}, **headers)
        assert found.tags == ("x", "y", "k", "of team")
        assert [holder.id for holder in found.holders if holder.kind == "tag"] == ["y", "of team"]


@pytest.mark.parametrize("tags", [["t"] * 101, ["t" * 1025], "x", [1]])
async def test_tags_that_cannot_be_some_are_told(tags: Any, tmp_path) -> None:
    async with open_keyed(tmp_path, {"key": {"a": {}}}, CONFIG) as door:
        status, _, answer = await door.post({**HELLO, "tags": tags}, CHAT, **auth())
        assert status == 400 and json.loads(answer)["error"]["param"] == "tags"


@pytest.mark.parametrize("place", range(len(TAGGED)))
async def test_where_clients_may_bring_no_tags_they_are_told_so(place: int, tmp_path) -> None:
    headers, fields = TAGGED[place]
    yaml = CONFIG + "general_settings: {reject_clientside_metadata_tags: true}\n"
    async with open_keyed(tmp_path, {"key": {"a": {"tags": ["k"]}}}, yaml) as door:
        status, _, answer = await door.post({**HELLO, **fields}, CHAT, **auth(), **headers)
        assert status == 400 and json.loads(answer)["error"]["param"] == "metadata.tags" and door.mock.requests == 0
        assert (await asked(door, HELLO)).tags == ("k",)


async def test_headers_may_be_tags(tmp_path) -> None:
    yaml = CONFIG + "litellm_settings: {extra_spend_tag_headers: [X-Team, x-none]}\n"
    rows = {"key": {"a": {"tags": ["k"]}}, "tag": {"X-Team: red": {"max_budget": 1}}}
    async with open_keyed(tmp_path, rows, yaml) as door:
        admitted = await asked(door, {**HELLO, "tags": ["t"]}, **{"x-team": "red"})
        assert admitted.tags == ("t", "X-Team: red", "k")
        assert [held.id for held in admitted.holders if held.kind == "tag"] == ["X-Team: red"]
        assert (await asked(door, HELLO, **{"x-team": "y" * 5000})).tags[0] == ("X-Team: " + "y" * 5000)[:1024]

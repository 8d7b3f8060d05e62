"""Laws of the edits inside messages and of the mending of answers, on conversations and JSON of every shape."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.providers import PROVIDERS
from penstock.core.providers.spec import Quirks
from penstock.core.providers.turns import edit_turns, short_id

open_body = msgspec.json.Decoder(dict[str, Raw])
ALL = {
    repr((name, model)): quirks
    for name, provider in PROVIDERS.items()
    for model, quirks in (("*", provider.quirks), *provider.quirks.by_model)
}
MENDS = {name: quirks.mend for name, quirks in ALL.items() if quirks.mend is not None}
IDS = st.sampled_from(["a", "call_1", "D681PevKs", "é" * 9, "123456789", ""])
TEXTS = st.sampled_from(["", "a", 'say "tool"', "\u2028", "[1]"])
PART = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
IMAGE = st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}})
CONTENT = st.none() | TEXTS | st.lists(PART | IMAGE, max_size=3)
CALL = st.builds(lambda id: {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}, IDS)
EXTRA = st.dictionaries(st.sampled_from(["name", "reasoning_content", "reasoning", "annotations", "prefix", "x"]), TEXTS)


def turn(role: str, content: Any, calls: list[Any], id: str, extra: dict[str, Any]) -> dict[str, Any]:
    made = {"role": role, "content": content, **extra}
    if role == "assistant" and calls:
        made["tool_calls"] = calls
    if role == "tool":
        made["tool_call_id"] = id
    return made


ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
TURNS = st.lists(st.builds(turn, ROLES, CONTENT, st.lists(CALL, max_size=2), IDS, EXTRA), max_size=6)


def edited(turns: Any, quirks: Quirks) -> tuple[Any, list[str]]:
    fields = open_body.decode(json.dumps({"messages": turns}))
    lost = edit_turns(fields, quirks)
    return json.loads(bytes(fields["messages"])), [loss.path for loss in lost]


@given(TURNS, st.sampled_from(sorted(ALL)))
def test_editing_twice_changes_nothing_more(turns: Any, name: str) -> None:
    once, _ = edited(turns, ALL[name])
    assert edited(once, ALL[name]) == (once, [])


@given(TURNS, st.sampled_from(sorted(ALL)))
def test_a_call_and_its_result_still_belong_together(turns: Any, name: str) -> None:
    once, _ = edited(turns, ALL[name])

    def ids(found: Any) -> list[list[str]]:
        calls = [[call["id"] for call in turn.get("tool_calls", [])] for turn in found]
        return [c + ([t["tool_call_id"]] if "tool_call_id" in t else []) for c, t in zip(calls, found, strict=True)]

    before = [id for group in ids(turns) for id in group]
    after = [id for group in ids(once) for id in group]
    assert len(before) == len(after)
    assert [[a == b for b in before] for a in before] == [[a == b for b in after] for a in after]
    if ALL[name].call_ids:
        assert all(re.fullmatch(r"[A-Za-z0-9]{9}", id) for id in after)


@given(TURNS, st.sampled_from(sorted(ALL)))
def test_no_text_is_lost_in_silence(turns: Any, name: str) -> None:
    def said(found: Any) -> str:
        parts = [turn.get("content") for turn in found]
        texts = [part if isinstance(part, str) else "".join(p.get("text", "") for p in part or []) for part in parts]
        return "".join(texts).replace("\n\n", "").replace(ALL[name].bridge or "\0", "")

    assert said(edited(turns, ALL[name])[0]) == said(turns)


@given(TURNS)
def test_roles_take_turns_where_they_must(turns: Any) -> None:
    once, _ = edited(turns, Quirks(alternate=True))
    plain = [turn for turn in once if turn.keys() == {"role", "content"}]
    if len(plain) == len(once):
        pairs = zip(once, once[1:], strict=False)
        assert not any(a["role"] == b["role"] and a["role"] in ("user", "assistant") for a, b in pairs)


@given(st.text())
def test_short_ids(id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9]{9}", short_id(id, 9)) and short_id(id, 9) == short_id(id, 9)
    assert short_id(short_id(id, 9), 9) == short_id(id, 9)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["stop", "eos", "text", "thinking", "a [1]"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            """choices message delta content type text thinking reasoning reasoning_content error x_groq usage
            prompt_tokens logprobs tokens token_logprobs finish_reason citations search_results url title
            annotations""".split()
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(sorted(MENDS)))
def test_mending_never_fails_and_twice_changes_nothing_more(value: Any, name: str) -> None:
    mend = MENDS[name]
    once = mend(json.dumps(value, separators=(",", ":")).encode())
    json.loads(once)
    assert mend(once) == once


@pytest.mark.parametrize("name", sorted(MENDS))
@pytest.mark.parametrize("data", [b"", b"[DONE]", b"null", b'{"choices":', b"\xff", b'{"choices":[],"id":"a"}', b"[]"])
def test_mending_leaves_the_very_bytes_that_need_nothing(name: str, data: bytes) -> None:
    assert MENDS[name](data) is data


@pytest.mark.parametrize("name", sorted(MENDS))
def test_mending_leaves_broken_json_with_a_known_word_alone(name: str) -> None:
    for word in (b"thinking", b"reasoning", b"x_groq", b"error", b"citations", b"logprobs"):
        data = b'{"content":[{"' + word + b'":1,"logprobs":1'
        assert MENDS[name](data) == data

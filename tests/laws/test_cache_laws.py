"""Whoever asks the same, in whatever dialect, is looked for under the same mark: else a kept answer is not found."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core import cachekey
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.errors import GatewayError
from penstock.core.ir import Base64, Block, Document, Image, Message, Request, Text, Thinking, ToolResult, ToolUse

CLIENTS = ("openai_chat", "anthropic", "openai_responses", "gemini", "ollama")
WIRE = Wire(model="real")
texts = st.sampled_from(["", "a", "ab", " x", '{"'])
said = st.builds(Text, texts)
files = st.sampled_from([Image(Base64("image/png", "aGk=")), Document(Base64("application/pdf", "aGk="))])


def conversation(turns: list[tuple[str, list[Block] | str]], system: str) -> Request:
    messages = [Message("system", (Text(system),))] if system else []
    for role, what in turns:
        if isinstance(what, str):  # a tool was called, and says that
            messages.append(Message("assistant", (ToolUse("c1", "f", '{"a":1}'),)))
            messages.append(Message("user", (ToolResult("c1", (Text(what),)),)))
        else:
            messages.append(Message(role, tuple(what)))
    return Request(model="m", messages=tuple(messages), max_tokens=9)


turns = st.one_of(
    st.tuples(st.just("user"), st.lists(said | files, min_size=1, max_size=3)),
    st.tuples(st.just("assistant"), st.lists(said | st.builds(Thinking, texts), min_size=1, max_size=2)),
    st.tuples(st.just("tool"), texts),
)
conversations = st.builds(conversation, st.lists(turns, min_size=1, max_size=4), st.sampled_from(["", "s"]))


def test_what_means_the_same_in_two_dialects_has_one_question(seen: list[int] = []) -> None:  # noqa: B006
    @settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
    @given(conversations)
    def check(request: Request) -> None:
        found: dict[bytes, dict[str, str]] = defaultdict(dict)
        for name in CLIENTS:
            try:
                fields = dict(DIALECTS[name].render_request(request, WIRE).fields)
                read = DIALECTS[name].parse_request(fields)
            except GatewayError:
                continue  # it has no words for this
            if read.messages:
                found[cachekey.digest_request(read)][name] = cachekey.read_question(fields)
        for alike in found.values():
            assert len(set(alike.values())) == 1, alike
            seen.append(len(alike))

    check()
    assert max(seen) >= 3 and sum(count > 1 for count in seen) >= 20, "little was compared"


def test_the_question_is_the_last_that_a_user_says() -> None:
    for messages in (
        b'[{"role":"system","content":"s"},{"role":"user","content":"q"}]',
        b'[{"role":"user","content":"p"},{"role":"user","content":[{"type":"text","text":"q"},{"type":"image"}]}]',
        b'[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"text":"a"}]}]',
        b'[{"content":"q"},{"type":"reasoning","content":[{"text":"r"}]},{"type":"function_call_output","output":"o"}]',
        b'[{"role":"user","content":"q"},{"role":"user","content":[{"type":"tool_result","content":"o"}]}]',
        b'"q"',
    ):
        for key in ("messages", "input", "contents", "prompt"):
            assert cachekey.read_question({key: Raw(messages)}) == "q"
    for messages in (b"[]", b"null", b"[1]", b'[{"role":"user","content":""}]', b'[{"role":"assistant","content":"a"}]'):
        assert cachekey.read_question({"messages": Raw(messages)}) == ""
    assert cachekey.read_question({}) == ""

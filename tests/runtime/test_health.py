"""What is known of upstreams: trouble that passes, connects only where they are allowed, dialects that are learned."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from penstock.mock import Mock, Script, Step
from penstock.runtime.health import TROUBLE_LASTS, Health
from penstock.runtime.held import Held
from penstock.runtime.http import Pool
from penstock.runtime.live import Live, Lives
from penstock.runtime.means import Means
from penstock.runtime.speaks import discover_dialects, forget_dialect
from penstock.server import prober as probing
from penstock.server.prober import Prober
from tests.runtime.made import state_of, target_of


def test_trouble_passes_with_a_success_or_with_time():
    one = Health()
    assert one.trouble(0.0) == ""
    one.failed("503", "upstream_unavailable", 100.0)
    assert one.trouble(100.0 + TROUBLE_LASTS) == "503" and one.trouble(100.1 + TROUBLE_LASTS) == ""
    one.failed("503", "upstream_unavailable", 300.0)
    one.succeeded()
    assert one.trouble(300.0) == ""
    one.failed("refused", "connect", 400.0)
    assert one.trouble(400.0) == "refused" and one.unreachable == "refused"
    one.succeeded()
    assert one.trouble(400.0) == ""


def test_an_unreachable_target_is_held_against_it_no_longer_than_anybody_looks():
    one = Health()
    one.failed("refused", "connect", 100.0)
    one.probed("still refused", True, 150.0)
    assert one.trouble(150.0 + TROUBLE_LASTS) == "still refused"
    one.probed("", True, 170.0)
    assert one.trouble(170.0) == ""
    # Behind a proxy a bare connect says nothing: the trouble passes, and the next request tells.
    one.failed("refused", "connect", 200.0)
    one.probed("no route", False, 255.0)
    assert one.trouble(201.0 + TROUBLE_LASTS) == ""
    one.failed("refused", "connect", 300.0)
    one.probed("", False, 301.0)
    assert one.trouble(301.0) == "", "a connect that succeeds is good news anywhere"


YAML = """
model_list:
  - {model_name: local, litellm_params: {model: openai/x, api_base: "http://127.0.0.1:PORT/v1"}}
  - {model_name: same, litellm_params: {model: openai/y, api_base: "http://127.0.0.1:PORT/v1"}}
  - {model_name: far, litellm_params: {model: openai/gpt-4o, api_key: k}}
  - {model_name: away, litellm_params: {model: groq/llama, api_key: k}}
  - {model_name: "openai/*", litellm_params: {model: "openai/*", api_key: k}}
  - {model_name: nokey, litellm_params: {model: mistral/x}}
"""


def prober_of(state, pool=None, now=0.0) -> Prober:
    means = Means(pool, None, LIVES, lambda: now, set(), Held())
    return Prober(SimpleNamespace(state=state, clock=lambda: now, engine=SimpleNamespace(means=means, hosts=None)))


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    LIVES.keep(())


LIVES = Lives()


def healths(state) -> list[Health]:
    return [LIVES.of(target).health for target in state.targets]


async def test_connects_go_to_local_targets_and_to_those_that_were_lost(tmp_path, monkeypatch):
    state = state_of(tmp_path, YAML.replace("PORT", "9"))
    asked = []

    async def connect(origin) -> str:
        asked.append(str(origin))
        return "refused"

    monkeypatch.setattr(probing, "_connect", connect)
    prober = prober_of(state)
    await prober.round()
    assert asked == ["http://127.0.0.1:9"], "one connect for two targets, none to vendors"
    local, same, far, away, star, nokey = healths(state)
    assert local.unreachable == same.unreachable == "refused"
    assert far.unreachable == away.unreachable == star.unreachable == nokey.unreachable == ""
    far.failed("lost", "connect", 0.0)
    asked.clear()
    await prober.round()
    assert sorted(asked) == ["http://127.0.0.1:9", "https://api.openai.com"]


async def test_a_connect_finds_the_engine_that_came_back(tmp_path):
    async with Mock() as mock:
        state = state_of(tmp_path, YAML.replace("PORT", str(mock.port)))
        local = healths(state)[0]
        local.failed("refused", "connect", 0.0)
        await prober_of(state).round()
        assert local.trouble(0.0) == "" and mock.received == [], "a connect is no request"
        port = mock.port
    await prober_of(state).round()
    assert healths(state)[0].unreachable.startswith(f"no connection to 127.0.0.1:{port}: ")


async def test_a_name_that_dns_cannot_have_does_not_end_the_rounds(tmp_path):
    label = "x" * 70
    state = state_of(tmp_path, YAML.replace("127.0.0.1:PORT", f"{label}.localhost:9"))
    await prober_of(state).round()
    assert healths(state)[0].unreachable.startswith("no connection to")


async def test_the_rounds_start_and_stop(tmp_path, monkeypatch):
    rounds = []
    prober = prober_of(state_of(tmp_path, "model_list: []"))

    async def one() -> None:
        rounds.append(1)

    monkeypatch.setattr(prober, "round", one)
    monkeypatch.setattr(probing, "EVERY", 0.001)
    prober.start()
    while len(rounds) < 3:
        await asyncio.sleep(0.001)
    await prober.stop()
    count = len(rounds)
    await asyncio.sleep(0.01)
    assert len(rounds) == count
    await prober_of(None).stop()


# Dialects -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def pool():
    made = Pool()
    yield made
    await made.close()


def engine_target(tmp_path, mock, model="hosted_vllm/qwen"):
    return target_of(tmp_path, model=model, api_base=f"{mock.url}/v1"), Live()


ALL = ("openai_chat", "anthropic", "openai_responses")


@pytest.mark.parametrize(
    "spoken", [ALL, ("openai_chat",), ("openai_chat", "anthropic"), ("openai_chat", "openai_responses")]
)
async def test_an_engine_is_asked_once_what_it_speaks(tmp_path, pool, spoken):
    async with Mock(Script(dialects=spoken)) as mock:
        target, live = engine_target(tmp_path, mock)
        assert live.speaks(target) == ("openai_chat",)
        await discover_dialects(pool, target, live)
        assert live.speaks(target) == tuple(name for name in ALL if name in spoken)
        assert [(r.path, r.body) for r in mock.received] == [("/v1/messages", b"{}"), ("/v1/responses", b"{}")]
        await discover_dialects(pool, target, live)
        assert len(mock.received) == 2


async def test_a_provider_that_says_what_it_speaks_is_not_asked(tmp_path, pool):
    async with Mock() as mock:
        target, live = engine_target(tmp_path, mock, "openai/gpt-4o")
        await discover_dialects(pool, target, live)
        assert mock.received == [] and live.speaks(target) == ("openai_chat",)


@pytest.mark.parametrize(
    ("status", "speaks", "again"),
    [(404, False, False), (405, False, False), (501, False, False), (200, False, False), (400, True, False),
     (401, True, False), (422, True, False), (500, True, False), (429, False, True), (503, False, True)],
)  # fmt: skip
async def test_what_an_answer_to_nothing_tells(tmp_path, pool, status, speaks, again):
    async with Mock(Script(default=Step(status=status, body={"error": "Unexpected endpoint"}))) as mock:
        target, live = engine_target(tmp_path, mock)
        await discover_dialects(pool, target, live)
        assert ("anthropic" in live.speaks(target)) is speaks
        assert ("anthropic" in live.asked) is not again


async def test_an_engine_that_does_not_answer_is_asked_again_later(tmp_path, pool):
    async with Mock(Script(default=Step(hangup="before_answer"))) as mock:
        target, live = engine_target(tmp_path, mock)
        await discover_dialects(pool, target, live)
        assert live.asked == set() and live.speaks(target) == ("openai_chat",)
        mock.script = Script()
        await discover_dialects(pool, target, live)
        assert live.speaks(target) == ALL


async def test_what_was_learned_is_unlearned_by_a_404_and_can_be_learned_again(tmp_path, pool):
    async with Mock() as mock:
        target, live = engine_target(tmp_path, mock)
        assert not forget_dialect(live, "openai_chat", 404), "what the provider is known to speak"
        await discover_dialects(pool, target, live)
        assert not forget_dialect(live, "anthropic", 400) and live.speaks(target) == ALL
        assert forget_dialect(live, "anthropic", 404) and live.speaks(target) == ("openai_chat", "openai_responses")
        assert not forget_dialect(live, "anthropic", 404), "it is not spoken any more"
        await discover_dialects(pool, target, live)
        assert set(live.speaks(target)) == set(ALL)

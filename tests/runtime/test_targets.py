"""Deployments as targets: the exact bytes that go upstream, and keys that show nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.core.errors import GatewayError
from penstock.runtime.building import DEFAULT_TIMEOUT, build_target
from penstock.runtime.http import Tls
from penstock.runtime.targets import Target
from penstock.runtime.timeouts import CONNECT_TIMEOUT
from tests.runtime.made import state_of, target_of

KEY = "sk-secret-123456"


def unchecked(target: Target, **fields: object) -> Target:
    """The target with what no config check would let through."""
    return build_target(replace(target.deployment, **fields), {}, {})


def head(target, what="openai_chat") -> list[bytes]:
    lines = target.endpoint(what).head.split(b"\r\n")
    assert lines[-1] == b""
    return lines[:-1]


def test_the_head_of_a_chat_request_byte_for_byte(tmp_path):
    target = target_of(tmp_path, api_key=KEY)
    assert target.endpoint("openai_chat").head == (
        b"POST /v1/chat/completions HTTP/1.1\r\n"
        b"host: api.openai.com\r\n"
        b"accept-encoding: identity\r\n"
        b"content-type: application/json\r\n"
        b"user-agent: penstock\r\n"
        b"authorization: Bearer sk-secret-123456\r\n"
    )
    assert target.endpoint("openai_chat") is target.endpoint("openai_chat"), "made once"
    assert target.endpoint("openai_chat").url == "https://api.openai.com/v1/chat/completions"


def test_the_head_of_a_messages_request(tmp_path):
    target = target_of(tmp_path, model="anthropic/claude-3", api_key=KEY)
    lines = head(target, "anthropic")
    assert lines[0] == b"POST /v1/messages HTTP/1.1" and b"x-api-key: sk-secret-123456" in lines
    assert not [line for line in lines if line.startswith(b"authorization")]
    assert target.endpoint("anthropic").fallback_headers == ((b"anthropic-version", b"2023-06-01"),)


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("http://h:1", "/v1/chat/completions"),
        ("http://h:1/", "/v1/chat/completions"),
        ("http://h:1/v1", "/v1/chat/completions"),
        ("http://h:1/v1/", "/v1/chat/completions"),
        ("http://h:1/v1/chat/completions", "/v1/chat/completions"),
        ("http://h:1/proxy/v1", "/proxy/v1/chat/completions"),
        ("http://h:1/v1?key=x", "/v1/chat/completions?key=x"),
        (" http://h:1/v1 ", "/v1/chat/completions"),
    ],
)
def test_spellings_of_api_base(tmp_path, base, path):
    target = target_of(tmp_path, api_base=base, api_key=KEY)
    assert head(target)[:2] == [b"POST %b HTTP/1.1" % path.encode(), b"host: h:1"]
    assert target.origin is not None and str(target.origin) == "http://h:1"


@pytest.mark.parametrize("base", ["http://user:pass@h:1/v1", "http://h:99999/v1", "ftp://h/v1", "http://a b/v1"])
def test_an_address_that_cannot_be_used_is_an_error_of_its_calls(tmp_path, base):
    target = unchecked(target_of(tmp_path, api_key=KEY), api_base=base)
    with pytest.raises(GatewayError) as caught:
        target.endpoint("openai_chat")
    assert caught.value.kind == "not_configured" and "pass" not in caught.value.message
    assert target.origin is None


def test_a_missing_key_is_an_error_of_the_calls_and_names_the_variable(tmp_path):
    target = target_of(tmp_path)
    with pytest.raises(GatewayError, match="OPENAI_API_KEY") as caught:
        target.endpoint("openai_chat")
    assert caught.value.kind == "not_configured" and caught.value.row.fault == "gateway" and target.origin is None
    assert b"authorization: Bearer sk-env" in head(target_of(tmp_path, {"OPENAI_API_KEY": "sk-env"}))
    assert head(target_of(tmp_path, api_base="http://127.0.0.1:1")), "a server of the user's needs none"


def test_extra_headers_win_over_ours(tmp_path):
    extra = {"Authorization": "Token t", "X-Own": "1", "anthropic-version": "2099-01-01"}
    target = target_of(tmp_path, model="anthropic/claude-3", api_key=KEY, extra_headers=extra)
    lines = head(target, "anthropic")
    assert b"authorization: Token t" in lines and b"x-own: 1" in lines and b"anthropic-version: 2099-01-01" in lines
    assert target.endpoint("anthropic").fallback_headers == (), "not a second one"
    only = target_of(tmp_path, api_key=KEY, extra_headers={"AUTHORIZATION": "Bearer other"})
    assert [line for line in head(only) if line.startswith(b"authorization")] == [b"authorization: Bearer other"]


@pytest.mark.parametrize("headers", [{"x": "a\r\nevil: 1"}, {"a b": "1"}, {"content-length": "5"}, {"x\r\ny": "1"}])
def test_headers_of_the_config_cannot_split_a_request(tmp_path, headers):
    with pytest.raises(GatewayError) as caught:
        unchecked(target_of(tmp_path, api_key=KEY), extra_headers=headers).endpoint("openai_chat")
    assert caught.value.kind == "not_configured" and "evil: 1" not in caught.value.message


def test_a_key_with_a_line_break_is_refused_without_showing_it(tmp_path):
    with pytest.raises(GatewayError) as caught:
        target_of(tmp_path, {"OPENAI_API_KEY": "sk-a\r\nx: y"}).endpoint("openai_chat")
    assert "sk-a" not in caught.value.message
    assert b"authorization: Bearer sk-b" in head(target_of(tmp_path, api_key="sk-b\n")), (
        "a file's last line break is none"
    )


def test_the_organization_is_openai_s(tmp_path):
    assert b"openai-organization: org-1" in head(target_of(tmp_path, api_key=KEY, organization="org-1"))
    other = target_of(tmp_path, model="groq/llama", api_key=KEY, organization="org-1")
    assert not [line for line in head(other) if b"org-1" in line]


def test_no_secret_is_in_any_repr(tmp_path):
    env = {"OTHER_API_KEY": "sk-env-secret"}
    base = "http://127.0.0.1:1/v1?api-key=sk-query-secret"
    state = state_of(tmp_path, f"model_list: [{{model_name: m, litellm_params: {{model: openai/x, api_key: {KEY}, "
                     f"extra_headers: {{x-own: sk-header-secret}}, api_base: '{base}'}}}}]", env)  # fmt: skip
    [target] = state.targets
    shown = repr([target, target.endpoint("openai_chat"), target._cache, state, state.plan("m"), state.catalog])
    shown += repr(target.account)
    shown += repr(target.deployment) + str(target.origin) + target.answer_lines.decode()
    for secret in (KEY, "sk-env-secret", "sk-header-secret"):
        assert secret not in shown
    assert "sk-query-secret" not in repr(target.endpoint("openai_chat"))


def test_ssl_verify(tmp_path):
    assert target_of(tmp_path, api_key=KEY).tls is None
    assert target_of(tmp_path, api_key=KEY, ssl_verify=False).tls == Tls(verify=False)
    assert target_of(tmp_path, api_key=KEY, ssl_verify="/ca.pem").tls == Tls(ca_file="/ca.pem")
    off = "litellm_settings: {ssl_verify: false}"
    assert target_of(tmp_path, None, off, api_key=KEY).tls == Tls(verify=False)
    assert target_of(tmp_path, None, off, api_key=KEY, ssl_verify=True).tls is None, "the deployment's own wins"


def test_timeouts_own_before_router_before_module(tmp_path):
    def told(settings: str = "", **params):
        target = target_of(tmp_path, None, settings, api_key=KEY, **params)
        return (
            target.timeouts.first_byte,
            target.timeouts.total,
            target.stream_timeouts.stall,
            target.stream_timeouts.total,
        )

    assert told() == (DEFAULT_TIMEOUT, DEFAULT_TIMEOUT, DEFAULT_TIMEOUT, None)
    assert told(timeout=5) == (5, 5, 5, None)
    assert told(timeout=5, stream_timeout=2) == (5, 5, 2, None)
    assert told("router_settings: {timeout: 7}\nlitellm_settings: {request_timeout: 9}") == (7, 7, 7, None)
    assert told("litellm_settings: {request_timeout: 9}") == (9, 9, 9, None)
    assert target_of(tmp_path, api_key=KEY, timeout=1).timeouts.connect == 1
    assert target_of(tmp_path, api_key=KEY, timeout=100).timeouts.connect == CONNECT_TIMEOUT


def test_header_lines_of_the_answer_hold_no_line_break(tmp_path):
    yaml = 'model_list: [{model_name: m, litellm_params: {model: "openai/a\\nb"}, model_info: {id: "i\\r\\nx: y"}}]'
    [target] = state_of(tmp_path, yaml).targets
    assert target.answer_lines == b"x-litellm-model-id: i??x: y\r\nx-litellm-model-name: openai/a?b\r\n"


LEARNED = {"dialects", "health", "asked"}  # on their way out


@pytest.mark.parametrize("name", sorted(set(Target.__struct_fields__) - LEARNED))
def test_a_target_never_changes(tmp_path, name):
    target = target_of(tmp_path, api_key=KEY)
    with pytest.raises(AttributeError):
        setattr(target, name, None)
    with pytest.raises(AttributeError):
        target.something = 1


def test_what_is_made_at_the_first_question_is_kept(tmp_path):
    target = target_of(tmp_path, api_key=KEY)
    assert target.price is target.price and target.wire_for("openai_chat") is target.wire_for("openai_chat")
    assert target == target and target != target_of(tmp_path, api_key=KEY) and len({target, target}) == 1


def test_two_targets_of_one_deployment_make_their_own_endpoints(tmp_path):
    one = target_of(tmp_path, api_key=KEY)
    other = build_target(one.deployment, {}, {})
    assert one.endpoint("openai_chat") is not other.endpoint("openai_chat")
    assert one.live_id == other.live_id, "what is learned of a deployment is learned once"
    with pytest.raises(AttributeError):
        one.dialects = ("anthropic",)


def test_a_bare_star_is_built_though_nobody_knows_whose_it_is(tmp_path):
    yaml = 'model_list: [{model_name: "*", litellm_params: {model: "*"}}]'
    state = state_of(tmp_path, yaml, {"GROQ_API_KEY": KEY})
    [base] = state.targets
    assert base.deployment.provider == "" and base.provider.name == "openai" and state.problems == []
    [target] = state.plan("groq/llama-3").targets["groq/llama-3"]
    assert (target.provider.name, target.model) == ("groq", "llama-3") and target.live_id == f"{target.id}\ngroq/llama-3"


def test_guided_defaults_are_taken_out_of_the_others(tmp_path):
    extra = {"guided_choice": ["a"], "top_k": 5}
    target = target_of(tmp_path, model="hosted_vllm/x", api_base="http://h", extra_body=extra)
    assert target.special and target.says_form and target.notes == ()
    assert not {"guided_regex", "guided_choice"} & {*target.defaults, *target.extra_body} and target.extra_body

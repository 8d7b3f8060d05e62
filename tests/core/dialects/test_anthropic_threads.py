"""Conversations kept by the vendor (``thread``), and the error details by which its client recovers."""

from __future__ import annotations

import json

import pytest

from penstock.core.dialects import anthropic, openai_chat
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.mask import NO_SECRETS, hide


def test_the_details_of_an_error_come_back_and_other_dialects_do_not_show_them():
    told = {"type": "not_found_error", "message": "Gone.", "details": {"error_code": "thread_not_found"}}
    error = anthropic.parse_error(404, {}, json.dumps({"type": "error", "error": told}).encode())
    assert json.loads(anthropic.render_error(error)[1])["error"] == told
    assert b"thread_not_found" not in openai_chat.render_error(error)[1]


@pytest.mark.parametrize("details", [None, "text", [1], 5])
def test_details_of_another_kind_are_left_out(details):
    error = anthropic.parse_error(400, {}, json.dumps({"error": {"message": "No.", "details": details}}).encode())
    assert "details" not in json.loads(anthropic.render_error(error)[1])["error"]


def test_secrets_in_details_do_not_pass():
    told = {"message": "No.", "details": {"key": "sk-ant-api03-abcdefghijklmnop"}}
    error = anthropic.parse_error(400, {}, json.dumps({"error": told}).encode())
    hide(error, [NO_SECRETS])
    shown = anthropic.render_error(error)[1]
    assert b"abcdefghijklmnop" not in shown and json.loads(shown)["error"]["details"]


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_a_thread_is_refused_where_its_vendor_is_not(thread):
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "thread": thread}
    with pytest.raises(GatewayError) as caught:
        anthropic.parse_request(open_body(json.dumps(body).encode()))
    assert caught.value.status == 400 and caught.value.param == "thread"
    shown = json.loads(anthropic.render_error(caught.value)[1])["error"]
    assert shown["details"] == {"error_code": "thread_unsupported_request"}
    anthropic.parse_request(open_body(json.dumps({**body, "thread": None}).encode()))

"""What a request is checked for, and its id."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.runtime.call import LONGEST_MODEL, REFUSED_FIELDS, require_list
from penstock.runtime.ids import _BATCH as BATCH
from penstock.runtime.ids import _Ids, _TimedIds, new_call_id, new_id
from tests.runtime.made import call_of

GOOD = {"model": "m", "messages": [{}]}


def refused(**fields: object) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        call_of({**GOOD, **fields})
    assert caught.value.kind == "bad_request"
    return caught.value


@pytest.mark.parametrize("value", [5, 1.5, True, [], {}, ["m"]])
def test_a_model_is_a_string(value):
    error = refused(model=value)
    assert error.param == "model" and "must be a string" in error.message and json.dumps(value)[:3] in error.message


@pytest.mark.parametrize("value", [None, ""])
def test_a_model_is_needed_unless_there_is_a_default(value):
    assert refused(model=value).param == "model"
    call = call_of(GOOD)
    call.read_fields(open_body(json.dumps({**GOOD, "model": value}).encode()), "the-default")
    assert call.model == "the-default"
    assert bytes(call.model_raw) == b'"the-default"', "the answer's model is no null"


def test_the_client_s_spelling_of_its_model_is_kept():
    call = call_of(b'{"model":"\\u0067pt-\\u00e9","messages":[{}]}')
    assert call.model == "gpt-é" and bytes(call.model_raw) == b'"\\u0067pt-\\u00e9"'


def test_a_name_of_megabytes_is_no_name():
    assert "no name here is over" in refused(model="x" * (LONGEST_MODEL + 1)).message
    assert call_of({**GOOD, "model": "x" * LONGEST_MODEL}).model


@pytest.mark.parametrize(("value", "means"), [(True, True), (False, False), (None, False)])
def test_stream_is_true_or_false(value, means):
    assert call_of({**GOOD, "stream": value}).stream is means


@pytest.mark.parametrize("value", ["true", 1, 0, [], {}])
def test_stream_is_nothing_else(value):
    assert refused(stream=value).param == "stream"


@pytest.mark.parametrize("name", sorted(REFUSED_FIELDS))
def test_keys_and_addresses_are_not_the_client_s(name):
    error = refused(**{name: None})
    assert error.param == name and "configured at the gateway" in error.message


@given(st.sampled_from(["null", "{}", '"x"', "1", "[]", "[ \n]", "[1]", "[null]", "true"]))
def test_a_list_is_a_list_with_something_in_it(text):
    fields = {"messages": Raw(text.encode())}
    if json.loads(text) and isinstance(json.loads(text), list):
        require_list(fields, "messages", "[1]")
    else:
        with pytest.raises(GatewayError, match="messages"):
            require_list(fields, "messages", "[1]")


def test_ids_are_random_uuids():
    made = [new_id() for _ in range(3000)]
    assert len(set(made)) == len(made)
    for text in made:
        parsed = uuid.UUID(text)
        assert str(parsed) == text and parsed.version == 4 and parsed.variant == uuid.RFC_4122
    for place in range(36):  # all digits occur in all places that are free
        seen = {text[place] for text in made}
        assert len(seen) == (1 if place in (8, 13, 14, 18, 23) else 4 if place == 19 else 16), place


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_hand_out_its_parent_s_ids():
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # only system calls: the parent's threads are not here
        os.write(writer, ",".join(new_id() for _ in range(5)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 1000).decode().split(",")
    os.close(reader)
    os.close(writer)
    ours = [new_id() for _ in range(300)]
    assert len(theirs) == 5 and not set(theirs) & set(ours)


def test_ids_take_one_system_call_a_batch(monkeypatch):
    calls = []
    real = os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: calls.append(size) or real(size))
    ids = _Ids()
    for _ in range(BATCH * 2):
        ids.next()
    assert calls == [16 * BATCH] * 2


def test_ids_of_calls_are_in_the_order_in_which_they_are_taken():
    before, stock = int(time.time() * 1000), _TimedIds()
    batches = [[uuid.UUID(stock.next()) for _ in range(BATCH)] for _ in range(3)]
    ids = [one for batch in batches for one in batch]
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert all(batch == sorted(batch) for batch in batches)
    assert len({one.int & (1 << 62) - 1 for one in ids}) == len(ids), "beside the time they are random"
    times = [one.int >> 80 for one in ids]
    assert before <= times[0] and times == sorted(times) and times[-1] <= int(time.time() * 1000)
    assert uuid.UUID(new_call_id()).version == 7


@pytest.mark.parametrize("kind", [_Ids, _TimedIds])
def test_threads_that_ask_at_once_get_no_id_twice(kind):
    ids = kind()
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(ids.next() for _ in range(3000))) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({one for mine in made for one in mine}) == 12_000


def test_the_request_is_parsed_once():
    call = call_of({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    assert call.parsed() is call.parsed() and call.parsed().model == "m"


def test_the_request_id_is_the_client_s_or_ours():
    call = call_of()
    assert call.request_id == call.call_id.encode()


def test_an_error_before_any_answer_is_told_in_the_client_s_dialect():
    error = GatewayError("timeout", "too late")
    assert json.loads(call_of().fail(error)[6:])["error"]["message"] == "too late"
    told = call_of({"model": "m", "messages": [{}], "max_tokens": 1}, "/v1/messages").fail(error)
    assert told.startswith(b"event: error\ndata: ") and b"timeout_error" in told

"""The judge sees what it is there for: each thing that may go wrong, done to a request where all was right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.faults import BY_NAME, HEALTHY
from tests.faults.judge import judge
from tests.faults.lanes import PREFIX, Lane, Read, words
from tests.faults.load import Answer, Asked
from tests.faults.site import PRICE_IN, PRICE_OUT, Rest, Tally

MARK, USAGE = "m0000001", {"chat": (15, 14)}
TEXT = PREFIX + words(MARK)
BEGAN = {"number": 1, "id": MARK, "end": "began"}
ENDED = {**BEGAN, "end": "answered", "status": 200, "events": 0, "bytes": 500, "sum": 77}
RECORD = {
    "status": 200, "tries": 1, "tokens_in": 15, "tokens_out": 14, "cost": 15 * PRICE_IN + 14 * PRICE_OUT,
}  # fmt: skip
State = dict[str, Any]


def state(stream: bool = False) -> State:
    asked = Asked(MARK, "healthy", Lane("chat", "chat", stream), b"")
    answer = Answer(asked, "whole", 200, b"", 500, 77, 1.0, Read(TEXT, True, 15, 14))
    return {
        "answers": [answer], "began": [("b", BEGAN)], "ended": [("b", ENDED)], "records": [RECORD], "rests": [],
    }  # fmt: skip


def problems(made: State, fault: str = "healthy") -> str:
    tally = Tally()
    tally.began[MARK], tally.ended[MARK], tally.records[MARK] = made["began"], made["ended"], made["records"]
    tally.rests = made["rests"]
    return judge(BY_NAME[fault], made["answers"], tally, USAGE).told()


def answered(made: State, **changes: Any) -> None:
    made["answers"] = [replace(made["answers"][0], **changes)]


def recorded(made: State, **changes: Any) -> None:
    made["records"] = [{**RECORD, **changes}]


def fell(made: State) -> None:
    """One more upstream was asked, and answered in full."""
    made["began"], made["ended"] = [*made["began"], ("c", BEGAN)], [*made["ended"], ("c", {**ENDED, "sum": 78})]
    recorded(made, tries=2)


WRONG: dict[str, tuple[Callable[[State], None], str]] = {
    "two answers": (lambda made: made["answers"].append(made["answers"][0]), "two answers"),
    "no answer": (lambda made: answered(made, end="none"), "no answer"),
    "lost": (lambda made: answered(made, end="lost"), "no answer"),
    "cut off": (lambda made: answered(made, end="cut"), "cut off without a word"),
    "no record": (lambda made: made.update(records=[]), "0 records"),
    "two records": (lambda made: made.update(records=[RECORD, RECORD]), "2 records"),
    "answered by two": (fell, "answered in full by 2 upstreams"),
    "answered by nobody": (lambda made: made.update(began=[], ended=[]), "answered in full by 0 upstreams"),
    "four calls": (lambda made: made.update(began=[("b", BEGAN)] * 4), "more calls than retries"),
    "another byte": (lambda made: answered(made, sum=76), "the bytes are not the mock's"),
    "another text": (lambda made: answered(made, read=Read(TEXT + "!", True, 15, 14)), "a false success"),
    "half a text": (lambda made: answered(made, read=Read(TEXT[:20], True, 15, 14)), "a false success"),
    "no end": (lambda made: answered(made, read=Read(TEXT, False, 15, 14)), "a false success"),
    "another usage": (lambda made: answered(made, read=Read(TEXT, True, 15, 13)), "the usage told"),
    "a refusal": (lambda made: answered(made, status=500, read=Read(error="no")), "where another upstream could"),
    "in band": (lambda made: answered(made, read=Read("mock", error="no")), "an error in band where another"),
    "charged more": (lambda made: recorded(made, tokens_out=15), "charged for other output"),
    "charged less": (lambda made: recorded(made, tokens_in=0), "charged for other input"),
    "another price": (lambda made: recorded(made, cost=1.0), "the cost is not that of the tokens"),
    "a record of failure": (lambda made: recorded(made, status=502, error="x"), "the record tells of another end"),
    "tries that were none": (lambda made: recorded(made, tries=4), "tries are not the calls"),
    "an innocent rests": (lambda made: made.update(rests=[Rest("b", "healthy.chat", 5.0, 9.0)]), "did nothing wrong"),
}


def test_nothing_is_wrong_where_all_is_right() -> None:
    assert problems(state()) == problems(state(True)) == ""


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_is_seen(name: str) -> None:
    change, wanted = WRONG[name]
    made = copy.deepcopy(state())
    change(made)
    assert wanted in problems(made)


def test_a_broken_stream_ends_in_an_error_and_nothing_else() -> None:
    made = state(True)
    made["began"], made["ended"] = [("a", BEGAN)], [("a", {**ENDED, "end": "cut", "events": 4})]
    recorded(made, status=502, error="broken_stream", tokens_in=15, tokens_out=4, cost=15 * PRICE_IN + 4 * PRICE_OUT)
    answered(made, read=Read(TEXT[:20], error="broken"))
    assert problems(made, "cut-in-body") == ""
    for read, wanted in (
        (Read(TEXT[:20], True, error="broken"), "a false success: an end after the error"),
        (Read("mock/echo: more", error="broken"), "words that the mock did not say"),
        (Read(error="NOT READABLE: x"), "an answer that is none"),
    ):
        answered(made, read=read)
        assert wanted in problems(made, "cut-in-body")
    answered(made, read=Read(TEXT[:20], error="broken"))
    recorded(made, status=200)
    assert "the record tells" in problems(made, "cut-in-body")
    made["began"], made["ended"] = [*made["began"], ("b", BEGAN)], [*made["ended"], ("b", ENDED)]
    assert "after the client had a part" in problems(made, "cut-in-body")


def test_no_rest_begins_in_the_middle_of_one() -> None:
    made = state()
    made["rests"] = [
        Rest("a", "500.chat", 5.0, 100.0),
        Rest("a", "500.chat", 5.0, 105.2),
        Rest("b", "x.chat", 1.0, 1.0),
    ]
    assert problems({**made, "answers": []}, "500") == ""
    made["rests"].append(Rest("a", "500.chat", 5.0, 105.4))
    assert "in the middle of a rest" in problems({**made, "answers": []}, "500")


def test_the_healthy_group_is_the_fault_that_is_none() -> None:
    assert HEALTHY.harmless and not HEALTHY.strikes

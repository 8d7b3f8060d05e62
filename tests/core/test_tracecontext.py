"""`traceparent` and `tracestate`: what is taken, what is not, and which traces are kept."""

from __future__ import annotations

import pytest

from penstock.core.tracecontext import SAMPLERS, Context, Sampler, context_of, lines_of, read_sampler

FRESH = bytes(range(1, 17))
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def read(value: str, state: str = "", sampler: Sampler = Sampler()) -> Context:  # noqa: B008
    return context_of({b"traceparent": value.encode(), b"tracestate": state.encode()}, sampler, FRESH)


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_a_trace_goes_on(flags):
    found = read(f"00-{TRACE}-{PARENT}-{flags}", "rojo=00f067aa0ba902b7,congo=t61")
    assert found == Context(bytes.fromhex(TRACE), bytes.fromhex(PARENT), flags != "00", b"rojo=00f067aa0ba902b7,congo=t61")
    lines = lines_of(found, b"\x07" * 8).decode().split("\r\n")
    assert lines == [
        f"traceparent: 00-{TRACE}-{'07' * 8}-{'00' if flags == '00' else '01'}",
        "tracestate: rojo=00f067aa0ba902b7,congo=t61",
        "",
    ]


def test_a_newer_version_may_say_more():
    assert read(f"cc-{TRACE}-{PARENT}-01-what-comes").parent == bytes.fromhex(PARENT)


@pytest.mark.parametrize(
    "value",
    [
        "", "00", f"00-{TRACE}-{PARENT}", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}x-{PARENT}-01", f"00-{TRACE}-{PARENT}-0g",
    ],
)  # fmt: skip
def test_what_is_none_begins_a_trace(value):
    assert read(value, "a=b") == Context(FRESH, b"", True)


def test_a_state_that_is_too_long_or_no_text_is_left_out():
    good = f"00-{TRACE}-{PARENT}-01"
    assert read(good, "a=" + "b" * 510).state != b"" and read(good, "a=" + "b" * 511).state == b""
    assert read(good, "a=\x01").state == b"" and read(good, "a=\r\nx: y").state == b""


def test_samplers():
    on, off = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
    kept = {
        name: tuple(read(value, "", read_sampler(name, "0")).sampled for value in (on, off, "")) for name in SAMPLERS
    }
    assert kept == {
        "always_on": (True, True, True),
        "always_off": (False, False, False),
        "traceidratio": (False, False, False),
        "parentbased_always_on": (True, False, True),
        "parentbased_always_off": (True, False, False),
        "parentbased_traceidratio": (True, False, False),
    }
    assert read_sampler("", "") == Sampler(1.0, True)


def test_a_ratio_keeps_about_as_many_and_always_the_same():
    sampler = read_sampler("parentbased_traceidratio", "0.25")
    ids = [(number * 2654435761 % 2**64 * 2**64 + number * 11400714819323198485 % 2**64).to_bytes(16) for number in range(1, 4001)]
    kept = [one for one in ids if sampler.keeps(one)]
    assert 900 < len(kept) < 1100
    assert all(Sampler(0.5).keeps(one) for one in kept)  # a larger ratio keeps all that a smaller one keeps


@pytest.mark.parametrize(("name", "argument"), [("sometimes", ""), ("traceidratio", "2"), ("traceidratio", "x"), ("traceidratio", "-1")])
def test_a_sampler_that_is_none_is_told(name, argument):
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER") as caught:
        read_sampler(name, argument)
    assert (argument or name) in str(caught.value)

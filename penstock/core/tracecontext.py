"""W3C Trace Context: which trace a request belongs to, by its headers ``traceparent`` and ``tracestate``, and whether
it is sampled. Pure: random bytes are arguments.

https://www.w3.org/TR/trace-context/ and, for the samplers, https://opentelemetry.io/docs/specs/otel/trace/sdk/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

PARENT, STATE = b"traceparent", b"tracestate"
_LONGEST_STATE = 512  # bytes: what the specification says must be passed on; more is left out as a whole
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


class Context(NamedTuple):
    """Where a request stands in a trace. ``parent``: the span that asked, b"" where the trace begins here; ``state``:
    what vendors of tracing keep with it."""

    trace_id: bytes
    parent: bytes
    sampled: bool
    state: bytes = b""


class Sampler(NamedTuple):
    """Decides which traces are kept. ``ratio``: of those that begin here; ``parent``: a trace that began elsewhere is
    kept if it was kept there."""

    ratio: float = 1.0
    parent: bool = True

    def keeps(self, trace_id: bytes) -> bool:
        """Decide by the id: every gateway that sees the same trace decides the same."""
        return int.from_bytes(trace_id[8:]) & (1 << 63) - 1 < self.ratio * (1 << 63)


SAMPLERS = ("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
            "parentbased_traceidratio")  # fmt: skip
"""Names of ``OTEL_TRACES_SAMPLER``."""


def read_sampler(name: str, argument: str) -> Sampler:
    """Read a sampler's name and its argument. Raises ``ValueError`` with what would be right."""
    name = name or "parentbased_always_on"
    if name not in SAMPLERS:
        raise ValueError(f"OTEL_TRACES_SAMPLER is {name[:40]!r}, and none of {', '.join(SAMPLERS)}")
    if name.endswith("always_on"):
        ratio = 1.0
    elif name.endswith("always_off"):
        ratio = 0.0
    else:
        try:
            ratio = float(argument or "1")
        except ValueError:
            ratio = -1.0
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {argument[:40]!r}, and no number from 0 to 1")
    return Sampler(ratio, name.startswith("parentbased_"))


def context_of(headers: Mapping[bytes, bytes], sampler: Sampler, fresh: bytes) -> Context:
    """Return where a request with these headers stands. ``fresh``: 16 random bytes, the id of a trace that begins
    here. What is no ``traceparent`` is taken for none."""
    found = _parsed(headers.get(PARENT, b"").strip())
    if found is None:
        return Context(fresh, b"", sampler.keeps(fresh))
    trace_id, parent, sampled = found
    state = headers.get(STATE, b"").strip()
    if len(state) > _LONGEST_STATE or any(not 31 < byte < 127 for byte in state):
        state = b""
    return Context(trace_id, parent, sampled if sampler.parent else sampler.keeps(trace_id), state)


def lines_of(context: Context, span_id: bytes) -> bytes:
    """Render the header lines by which whoever is asked next can go on with a trace."""
    flags = b"01" if context.sampled else b"00"
    lines = b"traceparent: 00-%b-%b-%b\r\n" % (context.trace_id.hex().encode(), span_id.hex().encode(), flags)
    return lines + (b"tracestate: %b\r\n" % context.state if context.state else b"")


def _parsed(value: bytes) -> tuple[bytes, bytes, bool] | None:
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace_id, parent, flags, more = found.groups()
    # A version that is newer may say more behind the flags; the first may not, and 255 is none.
    if version == b"ff" or (version == b"00" and more) or trace_id == _NO_TRACE or parent == _NO_SPAN:
        return None
    return bytes.fromhex(trace_id.decode()), bytes.fromhex(parent.decode()), bool(int(flags, 16) & _SAMPLED)

"""The faults: how the first of a group's three upstreams goes wrong, and what may come of it. One row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Step = Mapping[str, Any]  # of the mock's script, see docs/mock.md
FOREVER = 3_600_000  # milliseconds
PATIENCE = 1.0  # seconds that a deployment is waited for where it hangs
SHORT: Mapping[str, Any] = {"timeout": PATIENCE, "stream_timeout": PATIENCE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``whole`` and ``stream``: what the mock does to whole answers and to streams. ``address``: the first upstream's,
    instead of a mock's. ``everywhere``: all three are so. ``breaks``: a stream has begun when it strikes, so that its
    client must be told in band. ``harmless``: every answer is good. ``fallbacks``: the key of ``router_settings`` that
    names the group to go to. ``told``: the statuses that clients may see. ``share``: of the requests of a run, because
    each takes long. ``params``: of its deployments."""

    name: str
    whole: Step = field(default_factory=dict)
    stream: Step | None = None
    address: str = ""
    everywhere: bool = False
    breaks: bool = False
    harmless: bool = False
    fallbacks: str = ""
    told: frozenset[int] = frozenset()
    share: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def strikes(self) -> bool:
        """Whether it is an upstream's fault: it may be cooled for it."""
        return not self.harmless and self.fallbacks not in ("context_window_fallbacks", "content_policy_fallbacks")

    @property
    def streamed(self) -> Step:
        return self.whole if self.stream is None else self.stream


def _said(status: int, message: str = "", retry_after: str | None = None) -> Step:
    return {
        "status": status,
        "error": message or f"the mock says {status}",
        "headers": {"retry-after": retry_after},  # None takes away the one that the mock gives to a 429
    }


def _mid(**step: Any) -> Step:
    """A stream's step, paced so that its begin is out before the trouble comes."""
    return {"tokens_per_second": 300, **step}


REFUSED = "refused"  # in place of an address: a port on which nobody listens
_TOO_LONG: Step = {
    "status": 400,
    "error": {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"},
}
_POLICY: Step = {
    "status": 400,
    "error": {"message": "Your request was rejected by our safety system.", "code": "content_policy_violation"},
}

HEALTHY = Fault(name="healthy", harmless=True)
FAULTS: tuple[Fault, ...] = (
    HEALTHY,
    # The connection.
    Fault(name="refused", address=REFUSED),
    Fault(name="no-such-host", address="http://upstream.invalid"),
    Fault(name="reset-before-head", whole={"hangup": "before_answer"}),
    Fault(name="close-before-head", whole={"hangup": "before_answer", "cut": "close"}),
    Fault(name="reset-in-head", whole={"hangup": "in_headers"}),
    Fault(name="close-in-head", whole={"hangup": "in_headers", "cut": "close"}),
    Fault(name="reset-after-head", whole={"hangup": "after_headers"}),
    Fault(name="reset-in-body", whole={"cut_after_bytes": 40, "cut": "rst"},
          stream=_mid(cut_after_events=4, cut="rst"), breaks=True),
    Fault(name="cut-in-body", whole={"cut_after_bytes": 40, "cut": "close"},
          stream=_mid(cut_after_events=4, cut="close"), breaks=True),
    Fault(name="ends-in-body", whole={"cut_after_bytes": 40, "cut": "end", "framing": "chunked"},
          stream=_mid(cut_after_events=4, cut="end"), breaks=True),
    # Silence.
    Fault(name="hangs-before-head", whole={"latency_ms": FOREVER}, share=0.1, params=SHORT),
    Fault(name="hangs-in-head", whole={"header_drip_ms": FOREVER}, share=0.1, params=SHORT),
    Fault(name="hangs-before-body", whole={"stall_after_bytes": 0}, stream={"stall_after_events": 0}, share=0.1,
          params=SHORT),
    Fault(name="hangs-in-body", whole={"stall_after_bytes": 40}, stream=_mid(stall_after_events=4), breaks=True,
          share=0.1, params=SHORT),
    Fault(name="drips", whole={"body_drip_ms": 0.05}, harmless=True, share=0.2),
    # What it says.
    Fault(name="429", whole=_said(429)),
    Fault(name="429-retry-after", whole=_said(429, retry_after="2")),
    Fault(name="500", whole=_said(500)),
    Fault(name="502", whole=_said(502)),
    Fault(name="503", whole=_said(503)),
    Fault(name="529", whole=_said(529)),
    Fault(name="401-of-one-key", whole=_said(401, "Incorrect API key provided.")),
    Fault(name="402-of-one-key", whole=_said(402, "No credit is left.")),
    Fault(name="wrong-json", whole={"malform": ["bad_json"]}, stream=_mid(malform=["bad_json"]), breaks=True),
    Fault(name="html", whole={"malform": ["html"]}),
    Fault(name="empty-body", whole={"malform": ["empty_body"]}),
    Fault(name="empty-stream", whole={"cut_after_bytes": 0, "cut": "end", "framing": "chunked"},
          stream={"cut_after_events": 0, "cut": "end"}),
    Fault(name="bad-framing", whole={"framing": "chunked", "split_bytes": 30, "bad_chunk": True},
          stream=_mid(bad_chunk=True), breaks=True),
    Fault(name="error-event", whole=_said(500), stream=_mid(error_event_after=4, error="overloaded"), breaks=True),
    Fault(name="too-long", whole=_TOO_LONG, everywhere=True, fallbacks="context_window_fallbacks"),
    Fault(name="policy", whole=_POLICY, everywhere=True, fallbacks="content_policy_fallbacks"),
    Fault(name="group-down", whole=_said(503), everywhere=True, fallbacks="fallbacks"),
    # All of a group, and nowhere to go: an honest error, once, within the tries that are allowed.
    Fault(name="all-429", whole=_said(429, retry_after="30"), everywhere=True, told=frozenset({429})),
    Fault(name="all-500", whole=_said(500), everywhere=True, told=frozenset({500})),
    Fault(name="all-reset", whole={"hangup": "before_answer"}, everywhere=True, told=frozenset({500, 502})),
    Fault(name="all-refused", address=REFUSED, everywhere=True, told=frozenset({500})),
    Fault(name="all-hang", whole={"latency_ms": FOREVER}, everywhere=True, told=frozenset({408}), share=0.05,
          params=SHORT),
)  # fmt: skip
# Groups for what happens to the whole site, and for clients that leave; no fault strikes there by itself.
STEADY = Fault(name="steady", stream={"tokens_per_second": 400}, everywhere=True, harmless=True)
SILENT = Fault(name="silent", whole={"latency_ms": FOREVER}, everywhere=True)
SILENT_BODY = Fault(name="silent-body", whole={"stall_after_bytes": 0}, stream={"stall_after_events": 0},
                    everywhere=True)  # fmt: skip
STOPPED = Fault(name="stopped", whole={"stall_after_bytes": 40}, stream={"stall_after_events": 6}, everywhere=True)
GROUPS = (*FAULTS, STEADY, SILENT, SILENT_BODY, STOPPED)
BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in GROUPS}

"""What must hold of every request, whatever went wrong: none lost, none doubled, no false success, the right price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.faults import Fault
from tests.faults.lanes import PREFIX, words
from tests.faults.load import Answer
from tests.faults.site import PRICE_IN, PRICE_OUT, RETRIES, Rest, Tally

MOST = 6  # problems that are told of a kind
NONE: frozenset[int] = frozenset()
RESTING = frozenset({429})  # what LiteLLM, too, answers while all of a group rests


@dataclass(slots=True)
class Verdict:
    """What a run came to. ``seen``: what clients saw, by status or ``in band``. ``calls``: requests that upstreams
    had; ``served``: of these answered in full. ``charged``: tokens in the gateway's records, ``due``: those of the
    answers that the mocks served in full. ``rests``: cooldowns. ``ms``: of what was answered well, whole and streamed."""

    requests: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    served: int = 0
    again: int = 0
    charged: int = 0
    due: int = 0
    ms: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    rests: list[Rest] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def wrong(self, what: str, example: object) -> None:
        self.problems[what] += 1
        self.examples.setdefault(what, str(example)[:1500])

    def told(self) -> str:
        """The problems, for people; "" without any."""
        return "\n".join(f"{n} x {what}; e.g. {self.examples[what]}" for what, n in self.problems.most_common(MOST))


def judge(
    fault: Fault,
    answers: Sequence[Answer],
    tally: Tally,
    usage: Mapping[str, tuple[int, int]],
    killed: Collection[str] = (),
    hedged: bool = False,
) -> Verdict:
    """Judge all answers to the requests of one fault. ``killed``: upstreams that were, meanwhile. ``hedged``: two
    upstreams may have been asked at the same time."""
    verdict = Verdict(len(answers))
    if repeated := [mark for mark, n in Counter(one.asked.mark for one in answers).items() if n > 1]:
        verdict.wrong("a request has two answers", repeated)
    for answer in answers:
        _Case(verdict, fault, answer, tally, usage[answer.asked.lane.upstream], killed, hedged).judge()
    _judge_rests(verdict, fault, tally, killed)
    return verdict


def _judge_rests(verdict: Verdict, fault: Fault, tally: Tally, killed: Collection[str]) -> None:
    """Only who did wrong rests, and nobody begins a rest in the middle of one."""
    verdict.rests = [rest for rest in tally.rests if rest.model.rpartition(".")[0] == fault.name]
    until: dict[tuple[str, str], float] = {}
    for rest in verdict.rests:
        ends = until.get((rest.name, rest.model), 0.0)
        if rest.at < ends - 0.1 and rest.at + rest.seconds < ends + 0.9:
            verdict.wrong("a rest begins in the middle of a rest", (rest, ends))
        until[rest.name, rest.model] = rest.at + rest.seconds
        if not (rest.name in killed or fault.strikes and (rest.name == "a" or fault.everywhere)):
            verdict.wrong("a deployment rests that did nothing wrong", rest)


class _Case:
    """One request, before the judge. ``killed``: upstreams that were, whose last words may not have arrived."""

    def __init__(
        self,
        verdict: Verdict,
        fault: Fault,
        answer: Answer,
        tally: Tally,
        usage: tuple[int, int],
        killed: Collection[str],
        hedged: bool,
    ) -> None:
        self.verdict, self.fault, self.answer, self.usage = verdict, fault, answer, usage
        mark, self.hedged = answer.asked.mark, hedged
        self.began, self.ended = tally.began.get(mark, []), tally.ended.get(mark, [])
        self.records = tally.records.get(mark, [])
        self.good = [(name, line) for name, line in self.ended if self._is_good(name, line)]
        # What else a vendor bills, and so does the gateway: tries that failed after they had said something, and who
        # lost a race, which may have answered in full.
        winners = [line for _, line in (self.good[:1] if hedged else self.good)]
        self.parts = [line for _, line in self.ended if all(line is not winner for winner in winners)]
        if not hedged:
            self.parts = [line for line in self.parts if line["status"] == 200 and line["events"]]
        self.lost = [name for name, _ in self.began if name in killed]
        self.torn = len(self.began) > len(self.ended) and bool(self.lost)

    def _is_good(self, name: str, line: dict[str, Any]) -> bool:
        if line["end"] != "answered" or line["status"] != 200:
            return False
        return self.fault.harmless or bool(self.fault.fallbacks) or not (name == "a" or self.fault.everywhere)

    def wrong(self, what: str) -> None:
        a = self.answer
        brief = f"{a.asked.mark} {tuple(a.asked.lane)} {a.end} {a.status} {tuple(a.read)}"
        self.verdict.wrong(what, f"{brief} began={self.began} ended={self.ended} records={self.records}")

    def judge(self) -> None:
        verdict, answer = self.verdict, self.answer
        verdict.calls += len(self.began)
        verdict.served += len(self.good)
        verdict.due += len(self.good) * sum(self.usage)
        most = (RETRIES + 1) * (2 if self.fault.fallbacks else 1)
        if len(self.began) > most:
            self.wrong("more calls than retries are configured")
        if answer.end in ("none", "lost"):
            verdict.seen[f"no answer ({answer.end})"] += 1
            return self.wrong(f"no answer ({answer.end})")
        if len(self.records) != 1:
            return self.wrong(f"{len(self.records)} records")
        [record] = self.records
        if not len(self.began) <= record["tries"] <= most:
            self.wrong("the record's tries are not the calls")
        verdict.again += max(0, record["tries"] - 1)  # 0 tries: all of the group rest
        verdict.charged += (record["tokens_in"] or 0) + (record["tokens_out"] or 0)
        if answer.end == "cut":
            verdict.seen["cut off"] += 1
            self.wrong("cut off without a word")
        elif answer.status != 200:
            self._refused(record)
        elif answer.read.error:
            self._broken(record)
        else:
            self._answered(record)

    def _answered(self, record: dict[str, Any]) -> None:
        """A success is the mock's answer, all of it, once, at its price."""
        answer, read = self.answer, self.answer.read
        self.verdict.seen["200"] += 1
        self.verdict.ms[answer.asked.lane.stream].append(answer.ms)
        if not read.done or read.text != PREFIX + words(answer.asked.mark):
            self.wrong("a false success: the answer is not the mock's")
        if (read.tokens_in, read.tokens_out) != self.usage:
            self.wrong(f"the usage told is not the mock's {self.usage}")
        # Who is killed behind its last byte does not write down that it had sent it.
        if len(self.good) != 1 and not self.torn and not (self.good and (self.lost or self.hedged)):
            self.wrong(f"answered in full by {len(self.good)} upstreams")
        sums = [(line["bytes"], line["sum"]) for _, line in self.good]
        if answer.asked.lane.same and (answer.bytes, answer.sum) not in sums and not self.torn:
            self.wrong("the bytes are not the mock's")
        self._recorded(record, 200, self.usage)

    def _broken(self, record: dict[str, Any]) -> None:
        """An error in band: only where a stream had begun, after nothing but the answer's own words, and no end."""
        answer, read = self.answer, self.answer.read
        self.verdict.seen["in band"] += 1
        if read.error.startswith("NOT READABLE"):
            return self.wrong("an answer that is none")
        if not (answer.asked.lane.stream and (self.fault.breaks or self.torn)):
            self.wrong("an error in band where another upstream could have answered")
        if read.done:
            self.wrong("a false success: an end after the error")
        if not (PREFIX + words(answer.asked.mark)).startswith(read.text):
            self.wrong("words that the mock did not say")
        if self.good and not (self.lost or self.hedged):
            self.wrong("answered in full by another upstream, after the client had a part")
        self._recorded(record, record["status"], (0, 0))
        if record["status"] < 400:
            self.wrong("the record tells of a success")

    def _refused(self, record: dict[str, Any]) -> None:
        answer = self.answer
        self.verdict.seen[str(answer.status)] += 1
        if answer.status not in self.fault.told | (RESTING if self.fault.told else NONE):
            self.wrong(f"a {answer.status} where another upstream could have answered")
        if not answer.read.error or answer.read.error.startswith("NOT READABLE"):
            self.wrong("a refusal that its client cannot read")
        if answer.status == 429 and not answer.header(b"retry-after").isdigit():
            self.wrong("a 429 that does not say when to come back")
        if self.good:
            self.wrong("refused, and answered in full by an upstream")
        self._recorded(record, answer.status, (0, 0))

    def _recorded(self, record: dict[str, Any], status: int, usage: tuple[int, int]) -> None:
        """The record says what the client saw, and what was used: that of the answer, and at most what failed tries
        had said before: as it was told, or estimated, which is never twice as much."""
        if record["status"] != status or bool(record.get("error")) is (status == 200):
            self.wrong("the record tells of another end")
        tokens_in, tokens_out = record["tokens_in"] or 0, record["tokens_out"] or 0
        parts = len(self.parts) + self.torn
        said = sum(max(2 * line["events"], self.usage[1]) for line in self.parts) + 2 * self.usage[1] * self.torn
        if not usage[0] <= tokens_in <= usage[0] + 2 * self.usage[0] * parts:
            self.wrong("charged for other input than was served")
        if not usage[1] <= tokens_out <= usage[1] + said:
            self.wrong("charged for other output than was served")
        if abs((record["cost"] or 0) - tokens_in * PRICE_IN - tokens_out * PRICE_OUT) > 1e-9:
            self.wrong("the cost is not that of the tokens")

"""How far an engine is with loading, read from its log."""

from __future__ import annotations

import re
from collections.abc import Callable

# The bars of tqdm: "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03]" (vLLM, SGLang),
# "Loading weights:  63%|######3   | 388/617" (TensorRT-LLM), "Capturing CUDA graphs:  45%|####5 ..." (vLLM).
_BAR = re.compile(r":\s{0,4}(\d{1,3})%(?:\||\s+Completed)")
# llama.cpp writes one dot for each percent of the tensors, in one line; newer ones only with -lv 4.
_DOTS = re.compile(r"\.{3,100}\s*\Z")


def read_bars(text: str) -> float | None:
    """Return the percent of the last progress bar in a piece of a log, None where there is none."""
    found = _BAR.findall(text)
    return min(float(found[-1]), 100.0) if found else None


def read_dots(text: str) -> float | None:
    """Return the percent that a line of dots stands for, None for a line that is none."""
    found = _DOTS.search(text)
    return float(len(found[0].rstrip())) if found and not text[: found.start()].strip() else None


class Progress:
    """What is known of one start: seconds since its beginning, and the percent that its log told last."""

    def __init__(self, read: Callable[[str], float | None], begun: float) -> None:
        self._read = read
        self._begun = begun
        self._told = begun
        self._told_percent = 0.0
        self.percent: float | None = None

    def feed(self, text: str) -> None:
        """Read a piece of the log: a line, or the part of one that is there so far."""
        percent = self._read(text)
        if percent is not None:
            self.percent = percent

    def news(self, now: float, every: float = 5.0) -> str:
        """Return a line for whoever waits, "" while the last one still holds: it is renewed every few seconds, and
        for each ten percent."""
        percent = self.percent
        jumped = percent is not None and abs(percent - self._told_percent) >= 10
        if now - self._told < (1.0 if jumped else every):
            return ""
        self._told, self._told_percent = now, percent or 0.0
        return f"loading, {now - self._begun:.0f} s" + ("" if percent is None else f", {percent:.0f} %")

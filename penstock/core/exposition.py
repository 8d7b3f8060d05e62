"""Prometheus's two text forms: the plain one (0.0.4) and OpenMetrics (1.0.0). Pure.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md. Written here and not by the
client library: it takes 3 us for each line, and a gateway with a thousand keys has a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

PLAIN_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
OPEN_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
END = "# EOF\n"
_LABEL = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
# What some parsers take for the end of a line, and what is no text.
_STRANGE = dict.fromkeys((*range(10), *range(11, 32), 127, *range(128, 160), 8232, 8233), " ")
_STRANGE |= dict.fromkeys(range(55296, 57344), "�")
LONGEST = 256  # characters of a label's value


class Family(NamedTuple):
    """A metric. ``name``: without the ``_total`` of counters, which is added. ``labels``: their names."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """Return the name of its samples; of a histogram, what they begin with."""
        return f"{self.name}_total" if self.kind == COUNTER else self.name


def head(family: Family, is_open: bool) -> str:
    """Return the lines that say what a metric is."""
    name = family.name if is_open else family.sample
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if is_open:
        text = text.replace('"', '\\"')
    return f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n"


def escape(value: str) -> str:
    """Return a label's value as it is written between quotes."""
    if len(value) > LONGEST:
        value = value[: LONGEST - 3] + "..."
    if not value.isprintable():
        value = value.translate(_STRANGE)
    return value.translate(_LABEL)


def pairs(names: Sequence[str], values: Iterable[str]) -> str:
    """Return labels as they stand between braces; one without a value is left out, which means the same."""
    return ",".join([f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True) if value])


def sample(name: str, labels: str, value: float) -> str:
    """Return the line of a number."""
    return f"{name}{{{labels}}} {value!r}\n" if labels else f"{name} {value!r}\n"


def bounds_of(buckets: Sequence[float]) -> tuple[str, ...]:
    """Return bounds as they end a line, before its number; both forms take ``1.0``."""
    return (*(f'{float(bound)!r}"}} ' for bound in buckets), '+Inf"} ')


def histogram(name: str, labels: str, bounds: Sequence[str], counts: Sequence[float], total: float) -> str:
    """Return the lines of a histogram. ``bounds``: see ``bounds_of``; ``counts``: of each bucket by itself; ``total``:
    of all that was measured."""
    begin = f'\n{name}_bucket{{{labels},le="' if labels else f'\n{name}_bucket{{le="'
    sums = list(accumulate(map(int, counts)))
    # The beginning, which is long and the same in all lines, is put between them in one go.
    lines = begin.join(["", *map(str.__add__, bounds, map(str, sums))])
    after = f"{{{labels}}}" if labels else ""
    return f"{lines[1:]}\n{name}_count{after} {sums[-1]}\n{name}_sum{after} {total!r}\n"


def wants_open(accept: str) -> bool:
    """Tell whether a client rather has OpenMetrics, by its Accept header. It is given to who asks for it by name."""
    best, plain = 0.0, 0.0
    for part in accept.split(",")[:32]:
        kind, *rest = (word.strip() for word in part.split(";"))
        said = next((word[2:] for word in rest if word[:2] == "q="), "1")
        try:
            weight = float(said)
        except ValueError:
            weight = 0.0
        if kind == "application/openmetrics-text":
            best = max(best, weight)
        elif kind in ("text/plain", "text/*"):
            plain = max(plain, weight)
    return best > 0 and best >= plain

"""How much may be written for foreign data: the one place with the limits, and the error that names them.

A schema of 3 kB whose definitions use each other twice would be gigabytes when each is written out where it is used
(BerriAI/litellm#34328: it held the event loop for minutes). A step whose result can be larger than what it is given by
more than a factor takes a ``Budget`` and spends what it writes *before* it writes it; a step that is as deep as what it
is given asks ``check_depth``. ``tests/laws/test_work.py`` holds that nothing in here grows faster than n log n.
"""

from __future__ import annotations

import re

from penstock.core.errors import GatewayError

MOST_WRITTEN = 256 * 1024  # bytes; 60 ms where they are written value by value
VALUE = 48  # what a value costs beside its own bytes: the time of a dict or a list
DEEPEST = 64  # levels that a reader follows by calling itself; what people and models write has a dozen
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.S)
LONGEST_NAME = 80  # characters of a name that stands in a path: the path is copied for all that is below it


class Budget:
    """What may still be written. ``what``: what grows, for the message. ``param``: the field at fault, changed by who
    goes on to the next. ``kind``: of the error; an upstream's data is the upstream's fault."""

    __slots__ = ("_kind", "_left", "_what", "param")

    def __init__(self, what: str, param: str = "", kind: str = "bad_request", most: int = MOST_WRITTEN) -> None:
        self._what = what
        self._kind = kind
        self._left = most
        self.param = param

    def spend(self, size: int) -> None:
        """Take ``size`` bytes from what is left. Raises the error that names the field when there is not so much."""
        self._left -= size
        if self._left < 0:
            text = f"{self._what} would take more than {MOST_WRITTEN} bytes, the limit here."
            raise GatewayError(self._kind, f"'{self.param}': {text}" if self.param else text, param=self.param or None)


def check_depth(depth: int, param: str, kind: str = "bad_request") -> None:
    """Raise the error that names the field when ``depth`` is more than a reader follows."""
    if depth > DEEPEST:
        raise GatewayError(kind, f"'{param}' is nested deeper than {DEEPEST} levels, the limit here.", param=param)


def short_name(name: str) -> str:
    """Cut a name that somebody else chose, for a path."""
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..."


def values_in(data: bytes, most: int) -> int:
    """Count the values of a JSON text, those of objects by their commas; what stands in strings is not counted. Stops
    when there are more than ``most``."""
    count = at = 0
    for match in _STRING.finditer(data):
        count += data.count(b",", at, match.start()) + data.count(b"{", at, match.start())
        at = match.end()
        if count > most:
            break
    return count + data.count(b",", at) if count <= most else count

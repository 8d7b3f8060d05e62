"""Running out of descriptors, told as what it is: not that an upstream is down, and no fault in the gateway."""

from __future__ import annotations

import errno
import os

try:
    import resource  # now: later there may be no descriptor to load it
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment,unused-ignore]

_NUMBERS = (errno.EMFILE, errno.ENFILE)


def out_of_files(error: BaseException | None = None) -> str:
    """Tell in words that there are no descriptors left; "" when that is not what is wrong. ``error``: what was met. One
    that hides its reason (a resolver's, a combined one) is no answer, so it is tried out; so it is without one."""
    number = getattr(error, "errno", None)
    if number not in _NUMBERS:
        if number is not None and number > 0 and number != errno.ENOENT:
            return ""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as found:
            number = found.errno
        if number not in _NUMBERS:
            return ""
    if number == errno.ENFILE:
        return "too many open files in the whole system: raise fs.file-max"
    return f"too many open files (limit {_limit()}): raise ulimit -n"


def _limit() -> str:
    return "unknown" if resource is None else str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

"""How much memory there is, of the machine or of the container that this process is in; and that what is freed goes
back."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

SHARE_HELD = 25  # percent of it that requests may hold: a body may stand in memory three times while it is translated
# glibc's mallopt: blocks from this size are mapped each by itself, and a heap's free end from this size is given back.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 128 * 1024), (-1, 4 * 1024 * 1024)
_ROOT = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory.high", "memory/memory.limit_in_bytes", "memory.limit_in_bytes")


def memory_bytes(root: Path = _ROOT, member: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes that this process and its like may have: the least of the machine's memory and of the limits of
    all control groups (v2 and v1) that it is in. Where nothing can be asked, what does not limit."""
    found = [sys.maxsize]
    try:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        pass
    for folder in _groups(root, member):
        for name in _LIMITS:
            try:
                found.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # "max", or another version's file
                continue
    return min(size for size in found if size > 0)


def give_back_memory() -> None:
    """Make the C library give large blocks back to the system when they are freed.

    By itself glibc raises both thresholds with the size of what is freed: after the first body of 30 MB all that are
    smaller lie in the heap, and ten clients that broke off left 290 MB there (tests/e2e/test_memory.py). What the
    environment says (MALLOC_..., GLIBC_TUNABLES) holds; other C libraries have nothing to set."""
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for number, value in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
        mallopt(number, value)


def _groups(root: Path, member: Path) -> list[Path]:
    """List the folders of the control groups of this process, from its own up to the outermost. In a container its own
    is what stands at the root."""
    folders = [root]
    try:
        lines = member.read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "", "/")
        top = root / "memory" if "memory" in controllers.split(",") else root
        below = top / path.lstrip("/")
        while below != top and top in below.parents:
            folders.append(below)
            below = below.parent
    return folders

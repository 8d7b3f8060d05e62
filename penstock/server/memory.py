"""How much memory there is: of the machine, or of the container that this process is in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SHARE_HELD = 25  # percent of it that requests may hold: a body may stand in memory three times while it is translated
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

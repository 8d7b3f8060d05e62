"""What an engine takes of this machine: the memory of all its processes, and that of its GPUs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

_ASK_SECONDS = 5.0


def find_family(root: int) -> set[int]:
    """Find a process and all that descend from it, where the system shows them. A keeper adopts what leaves the group
    of its engine, so nobody is missing."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            children.setdefault(int(_read_stat(name)[1]), []).append(int(name))
    found, left = set[int](), [root]
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children.get(pid, ())
    return found


def sum_memory(pids: set[int]) -> int | None:
    """Add up the resident memory of processes, in bytes; None where the system does not show it."""
    sizes = []
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            sizes.append(int(_read_stat(str(pid))[21]) * os.sysconf("SC_PAGE_SIZE"))
    return sum(sizes) if sizes else None


def _read_stat(pid: str) -> list[str]:
    """Read the fields of a process behind its name, which may hold anything: its state is the first."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def ask_gpus() -> dict[int, int]:
    """Ask the NVIDIA driver how many bytes of the GPUs each process has; empty where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    words = [program, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=_ASK_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return {}
    return read_gpus(said.stdout)


def read_gpus(text: str) -> dict[int, int]:
    """Read what the driver told, a line for each process and GPU: ``4711, 8192`` (MiB). Some say ``[N/A]``."""
    found: dict[int, int] = {}
    for line in text.splitlines():
        pid, _, size = line.partition(",")
        if pid.strip().isdigit() and size.strip().isdigit():
            found[int(pid)] = found.get(int(pid), 0) + int(size) * 1024 * 1024
    return found

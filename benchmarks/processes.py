"""What the kernel says about processes: which are ours, how much CPU time they have used, how much memory they have."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

#: With a process's number it makes the number of the clock of its CPU time (Linux, ``include/linux/posix-timers.h``).
_SCHEDULED_TIME: Final = 2


def children(of: str = "self") -> set[int]:
    """Return the processes that this one, or another, has started."""
    tasks = Path(f"/proc/{of}/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


def parent(pid: int) -> int:
    """Return the process that has started another one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process so far, in user and kernel mode."""
    return time.clock_gettime(~pid << 3 | _SCHEDULED_TIME)


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

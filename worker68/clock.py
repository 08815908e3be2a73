"""Time: what the wall says (UTC), how long something took, and how long one may still wait.

Three clocks, never mixed: ``utc_now`` for what is written down, ``monotonic`` for timeouts within a process, ``boottime`` for
leases, because it goes on while a machine is suspended and ``monotonic`` does not.
"""

from __future__ import annotations

import datetime as dt
import time
from time import monotonic

__all__ = ["Deadline", "boottime", "monotonic", "utc_now"]

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def utc_now() -> dt.datetime:
    """Return the wall time with its offset, in UTC."""
    return dt.datetime.now(dt.UTC)


def boottime() -> float:
    """Return seconds since the machine booted, suspended time included."""
    return time.clock_gettime(_BOOTTIME)


class Deadline:
    """A point in monotonic time until which something may take."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self.at - monotonic())

    @property
    def passed(self) -> bool:
        return monotonic() >= self.at

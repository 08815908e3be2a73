"""Faults that hold for a number of times, and can be set from any thread while the simulator uses them up.

In: a number from a test. Out: for each frame that the fault concerns, whether it acts. Never: what the fault does.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

#: Set a ``Countdown`` to this for a fault that lasts until it is cleared.
ALWAYS: Final = 2**62


class Countdown:
    """A fault for the next N times. The lock guards the number between the test's thread and the simulator's."""

    def __init__(self, times: int = 0) -> None:
        self._lock = threading.Lock()
        self._times = times

    def set(self, times: int) -> None:
        with self._lock:
            self._times = times

    @property
    def left(self) -> int:
        return self._times

    def take(self) -> bool:
        """Use up one and say whether there was one."""
        if self._times <= 0:
            return False
        with self._lock:
            had_one = self._times > 0
            self._times -= had_one
            return had_one


class Trip(Countdown):
    """A fault that acts once: on the Nth time from now; 0 is never."""

    def take(self) -> bool:
        """Count one more and say whether it is the Nth."""
        with self._lock:
            is_last = self._times == 1
            self._times = max(0, self._times - 1)
            return is_last


class CountdownByType:
    """A countdown for each request type (``GroupDetail``, ``sendMsg``, ...). The lock guards the numbers."""

    def __init__(self, times: dict[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._times = Counter(times or {})

    def set(self, request_type: str, times: int) -> None:
        with self._lock:
            self._times[request_type] = times

    def take(self, request_type: str) -> bool:
        with self._lock:
            had_one = self._times[request_type] > 0
            self._times[request_type] -= had_one
            return had_one

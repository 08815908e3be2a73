"""How long something takes, and how often it was done: a histogram that costs a microsecond, for metrics.

In: seconds, from any thread. Out: counts by bucket, and their sum. Never: a label, a library.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from worker68.clock import monotonic

#: Upper bounds in seconds: from one round trip to Redis up to a wait for a verdict.
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Distribution(NamedTuple):
    """What was observed so far: ``counts`` has one more entry than ``BOUNDS``, for what took longer. Not cumulated."""

    counts: tuple[int, ...]
    total_seconds: float


class Latency:
    """Observations since the process began. Thread-safe."""

    __slots__ = ("_counts", "_lock", "_total")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below: an observation changes both
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        place = bisect_left(BOUNDS, seconds)
        with self._lock:
            self._counts[place] += 1
            self._total += seconds

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Observe how long the block takes, also where it fails."""
        began = monotonic()
        try:
            yield
        finally:
            self.observe(monotonic() - began)

    def read(self) -> Distribution:
        with self._lock:
            return Distribution(tuple(self._counts), self._total)

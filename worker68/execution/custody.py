"""A lock at which others may leave what is to be done, without a wait.

In: steps that change what the lock guards, from any thread. Out: each is run once, in order, by whoever holds the lock or is the
first to find it free. Never: a wait for whoever leaves something.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Custody:
    """The lock. A step must be short, and must not want the lock itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: deque[Callable[[], None]] = deque()  # added to by anybody, taken out under the lock

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. What is left meanwhile is run when it is free again."""
        try:
            with self._lock:
                self._run_left()
                yield
        finally:
            self._look()

    def leave(self, step: Callable[[], None]) -> None:
        """Have a step run under the lock: now if it is free, else by whoever holds it."""
        self._left.append(step)
        self._look()

    def _look(self) -> None:
        """Whoever finds the lock held may go: its holder looks again once it has let go."""
        while self._left and self._lock.acquire(blocking=False):
            try:
                self._run_left()
            finally:
                self._lock.release()

    def _run_left(self) -> None:
        while self._left:
            self._left.popleft()()

"""When to try to connect to a bridge, and the try that is under way.

In: tries that failed, connections that were lost. Out: a connection, or why there is none. Never: a wait; a try sooner than the
back-off allows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from worker68.bridge.connection import Connection, Dial
from worker68.bridge.health import Timing

Dialled = Callable[[Dial, "Connection | str"], None]


class Redial:
    """One account's. ``due_at``: when ``start`` should be called, in monotonic seconds."""

    def __init__(self, url: str, timing: Timing, message_limit: int) -> None:
        self._url = url
        self._timing = timing
        self._message_limit = message_limit
        self._dial: Dial | None = None
        self._failures = 0
        self.due_at = math.inf

    def start(self, done: Dialled) -> None:
        """Begin a try. ``done`` is called once, on the thread of the try."""
        self.due_at = math.inf
        self._dial = Dial(self._url, timeout_seconds=self._timing.connect, message_limit=self._message_limit, done=done)
        self._dial.start()

    def take(self, dial: Dial) -> bool:
        """Say whether this try, which is over, is the one that is waited for; then none is any more."""
        if dial is not self._dial:
            return False
        self._dial = None
        return True

    def plan(self, now: float) -> None:
        """Full jitter: anywhere between now and a range that doubles, so that a fleet does not come back all at once."""
        widest = min(self._timing.backoff_cap, self._timing.backoff_base * 2.0 ** min(self._failures, 30))
        self._failures += 1
        self.due_at = now + random.uniform(0.0, widest)

    def note_held(self) -> None:
        """The last connection was a good one: its end is no reason for a longer pause."""
        self._failures = 0

    def abandon(self) -> None:
        """Give up the try that is under way."""
        if self._dial is not None:
            self._dial.abandon()
            self._dial = None

    def stop(self) -> None:
        """Try no more."""
        self.abandon()
        self.due_at = math.inf

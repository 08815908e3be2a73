"""How late the event loop is: everything that waits on it waits so much longer.

In: a timer of the loop. Out: a histogram; how late it was last. Never: a remedy.
"""

from __future__ import annotations

import asyncio
from typing import Final

from worker68.observe.metrics import histogram

#: Between two looks: often enough to meet each pause that lasts; a look costs some microseconds.
LOOK_SECONDS: Final = 0.25


class LoopLag:
    """Measures one loop. ``last_seconds``: by how much the last timer was late; any thread may read it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.seconds = histogram("worker68_loop_lag_seconds", "How late a timer of the event loop was.")
        self.last_seconds = 0.0

    def start(self) -> None:
        """Begin. On the loop; it ends with the loop."""
        due = self._loop.time() + LOOK_SECONDS
        self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        self.last_seconds = max(0.0, self._loop.time() - due)
        self.seconds.observe(self.last_seconds)
        self.start()

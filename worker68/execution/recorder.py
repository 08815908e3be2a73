"""Writing down how an attempt went, however long the database is away.

In: a write, and a note of what it would write. Out: the write's result, once it is committed. While the database is away the note
lies in Redis, so that what was seen outlives this worker; it is dropped before the job goes on. Never: an end of the wait while the
worker runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from worker68.clock import Deadline
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.kept import Kept, Note, try_to_keep

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: While the worker stops, a write waits this long for a database that is away: a moment where Redis keeps its note, longer where
#: nothing does.
LAST_WRITE_SECONDS = 15.0
LAST_WRITE_WITH_NOTE_SECONDS = 4.0
#: Between two tries to reach a database, or a Redis, that is away.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Recorder:
    """Records the attempts of one account. Thread-safe."""

    account: str
    kept: Kept
    stopping: threading.Event

    def until_written(self, write: Callable[[], T], note: Note | None = None) -> T:
        """Write, as often as it takes. Raises ``DatabaseAway`` only while the worker stops.

        ``note``: what the next owner is to write down where this worker cannot.
        """
        given_up: Deadline | None = None
        handed_in = kept = False
        while True:
            try:
                written = write()
            except DatabaseAway as away:
                log.warning("database_away", problem=str(away), remedy="look at DATABASE_URL; waiting for it")
                if note is not None and not kept:
                    handed_in, kept = True, try_to_keep(self.kept, self.account, note)
                if self.stopping.is_set():
                    given_up = given_up or Deadline.after(LAST_WRITE_WITH_NOTE_SECONDS if kept else LAST_WRITE_SECONDS)
                    if given_up.passed:
                        raise
                self._pause()
            else:
                if note is not None and handed_in:
                    self._forget(note)
                return written

    def _forget(self, note: Note) -> None:
        """Drop a note before its job goes on: a later attempt may look the same, and it must not be taken for that one's."""
        while True:
            try:
                return self.kept.forget(self.account, note)
            except RedisAway as away:
                log.warning("redis_away", problem=str(away), where="recorder", remedy="nothing is sent meanwhile")
                if self.stopping.is_set():
                    return None  # this worker begins no further attempt
                self._pause()

    def _pause(self) -> None:
        if self.stopping.is_set():
            time.sleep(PAUSE_SECONDS)
        else:
            self.stopping.wait(PAUSE_SECONDS)

"""The watchdog: the one thread that looks at the loop from outside. It reports a loop that stands still, and bounds a stop.

In: the loop; that this process is to end. Out: a line in the log with the loop's stack, and ``problem``; the end of the process
where a stop takes too long. Never: a remedy for a loop that stands still, which loses its leases by itself.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import traceback
from functools import partial

import structlog

from worker68.clock import Deadline, monotonic
from worker68.loop import LoopThread

log = structlog.get_logger(__name__)

#: Between two questions to the loop.
ASK_SECONDS = 1.0
#: A loop that has not answered for so long stands still: everything on it is done within milliseconds.
STILL_SECONDS = 2.0
#: So long after it was asked for, a stop ends the process, whatever hangs (Redis, the database, Celery).
END_AFTER_SECONDS = 43.0
#: So much later it ends also where its last line cannot be written. A supervisor kills after 45 s.
LAST_WORDS_SECONDS = 1.0


class Watchdog:
    """Looks at one loop from its start on. ``problem`` may be read on any thread."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._end: Deadline | None = None  # of the process, once a stop was asked for
        self._unanswered: float | None = None  # since when the loop owes an answer
        self._looked_at = monotonic()
        self._reported = False
        self._looking = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker68-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look at the loop no more: it ends in order. What bounds a stop goes on, for Celery may hang after it."""
        self._looking, self._unanswered = False, None
        if self._end is None:
            self._over.set()

    def bound_stop(self) -> None:
        """From now on the time of this process runs. Safe in a signal handler; a second time changes nothing."""
        if self._end is None:
            self._end = Deadline.after(END_AFTER_SECONDS)
            # A thread of the interpreter's own, in C. It ends the process also where a line of the log waits for its reader for
            # ever, and where a thread hangs with the interpreter's lock.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            faulthandler.dump_traceback_later(END_AFTER_SECONDS + LAST_WORDS_SECONDS, exit=True, file=nowhere)

    @property
    def problem(self) -> str | None:
        """Return in words that the loop stands still, None while it goes on."""
        seconds = self._still_seconds()
        return f"the loop has stood still for {seconds:.0f} s" if seconds >= STILL_SECONDS else None

    def _run(self) -> None:
        while not self._over.wait(ASK_SECONDS if self._end is None else min(ASK_SECONDS, self._end.remaining())):
            if self._end is not None and self._end.passed:
                remedy = "the process ends now, as a crash would: the next owner takes over what is left"
                log.error("stop_overdue", remedy=remedy)
                os._exit(1)
            if self._looking:
                try:
                    self._look()
                except Exception:
                    log.exception("watchdog_failed", remedy="a fault in worker68; a stop is bounded all the same")

    def _look(self) -> None:
        now = monotonic()
        if now - self._looked_at > ASK_SECONDS + STILL_SECONDS and self._unanswered is not None:
            self._unanswered = now  # the whole process stood still
        self._looked_at = now
        if self._unanswered is None:
            self._unanswered = now
            self._loop.loop.tell(partial(self._note_answer, now))
        elif (seconds := self._still_seconds()) >= STILL_SECONDS and not self._reported:
            self._reported = True
            log.error(
                "loop_stands_still",
                seconds=round(seconds, 1),
                frames=self._frames_of_loop(),
                remedy="a fault in worker68: keep this line, report it; if it lasts, the accounts go to another worker",
            )

    def _note_answer(self, asked_at: float) -> None:
        """On the loop."""
        self._unanswered = None
        if self._reported:
            self._reported = False
            log.info("loop_goes_on", seconds=round(monotonic() - asked_at, 1))

    def _still_seconds(self) -> float:
        since = self._unanswered
        return 0.0 if since is None else monotonic() - since

    def _frames_of_loop(self) -> list[str]:
        frame = sys._current_frames().get(self._loop.ident or 0)
        return (
            [] if frame is None else [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_stack(frame)]
        )

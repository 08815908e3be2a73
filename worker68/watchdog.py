"""The watchdog: the one thread that looks at the loop from outside. It reports a loop that stands still, and bounds a stop.

In: the loop; that this process is to end. Out: a line in the log with what the loop is doing, and ``problem``; the end of the process
where a stop takes too long. Never: a remedy for a loop that stands still. It loses its leases by itself.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from worker68.clock import Deadline, monotonic
from worker68.loop import LoopThread

log = structlog.get_logger(__name__)

#: Between two questions to the loop.
ASK_SECONDS: Final = 1.0
#: A loop that has not answered for so long stands still: everything on it is done within milliseconds.
STILL_SECONDS: Final = 2.0
#: So long after it was asked for, a stop ends the process whatever hangs (Redis, the database, Celery): whoever stops us kills soon.
END_AFTER_SECONDS = 43.0
#: So much later it ends also where its last line cannot be written: no more than the 45 s that whoever stops us gives.
LAST_WORDS_SECONDS = 1.0


class Watchdog:
    """``begin_stop`` is called on the watchdog's thread as soon as a stop was asked for. It must not wait."""

    def __init__(self, loop: LoopThread, begin_stop: Callable[[], None]) -> None:
        self._loop = loop
        self._begin_stop = begin_stop
        self._end: Deadline | None = None
        self._unanswered: float | None = None  # since when the loop owes an answer
        self._looked_at = monotonic()
        self._reported = False
        self._ending = False
        # Told from a signal handler, which may interrupt another one, or itself: the put of this queue alone allows that.
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="worker68-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look at the loop, which runs."""
        self._thread.start()

    def stop(self) -> None:
        """Look at the loop no more: it ends in order. What bounds a stop goes on, for Celery may hang after it."""
        self._orders.put(self._rest)

    def ask_to_stop(self) -> None:
        """This process is to end: from now on its time runs. Safe in a signal handler; a second time changes nothing."""
        if self._end is None:
            self._end = Deadline.after(END_AFTER_SECONDS)
            # A thread of the interpreter's own, in C. It ends the process also where a line of the log waits for its reader for
            # ever, and where a thread hangs with the interpreter's lock.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            faulthandler.dump_traceback_later(END_AFTER_SECONDS + LAST_WORDS_SECONDS, exit=True, file=nowhere)
            self._orders.put(self._begin_stop)

    @property
    def problem(self) -> str | None:
        """Return in words that the loop stands still, None while it goes on. On any thread."""
        seconds = self._still_seconds()
        return f"the loop has stood still for {seconds:.0f} s" if seconds >= STILL_SECONDS else None

    def _run(self) -> None:
        while not (self._ending and self._end is None):
            try:
                self._orders.get(timeout=self._pause_seconds())()
            except queue.Empty:
                if self._end is not None and self._end.passed:
                    log.error(
                        "stop_overdue",
                        remedy="the process ends now, as a crash would: the next owner takes over what is left",
                    )
                    os._exit(1)
            except Exception:
                log.exception("watchdog_failed", remedy="a fault in worker68; the time of a stop is bounded all the same")
            if not self._ending:
                self._look()

    def _pause_seconds(self) -> float:
        return ASK_SECONDS if self._end is None else min(ASK_SECONDS, self._end.remaining())

    def _rest(self) -> None:
        self._ending = True
        self._unanswered = None

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
                stack=self._stack_of_loop(),
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

    def _stack_of_loop(self) -> list[str]:
        frame = sys._current_frames().get(self._loop.ident or 0)
        return [] if frame is None else [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_stack(frame)]

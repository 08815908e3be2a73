"""The permit: whether anything may be written for an account now, as far as its kill switch is concerned.

In: what SQL said of the account's pause, and when it was asked. Out: None, or in words why nothing may be written; on any
thread, at once. The permit ends by itself: an owner that cannot ask SQL stops writing, so whoever has paused an account knows
from when on nothing is written, also by a worker that does not answer. Never: SQL, a wait.
"""

from __future__ import annotations

from typing import Final

from worker68.clock import boottime
from worker68.store.pauses import Pause

#: How long an answer counts. Long enough for a slow commit or a large batch between two looks; short enough to wait for.
PERMIT_SECONDS: Final = 5.0

_NOT_ASKED: Final = "whether the account is paused could not be asked: is the database away?"


class Permit:
    """One account's. Written under its owner's lock (``renew``), read by any thread."""

    def __init__(self) -> None:
        self._taken_at = boottime()
        # Replaced as a whole, so that it is read without a lock: until when it counts (CLOCK_BOOTTIME), and the pause.
        self._answer: tuple[float, Pause | None] = (0.0, None)

    @property
    def pause(self) -> Pause | None:
        return self._answer[1]

    def renew(self, pause: Pause | None, asked_at: float) -> bool:
        """Take over what SQL said when it was asked at ``asked_at`` (CLOCK_BOOTTIME); return False where that is refused.

        An answer that was asked for before the last one was taken over, or before this permit was made, may be older than what is
        known: of two that overlap, the first to be here stays.
        """
        if asked_at < self._taken_at:
            return False
        self._taken_at = boottime()
        self._answer = (asked_at + PERMIT_SECONDS, pause)
        return True

    def why_not(self) -> str | None:
        """Return why nothing may be written now, None where it may."""
        until, pause = self._answer
        if pause is not None:
            return pause.words
        return None if boottime() < until else _NOT_ASKED

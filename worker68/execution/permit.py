"""The permit: whether anything may be written for an account now, as far as its kill switch is concerned.

In: what SQL said last of all pauses, and when it was asked. Out: None, or in words why nothing may be written; at once. The permit
ends by itself: an owner that cannot ask SQL stops writing, so whoever has paused an account knows from when on nothing is written,
also by a worker that does not answer. Never: SQL, a wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from worker68.clock import boottime
from worker68.store.pauses import Pause

#: How long an answer counts. Long enough for a slow commit or a large batch between two looks; short enough to wait for.
PERMIT_SECONDS: Final = 5.0

_NOT_ASKED: Final = "whether the account is paused could not be asked: is the database away?"


@dataclass(frozen=True)
class Answer:
    """What SQL said when it was asked at ``asked_at`` (CLOCK_BOOTTIME): all pauses that hold, by account."""

    asked_at: float
    pauses: Mapping[str, Pause]


class Permit:
    """One account's, from the moment at which its owner opened it. ``last`` gives the newest answer."""

    def __init__(self, account: str, last: Callable[[], Answer]) -> None:
        self._account = account
        self._last = last
        self._opened_at = boottime()

    @property
    def pause(self) -> Pause | None:
        return self._last().pauses.get(self._account)

    def counts(self, answer: Answer) -> bool:
        """Whether an answer is of this owner's time. The account's last owner may have stopped for a later pause, and said so."""
        return self._opened_at <= answer.asked_at

    def why_not(self) -> str | None:
        """Return why nothing may be written now, None where it may."""
        answer = self._last()
        if (pause := answer.pauses.get(self._account)) is not None:
            return pause.words
        return None if self.counts(answer) and boottime() < answer.asked_at + PERMIT_SECONDS else _NOT_ASKED

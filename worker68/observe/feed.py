"""A queue of what happens to jobs, filled only while its one reader wants it: Celery's events, and so Flower.

In: jobs that wait, begin, end or are cancelled. Out: these in their order, with their times. Never: a wait; more than
``MOST_KEPT`` of them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from worker68.execution.slots import StepDone
from worker68.jobs.job import Job
from worker68.jobs.outcome import Outcome, TryAgain

#: The reader takes what there is every second, and nothing while it has no connection: then the oldest is dropped.
MOST_KEPT: Final = 10_000

#: What a run came to; None where it changed nothing.
Conclusion: TypeAlias = Outcome | TryAgain | StepDone | None


@dataclass(frozen=True, slots=True)
class Deferred:
    """Taken in, and waiting."""

    job: Job


@dataclass(frozen=True, slots=True)
class Began:
    job: Job


@dataclass(frozen=True, slots=True)
class Ended:
    job: Job
    conclusion: Conclusion
    seconds: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Ended by a revoke while it waited."""

    task_id: str


Happening: TypeAlias = Deferred | Began | Ended | Cancelled


class Feed:
    """Any thread notes, one thread takes."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Happening]] = deque(maxlen=MOST_KEPT)
        #: Whether the reader wants anything at present; asked on the thread that notes.
        self.is_wanted: Callable[[], bool] = lambda: False

    def note(self, *happenings: Happening) -> None:
        if self.is_wanted():
            now = time.time()
            self._kept.extend((now, happening) for happening in happenings)

    def take(self) -> Iterator[tuple[float, Happening]]:
        """Yield what was noted until now, with its time (seconds since the epoch)."""
        for _ in range(len(self._kept)):
            yield self._kept.popleft()

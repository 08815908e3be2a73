"""The runs of this worker's jobs: which are under way, what they came to, how long they took; and the feed of what happens to jobs.

In: each run's beginning and end, on the loop; jobs that wait, or are cancelled. Out: the jobs under way, for remote control and for
a stop; metrics by account and task, labelled as in the settings and the register of tasks; all of it in its order, for Celery's
events, and so Flower.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from worker68.clock import monotonic
from worker68.execution.slots import Ready, StepDone
from worker68.jobs.job import Job
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.observe.metrics import counter, histogram


@dataclass(frozen=True, slots=True)
class Run:
    """A job under way. ``began``: monotonic seconds; ``began_at``: seconds since the epoch."""

    ready: Ready
    began: float
    began_at: float

    @property
    def seconds(self) -> float:
        return monotonic() - self.began


class Runs:
    """Counts since the process began. ``begin`` and ``end`` on the loop; other threads may copy what it holds."""

    def __init__(self) -> None:
        self.ends = counter(
            "worker68_runs_total",
            "Runs of jobs: `ended`, `again` (another attempt or step follows), `dropped` (nothing was written).",
            ("account", "task", "end"),
        )
        self.took = histogram(
            "worker68_run_seconds", "From a job's turn to its outcome, its waits included.", ("account",)
        )
        self.slot_waits = histogram(
            "worker68_slot_wait_seconds", "How much of a run was waiting for its write time.", ("account",)
        )
        #: By the numbers of their jobs.
        self.under_way: dict[int, Run] = {}
        #: How many have begun, by task.
        self.begun: Counter[str] = Counter()
        #: Set while nothing is under way.
        self.idle = asyncio.Event()
        self.idle.set()

    def expect(self, account: str) -> None:
        """Let the metrics of an account that this worker owns be there from 0 on."""
        self.took.labels(account)
        self.slot_waits.labels(account)

    def begin(self, ready: Ready) -> Run:
        run = self.under_way[ready.job.seq] = Run(ready, monotonic(), time.time())
        self.begun[ready.job.task] += 1
        self.idle.clear()
        return run

    def end(self, run: Run, conclusion: Conclusion) -> None:
        job = run.ready.job
        end = "ended" if isinstance(conclusion, Outcome) else "again" if conclusion is not None else "dropped"
        self.ends.labels(job.account, job.task, end).inc()
        self.took.labels(job.account).observe(run.seconds)
        self.slot_waits.labels(job.account).observe(max(0.0, run.ready.slot.write_at - run.began))
        # Under a new lease the job's next run may have begun before this one ended.
        if self.under_way.get(job.seq) is run:
            del self.under_way[job.seq]
        if not self.under_way:
            self.idle.set()


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
    """What happens to jobs, kept only while its one reader wants it, and the latest ``MOST_KEPT``. Any thread notes, one takes."""

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

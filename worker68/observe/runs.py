"""The runs of this worker's jobs: which are under way, what they came to, how long they took and waited for their write time.

In: each run's beginning and end, on the loop. Out: the jobs under way, for remote control and for a stop; metrics by account and
task, labelled as in the settings and the register of tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from worker68.clock import monotonic
from worker68.execution.slots import Ready
from worker68.jobs.outcome import Outcome
from worker68.observe.feed import Conclusion
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

"""The runs of this worker's jobs: what they came to, how long they took, how long they waited for their write time.

In: each run, from the loop. Out: metrics by account and task, labelled as in the settings and the register of tasks.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker68.clock import monotonic
from worker68.execution.slots import Ready, StepDone
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.observe.metrics import counter, histogram


class Runs:
    """Counts since the process began. Thread-safe."""

    def __init__(self, accounts: Iterable[str]) -> None:
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
        for account in accounts:  # each is there from 0 on
            self.took.labels(account)
            self.slot_waits.labels(account)

    def note(self, ready: Ready, began: float, conclusion: Outcome | TryAgain | StepDone | None) -> None:
        job = ready.job
        end = "ended" if isinstance(conclusion, Outcome) else "again" if conclusion is not None else "dropped"
        self.ends.labels(job.account, job.task, end).inc()
        self.took.labels(job.account).observe(monotonic() - began)
        self.slot_waits.labels(job.account).observe(max(0.0, ready.slot.write_at - began))

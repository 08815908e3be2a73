"""The runs of this worker's jobs: what they came to, how long they took, how long they waited for their write time.

In: each run, from the job loop. Out: counts by account and task, and histograms by account. Both label sets are those of the
settings and of the register of tasks, so they cannot grow.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

from worker68.clock import monotonic
from worker68.execution.slots import Ready, StepDone
from worker68.jobs.outcome import Outcome, TryAgain
from worker68.observe.latency import Latency

#: ``ended``: the job has its outcome. ``again``: another attempt or step follows. ``dropped``: nothing was begun, or not written.
RunEnd = Literal["ended", "again", "dropped"]


class Runs:
    """Counts since the process began. Thread-safe."""

    def __init__(self, accounts: Iterable[str]) -> None:
        self._lock: Final = threading.Lock()  # guards _ends: the job loop writes, a scrape reads
        self._ends: Counter[tuple[str, str, RunEnd]] = Counter()
        self.took = {account: Latency() for account in accounts}
        self.slot_waits = {account: Latency() for account in self.took}

    def note(self, ready: Ready, began: float, conclusion: Outcome | TryAgain | StepDone | None) -> None:
        job = ready.job
        end: RunEnd = "ended" if isinstance(conclusion, Outcome) else "again" if conclusion is not None else "dropped"
        with self._lock:
            self._ends[job.account, job.task, end] += 1
        self.took[job.account].observe(monotonic() - began)
        self.slot_waits[job.account].observe(max(0.0, ready.slot.write_at - began))

    def ends(self) -> dict[tuple[str, str, RunEnd], int]:
        with self._lock:
            return dict(self._ends)

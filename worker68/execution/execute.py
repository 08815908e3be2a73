"""The main path: what happens to one job from its turn to its outcome.

In: a job whose turn it is, with the time at which its frame may be written. Out: its outcome, recorded and announced; or the job
back in its place. The steps stand in ``Execution.run`` in their order; each way out records why.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from worker68.bridge.actions import ACTIONS, Finding
from worker68.bridge.link import Link
from worker68.clock import Deadline, monotonic, utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution.dispatch import NOT_WRITTEN_PAUSE_SECONDS, Dispatch, Ready
from worker68.jobs.job import Job
from worker68.jobs.judge import give_up
from worker68.jobs.outcome import ErrorCode, Outcome, Status, TryAgain, failed, in_doubt, succeeded
from worker68.jobs.retry import attempts_allowed, back_off_seconds
from worker68.jobs.snapshot import ListSeen
from worker68.jobs.states import Event
from worker68.limits.pace import Pace
from worker68.settings import AccountSettings
from worker68.store import attempts, snapshots, suppressions
from worker68.store.attempts import Attempt
from worker68.store.engine import Connection, Engine
from worker68.store.waiting import end_waiting_within
from worker68.store.writer import Writer

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: A slot that was missed by more is not used: after a stall many would be, all at the same moment (design, decision 9).
SLOT_SECONDS = 0.5
#: While the worker stops, an outcome waits this long for a database that is away; then recovery must call it in doubt.
LAST_WRITE_SECONDS = 15.0
#: Between two tries to reach a database that is away.
DATABASE_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Execution:
    """Runs the jobs of one account under one lease; ``owned`` says whether it holds at this moment."""

    account: AccountSettings
    owner: str
    fence: int
    owned: Callable[[], bool]
    link: Link
    dispatch: Dispatch
    pace: Pace
    engine: Engine
    writer: Writer
    stopping: threading.Event
    announce: Callable[[], None]

    def run(self, ready: Ready) -> Outcome | TryAgain | None:
        """Bring one job to its outcome; None if it was not ours to run any more. Called on a thread of Celery's pool."""
        job = ready.job
        if (reason := self._may_not_start(job)) is not None:
            self._leave_waiting(job, reason)
            return None
        attempt = self._begin(job)
        if attempt is None:
            self._drop(job)
            return None
        finding = self._perform(attempt, ready.write_at)
        conclusion = self._conclude(attempt, finding)
        if isinstance(conclusion, TryAgain):
            return self._return_to_lane(attempt, conclusion)
        return self._record(attempt, conclusion)

    def _may_not_start(self, job: Job) -> str | None:
        if self.stopping.is_set():
            return "the worker is stopping"
        if not self.owned():
            return "this worker does not own the account any more"
        if not self.link.ready:
            return self.link.why_not_ready
        return None

    def _leave_waiting(self, job: Job, reason: str) -> None:
        """Nothing was begun: the job is ready as before, here or at the account's next owner."""
        log.debug("job_waits", job_id=job.job_id, account=job.account, reason=reason)
        self.dispatch.put_back(job, NOT_WRITTEN_PAUSE_SECONDS)

    def _drop(self, job: Job) -> None:
        """It was suppressed meanwhile, or somebody else ended it (expiry, cancel) or has begun it."""
        log.info("job_not_ready_any_more", job_id=job.job_id, account=job.account)
        self.dispatch.finish(job)
        self.announce()

    def _begin(self, job: Job) -> Attempt | None:
        attempt = Attempt(job, job.attempts + 1, self.owner, self.fence)

        def begin(connection: Connection) -> bool:
            now = utc_now()
            if job.kind.sends and suppressions.is_suppressed(connection, job):
                end_waiting_within(connection, [job.seq], Event.REFUSE, suppressions.suppressed_outcome(), now)
                return False
            return attempts.begin(connection, attempt, now)

        return attempt if self._write(begin) else None

    def _perform(self, attempt: Attempt, write_at: float) -> Finding:
        """Let the job's frames leave at their slot's time, and wait for what comes back."""
        job = attempt.job
        if monotonic() - write_at > SLOT_SECONDS:
            try:
                new_slot = self.dispatch.take_new_slot(job)
            except RedisAway:
                new_slot = None
            if new_slot is None:
                return TryAgain(ErrorCode.UNAVAILABLE, "its slot has passed", spent=False)
            write_at = new_slot
        if self.stopping.wait(write_at - monotonic()):
            return TryAgain(ErrorCode.UNAVAILABLE, "the worker is stopping", spent=False)
        try:
            return ACTIONS[job.task](self.link, job, self.account, lambda: self._may_not_write(job))
        except Exception as error:
            log.exception("action_failed", job_id=job.job_id, task=job.task)
            code, what = ErrorCode.INTERNAL, f"{type(error).__name__} in worker68; see its log"
            # Nobody knows how far it got: a send may have gone out.
            return in_doubt(code, what) if job.kind.sends else failed(code, what)

    def _may_not_write(self, job: Job) -> str | None:
        """Be asked on the I/O thread just before the first byte leaves."""
        if not self.owned():
            return "this worker does not own the account any more"
        if job.expires_at is not None and job.expires_at <= utc_now():
            return "expired"
        return None

    def _conclude(self, attempt: Attempt, finding: Finding) -> Finding:
        """Turn "try again" into an outcome where the tries are used up, and tell the pace how busy the service is."""
        self._tell_pace(finding)
        if not isinstance(finding, TryAgain):
            return finding
        if finding.spent and attempt.number >= attempts_allowed(finding.code):
            return give_up(finding, attempt.number)
        return finding

    def _tell_pace(self, finding: Finding) -> None:
        """Slow the account down after a busy answer, and let it recover after successes."""
        try:
            if isinstance(finding, TryAgain) and finding.code is ErrorCode.BUSY:
                self.pace.report_busy(self.account.name)
            elif isinstance(finding, ListSeen) or (isinstance(finding, Outcome) and finding.status is Status.SUCCEEDED):
                self.pace.note_success(self.account.name)
        except Exception as problem:  # noqa: BLE001 - the outcome matters more than the pace
            log.warning("pace_not_told", account=self.account.name, problem=str(problem))

    def _return_to_lane(self, attempt: Attempt, again: TryAgain) -> TryAgain | None:
        job, now = attempt.job, utc_now()
        if not again.spent:
            self._write(lambda connection: attempts.give_back(connection, attempt))
            self.dispatch.put_back(job, NOT_WRITTEN_PAUSE_SECONDS)
            return None
        seconds = back_off_seconds(attempt.number)
        due_at = now + dt.timedelta(seconds=seconds)
        self._write(lambda connection: attempts.back_off(connection, attempt, due_at, again.code, again.reason, now))
        log.info("job_backs_off", job_id=job.job_id, account=job.account, code=again.code, seconds=round(seconds, 1))
        self.dispatch.put_back(replace(job, attempts=attempt.number, due_at=due_at), seconds)
        return again

    def _record(self, attempt: Attempt, finding: Outcome | ListSeen) -> Outcome:
        """Commit attempt, job and replies in one transaction, then let the next job of the lane go."""
        job = attempt.job

        def settle(connection: Connection) -> Outcome:
            now = utc_now()
            outcome = finding
            if isinstance(outcome, ListSeen):
                outcome = succeeded(snapshots.apply(connection, job.account, outcome, now))
            if not attempts.settle(connection, attempt, outcome, now):
                attempts.revise(connection, job.seq, outcome, now)
            return outcome

        outcome = self._write(settle)
        self.dispatch.finish(job)
        self.announce()
        code = outcome.error.code if outcome.error else None
        log.info("job_ended", job_id=job.job_id, account=job.account, task=job.task, status=outcome.status, code=code)
        return outcome

    def _write(self, work: Callable[[Connection], T]) -> T:
        """Write through the group commit; while the database is away, keep what is known here and try again."""
        give_up: Deadline | None = None
        while True:
            try:
                return self.writer.write(work)
            except DatabaseAway as away:
                log.warning("database_away", problem=str(away), remedy="look at DATABASE_URL; waiting for it")
                if self.stopping.is_set():
                    give_up = give_up or Deadline.after(LAST_WRITE_SECONDS)
                    if give_up.passed:
                        raise
                    time.sleep(DATABASE_PAUSE_SECONDS)
                else:
                    self.stopping.wait(DATABASE_PAUSE_SECONDS)

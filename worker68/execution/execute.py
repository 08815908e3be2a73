"""The main path: what happens to one job from its turn to its outcome.

In: a job whose turn it is, with the time at which its frame may be written. Out: its outcome, recorded and announced; or the job
back in its place. The steps stand in ``Execution.run`` in their order; each way out records why. A fault of worker68's own ends
this job, and nothing else (``run_apart``).
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar

import structlog

from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution import reasons
from worker68.execution.account import Account
from worker68.execution.dispatch import NOT_WRITTEN_PAUSE_SECONDS
from worker68.execution.recorder import NOT_WRITTEN, BackedOff, Ended, Note, NotWritten, record, written
from worker68.execution.slots import JobFrames, Ready, Slot, StepDone
from worker68.execution.step_context import HAND_OVER_SECONDS, StepContext
from worker68.fleet.leases import Lease
from worker68.jobs.evidence import give_up
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, expired, failed, in_doubt, succeeded, whole_outcome
from worker68.jobs.retry import SEND_FLOOR_SECONDS, attempts_allowed, back_off_seconds
from worker68.jobs.snapshot import ListSeen
from worker68.jobs.states import Event
from worker68.jobs.task import Nature
from worker68.store.engine import Connection, Engine, transaction
from worker68.store.statements import attempts, outcomes, snapshots
from worker68.store.statements.attempts import Attempt
from worker68.store.statements.forgotten import settle_forgotten
from worker68.store.writer import each
from worker68.tasks.turn import Finding, Turn, TurnOver, is_success

log = structlog.get_logger(__name__)

T = TypeVar("T")

_LOST_COMMITS = "docs/operations.md, Failover: let PostgreSQL wait for its standby"


class _NotOurs(Exception):
    """Another owner has the job."""


class Execution:
    """Runs the jobs of one account. On the loop."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._shared = account.shared

    async def run(self, ready: Ready) -> Outcome | TryAgain | StepDone | None:
        """Bring one job to its outcome; None if it was not ours to run any more."""
        job, pacing = ready.job, self.account.pacing
        if (reason := await self._wait_for_slot(job, ready.slot)) is not None:
            await pacing.report_unused(ready.slot)
            self._leave_waiting(job, reason)
            return None
        attempt = await self._begin(job)
        if attempt is None:
            await pacing.report_unused(ready.slot)
            self._drop(job)
            return None
        with ExitStack() as kept:
            frames = JobFrames(self.account.guard, job, ready.slot)
            context = StepContext(self.account, attempt, frames, kept)
            turn = Turn(self.account.link, job, self.account.settings, frames, context)
            finding = await self._perform(turn, frames)
            conclusion = await self._conclude(attempt, turn, finding)
            end = await self._end_attempt(attempt, conclusion)
            await pacing.report(finding, frames)  # after the outcome: Redis may keep us waiting
            return end

    async def _end_attempt(self, attempt: Attempt, conclusion: Finding) -> Outcome | TryAgain | StepDone | None:
        """Write down what the attempt came to: the job is tried again, goes on at its next step, or ends."""
        if isinstance(conclusion, TryAgain):
            return await self._return_to_lane(attempt, conclusion)
        if is_success(conclusion) and not attempt.job.is_last_step:
            return await self._advance(attempt, conclusion)
        return await self._record(attempt, conclusion)

    async def _wait_for_slot(self, job: Job, slot: Slot) -> str | None:
        """Wait until the attempt must be committed, or return why it may not be. Until then a cancel or an expiry is in time."""
        if (reason := self._may_not_start(job)) is not None:
            return reason
        if not await self._wait_until(slot.write_at - self.account.pacing.lead.seconds):
            return None
        return self._may_not_start(job)

    async def _wait_until(self, at: float) -> bool:
        """Wait until then, in monotonic seconds, or until the worker stops; return whether there was a wait at all."""
        seconds = at - monotonic()
        if seconds > 0:
            await self._shared.stopping.rest(seconds)
        return seconds > 0

    def _may_not_start(self, job: Job) -> str | None:
        if self._shared.stopping.is_set():
            return "the worker is stopping"
        return self.account.why_not(job.now.needs_login)

    def _leave_waiting(self, job: Job, reason: str) -> None:
        """Nothing was begun: the job is ready as before, here or at the account's next owner."""
        log.debug("job_waits", job_id=job.job_id, account=job.account, reason=reason)
        self.account.dispatch.put_back(job, NOT_WRITTEN_PAUSE_SECONDS, reasons.not_written(reason))

    def _drop(self, job: Job) -> None:
        """Drop it here: it has expired, was cancelled, or another worker has begun it."""
        log.info("job_not_ready_any_more", job_id=job.job_id, account=job.account)
        self.account.dispatch.finish(job)
        self._shared.announce()

    async def _begin(self, job: Job) -> Attempt | None:
        attempt = self.attempt(job)
        if job.expires_at is not None and job.expires_at <= utc_now():
            await self.write(lambda connection: _expire(connection, job, utc_now()))
            return None
        # Intake let it in, but the settings may have changed since.
        refusal = self.account.settings.permissions.why_not(job.kind, job.fields)
        if refusal is not None:
            outcome = failed(ErrorCode.NOT_PERMITTED, refusal)
            await self.write(
                lambda connection: outcomes.end_waiting(connection, [job.seq], Event.REFUSE, outcome, utc_now())
            )
            return None
        began_at = monotonic()
        begun = await self.account.recorder.until_written(
            lambda: written(self._shared.writer, _begin, (attempt, self.account.lease)), NotWritten(attempt.key)
        )
        self.account.pacing.lead.note(monotonic() - began_at)
        return attempt if begun else None

    async def _perform(self, turn: Turn, frames: JobFrames) -> Finding:
        """Let the job's frames leave, the first in its slot, and wait for what comes back."""
        job = turn.job
        if self.account.guard.is_too_old(frames.slot):
            if (reason := self._may_not_start(job)) is not None:
                return TryAgain(ErrorCode.UNAVAILABLE, reason, spent=False)
            try:
                new_slot = await self.account.dispatch.take_new_slot(job)
            except RedisAway:
                new_slot = None
            if new_slot is None:
                return TryAgain(ErrorCode.UNAVAILABLE, "its slot has passed", spent=False)
            frames.renew(new_slot)
            self.account.guard.expect(job, new_slot)
        await self._wait_until(frames.slot.write_at - HAND_OVER_SECONDS)
        if self._shared.stopping.is_set():
            return TryAgain(ErrorCode.UNAVAILABLE, "the worker is stopping", spent=False)
        try:
            return await job.now.act(turn, job.fields)  # type: ignore[no-any-return]
        except TurnOver as over:
            # A change of which a frame has left may have been made: that try counts, or nothing would say so later.
            return replace(over.finding, spent=frames.written and job.now.nature is Nature.CHANGE)
        except asyncio.CancelledError:
            raise  # the process ends, and how far the step got is not known here
        except BaseException as error:  # a SystemExit in a step, too, is the end of this job only
            log.exception("action_failed", job_id=job.job_id, task=job.task)
            return failed_within(job, error)

    async def _conclude(self, attempt: Attempt, turn: Turn, finding: Finding) -> Finding:
        """Turn "try again" into an outcome where the tries are used up, and look whether a change that failed was made."""
        if isinstance(finding, TryAgain):
            if not finding.spent or attempt.number_in_step < attempts_allowed(finding.code):
                return finding
            finding = give_up(finding, attempt.number_in_step)
        if isinstance(finding, Outcome) and not is_success(finding):
            return await self._read_back(turn) or finding
        return finding

    async def _read_back(self, turn: Turn) -> Finding | None:
        """Look whether a change that seems to have failed was made after all; None where it was not, or nothing shows it."""
        look = turn.job.now.read_back
        if look is None:
            return None
        try:
            return await look(turn, turn.job.fields)  # type: ignore[no-any-return]
        except TurnOver as over:
            return replace(over.finding, spent=True)
        except Exception:
            log.exception("read_back_failed", job_id=turn.job.job_id, task=turn.job.task)
            return None

    async def _return_to_lane(self, attempt: Attempt, again: TryAgain) -> TryAgain | None:
        job, now = attempt.job, utc_now()
        if not again.spent:
            if await self.write(lambda connection: _give_back(connection, attempt, now), NotWritten(attempt.key)):
                self._drop(job)
            else:
                self.account.dispatch.put_back(job, NOT_WRITTEN_PAUSE_SECONDS, reasons.not_written(again.reason))
            return None
        floor = SEND_FLOOR_SECONDS if job.now.nature is Nature.SEND else 0.0
        seconds = back_off_seconds(attempt.number_in_step, floor_seconds=floor)
        due_at = now + dt.timedelta(seconds=seconds)
        note = BackedOff(attempt.key, due_at, again.code, again.reason)
        await self.write(lambda connection: record(connection, note, now), note)
        log.info("job_backs_off", job_id=job.job_id, account=job.account, code=again.code, seconds=round(seconds, 1))
        self.account.dispatch.put_back(replace(job, attempts=attempt.number, due_at=due_at), seconds)
        return again

    async def _advance(self, attempt: Attempt, conclusion: Finding) -> StepDone | None:
        """Commit that this step is done; the next one waits for its turn, before all others of its lane."""
        job = attempt.job
        assert isinstance(conclusion, Outcome)
        assert conclusion.result is not None
        done = conclusion.result
        if not await self.write(lambda connection: attempts.advance(connection, attempt, done, utc_now())):
            self._drop(job)
            return None
        log.info("job_goes_on", job_id=job.job_id, account=job.account, task=job.task, steps_done=job.step + 1)
        further = replace(job, step=job.step + 1, done=done, attempts=attempt.number, attempts_before=attempt.number)
        self.account.dispatch.put_back(further, 0.0)
        return StepDone()

    async def _record(self, attempt: Attempt, finding: Outcome | ListSeen) -> Outcome | None:
        """Commit attempt, job and replies in one transaction, then let the next job of the lane go."""
        job = attempt.job
        if isinstance(finding, ListSeen):
            settled = await self._settle_list(attempt, finding)
            if settled is None:
                self._drop(job)
                return None
            outcome = settled
        else:
            if self.account.dispatch.make_room(job):
                self._shared.wake(job.account)
            outcome = await self._settle(attempt, whole_outcome(finding, job.done))
        self.account.dispatch.finish(job)
        self._shared.announce()
        code = outcome.error.code if outcome.error else None
        log.info("job_ended", job_id=job.job_id, account=job.account, task=job.task, status=outcome.status, code=code)
        return outcome

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        try:
            return await self._end(attempt, outcome)
        except DatabaseAway:
            raise
        except Exception as error:
            log.exception("outcome_not_writable", job_id=attempt.job.job_id, task=attempt.job.task)
            instead = whole_outcome(failed_within(attempt.job, error), attempt.job.done)
            return await self._end(attempt, instead)

    async def _end(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        note = Ended(attempt.key, outcome)
        return await self.account.recorder.until_written(
            lambda: written(self._shared.writer, _end, (attempt, outcome)), note
        )

    async def _settle_list(self, attempt: Attempt, seen: ListSeen) -> Outcome | None:
        """Commit a snapshot with its job, in a transaction of its own: a long one would hold up the writes of other jobs.

        None where another owner has the job: its snapshot may be there already, and this one is older.
        """

        def settle(connection: Connection) -> Outcome:
            def check() -> None:
                if not attempts.is_under_way(connection, attempt):
                    raise _NotOurs

            counts = snapshots.apply(connection, attempt.job.account, seen, utc_now(), check)
            if seen.kind.by_group:
                counts["group_id"] = seen.subject_id
            return _end(connection, [(attempt, succeeded(counts))])[0]

        try:
            async with self._shared.capacity.snapshots:
                return await self.account.recorder.until_written(
                    lambda: asyncio.to_thread(_in_transaction, self._shared.engine, settle)
                )
        except _NotOurs:
            return None
        except DatabaseAway:
            raise
        except Exception as error:
            log.exception("snapshot_failed", job_id=attempt.job.job_id, task=attempt.job.task)
            return await self._settle(attempt, failed_within(attempt.job, error))

    def attempt(self, job: Job) -> Attempt:
        """Return the job's next attempt, under this lease."""
        return Attempt(job, job.attempts + 1, self.account.lease.worker_id, self.account.lease.fence)

    async def write(self, work: Callable[[Connection], T], note: Note | None = None) -> T:
        """Write through the group commit, however long the database is away. ``note``: what to keep of it in Redis meanwhile."""
        return await self.account.recorder.until_written(lambda: written(self._shared.writer, each, work), note)


def _begin(connection: Connection, batch: Sequence[tuple[Attempt, Lease]]) -> list[bool]:
    """Begin attempts, but none whose lease has ended while it waited to be written: the next owner has seen its job as ready."""
    held = [lease.held for _, lease in batch]
    ours = [attempt for (attempt, _), is_held in zip(batch, held, strict=True) if is_held]
    begun = iter(attempts.begin(connection, ours, utc_now()) if ours else ())
    return [is_held and next(begun) for is_held in held]


def failed_within(job: Job, error: BaseException) -> Outcome:
    """Return the outcome of a job that met a fault of worker68's own. How far it got is not known: a send may have gone out."""
    code, what = ErrorCode.INTERNAL, f"{type(error).__name__} in worker68; see its log"
    return in_doubt(code, what) if job.now.nature is Nature.SEND else failed(code, what)


def _end(connection: Connection, batch: Sequence[tuple[Attempt, Outcome]]) -> list[Outcome]:
    """End the jobs; where one was ended as in doubt meanwhile, what was seen here of the send corrects that.

    A change is never in doubt: if its job is, then because of the announcement that another owner has made since. A send that the
    database has forgotten with a failover is recorded all the same: its job would be sent again.
    """
    now = utc_now()
    settled = attempts.settle(connection, batch, now)
    missed = [
        one for one, done in zip(batch, settled, strict=True) if not done and one[0].job.now.nature is Nature.SEND
    ]
    missed = [one for one in missed if not attempts.revise(connection, one[0].seq, one[1], now)]
    for attempt in settle_forgotten(connection, missed, now):
        log.warning(
            "attempt_was_forgotten", job_id=attempt.job.job_id, account=attempt.job.account, remedy=_LOST_COMMITS
        )
    return [outcome for _, outcome in batch]


def _in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    with transaction(engine) as connection:
        return work(connection)


def _give_back(connection: Connection, attempt: Attempt, now: dt.datetime) -> bool:
    """Make a job of which no byte was written wait again; return whether it has ended instead: its time is over.

    Or the account's next owner has found the attempt without an end, and called a send in doubt. It is not: nothing was sent.
    """
    job = attempt.job
    if not attempts.give_back(connection, attempt) and job.now.nature is Nature.SEND:
        return attempts.revise(connection, job.seq, whole_outcome(NOT_WRITTEN, job.done), now, attempt)
    return _expire(connection, job, now)


def _expire(connection: Connection, job: Job, now: dt.datetime) -> bool:
    if job.expires_at is None or job.expires_at > now:
        return False
    outcome = expired("its time was over before its slot came")
    return bool(outcomes.end_waiting(connection, [job.seq], Event.EXPIRE, outcome, now))


_REMEDY = "the account's sweep or its next owner resolves what was begun"


async def run_apart(execution: Execution, ready: Ready) -> Outcome | TryAgain | StepDone | None:
    """Bring one job to its outcome; None where nothing was changed. A ``SystemExit``, too, would else end the loop."""
    job = ready.job
    try:
        return await execution.run(ready)
    except asyncio.CancelledError:
        raise  # the process ends, and leaves it as a crash would
    except DatabaseAway as away:
        log.error("turn_left", job_id=job.job_id, task=job.task, problem=str(away), remedy=_REMEDY)
    except BaseException as fault:
        log.error("turn_failed", job_id=job.job_id, task=job.task, exc_info=fault)
        try:
            return await _end_broken_off(execution, job, fault)
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception("turn_not_ended", job_id=job.job_id, task=job.task, remedy=_REMEDY)
    execution.account.dispatch.finish(job)
    return None


async def _end_broken_off(execution: Execution, job: Job, fault: BaseException) -> Outcome:
    """End a job whose turn broke off: left as it is, it would come again and break off for ever."""
    unbegun = failed(ErrorCode.INTERNAL, f"{type(fault).__name__} in worker68; see its log")
    begun = whole_outcome(failed_within(job, fault), job.done)
    attempt = execution.attempt(job)

    def end(connection: Connection) -> Outcome:
        now = utc_now()
        if outcomes.end_waiting(connection, [job.seq], Event.REFUSE, unbegun, now):
            return unbegun
        attempts.settle(connection, [(attempt, begun)], now)
        return begun

    outcome = await execution.write(end)
    execution.account.dispatch.finish(job)
    execution.account.shared.announce()
    return outcome

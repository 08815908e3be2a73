"""The main path: what happens to one job from its turn to its outcome.

In: a job whose turn it is, with the time at which its frame may be written. Out: its outcome, recorded and announced; or the job
back in its place. The steps stand in ``Execution.run`` in their order; each way out records why.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from worker68.bridge.link import Link
from worker68.clock import monotonic, utc_now
from worker68.errors import DatabaseAway, RedisAway
from worker68.execution import reasons
from worker68.execution.allowance import HAND_OVER_SECONDS, TurnAllowance
from worker68.execution.dispatch import NOT_WRITTEN_PAUSE_SECONDS, Dispatch
from worker68.execution.gate import Gate, Pass
from worker68.execution.kept import BackedOff, Ended, Note, NotWritten, record
from worker68.execution.pacing import LeadTime, Pacing
from worker68.execution.permit import Permit
from worker68.execution.recorder import Recorder, written
from worker68.execution.slots import Ready, Slot, StepDone
from worker68.jobs.job import Job
from worker68.jobs.judge import give_up
from worker68.jobs.outcome import ErrorCode, Outcome, TryAgain, expired, failed, in_doubt, succeeded, whole_outcome
from worker68.jobs.retry import SEND_FLOOR_SECONDS, attempts_allowed, back_off_seconds
from worker68.jobs.snapshot import ListSeen
from worker68.jobs.states import Event
from worker68.jobs.task import Nature
from worker68.limits.limiter import Limiter
from worker68.loop import Stopping
from worker68.settings import AccountSettings
from worker68.store.engine import Connection, Engine, transaction
from worker68.store.statements import attempts, outcomes, snapshots
from worker68.store.statements.attempts import Attempt
from worker68.store.writer import Writer, each
from worker68.tasks.sync_online_status import RecentlyAsked
from worker68.tasks.turn import Finding, Turn, TurnOver, is_success

log = structlog.get_logger(__name__)

T = TypeVar("T")

_NOT_WRITTEN = failed(ErrorCode.NOT_SENT, "the worker that had begun it was out of touch, and had not written a byte")


class _NotOurs(Exception):
    """Another owner has the job."""


@dataclass(frozen=True)
class Execution:
    """Runs the jobs of one account under one lease; ``owned`` says whether it holds at this moment. On the loop."""

    account: AccountSettings
    owner: str
    fence: int
    owned: Callable[[], bool]
    link: Link
    dispatch: Dispatch
    limiter: Limiter
    permit: Permit
    gate: Gate
    pacing: Pacing
    lead: LeadTime
    engine: Engine
    writer: Writer
    recorder: Recorder
    stopping: Stopping
    announce: Callable[[], None]
    wake: Callable[[], None]
    asked_online: RecentlyAsked = field(default_factory=RecentlyAsked)

    async def run(self, ready: Ready) -> Outcome | TryAgain | StepDone | None:
        """Bring one job to its outcome; None if it was not ours to run any more."""
        job = ready.job
        if (reason := await self._wait_for_slot(job, ready.slot)) is not None:
            await self.pacing.tell_unused(ready.slot)
            self._leave_waiting(job, reason)
            return None
        attempt = await self._begin(job)
        if attempt is None:
            await self.pacing.tell_unused(ready.slot)
            self._drop(job)
            return None
        with ExitStack() as kept:
            frame = Pass(self.gate, job, ready.slot)
            turn = self._give_turn(attempt, frame, kept)
            finding = await self._perform(turn, frame)
            await self.pacing.tell(finding, frame)
            conclusion = await self._conclude(attempt, turn, finding)
            if isinstance(conclusion, TryAgain):
                return await self._return_to_lane(attempt, conclusion)
            if is_success(conclusion) and not job.is_last_step:
                return await self._advance(attempt, conclusion)
            return await self._record(attempt, conclusion)

    async def _wait_for_slot(self, job: Job, slot: Slot) -> str | None:
        """Wait until the attempt must be committed, or return why it may not be. Until then a cancel or an expiry is in time."""
        if (reason := self._may_not_start(job)) is not None:
            return reason
        if not await self._wait_until(slot.write_at - self.lead.seconds):
            return None
        return self._may_not_start(job)

    async def _wait_until(self, at: float) -> bool:
        """Wait until then, in monotonic seconds, or until the worker stops; return whether there was a wait at all."""
        seconds = at - monotonic()
        if seconds > 0:
            await self.stopping.rest(seconds)
        return seconds > 0

    def _may_not_start(self, job: Job) -> str | None:
        if self.stopping.is_set():
            return "the worker is stopping"
        if not self.owned():
            return "this worker does not own the account any more"
        return self.permit.why_not() or self.link.why_not(job.now.needs_login)

    def _leave_waiting(self, job: Job, reason: str) -> None:
        """Nothing was begun: the job is ready as before, here or at the account's next owner."""
        log.debug("job_waits", job_id=job.job_id, account=job.account, reason=reason)
        self.dispatch.put_back(job, NOT_WRITTEN_PAUSE_SECONDS, reasons.not_written(reason))

    def _drop(self, job: Job) -> None:
        """It may not run any more, its time is over, or somebody else ended it (cancel) or has begun it."""
        log.info("job_not_ready_any_more", job_id=job.job_id, account=job.account)
        self.dispatch.finish(job)
        self.announce()

    async def _begin(self, job: Job) -> Attempt | None:
        attempt = Attempt(job, job.attempts + 1, self.owner, self.fence)
        if job.expires_at is not None and job.expires_at <= utc_now():
            await self.write(lambda connection: _expire(connection, job, utc_now()))
            return None
        # Intake let it in, but the settings may have changed since.
        refusal = self.account.permissions.why_not(job.kind, job.fields)
        if refusal is not None:
            outcome = failed(ErrorCode.NOT_PERMITTED, refusal)
            await self.write(
                lambda connection: outcomes.end_waiting(connection, [job.seq], Event.REFUSE, outcome, utc_now())
            )
            return None
        began_at = monotonic()
        begun = await self.recorder.until_written(
            lambda: written(self.writer, _begin, attempt), NotWritten(attempt.key)
        )
        self.lead.note(monotonic() - began_at)
        return attempt if begun else None

    def _give_turn(self, attempt: Attempt, frame: Pass, kept: ExitStack) -> Turn:
        job = attempt.job
        allowance = TurnAllowance(
            attempt=attempt,
            account=self.account,
            link=self.link,
            limiter=self.limiter,
            engine=self.engine,
            writer=self.writer,
            stopping=self.stopping,
            owned=self.owned,
            permit=self.permit,
            frame=frame,
            pacing=self.pacing,
            asked=self.asked_online,
            kept=kept,
            gives_way=self.dispatch.has_more_urgent,
        )
        return Turn(self.link, job, self.account, frame, allowance)

    async def _perform(self, turn: Turn, frame: Pass) -> Finding:
        """Let the job's frames leave, the first in its slot, and wait for what comes back."""
        job = turn.job
        if self.gate.is_too_old(frame.slot):
            try:
                new_slot = await self.dispatch.take_new_slot(job)
            except RedisAway:
                new_slot = None
            if new_slot is None:
                return TryAgain(ErrorCode.UNAVAILABLE, "its slot has passed", spent=False)
            frame.renew(new_slot)
            self.gate.expect(job, new_slot)
        await self._wait_until(frame.slot.write_at - HAND_OVER_SECONDS)
        if self.stopping.is_set():
            return TryAgain(ErrorCode.UNAVAILABLE, "the worker is stopping", spent=False)
        try:
            return await job.now.act(turn)  # type: ignore[no-any-return]
        except TurnOver as over:
            return over.finding
        except asyncio.CancelledError:
            raise  # the process ends: nobody knows here how far it got
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
            return await look(turn)  # type: ignore[no-any-return]
        except TurnOver as over:
            return over.finding
        except Exception:
            log.exception("read_back_failed", job_id=turn.job.job_id, task=turn.job.task)
            return None

    async def _return_to_lane(self, attempt: Attempt, again: TryAgain) -> TryAgain | None:
        job, now = attempt.job, utc_now()
        if not again.spent:
            if await self.write(lambda connection: _give_back(connection, attempt, now), NotWritten(attempt.key)):
                self._drop(job)
            else:
                self.dispatch.put_back(job, NOT_WRITTEN_PAUSE_SECONDS, reasons.not_written(again.reason))
            return None
        floor = SEND_FLOOR_SECONDS if job.now.nature is Nature.SEND else 0.0
        seconds = back_off_seconds(attempt.number_in_step, floor_seconds=floor)
        due_at = now + dt.timedelta(seconds=seconds)
        note = BackedOff(attempt.key, due_at, again.code, again.reason)
        await self.write(lambda connection: record(connection, note, now), note)
        log.info("job_backs_off", job_id=job.job_id, account=job.account, code=again.code, seconds=round(seconds, 1))
        self.dispatch.put_back(replace(job, attempts=attempt.number, due_at=due_at), seconds)
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
        self.dispatch.put_back(further, 0.0)
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
            self.dispatch.make_room(job)
            self.wake()
            outcome = await self._settle(attempt, whole_outcome(finding, job.done))
        self.dispatch.finish(job)
        self.announce()
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
        return await self.recorder.until_written(lambda: written(self.writer, _end, (attempt, outcome)), note)

    async def _settle_list(self, attempt: Attempt, seen: ListSeen) -> Outcome | None:
        """Commit a snapshot with its job, in a transaction of its own: a long one would hold up everybody else's writes.

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
            return await self.recorder.until_written(lambda: asyncio.to_thread(_in_transaction, self.engine, settle))
        except _NotOurs:
            return None
        except DatabaseAway:
            raise
        except Exception as error:
            log.exception("snapshot_failed", job_id=attempt.job.job_id, task=attempt.job.task)
            return await self._settle(attempt, failed_within(attempt.job, error))

    async def write(self, work: Callable[[Connection], T], note: Note | None = None) -> T:
        """Write through the group commit, however long the database is away. ``note``: what to keep of it in Redis meanwhile."""
        return await self.recorder.until_written(lambda: written(self.writer, each, work), note)


def _begin(connection: Connection, batch: Sequence[Attempt]) -> list[bool]:
    return attempts.begin(connection, batch, utc_now())


def failed_within(job: Job, error: BaseException) -> Outcome:
    """Return the outcome of a job that met a fault of worker68's own. Nobody knows how far it got: a send may have gone out."""
    code, what = ErrorCode.INTERNAL, f"{type(error).__name__} in worker68; see its log"
    return in_doubt(code, what) if job.now.nature is Nature.SEND else failed(code, what)


def _end(connection: Connection, batch: Sequence[tuple[Attempt, Outcome]]) -> list[Outcome]:
    """End the jobs; where one was ended as in doubt meanwhile, what was seen here of the send corrects that.

    A change is never in doubt: if its job is, then because of the announcement that somebody else has made since.
    """
    now = utc_now()
    settled = attempts.settle(connection, batch, now)
    for (attempt, outcome), done in zip(batch, settled, strict=True):
        if not done and attempt.job.now.nature is Nature.SEND:
            attempts.revise(connection, attempt.job.seq, outcome, now)
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
        return attempts.revise(connection, job.seq, whole_outcome(_NOT_WRITTEN, job.done), now, attempt)
    return _expire(connection, job, now)


def _expire(connection: Connection, job: Job, now: dt.datetime) -> bool:
    if job.expires_at is None or job.expires_at > now:
        return False
    outcome = expired("its time was over before its slot came")
    return bool(outcomes.end_waiting(connection, [job.seq], Event.EXPIRE, outcome, now))

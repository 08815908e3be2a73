"""The tries of a job at the bridge: begun before the first byte, settled in one transaction with the replies.

Each verb takes a connection (the group commit's) and changes a job only where its row still is in a state from which the table
of transitions allows it, so a repeat after an unknown commit does no harm.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    case,
    column,
    delete,
    not_,
    or_,
    select,
    true,
    update,
)

from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, Status, failed, in_doubt, whole_outcome
from worker68.jobs.retry import DEATHS_ALLOWED
from worker68.jobs.states import Event, State, sources, target
from worker68.store.statements.batches import batch_of, joined, pack
from worker68.store.statements.lost import count_deaths, end_as_lost
from worker68.store.statements.outcomes import decode_done, end_waiting, outcome_columns, post_outcomes
from worker68.store.statements.suppressions import find_barred, is_suppressed, suppressed_outcome
from worker68.store.tables import INSERT, SENDING, UtcDateTime, attempts, jobs, plain


@dataclass(frozen=True)
class AttemptKey:
    """Which try of which job: by one owner of the account under one fencing number."""

    seq: int
    number: int
    owner: str
    fence: int


@dataclass(frozen=True)
class Attempt:
    """One try of the job's next step."""

    job: Job
    number: int
    owner: str
    fence: int

    @property
    def seq(self) -> int:
        return self.job.seq

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.job.seq, self.number, self.owner, self.fence)

    @property
    def number_in_step(self) -> int:
        return self.number - self.job.attempts_before


def begin(connection: Connection, batch: Sequence[Attempt], now: dt.datetime, *, sent: bool = False) -> list[bool]:
    """Commit of each attempt that bytes may leave from now on; False where its job is not ready any more.

    That is: it has ended, or was begun elsewhere, or, unless it was ``sent`` already, its chat is suppressed: then it ends here.
    """
    rows = [_identity(one) | {"step": one.job.step, "sends": one.job.sends and not sent} for one in batch]
    dialect = connection.dialect.name
    begun = set(connection.scalars(_begin(dialect), pack(dialect, rows)))
    left = [attempt.job for attempt in batch if attempt.job.seq not in begun]
    if left and not sent and (barred := find_barred(connection, left)):
        end_waiting(connection, barred, Event.REFUSE, suppressed_outcome(), now)
    made = [row | {"began_at": now} for row in rows if row["seq"] in begun]
    if made:
        connection.execute(_make_attempts(dialect), pack(dialect, made))
    return [attempt.job.seq in begun for attempt in batch]


def settle(
    connection: Connection, batch: Sequence[tuple[Attempt | AttemptKey, Outcome]], now: dt.datetime
) -> list[bool]:
    """End each job with its outcome and post the replies; False where it had ended otherwise before (see ``revise``)."""
    rows = []
    for attempt, outcome in batch:
        ending = outcome.error.code if outcome.error else outcome.status
        rows.append(_identity(attempt) | outcome_columns(outcome) | {"ending": ending})
    dialect = connection.dialect.name
    packed = pack(dialect, rows)
    ended = set(connection.scalars(_settle(dialect), packed | {"now": now}))
    connection.execute(_end_attempts(dialect), packed | {"now": now})
    post_outcomes(connection, ended, now)
    return [attempt.seq in ended for attempt, _ in batch]


def _identity(attempt: Attempt | AttemptKey) -> dict[str, Any]:
    return {"seq": attempt.seq, "number": attempt.number, "owner": attempt.owner, "fence": attempt.fence}


#: What identifies an attempt in a batch.
_IDENTITY: Final = (jobs.c.seq, attempts.c.number, jobs.c.owner, jobs.c.fence)
_OUTCOME: Final = tuple(
    jobs.c[name] for name in ("status", "result", "error_code", "error_message", "bridge_code", "reason")
)


@functools.cache
def _begin(dialect: str) -> Update:
    batch = batch_of(dialect, *_IDENTITY, attempts.c.step, column("sends", Boolean)).c
    barred = and_(batch.sends, is_suppressed(jobs.c.account, jobs.c.chat_type, jobs.c.chat_id))
    mine = and_(jobs.c.owner == batch.owner, jobs.c.fence == batch.fence, jobs.c.attempts == batch.number)
    in_lane = or_(jobs.c.state == State.READY, jobs.c.attempts > 0)
    fresh = and_(jobs.c.state.in_(sources(Event.BEGIN)), in_lane, jobs.c.attempts == batch.number - 1)
    # No OR of these: PostgreSQL would compare it with the condition of each partial index, which takes longer than all else.
    may_begin = case((jobs.c.state == State.SENDING, mine), else_=fresh)
    return (
        update(jobs)
        .where(joined(dialect, jobs.c.seq, batch), jobs.c.step == batch.step, not_(barred), may_begin)
        .values(state=target(Event.BEGIN), attempts=batch.number, owner=batch.owner, fence=batch.fence, reason=None)
        .returning(jobs.c.seq)
    )


@functools.cache
def _make_attempts(dialect: str) -> Insert:
    """A commit of which it is not known whether it happened may be repeated: then the attempt is there already."""
    columns = (*_IDENTITY, attempts.c.step, attempts.c.began_at)
    # SQLite needs the WHERE to tell ON CONFLICT from the ON of a join.
    given = select(*batch_of(dialect, *columns).c).where(true())
    names = [each.name for each in columns]
    made: Insert = INSERT[dialect](attempts).from_select(names, given).on_conflict_do_nothing()
    return made


@functools.cache
def _settle(dialect: str) -> Update:
    batch = batch_of(dialect, *_IDENTITY, *_OUTCOME).c
    return (
        update(jobs)
        .where(joined(dialect, jobs.c.seq, batch))
        .where(jobs.c.state.in_(sources(Event.SETTLE)), jobs.c.attempts == batch.number)
        .where(jobs.c.owner == batch.owner, jobs.c.fence == batch.fence)
        .values({column: batch[column.name] for column in _OUTCOME})
        .values(
            state=target(Event.SETTLE),
            finished_at=bindparam("now", type_=UtcDateTime()),
            revision=1,
            envelope=None,
            progress=None,
        )
        .returning(jobs.c.seq)
    )


@functools.cache
def _end_attempts(dialect: str) -> Update:
    batch = batch_of(dialect, *_IDENTITY, attempts.c.ending).c
    return (
        update(attempts)
        .where(joined(dialect, attempts.c.seq, batch))
        .where(attempts.c.number == batch.number, attempts.c.ended_at.is_(None))
        .values(ended_at=bindparam("now", type_=UtcDateTime()), ending=batch.ending)
    )


def is_under_way(connection: Connection, attempt: Attempt) -> bool:
    """Whether the attempt is still ours to end; if so, no other worker can take it before the transaction is over."""
    ours = select(jobs.c.seq).where(*_ours(Event.SETTLE, attempt)).with_for_update()
    return connection.scalar(ours) is not None


def advance(connection: Connection, attempt: Attempt, done: dict[str, Any], now: dt.datetime) -> bool:
    """Record that a step is done, so that the job goes on at the next one, on any worker; False if it is not ours any more.

    ``done``: what the steps so far have to show in the job's result. May be repeated where it is not known whether it happened.
    """
    changed = connection.execute(
        _own(Event.ADVANCE, attempt).values(
            state=target(Event.ADVANCE),
            step=attempt.job.step + 1,
            done=msgspec.json.encode(done).decode(),
            attempts_before=attempt.number,
        )
    )
    _end_attempt(connection, attempt, Status.SUCCEEDED, now)
    there = (jobs.c.state == target(Event.ADVANCE), jobs.c.step == attempt.job.step + 1, *_is_last_attempt(attempt))
    return changed.rowcount == 1 or connection.scalar(select(jobs.c.seq).where(*there)) is not None


def back_off(
    connection: Connection,
    attempt: Attempt | AttemptKey,
    due_at: dt.datetime,
    ending: str,
    reason: str,
    now: dt.datetime,
) -> bool:
    """Leave a tried job in its place until ``due_at``."""
    changed = connection.execute(
        _own(Event.BACK_OFF, attempt).values(
            state=target(Event.BACK_OFF), due_at=due_at, reason=plain(reason), progress=None
        )
    )
    _end_attempt(connection, attempt, ending, now)
    return changed.rowcount == 1


def give_back(connection: Connection, attempt: Attempt | AttemptKey) -> bool:
    """Return a job of which no byte was written: it is ready again, and the attempt counts as never made."""
    changed = connection.execute(
        _own(Event.GIVE_BACK, attempt).values(state=target(Event.GIVE_BACK), attempts=attempt.number - 1, progress=None)
    )
    if changed.rowcount == 1:
        made = and_(attempts.c.seq == attempt.seq, attempts.c.number == attempt.number)
        connection.execute(delete(attempts).where(made))
    return changed.rowcount == 1


def revise(
    connection: Connection, seq: int, outcome: Outcome, now: dt.datetime, attempt: Attempt | AttemptKey | None = None
) -> bool:
    """Let later evidence correct a job that ended as in doubt or as not sent, and post the next revision of its replies.

    A proof that it was sent corrects whatever else was said: a busy answer, an expiry or a cancel after one. ``attempt``: it says
    something about this one alone, so only where that was the job's last.
    """
    ended = (jobs.c.seq == seq, jobs.c.state.in_(sources(Event.REVISE)))
    unsure = or_(jobs.c.status == Status.IN_DOUBT, jobs.c.error_code == ErrorCode.NOT_SENT)
    revisable = true() if outcome.status is Status.SUCCEEDED else unsure
    columns = outcome_columns(outcome)
    changed = connection.execute(
        update(jobs)
        .where(*(ended if attempt is None else _ours(Event.REVISE, attempt)), revisable)
        .where(or_(jobs.c.status != columns["status"], jobs.c.error_code.is_distinct_from(columns["error_code"])))
        .values(state=target(Event.REVISE), finished_at=now, revision=jobs.c.revision + 1, **columns)
    )
    if changed.rowcount == 1:
        post_outcomes(connection, [seq], now)
    return changed.rowcount == 1


def prove(connection: Connection, seq: int, outcome: Outcome, now: dt.datetime) -> bool:
    """End a job that waits for another attempt, because an earlier one has sent it after all."""
    ended = connection.execute(
        update(jobs)
        .where(jobs.c.seq == seq, jobs.c.state.in_(sources(Event.PROVE)), jobs.c.attempts > 0)
        .values(state=target(Event.PROVE), finished_at=now, revision=1, envelope=None, **outcome_columns(outcome))
    )
    if ended.rowcount == 1:
        post_outcomes(connection, [seq], now)
    return ended.rowcount == 1


@dataclass(frozen=True)
class Begun:
    """A job in ``sending``, begun under ``fence``. ``fields`` and ``done`` are JSON."""

    seq: int
    task: str
    fence: int
    step: int
    fields: str
    done: str | None


def find_begun(connection: Connection, account: str) -> list[Begun]:
    """Return the jobs of the account whose attempt is begun and not ended."""
    return [Begun(*row) for row in connection.execute(_begun(account))]


def lock_begun(connection: Connection, account: str, begun: Sequence[Begun]) -> list[Begun]:
    """Return those of these jobs whose attempt has still not ended, as they are now: no other session changes them from here on."""
    if not begun:
        return []
    query = _begun(account).where(jobs.c.seq.in_([job.seq for job in begun])).order_by(jobs.c.seq)
    return [Begun(*row) for row in connection.execute(query.with_for_update())]


def _begun(account: str) -> Select[Any]:
    columns = (jobs.c.seq, jobs.c.task, jobs.c.fence, jobs.c.step, jobs.c.fields, jobs.c.done)
    return select(*columns).where(jobs.c.account == account, SENDING)


@dataclass(frozen=True)
class Resolved:
    """How many attempts without an end were made ready again, are in doubt, and were given up."""

    again: int = 0
    in_doubt: int = 0
    abandoned: int = 0


def resolve(
    connection: Connection, begun: list[Begun], is_repeatable: Callable[[Begun], bool], now: dt.datetime
) -> Resolved:
    """Resolve attempts whose worker is lost: what is repeatable is ready again, the rest in doubt.

    What is repeatable has failed where ``DEATHS_ALLOWED`` attempts at the same step ended so. An attempt that has ended
    meanwhile, or was begun anew, is not touched.
    """
    repeatable = {job.seq for job in begun if is_repeatable(job)}
    deaths = count_deaths(connection, repeatable)
    again, doubtful, abandoned = [], [], []
    for job in begun:
        if job.seq not in repeatable:
            if _leave(connection, job, Event.DOUBT, _ended(job, _DOUBT, now)):
                doubtful.append(job.seq)
        elif deaths.get((job.seq, job.step), 0) + 1 < DEATHS_ALLOWED:
            if _leave(connection, job, Event.RECOVER, {"progress": None}):
                again.append(job.seq)
        elif _leave(connection, job, Event.ABANDON, _ended(job, _ABANDONED, now)):
            abandoned.append(job.seq)
    post_outcomes(connection, [*doubtful, *abandoned], now)
    end_as_lost(connection, [*again, *doubtful, *abandoned], now)
    return Resolved(len(again), len(doubtful), len(abandoned))


_DOUBT = in_doubt(ErrorCode.WORKER_LOST, "the worker was lost after it had begun to send, and no verdict was seen")
_ABANDONED = failed(
    ErrorCode.INTERNAL, f"{DEATHS_ALLOWED} workers were lost while they tried it; it is not tried again by itself"
)


def _ended(job: Begun, outcome: Outcome, now: dt.datetime) -> dict[str, Any]:
    columns = outcome_columns(whole_outcome(outcome, decode_done(job.done)))
    return {"finished_at": now, "revision": 1, "envelope": None, "progress": None} | columns


@dataclass(frozen=True)
class Sent:
    """The job that was sent under a ``custom_msg_id``; ``sending``: it has not ended yet. ``done``: by its earlier steps.

    ``attempts``: the number of its last attempt.
    """

    seq: int
    sending: bool
    attempts: int
    done: dict[str, Any] | None


def find_sent(connection: Connection, account: str, custom_msg_id: int) -> Sent | None:
    """Return the job that was sent under ``custom_msg_id``."""
    query = select(jobs.c.seq, jobs.c.state, jobs.c.attempts, jobs.c.done)
    query = query.where(jobs.c.account == account, jobs.c.custom_msg_id == custom_msg_id)
    row = connection.execute(query).first()
    return Sent(row.seq, row.state == State.SENDING, row.attempts, decode_done(row.done)) if row else None


def note_progress(connection: Connection, attempt: Attempt, words: str) -> None:
    """Show how far an attempt under way has come."""
    mine = and_(jobs.c.seq == attempt.job.seq, jobs.c.state == State.SENDING, jobs.c.fence == attempt.fence)
    connection.execute(update(jobs).where(mine).values(progress=words))


def _own(event: Event, attempt: Attempt | AttemptKey) -> Any:
    return update(jobs).where(*_ours(event, attempt))


def _ours(event: Event, attempt: Attempt | AttemptKey) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.state.in_(sources(event)), *_is_last_attempt(attempt)


def _is_last_attempt(attempt: Attempt | AttemptKey) -> tuple[ColumnElement[bool], ...]:
    mine = jobs.c.owner == attempt.owner, jobs.c.fence == attempt.fence
    return jobs.c.seq == attempt.seq, jobs.c.attempts == attempt.number, *mine


def _leave(connection: Connection, job: Begun, event: Event, columns: dict[str, Any]) -> bool:
    """Let ``event`` happen to a begun job; False if it has left that attempt meanwhile."""
    left = connection.execute(
        update(jobs)
        .where(jobs.c.seq == job.seq, jobs.c.state.in_(sources(event)), jobs.c.fence == job.fence)
        .values(state=target(event), **columns)
    )
    return left.rowcount == 1


def _end_attempt(connection: Connection, attempt: Attempt | AttemptKey, ending: str, now: dt.datetime) -> None:
    connection.execute(
        update(attempts)
        .where(attempts.c.seq == attempt.seq, attempts.c.number == attempt.number)
        .where(attempts.c.ended_at.is_(None))
        .values(ended_at=now, ending=str(ending))
    )

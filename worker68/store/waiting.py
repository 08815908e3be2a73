"""The waiting room: the unfinished jobs of an account, and the ways by which they leave it without running."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, delete, func, or_, select, update

from worker68.jobs.job import Job
from worker68.jobs.kinds import KINDS
from worker68.jobs.outcome import Outcome, cancelled, whole_outcome
from worker68.jobs.states import Event, State, sources, target
from worker68.store.engine import reading, transaction
from worker68.store.intake import Entry, Taken, decode_done, draw_custom_msg_id, outcome_columns
from worker68.store.outbox import post_outcomes
from worker68.store.tables import INSERT, cancellations, jobs, requesters

#: The lane of jobs whose task nobody knows: it never runs.
PARKED_LANE = "parked"

#: A job is in its lane once it is due; after a spent attempt it keeps its place there, also while it backs off.
IN_LANE: ColumnElement[bool] = or_(
    jobs.c.state == State.READY, and_(jobs.c.state == State.DEFERRED, jobs.c.attempts > 0)
)

#: The order within a lane. A job whose change is made goes on before all others: its announcement belongs to it.
_PLACE = (jobs.c.step.desc(), jobs.c.priority, jobs.c.seq)


def load_lanes(engine: Engine, account: str, depth: int, lanes: Sequence[str] | None = None) -> list[Job]:
    """Return the first ``depth`` jobs of each lane of the account (of ``lanes`` only, if given), in their order."""
    rank = func.row_number().over(partition_by=jobs.c.lane, order_by=_PLACE).label("rank")
    query = select(jobs.c.seq, rank).where(jobs.c.account == account, IN_LANE, jobs.c.task.in_(KINDS))
    if lanes is not None:
        query = query.where(jobs.c.lane.in_(lanes))
    ranked = query.subquery()
    heads = select(jobs).join(ranked, ranked.c.seq == jobs.c.seq).where(ranked.c.rank <= depth)
    return _load(engine, heads.order_by(*_PLACE))


def load_jobs(engine: Engine, seqs: Sequence[int]) -> list[Job]:
    """Return these jobs in the order of their arrival."""
    return _load(engine, select(jobs).where(jobs.c.seq.in_(seqs)).order_by(jobs.c.seq))


def release_due(engine: Engine, account: str, now: dt.datetime, limit: int = 1000) -> list[Job]:
    """Let deferred jobs whose time has come enter their lanes; return those that did, in the order of their arrival.

    Jobs that back off need no release: they are in their lane, and the dispatcher sees their time.
    """
    due = (
        select(jobs.c.seq)
        .where(jobs.c.account == account, jobs.c.state == State.DEFERRED, jobs.c.due_at <= now)
        .where(jobs.c.attempts == 0, jobs.c.task.in_(KINDS))
        .order_by(jobs.c.due_at)
        .limit(limit)
    )
    with reading(engine) as connection:
        seqs = list(connection.scalars(due))
    if not seqs:
        return []
    with transaction(engine) as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.seq.in_(seqs), jobs.c.state.in_(sources(Event.DUE)))
            .values(state=target(Event.DUE), reason=None)
        )
    return [job for job in load_jobs(engine, seqs) if job.state is State.READY]


def next_due(engine: Engine, account: str) -> dt.datetime | None:
    """Return when the next deferred job of the account is due."""
    query = select(func.min(jobs.c.due_at)).where(
        jobs.c.account == account, jobs.c.state == State.DEFERRED, jobs.c.attempts == 0
    )
    with reading(engine) as connection:
        due: dt.datetime | None = connection.scalar(query)
        return due


def find_overdue(engine: Engine, account: str, now: dt.datetime, limit: int = 1000) -> list[int]:
    """Return the waiting jobs of the account whose time is over."""
    query = (
        select(jobs.c.seq)
        .where(jobs.c.account == account, jobs.c.state.in_(sources(Event.EXPIRE)), jobs.c.expires_at <= now)
        .limit(limit)
    )
    with reading(engine) as connection:
        return list(connection.scalars(query))


@dataclass(frozen=True)
class Parked:
    """A job whose task was unknown when it arrived."""

    seq: int
    account: str
    task: str
    due_at: dt.datetime
    envelope: str


def find_parked(engine: Engine, account: str) -> list[Parked]:
    """Return the parked jobs of the account in the order of their arrival."""
    query = select(jobs.c.seq, jobs.c.account, jobs.c.task, jobs.c.due_at, jobs.c.envelope)
    query = query.where(jobs.c.account == account, jobs.c.state == State.DEFERRED, jobs.c.lane == PARKED_LANE)
    with reading(engine) as connection:
        return [Parked(*row) for row in connection.execute(query.order_by(jobs.c.seq))]


def unpark(engine: Engine, seq: int, entry: Entry) -> Taken | None:
    """Give a parked job the columns that its task, known now, asks for; None if it ended meanwhile."""
    name = draw_custom_msg_id() if entry.sends else None
    kept = {"received_at", "envelope", "job_id", "account"}
    columns = {column: value for column, value in entry.row.items() if column not in kept}
    with transaction(engine) as connection:
        changed = connection.execute(
            update(jobs)
            .where(jobs.c.seq == seq, jobs.c.state == State.DEFERRED, jobs.c.lane == PARKED_LANE)
            .values(**columns, custom_msg_id=name)
        )
    return Taken(seq, name) if changed.rowcount == 1 else None


def end_waiting(engine: Engine, seqs: Iterable[int], event: Event, outcome: Outcome, now: dt.datetime) -> list[int]:
    """End jobs that wait (EXPIRE, CANCEL, REFUSE); return those that did: one that is being sent is not touched."""
    with transaction(engine) as connection:
        return end_waiting_within(connection, seqs, event, outcome, now)


def end_waiting_within(
    connection: Connection, seqs: Iterable[int], event: Event, outcome: Outcome, now: dt.datetime
) -> list[int]:
    """Do as ``end_waiting`` within the caller's transaction. What earlier steps of a job have done stands in its result."""
    seqs = set(seqs)
    begun = select(jobs.c.seq, jobs.c.done).where(jobs.c.seq.in_(seqs), jobs.c.done.is_not(None))
    done = {row.seq: decode_done(row.done) for row in connection.execute(begun)}
    ended = _end(connection, seqs - done.keys(), event, outcome, now)
    for seq, result in done.items():
        ended += _end(connection, {seq}, event, whole_outcome(outcome, result), now)
    post_outcomes(connection, ended, now)
    return ended


def _end(connection: Connection, seqs: set[int], event: Event, outcome: Outcome, now: dt.datetime) -> list[int]:
    return list(
        connection.scalars(
            update(jobs)
            .where(jobs.c.seq.in_(seqs), jobs.c.state.in_(sources(event)))
            .values(state=target(event), finished_at=now, revision=1, envelope=None, **outcome_columns(outcome))
            .returning(jobs.c.seq)
        )
    )


def cancel(engine: Engine, task_ids: Sequence[str], reason: str, now: dt.datetime) -> list[int]:
    """Cancel the waiting jobs for which these Celery messages asked; remember ids that were not seen yet. Idempotent."""
    with transaction(engine) as connection:
        asked = select(requesters.c.task_id, requesters.c.seq).where(requesters.c.task_id.in_(task_ids))
        known = connection.execute(asked).all()
        unseen = set(task_ids) - {row.task_id for row in known}
        if unseen:
            # Every worker of the fleet hears of a revoke, and they write at the same time.
            connection.execute(
                INSERT[connection.dialect.name](cancellations).on_conflict_do_nothing(),
                [{"task_id": id_, "cancelled_at": now} for id_ in sorted(unseen)],
            )
        return end_waiting_within(connection, {row.seq for row in known}, Event.CANCEL, cancelled(reason), now)


def forget_cancellations(engine: Engine, before: dt.datetime) -> None:
    """Forget ids that were revoked before then and never seen in a job."""
    old = cancellations.c.cancelled_at < before
    with reading(engine) as connection:
        if connection.scalar(select(cancellations.c.task_id).where(old).limit(1)) is None:
            return
    with transaction(engine) as connection:
        connection.execute(delete(cancellations).where(old))


def count_waiting(engine: Engine, account: str) -> int:
    """Return how many unfinished jobs the account has."""
    query = select(func.count()).select_from(jobs).where(jobs.c.account == account, jobs.c.state != State.ENDED)
    with reading(engine) as connection:
        return connection.scalar(query) or 0


def write_reasons(engine: Engine, reasons: dict[int, str]) -> None:
    """Write into the rows of ready jobs why they wait."""
    with transaction(engine) as connection:
        for seq, reason in reasons.items():
            connection.execute(update(jobs).where(jobs.c.seq == seq, jobs.c.state == State.READY).values(reason=reason))


def _load(engine: Engine, query: Any) -> list[Job]:
    first = select(requesters.c.task_id).where(requesters.c.seq == jobs.c.seq).order_by(requesters.c.id).limit(1)
    task_id = first.scalar_subquery().label("task_id")
    with reading(engine) as connection:
        return [_job(row) for row in connection.execute(query.add_columns(task_id))]


def _job(row: Row[Any]) -> Job:
    return Job(
        seq=row.seq,
        job_id=row.job_id,
        task_id=row.task_id,
        account=row.account,
        task=row.task,
        fields=msgspec.json.decode(row.fields, type=KINDS[row.task].fields),
        priority=row.priority,
        ordered=row.ordered,
        state=State(row.state),
        attempts=row.attempts,
        custom_msg_id=row.custom_msg_id,
        received_at=row.received_at,
        due_at=row.due_at,
        expires_at=row.expires_at,
        step=row.step,
        attempts_before=row.attempts_before,
        done=decode_done(row.done),
    )

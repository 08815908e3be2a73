"""The waiting room: the unfinished jobs of an account, and the ways by which they leave it without running."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import (
    Delete,
    Engine,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    true,
    update,
)

from worker68.clock import utc_now
from worker68.jobs.envelope import TASK_ID_LIMIT
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode, Outcome, Status, cancelled, failed
from worker68.jobs.states import Event, State, sources, target
from worker68.store.engine import reading, transaction
from worker68.store.intake import Entry, Taken, draw_custom_msg_id
from worker68.store.statements import outcomes
from worker68.store.statements.batches import among, batch_of, joined, pack
from worker68.store.statements.identity import messages_of_ids
from worker68.store.statements.rows import read_jobs
from worker68.store.tables import (
    IN_ANY_LANE,
    IN_LANE,
    INSERT,
    MAY_EXPIRE,
    NOT_DUE,
    PARKED,
    PARKED_LANE,
    SENDING,
    cancellations,
    jobs,
    plain,
)
from worker68.tasks import TASKS

log = structlog.get_logger(__name__)

#: An id that was revoked before a job with it was seen is remembered for so long at least: until the next one is.
REVOKED_FOR: Final = dt.timedelta(days=30)
#: Before this nothing was revoked.
_EVER: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: Numbers of jobs named in one statement.
SEQS_PER_STATEMENT = 1000

_UNREADABLE = failed(ErrorCode.INTERNAL, "its row in the database cannot be read by this worker; see its log")


def load_jobs(engine: Engine, seqs: Sequence[int]) -> list[Job]:
    """Return these jobs, as far as their tasks are known, in the order of their arrival."""
    query = select(jobs).where(jobs.c.seq.in_(seqs), jobs.c.task.in_(TASKS), jobs.c.lane != PARKED_LANE)
    with reading(engine) as connection:
        found, unreadable = read_jobs(connection, query.order_by(jobs.c.seq))
    end_unreadable(engine, unreadable)
    return found


def release_due(engine: Engine, account: str, now: dt.datetime, limit: int = 1000) -> list[Job]:
    """Let deferred jobs whose time has come enter their lanes; return those that did, in the order of their arrival.

    Jobs that back off need no release: they are in their lane, and the dispatcher sees their time.
    """
    due = (
        select(jobs.c.seq)
        .where(jobs.c.account == account, NOT_DUE, jobs.c.due_at <= now)
        .where(jobs.c.lane != PARKED_LANE, jobs.c.task.in_(TASKS))
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
    """Return when the next deferred job of the account is due that ``release_due`` lets go."""
    query = select(jobs.c.due_at).where(jobs.c.account == account, NOT_DUE, jobs.c.lane != PARKED_LANE)
    query = query.where(jobs.c.task.in_(TASKS))
    with reading(engine) as connection:
        due: dt.datetime | None = connection.scalar(query.order_by(jobs.c.due_at).limit(1))
        return due


def next_expiry(engine: Engine, account: str) -> dt.datetime | None:
    """Return when the time of the next waiting job of the account is over."""
    query = select(jobs.c.expires_at).where(jobs.c.account == account, MAY_EXPIRE)
    with reading(engine) as connection:
        expires: dt.datetime | None = connection.scalar(query.order_by(jobs.c.expires_at).limit(1))
        return expires


def find_overdue(engine: Engine, account: str, now: dt.datetime, limit: int = 1000) -> list[int]:
    """Return the waiting jobs of the account whose time is over."""
    query = select(jobs.c.seq).where(jobs.c.account == account, MAY_EXPIRE, jobs.c.expires_at <= now)
    with reading(engine) as connection:
        # In the order of the index: without one, PostgreSQL reads the table where it takes most of it to be overdue.
        return list(connection.scalars(query.order_by(jobs.c.expires_at).limit(limit)))


@dataclass(frozen=True)
class Parked:
    """A job whose task was unknown when it arrived, with the message as it came."""

    seq: int
    task: str
    envelope: str


def find_parked(engine: Engine, account: str, after: int = 0) -> list[Parked]:
    """Return parked jobs of the account whose task is known here, in the order of their arrival: the first ones after a number."""
    query = select(jobs.c.seq, jobs.c.task, jobs.c.envelope).where(jobs.c.account == account, PARKED)
    query = query.where(jobs.c.seq > after, jobs.c.task.in_(TASKS))
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(jobs.c.seq).limit(SEQS_PER_STATEMENT))
        return [Parked(*row) for row in rows]


def find_parked_in_vain(engine: Engine, account: str, now: dt.datetime, limit: int) -> list[tuple[int, str]]:
    """Return parked jobs of the account whose task no worker has come to know in time, each with its task, the oldest first."""
    query = select(jobs.c.seq, jobs.c.task).where(jobs.c.account == account, PARKED, jobs.c.due_at <= now)
    with reading(engine) as connection:
        rows = connection.execute(query.where(jobs.c.task.not_in(TASKS)).order_by(jobs.c.seq).limit(limit))
        return [(row.seq, row.task) for row in rows]


def release_unknown(engine: Engine, account: str, now: dt.datetime) -> None:
    """Let deferred jobs of unknown tasks enter their lanes when they are due; the lanes then wait for a newer worker."""
    due = select(jobs.c.seq).where(jobs.c.account == account, NOT_DUE, jobs.c.due_at <= now)
    unknown = due.where(jobs.c.lane != PARKED_LANE, jobs.c.task.not_in(TASKS)).order_by(jobs.c.due_at)
    with reading(engine) as connection:
        seqs = list(connection.scalars(unknown.limit(SEQS_PER_STATEMENT)))
    if seqs:
        with transaction(engine) as connection:
            waits = and_(jobs.c.seq.in_(seqs), jobs.c.state.in_(sources(Event.DUE)))
            connection.execute(update(jobs).where(waits).values(state=target(Event.DUE), reason=None))


def find_unknown(engine: Engine, account: str, lane: str, limit: int = 1000) -> list[tuple[int, str]]:
    """Return the jobs of a lane whose task is unknown here, each with its task."""
    query = select(jobs.c.seq, jobs.c.task).where(jobs.c.account == account, jobs.c.lane == lane, IN_LANE)
    with reading(engine) as connection:
        rows = connection.execute(query.where(jobs.c.task.not_in(TASKS)).order_by(jobs.c.seq).limit(limit))
        return [(row.seq, row.task) for row in rows]


#: What of a parked job follows from its task.
_OF_TASK: Final = (
    *("task", "chat_type", "chat_id", "lane", "job_class", "priority", "ordered", "state", "due_at", "expires_at"),
    *("reason", "content_hash", "fields"),
)


def unpark(engine: Engine, entries: Mapping[int, Entry]) -> list[Taken]:
    """Give parked jobs the columns that their tasks, known now, ask for; return those that had not ended meanwhile.

    In one transaction: a thousand at most.
    """
    names = {seq: draw_custom_msg_id() if entry.sends else None for seq, entry in entries.items()}
    rows = [
        {name: entry.row[name] for name in _OF_TASK} | {"seq": seq, "custom_msg_id": names[seq]}
        for seq, entry in entries.items()
    ]
    with transaction(engine) as connection:
        dialect = connection.dialect.name
        changed = set(connection.scalars(_unpark(dialect), pack(dialect, rows)))
    return [Taken(seq, name) for seq, name in names.items() if seq in changed]


@functools.cache
def _unpark(dialect: str) -> Update:
    columns = [*(jobs.c[name] for name in _OF_TASK), jobs.c.custom_msg_id]
    batch = batch_of(dialect, jobs.c.seq, *columns).c
    is_parked = and_(jobs.c.state == State.DEFERRED, jobs.c.lane == PARKED_LANE)
    changing = update(jobs).where(joined(dialect, jobs.c.seq, batch), is_parked)
    return changing.values({column: batch[column.name] for column in columns}).returning(jobs.c.seq)


def end_waiting(engine: Engine, seqs: Iterable[int], event: Event, outcome: Outcome, now: dt.datetime) -> list[int]:
    """End jobs that wait (EXPIRE, CANCEL, REFUSE); return those that did: one that is being sent is not touched.

    A thousand in one transaction: after a night without its bridge an account has more than a statement takes.
    """
    ended: list[int] = []
    for chunk in _chunks(list(seqs)):
        with transaction(engine) as connection:
            ended += outcomes.end_waiting(connection, chunk, event, outcome, now)
    return ended


@dataclass(frozen=True)
class Cancelled:
    """What a cancel came to: the numbers of the jobs that it ended, that were cancelled before, and for which it was too late.

    ``unseen``: the Celery ids of which no job has come yet. ``accounts``: whose jobs all of these are.
    """

    ended: list[int]
    before: list[int]
    too_late: list[int]
    unseen: list[str]
    accounts: frozenset[str] = frozenset()


def cancel(engine: Engine, task_ids: Sequence[str], reason: str, now: dt.datetime) -> Cancelled:
    """Cancel the waiting jobs for which these Celery messages asked; remember ids that were not seen yet. Idempotent."""
    with transaction(engine) as connection:
        dialect = connection.dialect.name
        known = connection.execute(_asked_by(dialect), pack(dialect, ({"task_id": id_} for id_ in task_ids))).all()
        unseen = set(task_ids) - {row.task_id for row in known}
        if unseen:
            connection.execute(_forget_cancelled(dialect, now - REVOKED_FOR, SEQS_PER_STATEMENT + len(unseen)))
            # Every worker of the fleet hears of a revoke, and they write at the same time.
            rows = ({"task_id": id_, "cancelled_at": now} for id_ in sorted(unseen) if len(id_) <= TASK_ID_LIMIT)
            connection.execute(_remember_cancelled(dialect), pack(dialect, rows))
        seqs = {row.seq for row in known}
        ended = outcomes.end_waiting(connection, seqs, Event.CANCEL, cancelled(reason), now)
        columns = jobs.c.seq, jobs.c.account, jobs.c.status
        found = connection.execute(select(*columns).where(jobs.c.seq.in_(seqs)).order_by(jobs.c.seq)).all()
        has_ended = set(ended)
        rest = [row for row in found if row.seq not in has_ended]
        return Cancelled(
            ended,
            [row.seq for row in rest if row.status == Status.CANCELLED],
            [row.seq for row in rest if row.status != Status.CANCELLED],
            sorted(unseen),
            frozenset(row.account for row in found),
        )


@functools.cache
def _asked_by(dialect: str) -> Select[Any]:
    messages, asked = messages_of_ids(dialect)
    return select(asked.task_id, asked.seq).select_from(messages)


def _forget_cancelled(dialect: str, before: dt.datetime, most: int) -> Delete:
    """Delete the oldest. Two ends, an order and a limit: PostgreSQL reads the whole table where it takes much of it to be old."""
    old = select(cancellations.c.task_id).where(
        cancellations.c.cancelled_at >= _EVER, cancellations.c.cancelled_at < before
    )
    old = old.order_by(cancellations.c.cancelled_at).limit(most)
    return delete(cancellations).where(among(dialect, cancellations.c.task_id, old))


@functools.cache
def _remember_cancelled(dialect: str) -> Insert:
    columns = [cancellations.c.task_id, cancellations.c.cancelled_at]
    # SQLite needs the WHERE to tell ON CONFLICT from the ON of a join.
    given = select(*batch_of(dialect, *columns).c).where(true())
    remembering: Insert = INSERT[dialect](cancellations).from_select(columns, given).on_conflict_do_nothing()
    return remembering


def count_waiting(engine: Engine, account: str) -> int:
    """Return how many unfinished jobs the account has."""
    with reading(engine) as connection:
        return sum(
            connection.scalar(select(func.count()).select_from(jobs).where(jobs.c.account == account, part)) or 0
            for part in (IN_ANY_LANE, NOT_DUE, SENDING)
        )


def newest_seq(engine: Engine) -> int:
    """Return the greatest number of a job that there is, 0 if there is none."""
    with reading(engine) as connection:
        return connection.scalar(select(func.max(jobs.c.seq))) or 0


def find_unfinished(engine: Engine, accounts: Iterable[str], newest: int) -> set[str]:
    """Return those of these accounts that have unfinished jobs with numbers up to ``newest``.

    In one statement: a few looks into an index for each.
    """
    dialect = engine.dialect.name
    with reading(engine) as connection:
        rows = pack(dialect, ({"account": account} for account in accounts))
        return set(connection.scalars(_with_unfinished(dialect), {**rows, "newest": newest}))


@functools.cache
def _with_unfinished(dialect: str) -> Select[Any]:
    batch = batch_of(dialect, jobs.c.account)
    # In the order of the index: without one, PostgreSQL reads the table where it takes most of it to be unfinished.
    firsts = (
        select(jobs.c.seq)
        .where(jobs.c.account == batch.c.account, part, jobs.c.seq <= bindparam("newest"))
        .order_by(*order)
        .limit(1)
        .scalar_subquery()
        for part, order in ((IN_LANE, [jobs.c.lane]), (NOT_DUE, [jobs.c.due_at]), (SENDING, []))
    )
    return select(batch.c.account).where(or_(*(first.is_not(None) for first in firsts)))


def write_reasons(engine: Engine, reasons: Mapping[int, str | None], now: dt.datetime) -> None:
    """Write into the rows of waiting jobs why they wait: a statement for each reason, not for each job.

    A row in back-off says until then what went wrong.
    """
    by_reason: dict[str | None, list[int]] = {}
    waits = and_(IN_LANE, or_(jobs.c.state == State.READY, jobs.c.due_at <= now))
    for seq, reason in reasons.items():
        by_reason.setdefault(reason, []).append(seq)
    with transaction(engine) as connection:
        for reason, seqs in by_reason.items():
            words = plain(reason) if reason is not None else None
            for chunk in _chunks(seqs):
                connection.execute(update(jobs).where(jobs.c.seq.in_(chunk), waits).values(reason=words))


def _chunks(seqs: Sequence[int]) -> Iterator[Sequence[int]]:
    return (seqs[start : start + SEQS_PER_STATEMENT] for start in range(0, len(seqs), SEQS_PER_STATEMENT))


def end_unreadable(engine: Engine, seqs: Sequence[int]) -> None:
    """End jobs whose rows cannot be read: they would keep their lanes for ever."""
    if seqs:
        end_waiting(engine, seqs, Event.REFUSE, _UNREADABLE, utc_now())

"""Figures: how many jobs and entries wait, for metrics, ``worker68 check`` and ``worker68 top``.

Reads only. What a query costs grows with what waits, not with what has ended: each of them finds the unfinished jobs in the partial
indexes, whose conditions it repeats word by word. Never: a statement that reads all rows of ``jobs``.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Engine, case, func, select, union_all

from worker68.jobs.outcome import ErrorCode, Status
from worker68.jobs.states import State
from worker68.store.engine import reading
from worker68.store.statements.identity import find_accounts
from worker68.store.tables import IN_ANY_LANE, IN_LANE, NOT_DUE, SENDING, UtcDateTime, attempts, jobs, outbox

#: Jobs in doubt are looked for among so many of the newest attempts: more than a day of an account at its usual limits.
ATTEMPTS_LOOKED_THROUGH = 100_000

#: Numbers of jobs named in one statement.
SEQS_PER_STATEMENT = 1000

#: How an attempt may have ended whose job is in doubt.
_DOUBTS = (ErrorCode.NO_VERDICT, ErrorCode.CONNECTION_LOST, ErrorCode.WORKER_LOST, ErrorCode.INTERNAL)


class Waiting(NamedTuple):
    """The unfinished jobs of one account and task in one state. ``since``: from when on the oldest of them could have run."""

    account: str
    task: str
    state: str
    number: int
    since: dt.datetime

    def has_waited(self, now: dt.datetime) -> float | None:
        """Return for how many seconds the oldest could have run and has not; None where none could, or it is under way."""
        seconds = (now - self.since).total_seconds()
        # A job that was put off stays deferred until it begins, also once its time has come.
        if self.state == State.READY or (self.state == State.DEFERRED and seconds > 0):
            return max(0.0, seconds)
        return None


class Backlog(NamedTuple):
    """The unfinished jobs of one account: how many in each state, and for how many seconds the oldest that could run has waited."""

    states: Counter[str]
    oldest_seconds: float | None


class OutboxCount(NamedTuple):
    """What lies in the outbox for one account. ``since``: when the oldest came."""

    account: str
    kind: str
    number: int
    since: dt.datetime


class InDoubt(NamedTuple):
    """Jobs that ended in doubt, by account. ``complete``: whether all attempts since then were looked at."""

    numbers: dict[str, int]
    complete: bool


def find_waiting_accounts(engine: Engine) -> list[str]:
    """Return all accounts that have unfinished jobs, whether the settings have them or not."""
    with reading(engine) as connection:
        found = {account for where in (IN_LANE, NOT_DUE, SENDING) for account in find_accounts(connection, str(where))}
    return sorted(found)


def count_waiting_jobs(engine: Engine, accounts: Sequence[str]) -> list[Waiting]:
    """Return how many unfinished jobs of these accounts there are, by account, task and state."""
    could_run = case((jobs.c.due_at > jobs.c.received_at, jobs.c.due_at), else_=jobs.c.received_at)
    oldest = func.min(could_run, type_=UtcDateTime())
    counted = select(jobs.c.account, jobs.c.task, jobs.c.state, func.count(), oldest)
    counted = counted.where(jobs.c.account.in_(accounts)).group_by(jobs.c.account, jobs.c.task, jobs.c.state)
    parts = (counted.where(IN_ANY_LANE), counted.where(NOT_DUE), counted.where(SENDING))
    found: dict[tuple[str, str, str], Waiting] = {}
    with reading(engine) as connection:
        for row in connection.execute(union_all(*parts)):
            one = Waiting(*row)
            # A deferred job stands in its lane or is not due: both parts may count some.
            same = found.get(one[:3])
            found[one[:3]] = (
                one if same is None else one._replace(number=one.number + same.number, since=min(one.since, same.since))
            )
    return list(found.values())


def sum_waiting_jobs(engine: Engine, accounts: Sequence[str], now: dt.datetime) -> dict[str, Backlog]:
    """Return what waits of those of these accounts that have unfinished jobs."""
    found: dict[str, Backlog] = {}
    for row in count_waiting_jobs(engine, accounts):
        states, oldest = found.setdefault(row.account, Backlog(Counter(), None))
        states[row.state] += row.number
        if (seconds := row.has_waited(now)) is not None:
            found[row.account] = Backlog(states, max(oldest or 0.0, seconds))
    return found


def count_in_doubt(engine: Engine, since: dt.datetime) -> InDoubt:
    """Return how many jobs ended in doubt since then and still are, found by the newest attempts."""
    with reading(engine) as connection:
        newest = connection.scalar(select(func.max(attempts.c.id))) or 0
        before = newest - ATTEMPTS_LOOKED_THROUGH
        # Both ends: without statistics PostgreSQL takes a range that is open on one side for a third of the table.
        tried = select(attempts.c.seq).where(attempts.c.id.between(before + 1, newest), attempts.c.ending.in_(_DOUBTS))
        seqs = sorted(set(connection.scalars(tried)))
        last_before = select(attempts.c.began_at).where(attempts.c.id <= before).order_by(attempts.c.id.desc()).limit(1)
        oldest = connection.scalar(last_before)
        numbers: Counter[str] = Counter()
        for start in range(0, len(seqs), SEQS_PER_STATEMENT):
            these = select(jobs.c.account, func.count()).where(jobs.c.seq.in_(seqs[start : start + SEQS_PER_STATEMENT]))
            these = these.where(jobs.c.status == Status.IN_DOUBT, jobs.c.finished_at >= since)
            for account, number in connection.execute(these.group_by(jobs.c.account)):
                numbers[account] += number
    return InDoubt(dict(numbers), oldest is None or oldest < since)


def count_outbox(engine: Engine, accounts: Sequence[str]) -> list[OutboxCount]:
    """Return how much lies in the outbox for these accounts."""
    query = select(outbox.c.account, outbox.c.kind, func.count(), func.min(outbox.c.created_at))
    query = query.where(outbox.c.account.in_(accounts)).group_by(outbox.c.account, outbox.c.kind)
    with reading(engine) as connection:
        return [OutboxCount(*row) for row in connection.execute(query)]

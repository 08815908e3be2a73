"""Figures: how many jobs and parcels wait, for metrics and ``worker68 top``. Reads only; the cost grows with what waits, not with
what has ended.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, case, func, literal, select

from worker68.store.engine import reading
from worker68.store.tables import IN_LANE, NOT_DUE, SENDING, UtcDateTime, jobs, outbox


class Waiting(NamedTuple):
    """The unfinished jobs of one account and task in one state. ``since``: from when on the oldest of them could have run."""

    account: str
    task: str
    state: str
    number: int
    since: dt.datetime


class Parcels(NamedTuple):
    """What lies in the outbox for one account. ``since``: when the oldest came."""

    account: str
    kind: str
    number: int
    since: dt.datetime


def count_waiting_jobs(engine: Engine, accounts: Sequence[str]) -> list[Waiting]:
    """Return how many unfinished jobs of these accounts there are, by account, task and state."""
    could_run = case((jobs.c.due_at > jobs.c.received_at, jobs.c.due_at), else_=jobs.c.received_at)
    oldest = func.min(could_run, type_=UtcDateTime())
    query = select(jobs.c.account, jobs.c.task, jobs.c.state, func.count(), oldest)
    query = query.where(jobs.c.account.in_(accounts)).group_by(jobs.c.account, jobs.c.task, jobs.c.state)
    counted: dict[tuple[str, str, str], Waiting] = {}
    with reading(engine) as connection:
        # One for each index over unfinished jobs; a deferred job is in one of two.
        for part in (IN_LANE, NOT_DUE, SENDING):
            for row in connection.execute(query.where(part)):
                found = Waiting(*row)
                before = counted.get(found[:3])
                if before is not None:
                    total, since = found.number + before.number, min(found.since, before.since)
                    found = found._replace(number=total, since=since)
                counted[found[:3]] = found
    return list(counted.values())


def count_parcels(engine: Engine, accounts: Sequence[str]) -> list[Parcels]:
    """Return how much lies in the outbox for these accounts."""
    query = select(outbox.c.account, outbox.c.kind, func.count(), func.min(outbox.c.created_at))
    query = query.where(outbox.c.account.in_(accounts)).group_by(outbox.c.account, outbox.c.kind)
    with reading(engine) as connection:
        return [Parcels(*row) for row in connection.execute(query)]


def answers(connection: Connection) -> bool:
    """Whether the database answers on this connection."""
    return connection.scalar(select(literal(1))) == 1

"""Attempts that were lost with their worker: how many a job has, and those without an end.

In: numbers of jobs. Out: counts; rows of ``attempts`` that end as ``worker_lost``. Never: a job's row.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, func, select, update

from worker68.jobs.outcome import ErrorCode
from worker68.store.statements.batches import among, batch_of, look_up, pack
from worker68.store.tables import UtcDateTime, attempts


def count_deaths(connection: Connection, seqs: Iterable[int]) -> dict[tuple[int, int], int]:
    """Return for each job and step how many attempts were lost with their worker."""
    dialect = connection.dialect.name
    found = connection.execute(_count(dialect), pack(dialect, ({"seq": seq} for seq in seqs)))
    return {(seq, step): count for seq, step, count in found}


def end_as_lost(connection: Connection, seqs: Iterable[int], now: dt.datetime) -> None:
    """End the attempts of these jobs that have no end yet."""
    dialect = connection.dialect.name
    connection.execute(_end(dialect), pack(dialect, ({"seq": seq} for seq in seqs)) | {"now": now})


@functools.cache
def _count(dialect: str) -> Select[Any]:
    batch = batch_of(dialect, attempts.c.seq)
    tried, attempt = look_up(dialect, batch, attempts, attempts.c.seq == batch.c.seq)
    query = select(attempt.seq, attempt.step, func.count()).select_from(tried)
    return query.where(attempt.ending == ErrorCode.WORKER_LOST).group_by(attempt.seq, attempt.step)


@functools.cache
def _end(dialect: str) -> Update:
    batch, each = batch_of(dialect, attempts.c.seq), attempts.alias("each")
    tried, attempt = look_up(dialect, batch, each, each.c.seq == batch.c.seq)
    open_ones = select(attempt.id).select_from(tried).where(attempt.ended_at.is_(None))
    lost = update(attempts).where(among(dialect, attempts.c.id, open_ones))
    return lost.values(ended_at=bindparam("now", type_=UtcDateTime()), ending=str(ErrorCode.WORKER_LOST))

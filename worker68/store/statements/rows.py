"""Rows of waiting jobs, as jobs. One that cannot be read must not keep its account's other jobs from being loaded."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, cast

import msgspec
import structlog
from sqlalchemy import Connection, Row, and_, case, func, select

from worker68.clock import utc_now
from worker68.jobs.job import Job
from worker68.jobs.outcome import ErrorCode
from worker68.jobs.retry import bounded_due_at
from worker68.jobs.states import State
from worker68.store.statements.outcomes import decode_done
from worker68.store.tables import attempts, jobs, requesters
from worker68.tasks import TASKS

log = structlog.get_logger(__name__)

#: The Celery id of the first message that asked for a job of the query around it. A sum has no index: for the first by its id
#: alone, PostgreSQL would walk the primary key until it meets one of this job.
FIRST_TASK_ID: Final = (
    select(requesters.c.task_id).where(requesters.c.seq == jobs.c.seq).order_by(requesters.c.id + 0).limit(1)
).scalar_subquery()


def read_jobs(connection: Connection, query: Any) -> tuple[list[Job], list[int]]:
    """Return the jobs whose rows this query selects, in its order, and the numbers of those that cannot be read."""
    lost = and_(attempts.c.step == jobs.c.step, attempts.c.ending == ErrorCode.WORKER_LOST)
    counted = select(func.count()).where(attempts.c.seq == jobs.c.seq, lost).scalar_subquery()
    deaths = case((jobs.c.attempts > 0, counted), else_=0).label("deaths")
    rows = connection.execute(query.add_columns(FIRST_TASK_ID.label("task_id"), deaths)).all()
    loaded, unreadable = [], []
    for row in rows:
        try:
            loaded.append(_job(row))
        except Exception:
            log.exception("row_not_readable", seq=row.seq, task=row.task)
            unreadable.append(row.seq)
    return loaded, unreadable


def _due_at(row: Row[Any]) -> dt.datetime | None:
    """Return when the job is due, or when its back-off is over."""
    if row.due_at is None or row.attempts == 0:
        return cast(dt.datetime | None, row.due_at)
    return bounded_due_at(row.due_at, utc_now())


def _job(row: Row[Any]) -> Job:
    return Job(
        seq=row.seq,
        job_id=row.job_id,
        task_id=row.task_id,
        account=row.account,
        kind=(kind := TASKS[row.task]),
        fields=msgspec.json.decode(row.fields, type=kind.fields),
        priority=row.priority,
        ordered=row.ordered,
        state=State(row.state),
        attempts=row.attempts,
        custom_msg_id=row.custom_msg_id,
        received_at=row.received_at,
        due_at=_due_at(row),
        expires_at=row.expires_at,
        step=row.step,
        attempts_before=row.attempts_before,
        done=decode_done(row.done),
        deaths=row.deaths,
    )

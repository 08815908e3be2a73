"""Reports: what the tables say about jobs, for people who look. Reads only; nothing here is on a job's way."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, Row, make_url, select, text

from worker68.errors import DatabaseUnfit
from worker68.store.engine import Connection, open_engine, reading
from worker68.store.schema import check_version
from worker68.store.tables import attempts, jobs, requesters

#: Goes from account to account along an index, however many jobs each has: a ``job_id`` alone has none.
_ACCOUNTS: Final = """
WITH RECURSIVE found(account) AS (
    SELECT min(account) FROM jobs
    UNION ALL
    SELECT (SELECT min(jobs.account) FROM jobs WHERE jobs.account > found.account) FROM found WHERE found.account IS NOT NULL
)
SELECT account FROM found WHERE account IS NOT NULL
"""


class JobLine(msgspec.Struct, frozen=True):
    """A row of ``jobs`` as far as other systems may read it (contract, section 5), without what the job holds."""

    seq: int
    job_id: str
    account: str
    task: str
    chat_type: str | None
    chat_id: int | None
    state: str
    status: str | None
    error_code: str | None
    error_message: str | None
    bridge_code: str | None
    reason: str | None
    attempts: int
    received_at: dt.datetime
    due_at: dt.datetime | None
    expires_at: dt.datetime | None
    finished_at: dt.datetime | None


class RequesterLine(msgspec.Struct, frozen=True):
    """A Celery message that asked for the job. ``reply_to`` is empty where no reply is wanted."""

    task_id: str
    reply_to: str


class AttemptLine(msgspec.Struct, frozen=True):
    """One try of one of the job's steps (from 0); ``ended_at`` and ``ending`` are null while it is under way."""

    number: int
    step: int
    owner: str
    fence: int
    began_at: dt.datetime
    ended_at: dt.datetime | None
    ending: str | None


class JobReport(msgspec.Struct, frozen=True):
    """All about one job. ``fields`` are the task's own, message text included.

    ``step``: how many of its steps are done, ``done``: their result. ``progress``, in words: how far a long attempt has come.
    """

    job: JobLine
    priority: int
    lane: str
    revision: int
    custom_msg_id: int | None
    fields: dict[str, Any]
    result: dict[str, Any] | None
    step: int
    done: dict[str, Any] | None
    progress: str | None
    requesters: list[RequesterLine]
    attempts: list[AttemptLine]


def open_ledger(database_url: str) -> Engine:
    """Return an engine for a database that is there, with the tables that this code needs. Raises ``DatabaseAway``.

    A SQLite file that is not there is not made by looking.
    """
    engine = open_engine(database_url)
    file = make_url(database_url).database if engine.dialect.name == "sqlite" else None
    if file is not None and not Path(file).exists():
        raise DatabaseUnfit(
            f"there is no SQLite file {file}: run `worker68 db upgrade`, or look at WORKER68_DATABASE_URL"
        )
    try:
        check_version(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def has_jobs(engine: Engine, account: str) -> bool:
    """Whether the account has any jobs, ended or not."""
    with reading(engine) as connection:
        # In the order of the index: without one, PostgreSQL reads the table where it takes the account to have many.
        query = select(jobs.c.seq).where(jobs.c.account == account).order_by(jobs.c.job_id).limit(1)
        return connection.scalar(query) is not None


def list_jobs(engine: Engine, *, account: str | None, state: str | None, limit: int) -> list[JobLine]:
    """Return the newest jobs, newest first."""
    query = select(*_columns_of_line()).order_by(jobs.c.seq.desc()).limit(limit)
    if account is not None:
        query = query.where(jobs.c.account == account)
    if state is not None:
        query = query.where(jobs.c.state == state)
    with reading(engine) as connection:
        return [_line(row) for row in connection.execute(query)]


def find_jobs(engine: Engine, identity: str, account: str | None = None) -> list[JobReport]:
    """Return the jobs whose ``job_id`` is ``identity`` or for which the Celery message of this id asked.

    A ``job_id`` is unique within its account only, so there may be several.
    """
    with reading(engine) as connection:
        asked = select(requesters.c.seq).where(requesters.c.task_id == identity)
        seqs = set(connection.scalars(asked))
        for each in [account] if account is not None else connection.scalars(text(_ACCOUNTS)).all():
            named = select(jobs.c.seq).where(jobs.c.account == each, jobs.c.job_id == identity)
            seqs.update(connection.scalars(named))
        rows = connection.execute(select(jobs).where(jobs.c.seq.in_(seqs)).order_by(jobs.c.seq)).all()
        return [_report(connection, row) for row in rows if account in (None, row.account)]


def _columns_of_line() -> list[Any]:
    return [jobs.c[name] for name in JobLine.__struct_fields__]


def _line(row: Row[Any]) -> JobLine:
    return JobLine(*(getattr(row, name) for name in JobLine.__struct_fields__))


def _report(connection: Connection, row: Row[Any]) -> JobReport:
    asked = select(requesters.c.task_id, requesters.c.reply_to).where(requesters.c.seq == row.seq)
    tried = select(*(attempts.c[name] for name in AttemptLine.__struct_fields__)).where(attempts.c.seq == row.seq)
    return JobReport(
        job=_line(row),
        priority=row.priority,
        lane=row.lane,
        revision=row.revision,
        custom_msg_id=row.custom_msg_id,
        fields=msgspec.json.decode(row.fields),
        result=msgspec.json.decode(row.result) if row.result else None,
        step=row.step,
        done=msgspec.json.decode(row.done) if row.done else None,
        progress=row.progress,
        requesters=[RequesterLine(*one) for one in connection.execute(asked.order_by(requesters.c.id))],
        attempts=[AttemptLine(*one) for one in connection.execute(tried.order_by(attempts.c.number))],
    )

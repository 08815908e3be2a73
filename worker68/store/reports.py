"""Reports: what the tables say about jobs, for people who look. Reads only, and never all rows of ``jobs``."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Engine, Row, Select, func, make_url, select

from worker68.errors import DatabaseUnfit
from worker68.jobs.states import State
from worker68.store.engine import Connection, open_engine, reading
from worker68.store.schema import check_version
from worker68.store.statements.identity import find_accounts, find_seqs
from worker68.store.tables import SENDING, attempts, jobs, requesters

#: No index holds all jobs of an account or a state in their order: a list looks back through so many of the newest jobs.
LOOKED_THROUGH: Final = 500_000

#: Numbers of jobs named in one statement.
SEQS_PER_STATEMENT: Final = 1000

#: The beginning of a UUID, which is what Celery gives out.
_UUID_BEGINNING: Final = re.compile(r"[0-9a-f-]+", re.IGNORECASE)

#: Sorts after each character of a UUID, whatever the collation of the database.
_AFTER_HEX: Final = "g"
_LAST: Final = "\U0010ffff"
#: On PostgreSQL, whose index follows the language of the database, beginnings of other ids are looked for in so many newest jobs.
BEGINNINGS_LOOKED_THROUGH: Final = 100_000


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


class JobList(NamedTuple):
    """``complete``: whether there are no more such jobs than these and what the limit left out."""

    lines: list[JobLine]
    complete: bool


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


def list_jobs(
    engine: Engine, *, account: str | None, state: str | None, status: str | None = None, limit: int
) -> JobList:
    """Return the newest jobs, newest first: of all, of an account, in a state, or with a status."""
    query = select(*_columns_of_line()).order_by(jobs.c.seq.desc()).limit(limit)
    if account is not None:
        query = query.where(_is_of(account))
    with reading(engine) as connection:
        if state == State.SENDING and status is None:
            # In two steps: they are few, and SQLite would walk along all jobs to have them in their order.
            begun = select(jobs.c.seq).where(SENDING)
            seqs = list(connection.scalars(begun if account is None else begun.where(jobs.c.account == account)))
            return JobList(_load_lines(connection, sorted(seqs, reverse=True)[:limit]), True)
        newest = connection.scalar(select(func.max(jobs.c.seq))) or 0
        before = max(0, newest - LOOKED_THROUGH)
        query = query.where(jobs.c.seq.between(before + 1, newest))
        if state is not None:
            query = query.where(jobs.c.state == state)
        if status is not None:
            query = query.where(jobs.c.status == status)
        lines = [_line(row) for row in connection.execute(query)]
    return JobList(lines, before == 0 or len(lines) == limit)


def _is_of(account: str) -> ColumnElement[bool]:
    """Return the condition that a job is of the account, as no index has it: else all of its jobs might be read for the newest."""
    return jobs.c.account.concat("") == account


def load_lines(engine: Engine, seqs: Sequence[int]) -> list[JobLine]:
    """Return these jobs, in this order, as far as they are there."""
    with reading(engine) as connection:
        return _load_lines(connection, seqs)


def find_jobs(engine: Engine, identity: str, account: str | None = None) -> list[JobReport]:
    """Return the jobs whose ``job_id`` is ``identity`` or for which the Celery message of this id asked.

    A ``job_id`` is unique within its account only, so there may be several.
    """
    with reading(engine) as connection:
        return _reports(connection, find_seqs(connection, identity, account), account)


def find_beginnings(engine: Engine, beginning: str, account: str | None, limit: int) -> list[int]:
    """Return up to ``limit`` jobs whose ``job_id`` begins so.

    A ``job_id`` is unique, and indexed, within its account, so the accounts are found first.
    """
    begins = func.substr(jobs.c.job_id, 1, len(beginning)) == beginning
    query = select(jobs.c.seq).where(begins).limit(limit)
    with reading(engine) as connection:
        in_order = connection.dialect.name == "sqlite"
        if in_order or _UUID_BEGINNING.fullmatch(beginning):
            end = beginning + (_LAST if in_order else _AFTER_HEX)
            accounts = [account] if account is not None else find_accounts(connection)
            query = query.where(jobs.c.account.in_(accounts), jobs.c.job_id >= beginning, jobs.c.job_id < end)
        else:
            newest = connection.scalar(select(func.max(jobs.c.seq))) or 0
            query = query.where(jobs.c.seq.between(newest - BEGINNINGS_LOOKED_THROUGH + 1, newest))
            query = query if account is None else query.where(_is_of(account))
        return sorted(connection.scalars(query))


def load_reports(engine: Engine, seqs: Sequence[int], account: str | None = None) -> list[JobReport]:
    """Return all about these jobs, in the order of their arrival; of ``account`` only, if given."""
    with reading(engine) as connection:
        return _reports(connection, seqs, account)


def _load_lines(connection: Connection, seqs: Sequence[int]) -> list[JobLine]:
    found: dict[int, JobLine] = {}
    for start in range(0, len(seqs), SEQS_PER_STATEMENT):
        query = select(*_columns_of_line()).where(jobs.c.seq.in_(seqs[start : start + SEQS_PER_STATEMENT]))
        found.update({row.seq: _line(row) for row in connection.execute(query)})
    return [found[seq] for seq in seqs if seq in found]


def _reports(connection: Connection, seqs: Sequence[int], account: str | None) -> list[JobReport]:
    query: Select[Any] = select(jobs).where(jobs.c.seq.in_(seqs)).order_by(jobs.c.seq)
    if account is not None:
        query = query.where(jobs.c.account == account)
    return [_report(connection, row) for row in connection.execute(query).all()]


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

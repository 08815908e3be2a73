"""What remote control asks about jobs: those that wait, by account, and those of some Celery ids. For people who ask.

In: accounts, Celery ids. Out: at most ``MOST`` jobs, without their text. Each statement walks along an index, so it ends soon
however many jobs wait. Never: a write.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, FromClause, Select, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from worker68.jobs.fields import Chat
from worker68.jobs.outcome import Status
from worker68.jobs.states import State
from worker68.store.engine import reading
from worker68.store.statements.batches import look_up, pack
from worker68.store.statements.identity import messages_of_ids
from worker68.store.statements.rows import FIRST_TASK_ID
from worker68.store.tables import IN_LANE, NOT_DUE, cancellations, jobs

#: So many jobs at most in one answer: it is read by a person, and Celery's thread encodes it.
MOST: Final = 100

_Columns = ReadOnlyColumnCollection[str, Any]


@dataclass(frozen=True)
class Found:
    """A job as remote control shows it. ``task_id``: the Celery id that was asked for, or else the first one."""

    seq: int
    task_id: str
    job_id: str
    account: str
    task: str
    chat_type: Literal["friend", "group"] | None
    chat_id: int | None
    state: State
    status: str | None
    priority: int
    attempts: int
    due_at: dt.datetime | None

    @property
    def chat(self) -> Chat | None:
        return Chat(self.chat_type, self.chat_id) if self.chat_type is not None and self.chat_id is not None else None


def find_scheduled(engine: Engine, accounts: Sequence[str]) -> list[Found]:
    """Return the jobs of these accounts that are not due yet, the earliest first."""
    found: list[Found] = []
    with reading(engine) as connection:
        for account in accounts:
            query = _jobs(FIRST_TASK_ID).where(jobs.c.account == account, NOT_DUE)
            found += _read(connection, query.order_by(jobs.c.due_at).limit(MOST))
    return sorted(found, key=_due)[:MOST]


def find_reserved(engine: Engine, accounts: Sequence[str]) -> list[Found]:
    """Return the jobs of these accounts that stand in their lanes, lane by lane in the order in which they go."""
    found: list[Found] = []
    with reading(engine) as connection:
        for account in accounts:
            query = _jobs(FIRST_TASK_ID).where(jobs.c.account == account, IN_LANE)
            place = (jobs.c.lane, jobs.c.step.desc(), jobs.c.priority, jobs.c.seq)
            found += _read(connection, query.order_by(*place).limit(MOST - len(found)))
            if len(found) == MOST:
                break
    return found


def find_by_ids(engine: Engine, accounts: Sequence[str], task_ids: Sequence[str]) -> list[Found]:
    """Return the jobs of these accounts for which messages with these Celery ids (``MOST`` at most) asked."""
    asked_for, asked, job = _asked_for(engine.dialect.name)
    query = _jobs(asked.task_id, job).select_from(asked_for).where(job.account.in_(accounts))
    with reading(engine) as connection:
        return _read(connection, query.order_by(job.seq), _pack(engine, task_ids[:MOST]))


def find_revoked(engine: Engine, revoked: Sequence[str]) -> list[str]:
    """Return the ids among ``revoked`` whose job was cancelled, and the newest that are kept for a job that has not come."""
    asked_for, asked, job = _asked_for(engine.dialect.name)
    ended = select(asked.task_id).select_from(asked_for).where(job.status == Status.CANCELLED)
    kept = select(cancellations.c.task_id).order_by(cancellations.c.cancelled_at.desc()).limit(MOST)
    with reading(engine) as connection:
        cancelled = connection.scalars(ended, _pack(engine, revoked[-MOST:]))
        return list(dict.fromkeys([*connection.scalars(kept), *cancelled]))


def _asked_for(dialect: str) -> tuple[FromClause, _Columns, _Columns]:
    """Return a batch of Celery ids joined to the messages that have them and to their jobs; the columns of both."""
    messages, asked = messages_of_ids(dialect)
    asked_for, job = look_up(dialect, messages, jobs, jobs.c.seq == asked.seq)
    return asked_for, asked, job


def _pack(engine: Engine, task_ids: Iterable[str]) -> dict[str, str]:
    return pack(engine.dialect.name, ({"task_id": id_} for id_ in task_ids))


def _jobs(task_id: Any, job: _Columns = jobs.c) -> Select[Any]:
    names = ("job_id", "account", "task", "chat_type", "chat_id", "state", "status", "priority", "attempts", "due_at")
    return select(job.seq, task_id.label("task_id"), *(job[name] for name in names))


def _read(connection: Connection, query: Select[Any], parameters: dict[str, str] | None = None) -> list[Found]:
    rows: Iterable[Any] = connection.execute(query, parameters).mappings()
    return [Found(**{**row, "state": State(row["state"])}) for row in rows]


def _due(found: Found) -> dt.datetime:
    return found.due_at or dt.datetime.max.replace(tzinfo=dt.UTC)

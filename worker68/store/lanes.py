"""The lanes of an account in SQL: which there are, and the first jobs of each.

What it costs grows with the lanes that are asked for, not with the jobs that wait in them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, Row, bindparam, select, text

from worker68.jobs.job import SHARED_LANE, Job
from worker68.jobs.task import JobClass, Step, Task
from worker68.store.engine import reading
from worker68.store.statements.rows import read_jobs
from worker68.store.tables import IN_LANE, UtcDateTime, jobs
from worker68.store.waiting import end_unreadable
from worker68.tasks import TASKS

log = structlog.get_logger(__name__)

#: Tasks whose steps follow from their fields; of the others only the number of the step is read.
_BY_FIELDS = sorted(name for name, task in TASKS.items() if callable(task.steps))

#: Lanes whose first jobs are looked for in one statement; SQLite takes 500 parts at most.
LANES_PER_STATEMENT = 100

#: Goes from lane to lane along the index, however many jobs there are in each. A job whose change is made goes on before all others
#: of its lane: its announcement belongs to it.
_WALK = f"""
WITH RECURSIVE found(lane, place) AS (
    SELECT min(lane), 1 FROM jobs WHERE account = :account AND {IN_LANE} AND lane > :after
    UNION ALL
    SELECT (SELECT min(jobs.lane) FROM jobs WHERE account = :account AND {IN_LANE} AND jobs.lane > found.lane), place + 1
    FROM found WHERE found.lane IS NOT NULL AND place < :most
)
SELECT found.place, found.lane, jobs.seq, jobs.task, jobs.step, jobs.priority, jobs.due_at, jobs.job_class,
    CASE WHEN jobs.task IN :by_fields THEN jobs.fields END AS fields
FROM found JOIN jobs ON jobs.seq = (
    SELECT head.seq FROM jobs AS head WHERE head.account = :account AND head.lane = found.lane AND {IN_LANE}
    ORDER BY head.step DESC, head.priority, head.seq LIMIT 1
)
"""

_FIRST = text(_WALK).bindparams(bindparam("by_fields", expanding=True)).columns(due_at=UtcDateTime)

#: A job of an unknown task holds up those behind it, but not where all may run at once.
_LOADED = f"{IN_LANE} AND (task IN :known OR lane NOT LIKE :shared)"

#: The first jobs of one lane.
_HEADS = f"""
SELECT seq FROM (
    SELECT seq FROM jobs WHERE account = :account AND lane = :lane_%d AND {_LOADED}
    ORDER BY step DESC, priority, seq LIMIT :depth
) AS lane_%d
"""

#: The same on PostgreSQL. It takes fifty times as long to plan a statement of a hundred parts as to run it, and keeps no plan.
_HEADS_OF_EACH = f"""
SELECT heads.seq FROM unnest(CAST(:lanes AS text[])) AS given(lane) CROSS JOIN LATERAL (
    SELECT seq FROM jobs WHERE account = :account AND lane = given.lane AND {_LOADED}
    ORDER BY step DESC, priority, seq LIMIT :depth
) AS heads
"""


@dataclass(frozen=True)
class LaneHead:
    """The first job of a lane. ``now``: its next step; ``due_at``: not before this."""

    lane: str
    seq: int
    task: Task
    now: Step
    step: int
    priority: int
    due_at: dt.datetime | None


@dataclass(frozen=True)
class UnknownHead:
    """A job whose task this version does not know: it and those behind it in its lane wait for a worker that does."""

    lane: str
    seq: int
    task: str
    job_class: JobClass
    step: int
    priority: int


def find_lanes(engine: Engine, account: str, after: str, most: int) -> tuple[list[LaneHead | UnknownHead], str | None]:
    """Return the first jobs of the lanes with names after this one, ``most`` at most, and the last name if there may be more.

    They are in the order of the lanes' names.
    """
    terms = {"account": account, "after": after, "most": most, "by_fields": _BY_FIELDS}
    with reading(engine) as connection:
        rows = sorted(connection.execute(_FIRST, terms), key=lambda row: row.place)
    last = rows[-1].lane if len(rows) == most else None
    return [_head(row) for row in rows], last


def load_lanes(engine: Engine, account: str, depth: int, lanes: Sequence[str]) -> list[Job | UnknownHead]:
    """Return the first ``depth`` jobs of each of these lanes, in their order, up to the first whose task is unknown.

    Those that cannot be read end, and others are read in their place. In a lane where all may run at once the unknown ones are
    passed over.
    """
    while True:
        found, unreadable = _load(engine, account, depth, lanes)
        if not unreadable:
            return _up_to_unknown(sorted(found, key=lambda job: (-job.step, job.priority, job.seq)))
        end_unreadable(engine, unreadable)


def _up_to_unknown(found: Iterable[Job | UnknownHead]) -> list[Job | UnknownHead]:
    held: set[str] = set()
    loaded = []
    for job in found:
        if job.lane not in held:
            loaded.append(job)
        if isinstance(job, UnknownHead):
            held.add(job.lane)
    return loaded


def _load(engine: Engine, account: str, depth: int, lanes: Sequence[str]) -> tuple[list[Job | UnknownHead], list[int]]:
    """Return the first jobs of each lane, and the numbers of those among them that cannot be read."""
    found: list[Job | UnknownHead] = []
    unreadable: list[int] = []
    with reading(engine) as connection:
        for start in range(0, len(lanes), LANES_PER_STATEMENT):
            seqs = _find_heads(connection, account, depth, lanes[start : start + LANES_PER_STATEMENT])
            read, bad = read_jobs(connection, select(jobs).where(jobs.c.seq.in_(seqs), jobs.c.task.in_(TASKS)))
            found += read
            unreadable += bad
            if len(read) + len(bad) < len(seqs):
                rows = connection.execute(select(jobs).where(jobs.c.seq.in_(seqs), jobs.c.task.not_in(TASKS)))
                found += map(_unknown_head, rows)
    return found, unreadable


def _find_heads(connection: Connection, account: str, depth: int, lanes: Sequence[str]) -> Sequence[int]:
    terms: dict[str, Any] = {"account": account, "depth": depth, "known": list(TASKS), "shared": f"%{SHARED_LANE}"}
    if connection.dialect.name == "postgresql":
        terms["lanes"] = list(lanes)
        query = _HEADS_OF_EACH
    else:
        terms |= {f"lane_{place}": lane for place, lane in enumerate(lanes)}
        query = " UNION ALL ".join(_HEADS % (place, place) for place in range(len(lanes)))
    return connection.scalars(text(query).bindparams(bindparam("known", expanding=True)), terms).all()


def _head(row: Row[Any]) -> LaneHead | UnknownHead:
    task = TASKS.get(row.task)
    if task is None:
        return _unknown_head(row)
    return LaneHead(row.lane, row.seq, task, _step(row, task), row.step, row.priority, row.due_at)


def _unknown_head(row: Row[Any]) -> UnknownHead:
    return UnknownHead(row.lane, row.seq, row.task, JobClass(row.job_class), row.step, row.priority)


def _step(row: Row[Any], task: Task) -> Step:
    """Return the next step of a job; of one whose row cannot be read, which ends when it is loaded, that of its task's example."""
    done: int = row.step
    if not callable(task.steps):
        return task.steps[min(done, len(task.steps) - 1)]
    try:
        return task.steps_of(msgspec.json.decode(row.fields, type=task.fields))[done]
    except (ValueError, IndexError):
        log.exception("row_not_readable", seq=row.seq, task=row.task)
        return task.steps_of(msgspec.convert(task.example, task.fields))[0]

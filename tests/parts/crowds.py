"""Crowds of rows for tests on PostgreSQL: thousands, written by SQL in a moment.

In: a ledger with one job. Out: jobs as that one, their requesters, attempts. Never: a statement of worker68's own.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from tests.parts.ledger import Ledger
from tests.parts.postgres import administer
from worker68.store.engine import reading
from worker68.store.tables import jobs

#: Lanes of the jobs of one name.
LANES: Final = 50

_COPY: Final = """
INSERT INTO jobs (job_id, account, task, chat_type, chat_id, lane, job_class, priority, ordered, state, status,
    attempts, revision, custom_msg_id, received_at, due_at, expires_at, finished_at, content_hash, fields)
SELECT '{name}-' || n, account, {task}, chat_type, mod(n, {lanes}), {lane}, job_class, priority, ordered,
    '{state}', {status}, {attempts}, {attempts}, (SELECT max(custom_msg_id) FROM jobs) + n, received_at, {due_at}, {expires_at},
    {finished_at}, content_hash, fields
FROM (SELECT * FROM jobs ORDER BY seq LIMIT 1) AS first, generate_series(1, {number}) AS n
"""
_ASK: Final = """
INSERT INTO requesters (seq, task_id, reply_to, ignore_result)
SELECT seq, job_id, '', false FROM jobs WHERE job_id LIKE '{name}-%'
"""
_TRY: Final = """
INSERT INTO attempts (seq, number, step, owner, fence, began_at, ended_at, ending)
SELECT seq, 1, 0, 'w', 1, now(), now(), 'no_verdict' FROM jobs WHERE job_id LIKE '{name}-%'
"""


def copy_jobs(ledger: Ledger, name: str, number: int, *, tried: bool = False, **changed: Any) -> None:
    """Write jobs that are as the first one of all, each with a requester; ``tried``: with an attempt, too. Values are SQL."""
    as_first = {"task": "task", "state": "ready", "status": "NULL", "attempts": int(tried)}
    place = {"lanes": LANES, "lane": f"'{name}-' || mod(n, {LANES})"}
    times = {"due_at": "NULL", "expires_at": "NULL", "finished_at": "NULL"}
    given = as_first | place | times | {"name": name, "number": number} | changed
    for statement in (_COPY, _ASK, *([_TRY] if tried else [])):
        administer(ledger.engine, statement.format(**given))


def seqs_of(ledger: Ledger, name: str, number: int) -> list[int]:
    """Return the numbers of the first jobs of a name."""
    query = select(jobs.c.seq).where(jobs.c.job_id.like(f"{name}-%")).order_by(jobs.c.seq).limit(number)
    with reading(ledger.engine) as connection:
        return list(connection.scalars(query))

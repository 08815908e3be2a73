"""Which accounts there are, and which jobs an id names.

Never: a statement that reads all rows of ``jobs``: a ``job_id`` is unique, and indexed, within its account, so the accounts are
found first.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, FromClause, Text, column, select, text
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from worker68.store.statements.batches import batch_of, look_up
from worker68.store.tables import jobs, requesters

#: Goes from account to account along an index, however many jobs each has.
_ACCOUNTS = """
WITH RECURSIVE found(account) AS (
    SELECT min(account) FROM jobs WHERE {where}
    UNION ALL
    SELECT (SELECT min(jobs.account) FROM jobs WHERE {where} AND jobs.account > found.account)
    FROM found WHERE found.account IS NOT NULL
)
SELECT account FROM found WHERE account IS NOT NULL
"""


def find_accounts(connection: Connection, where: str = "account >= ''") -> list[str]:
    """Return the accounts that have jobs for which ``where`` holds: any jobs, ended or not, without it."""
    return list(connection.scalars(text(_ACCOUNTS.format(where=where))))


def find_seqs(connection: Connection, identity: str, account: str | None = None) -> list[int]:
    """Return the jobs whose ``job_id`` is ``identity`` or for which the Celery message of this id asked."""
    asked = select(requesters.c.seq).where(requesters.c.task_id == identity)
    accounts = [account] if account is not None else find_accounts(connection)
    own = select(jobs.c.seq).where(jobs.c.account.in_(accounts), jobs.c.job_id == identity)
    return sorted({*connection.scalars(asked), *connection.scalars(own)})


def messages_of_ids(dialect: str) -> tuple[FromClause, ReadOnlyColumnCollection[str, Any]]:
    """Return a batch of Celery ids (``task_id``) joined to the messages that have them, and the columns of those messages.

    The ids may be of any length: one that no message can have costs the others nothing.
    """
    batch = batch_of(dialect, column("task_id", Text))
    return look_up(dialect, batch, requesters, requesters.c.task_id == batch.c.task_id)

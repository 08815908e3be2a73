"""Which jobs an id names: a ``job_id``, its beginning, or the Celery id of a message that asked for the job.

In: what was given. Out: numbers of jobs (``seq``). Never: a statement that reads all rows of ``jobs``: a ``job_id`` is unique, and
indexed, within its account, so the accounts are found first.
"""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import Engine, func, select

from worker68.store.engine import reading
from worker68.store.statements.identity import find_accounts
from worker68.store.tables import jobs

#: The beginning of a UUID, which is what Celery gives out.
_UUID_BEGINNING: Final = re.compile(r"[0-9a-f-]+", re.IGNORECASE)

#: Sorts after each character of a UUID, whatever the collation of the database.
_AFTER_HEX: Final = "g"
_LAST: Final = "\U0010ffff"

#: On PostgreSQL, whose index follows the language of the database, beginnings of other ids are looked for in so many newest jobs.
LOOKED_THROUGH: Final = 100_000


def find_beginnings(engine: Engine, beginning: str, account: str | None, limit: int) -> list[int]:
    """Return up to ``limit`` jobs whose ``job_id`` begins so."""
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
            query = query.where(jobs.c.seq.between(newest - LOOKED_THROUGH + 1, newest))
            query = query if account is None else query.where(jobs.c.account == account)
        return sorted(connection.scalars(query))

"""Attempts that the database has forgotten: after a failover it is a server that never got the last commits of the old one.

In: attempts that this process has made, and what became of them. Out: their jobs, begun and ended anew. Never: a job whose attempt
is known, which another worker may have taken, or a person.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import Connection, select

from worker68.jobs.outcome import Outcome
from worker68.store.statements.attempts import Attempt, begin, settle
from worker68.store.tables import attempts


def settle_forgotten(
    connection: Connection, batch: Sequence[tuple[Attempt, Outcome]], now: dt.datetime
) -> list[Attempt]:
    """End the jobs that are as they were before these attempts began; return the attempts of these. The others are not touched."""
    forgotten = []
    for attempt, outcome in batch:
        known = select(attempts.c.id).where(attempts.c.seq == attempt.seq, attempts.c.number == attempt.number)
        if connection.scalar(known) is None and begin(connection, [attempt], now, sent=True)[0]:
            settle(connection, [(attempt, outcome)], now)
            forgotten.append(attempt)
    return forgotten

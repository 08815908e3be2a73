"""The tables in both databases: each question about waiting jobs finds its index, and times keep their order."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import StatementError

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.store import tables
from worker68.store.tables import cancellations


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("ix_jobs_in_lane", "SELECT min(lane) FROM jobs WHERE account = 'main' AND {IN_LANE} AND lane > 'send'"),
        (
            "ix_jobs_in_lane",
            "SELECT seq FROM jobs WHERE account = 'main' AND lane = 'send:group:1' AND {IN_LANE}"
            " ORDER BY step DESC, priority, seq LIMIT 20",
        ),
        ("ix_jobs_not_due", "SELECT due_at FROM jobs WHERE account = 'main' AND {NOT_DUE} ORDER BY due_at LIMIT 1"),
        ("ix_jobs_parked", "SELECT seq FROM jobs WHERE account = 'main' AND {PARKED} ORDER BY seq"),
        (
            "ix_jobs_expiry",
            "SELECT seq FROM jobs WHERE account = 'main' AND {MAY_EXPIRE} AND expires_at <= '2026-01-01'",
        ),
        ("ix_jobs_sending", "SELECT count(*) FROM jobs WHERE account = 'main' AND {SENDING}"),
    ],
)
def test_each_question_has_its_index(ledger: Ledger, index: str, query: str) -> None:
    """An index of a part of the table is found only by a query that says the same words."""
    wheres = {name: getattr(tables, name) for name in ("IN_LANE", "NOT_DUE", "PARKED", "MAY_EXPIRE", "SENDING")}
    explain = "EXPLAIN QUERY PLAN" if ledger.engine.dialect.name == "sqlite" else "EXPLAIN"
    with ledger.engine.connect() as connection:
        if explain == "EXPLAIN":
            connection.execute(text("SET enable_seqscan = off"))  # the table is empty, and a scan of nothing is cheap
        plan = connection.execute(text(f"{explain} {query.format(**wheres)}")).all()
    assert index in str(plan)


def remember(ledger: Ledger, **times: dt.datetime) -> None:
    rows = [{"task_id": name, "cancelled_at": when} for name, when in times.items()]
    ledger.run(lambda connection: connection.execute(insert(cancellations), rows))


def test_times_are_compared_and_sorted_by_their_moment(ledger: Ledger) -> None:
    """SQLite compares them as text."""
    remember(
        ledger,
        third=(NOW + dt.timedelta(seconds=1)).astimezone(dt.timezone(dt.timedelta(hours=-5))),
        first=NOW.astimezone(dt.timezone(dt.timedelta(hours=8))),
        second=NOW + dt.timedelta(microseconds=1),
    )
    when = cancellations.c.cancelled_at
    query = select(cancellations.c.task_id, when).order_by(when)
    found = ledger.run(lambda connection: connection.execute(query).all())
    assert [tuple(row) for row in found] == [
        ("first", NOW),
        ("second", NOW + dt.timedelta(microseconds=1)),
        ("third", NOW + dt.timedelta(seconds=1)),
    ]
    later = query.where(when > NOW)
    assert [row.task_id for row in ledger.run(lambda connection: connection.execute(later).all())] == [
        "second",
        "third",
    ]


def test_a_time_without_an_offset_is_not_written(ledger: Ledger) -> None:
    with pytest.raises(StatementError, match="a time without an offset"):
        remember(ledger, early=NOW.replace(tzinfo=None))
    assert ledger.count(cancellations) == 0

"""Figures are counted without the jobs that have ended, and ids are found without them: no statement reads all rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger, open_ledger
from worker68.jobs.outcome import ErrorCode, in_doubt
from worker68.jobs.states import State
from worker68.store import figures
from worker68.store.engine import Engine, reading, transaction
from worker68.store.figures import count_in_doubt, count_waiting_jobs, find_waiting_accounts
from worker68.store.reports import find_beginnings, find_jobs, list_jobs
from worker68.store.standing import count_in_lanes, list_waiting

DOUBT = in_doubt(ErrorCode.NO_VERDICT, "silence")

#: Rows that have ended, as many as make a scan of all dearer than an index.
FILL = """
INSERT INTO jobs (job_id, account, task, lane, job_class, priority, ordered, state, received_at, content_hash, fields)
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 20000)
SELECT 'ended-' || n, 'main', 'worker68.send_message', 'x', 1, 0, {true}, 'ended', '2026-11-23 12:00:00', 'x', '{{}}' FROM number
"""


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with open_ledger(database_url) as ledger:
        yield ledger


def plans(engine: Engine, ask: Callable[[], object]) -> list[str]:
    """Run what asks, and return the plan of each of its statements."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH", "(")):
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    ask()
    event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with reading(engine) as connection:
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))
            for statement, parameters in statements
        ]


@pytest.mark.parametrize("statistics", [False, True], ids=["no statistics", "statistics"])
def test_no_statement_reads_what_has_ended(ledger: Ledger, statistics: bool) -> None:
    engine = ledger.engine
    ledger.settle(ledger.must_begin(ledger.send()), DOUBT)
    (waits,) = ledger.arrive(message(kwargs=send_fields(job_id="4711f0c9-3f0e")))
    with transaction(engine) as connection:
        connection.execute(text(FILL.format(true="true" if engine.dialect.name == "postgresql" else "1")))
        if statistics:
            connection.execute(text("ANALYZE"))
    for ask in (
        lambda: count_waiting_jobs(engine, ["main"]),
        lambda: find_waiting_accounts(engine),
        lambda: count_in_doubt(engine, NOW),
        lambda: find_jobs(engine, "4711f0c9-3f0e"),
        lambda: find_beginnings(engine, "4711f0", None, 2),
        lambda: list_waiting(engine, ["main"], None, 50),
        lambda: count_in_lanes(engine, [("main", ledger.row(waits.seq).lane)]),
        lambda: list_jobs(engine, account=None, state="sending", limit=50),
    ):
        for plan in plans(engine, ask):
            assert "Seq Scan on jobs" not in plan, plan
            for line in plan.splitlines():
                assert not line.startswith("SCAN jobs") or "ix_jobs_" in line, plan
                assert not ("autoindex_jobs" in line and line.endswith("(account=?)")), plan


def test_a_job_is_counted_once_by_its_state(ledger: Ledger) -> None:
    ready, begun, tired = ledger.arrive(message(), message(), message(kwargs=send_fields(account="other")))
    ledger.send(send_at="2999-01-01T00:00:00Z")
    ledger.must_begin(begun)
    ledger.settled()
    ledger.run(
        lambda connection: connection.execute(
            text(f"UPDATE jobs SET attempts = 1, state = 'deferred' WHERE seq = {ready.seq}")
        )
    )
    counts = {(row.account, row.state): row.number for row in count_waiting_jobs(ledger.engine, ["main", "other"])}
    assert counts == {("main", "deferred"): 2, ("main", "sending"): 1, ("other", "ready"): 1}
    assert find_waiting_accounts(ledger.engine) == ["main", "other"]
    assert tired.account == "other"


def test_doubts_are_counted_until_they_are_over(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    since = NOW - dt.timedelta(days=1)
    for when in (NOW, NOW, since - dt.timedelta(seconds=1)):
        ledger.settle(ledger.must_begin(ledger.send()), DOUBT, when)
    resolved = ledger.send()
    ledger.settle(ledger.must_begin(resolved), DOUBT)
    ledger.revise(resolved.seq)
    assert count_in_doubt(ledger.engine, since) == ({"main": 2}, True)

    monkeypatch.setattr(figures, "ATTEMPTS_LOOKED_THROUGH", 3)
    assert count_in_doubt(ledger.engine, since) == ({"main": 1}, False)


def test_the_first_of_each_lane_comes_first(ledger: Ledger) -> None:
    chats = [{"type": "group", "id": number} for number in (1, 1, 1, 2, 2)]
    jobs = ledger.arrive(*(message(kwargs=send_fields(chat=chat)) for chat in chats))
    later = ledger.send(send_at="2999-01-01T00:00:00Z")
    a, b, c, d, e = (job.seq for job in jobs)
    found = list_waiting(ledger.engine, ["main"], "ready", 10)
    assert [(one.seq, one.place) for one in found] == [(a, 0), (d, 0), (b, 1), (e, 1), (c, 2)]
    assert [one.seq for one in list_waiting(ledger.engine, ["main"], "ready", 2)] == [a, d]
    assert [one.seq for one in list_waiting(ledger.engine, ["main"], None, 10)][-1] == later.seq
    assert [one.seq for one in list_waiting(ledger.engine, ["main"], State.DEFERRED, 10)] == [later.seq]
    lane = found[0].lane or ""
    assert count_in_lanes(ledger.engine, [("main", lane)]) == {("main", lane): 3}

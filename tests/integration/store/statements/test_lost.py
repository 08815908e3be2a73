"""Attempts that were lost with their worker are counted by job and step, and end without a word about their job."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import insert, select

from tests.parts.jobs import NOW, message
from tests.parts.ledger import FENCE, OWNER, Ledger
from worker68.jobs.job import Job
from worker68.store.statements.lost import count_deaths, end_as_lost
from worker68.store.tables import attempts

LOST = "worker_lost"
LATER = NOW + dt.timedelta(minutes=1)


def tried(ledger: Ledger, job: Job, *tries: tuple[int, str | None]) -> None:
    """Write attempts of a job: the step and the ending of each, None for one that has no end yet."""
    rows = [
        {"seq": job.seq, "number": number, "step": step, "owner": OWNER, "fence": FENCE, "began_at": NOW}
        | {"ending": ending, "ended_at": NOW if ending else None}
        for number, (step, ending) in enumerate(tries, start=1)
    ]
    ledger.run(lambda connection: connection.execute(insert(attempts), rows))


def deaths(ledger: Ledger, *jobs: Job) -> dict[tuple[int, int], int]:
    return ledger.run(lambda connection: count_deaths(connection, [job.seq for job in jobs]))


def end(ledger: Ledger, *jobs: Job) -> None:
    ledger.run(lambda connection: end_as_lost(connection, [job.seq for job in jobs], LATER))


def endings(ledger: Ledger, job: Job) -> list[tuple[str | None, dt.datetime | None]]:
    """Return how and when each attempt of a job ended."""
    query = select(attempts.c.ending, attempts.c.ended_at).where(attempts.c.seq == job.seq).order_by(attempts.c.number)
    return ledger.run(lambda connection: [(row.ending, row.ended_at) for row in connection.execute(query)])


def test_deaths_are_counted_by_job_and_step(ledger: Ledger) -> None:
    first, second, third, other = ledger.arrive(*[message() for _ in range(4)])
    tried(ledger, first, (0, LOST), (0, "busy"), (0, LOST), (0, "succeeded"), (1, LOST), (1, None))
    tried(ledger, second, (0, LOST))
    tried(ledger, third, (0, "busy"), (0, None))
    tried(ledger, other, (0, LOST), (0, LOST))
    assert deaths(ledger, first, second, third) == {(first.seq, 0): 2, (first.seq, 1): 1, (second.seq, 0): 1}
    assert deaths(ledger) == {}


def test_only_an_attempt_without_an_end_is_ended_as_lost(ledger: Ledger) -> None:
    first, second, other = ledger.arrive(*[message() for _ in range(3)])
    tried(ledger, first, (0, "busy"), (0, None))
    tried(ledger, second, (0, None))
    tried(ledger, other, (0, None))
    end(ledger)
    end(ledger, first, second)
    assert endings(ledger, first) == [("busy", NOW), (LOST, LATER)]
    assert endings(ledger, second) == [(LOST, LATER)]
    assert endings(ledger, other) == [(None, None)]
    assert deaths(ledger, first, second, other) == {(first.seq, 0): 1, (second.seq, 0): 1}


def test_the_jobs_row_is_not_touched(ledger: Ledger) -> None:
    attempt = ledger.must_begin(ledger.send())
    before = ledger.rows()
    end(ledger, attempt.job)
    assert ledger.tries(attempt.seq) == [(1, LOST)]
    assert ledger.rows() == before

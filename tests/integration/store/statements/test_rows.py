"""Rows of waiting jobs become jobs as they went in, and one that cannot be read keeps none of the others back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Select, select, update
from structlog.testing import capture_logs

from tests.parts.jobs import LEAST_FIELDS, MUTE, NOW, SYNC, message, mute_fields, send_fields
from tests.parts.ledger import Ledger
from worker68.clock import utc_now
from worker68.jobs.job import Job
from worker68.jobs.retry import BACK_OFF_CAP_SECONDS
from worker68.store.statements import attempts
from worker68.store.statements.rows import read_jobs
from worker68.store.tables import jobs

NOTICE = "worker68.set_group_notice"
SOON = NOW + dt.timedelta(seconds=60)
LATER = NOW + dt.timedelta(seconds=120)
DAY = dt.timedelta(days=1)
ALL = select(jobs).order_by(jobs.c.seq)


def read(ledger: Ledger, query: Select[Any] = ALL) -> tuple[list[Job], list[int]]:
    return ledger.run(lambda connection: read_jobs(connection, query))


def read_one(ledger: Ledger) -> Job:
    (job,), _ = read(ledger)
    return job


def back_off(ledger: Ledger, job: Job, until: dt.datetime = NOW, number: int = 1, ending: str = "busy") -> None:
    attempt = ledger.must_begin(job, number)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, until, ending, "why", NOW))


def test_jobs_come_back_from_the_tables_as_they_went_in(ledger: Ledger) -> None:
    made = ledger.arrive(
        message(kwargs=send_fields(metadata={"a": 1}, ordered=False, expires_at=LATER.timestamp()), priority=3),
        message(MUTE, mute_fields()),
        message(SYNC, {"send_at": SOON.timestamp()}),
    )
    assert read(ledger) == (made, [])
    assert read(ledger, select(jobs).order_by(jobs.c.seq.desc())) == (made[::-1], [])


@pytest.mark.parametrize(
    "damage",
    [{"fields": "{"}, {"fields": "{}"}, {"task": "worker68.later"}, {"state": "stolen"}, {"done": "[]"}],
    ids=lambda damage: next(iter(damage)),
)
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_jobs(ledger: Ledger, damage: dict[str, str]) -> None:
    first, bad, last = ledger.arrive(*[message() for _ in range(3)])
    ledger.run(lambda connection: connection.execute(update(jobs).where(jobs.c.seq == bad.seq).values(damage)))
    with capture_logs() as logs:
        assert read(ledger) == ([first, last], [bad.seq])
    assert [(line["event"], line["seq"]) for line in logs] == [("row_not_readable", bad.seq)]


def test_a_job_bears_the_id_of_the_first_message_that_asked_for_it(ledger: Ledger) -> None:
    for task_id in ("z", "a", "m"):
        ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id=task_id))
    assert read_one(ledger).task_id == "z"


def test_between_its_steps_a_job_knows_what_was_done(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(NOTICE, LEAST_FIELDS[NOTICE]))
    attempt = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.advance(connection, attempt, {"notice_id": 5}, NOW))
    further = read_one(ledger)
    assert (further.step, further.done, further.attempts_before) == (1, {"notice_id": 5}, 1)
    assert further.custom_msg_id == job.custom_msg_id


def test_only_deaths_at_its_present_step_count(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(NOTICE, LEAST_FIELDS[NOTICE]))
    back_off(ledger, job, number=1, ending="worker_lost")
    back_off(ledger, job, number=2)
    back_off(ledger, job, number=3, ending="worker_lost")
    assert read_one(ledger).deaths == 2
    attempt = ledger.must_begin(job, 4)
    ledger.run(lambda connection: attempts.advance(connection, attempt, {"notice_id": 5}, NOW))
    assert read_one(ledger).deaths == 0
    back_off(ledger, read_one(ledger), number=5, ending="worker_lost")
    assert read_one(ledger).deaths == 1


def test_a_back_off_is_over_in_time_also_where_the_clock_was_set_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_off(ledger, ledger.send(), NOW + DAY)
    monkeypatch.setattr("worker68.store.statements.rows.utc_now", lambda: NOW)
    assert read_one(ledger).due_at == NOW + dt.timedelta(seconds=BACK_OFF_CAP_SECONDS)


@pytest.mark.parametrize("seconds", [-3600.0, BACK_OFF_CAP_SECONDS / 2])
def test_a_back_off_that_is_no_longer_than_any_may_be_is_kept(ledger: Ledger, seconds: float) -> None:
    until = utc_now() + dt.timedelta(seconds=seconds)
    back_off(ledger, ledger.send(), until)
    assert read_one(ledger).due_at == until


def test_a_job_that_was_not_tried_is_due_when_its_producer_said(ledger: Ledger) -> None:
    until = utc_now() + 30 * DAY
    ledger.send(send_at=until.isoformat(), now=utc_now())
    assert read_one(ledger).due_at == until

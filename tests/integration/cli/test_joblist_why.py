"""Why a job waits, as ``worker68 jobs show`` tells it from the rows alone."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pytest

from tests.integration.cli.conftest import Run
from tests.parts.jobs import NOW, message
from tests.parts.ledger import Ledger
from worker68.clock import utc_now
from worker68.jobs.job import Job
from worker68.store import waiting
from worker68.store.statements import attempts

Why = Callable[[Job], str]


@pytest.fixture
def why(run: Run, sqlite_url: str) -> Why:
    def ask(job: Job) -> str:
        done = run("jobs", "show", job.job_id, "--json", DATABASE_URL=sqlite_url)
        assert (done.exit_code, done.stderr) == (0, "")
        words: str = json.loads(done.stdout)["explanation"]
        return words

    return ask


def back_off(ledger: Ledger, job: Job, until: dt.datetime) -> None:
    attempt = ledger.must_begin(job)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, until, "busy", "the service is busy", NOW))


def test_what_is_not_due_says_when_in_its_row_too(ledger: Ledger, why: Why) -> None:
    job = ledger.send(send_at="2999-01-02T03:04:05+08:00")
    assert ledger.row(job.seq).reason == "not before 2999-01-01 19:04:05 UTC"
    assert why(job) == "deferred: not before 2999-01-01 19:04:05 UTC"


def test_a_task_that_nobody_knows_says_how_long_it_is_waited_for(ledger: Ledger, why: Why) -> None:
    ledger.arrive(message("worker68.dance", {}, task_id="unknown"))
    (row,) = ledger.rows()
    assert (
        row.reason
        == "no worker knows the task worker68.dance; it waits for a newer worker until 2026-11-23 12:10:00 UTC"
    )


def test_a_back_off_says_until_when_and_afterwards_what_the_job_waits_for(ledger: Ledger, why: Why) -> None:
    job = ledger.send()
    until = utc_now() + dt.timedelta(hours=1)
    back_off(ledger, job, until)
    waiting.write_reasons(ledger.engine, {job.seq: "backing off after an attempt"}, utc_now())
    assert why(job) == f"deferred: tried again at {until:%Y-%m-%d %H:%M:%S} UTC: the service is busy"

    over = until + dt.timedelta(seconds=1)
    waiting.write_reasons(ledger.engine, {job.seq: "the bridge is away"}, over)
    assert ledger.row(job.seq).reason == "the bridge is away"


def test_a_back_off_that_is_over_says_so(ledger: Ledger, why: Why) -> None:
    job = ledger.send()
    back_off(ledger, job, utc_now() - dt.timedelta(seconds=1))
    assert why(job) == "deferred: its back-off is over: the service is busy"

    waiting.write_reasons(ledger.engine, {job.seq: None}, utc_now())
    assert why(job) == "deferred: its back-off is over: its turn comes next"


def test_without_order_the_reason_of_one_is_that_of_all(ledger: Ledger, why: Why) -> None:
    tired, first, second = (ledger.send(ordered=False) for _ in range(3))
    back_off(ledger, tired, utc_now() + dt.timedelta(hours=1))
    ordered = ledger.send()
    waiting.write_reasons(ledger.engine, {first.seq: "the bridge is away"}, NOW)
    assert [why(job) for job in (first, second)] == ["ready: the bridge is away"] * 2
    assert why(ordered) == "ready: its turn comes next"


def test_a_reason_that_is_over_leaves_the_row(ledger: Ledger, why: Why) -> None:
    job = ledger.send()
    waiting.write_reasons(ledger.engine, {job.seq: "the bridge is away"}, NOW)
    waiting.write_reasons(ledger.engine, {job.seq: None}, NOW)
    assert (ledger.row(job.seq).reason, why(job)) == (None, "ready: its turn comes next")

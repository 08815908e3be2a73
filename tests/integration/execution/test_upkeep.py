"""How full an account's waiting room is, as its owner reckons it between two counts."""

from __future__ import annotations

import math

import pytest

from tests.parts.accounts import open_account
from tests.parts.clock import Clock
from tests.parts.jobs import account as settings_of
from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger
from tests.parts.onloop import run
from worker68.execution import recovery
from worker68.execution.account import Account
from worker68.execution.upkeep import SWEEP_SECONDS
from worker68.jobs.job import Job


def arrive(ledger: Ledger, account: Account, count: int) -> list[Job]:
    jobs = ledger.arrive(*[message(kwargs=send_fields(chat={"type": "group", "id": at + 1})) for at in range(count)])
    account.upkeep.take(jobs)
    return jobs


def test_a_job_that_ends_makes_room(sqlite: Ledger) -> None:
    account = open_account(sqlite, settings=settings_of(max_waiting=2))
    run(account.tend())
    arrive(sqlite, account, 2)
    assert account.upkeep.room == 0
    job = run(account.choose()).ready[0].job
    sqlite.settle(sqlite.must_begin(job))
    account.dispatch.finish(job)
    assert account.upkeep.room == 1


def test_an_end_that_was_committed_before_the_count_and_told_after_it_opens_no_room(sqlite: Ledger) -> None:
    account = open_account(sqlite, settings=settings_of(max_waiting=2))
    run(account.tend())
    arrive(sqlite, account, 3)
    job = run(account.choose()).ready[0].job
    sqlite.settle(sqlite.must_begin(job))
    account.upkeep.distrust()
    run(account.tend())
    assert account.upkeep.room == 0, "two wait, as SQL counted them"

    account.dispatch.finish(job)

    assert account.upkeep.room == 0, "SQL had counted it as ended"
    account.upkeep.distrust()
    run(account.tend())
    assert account.upkeep.room == 0


def test_an_account_is_swept_only_where_something_has_lasted(sqlite: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sweeps = Clock(), list[str]()
    clock.drive(monkeypatch, "worker68.execution.upkeep")
    monkeypatch.setattr(recovery, "resolve_abandoned", lambda engine, account, *_: sweeps.append(account))
    account = open_account(sqlite)
    run(account.tend())
    assert sweeps == ["main"], "nothing is known of it"
    assert account.upkeep.tend_at == math.inf, "nothing is looked at before something changes"
    arrive(sqlite, account, 1)
    assert len(run(account.choose()).ready) == 1
    clock.pass_by(SWEEP_SECONDS)
    run(account.tend())
    assert sweeps == ["main"]
    account.upkeep.note_unfinished()
    clock.pass_by(SWEEP_SECONDS)
    run(account.tend())
    assert sweeps == ["main", "main"], "it was there for a while"
    clock.pass_by(SWEEP_SECONDS)
    run(account.tend())
    assert sweeps == ["main", "main"]


def test_an_account_is_swept_where_memory_knows_of_jobs_that_sql_has_not(
    sqlite: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    clock.drive(monkeypatch, "worker68.execution.upkeep")
    account = open_account(sqlite)
    run(account.tend())
    for job in arrive(sqlite, account, 2):
        sqlite.settle(sqlite.must_begin(job))
    assert account.upkeep.unfinished == 2
    clock.pass_by(SWEEP_SECONDS)
    run(account.tend())
    assert account.upkeep.unfinished == 0

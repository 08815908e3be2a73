"""How full an account's waiting room is, as its owner reckons it between two counts; and what a newer version has left there."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.parts.accounts import open_account
from tests.parts.clock import Clock
from tests.parts.jobs import NOW, SEND, message, send_fields
from tests.parts.jobs import account as settings_of
from tests.parts.ledger import Ledger
from tests.parts.onloop import run
from worker68.clock import utc_now
from worker68.execution import recovery
from worker68.execution.account import Account
from worker68.execution.backlog import LOOK_AGAIN_SECONDS
from worker68.execution.intake import PARKED_FOR
from worker68.execution.upkeep import LOOK_SECONDS, SWEEP_SECONDS
from worker68.jobs.job import Job
from worker68.store import waiting
from worker68.store.tables import jobs as jobs_table
from worker68.tasks import TASKS

CHATS = ({"type": "group", "id": 1}, {"type": "group", "id": 2})


def arrive(ledger: Ledger, account: Account, count: int) -> list[Job]:
    jobs = ledger.arrive(*[message(kwargs=send_fields(chat={"type": "group", "id": at + 1})) for at in range(count)])
    account.upkeep.take(jobs)
    return jobs


def open_with_upkeep(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> tuple[Clock, Account]:
    """Return an account that had its upkeep once, and the clock of its upkeep, which the test drives."""
    clock = Clock()
    clock.drive(monkeypatch, "worker68.execution.upkeep")
    account = open_account(ledger)
    run(account.run_upkeep())
    return clock, account


def test_a_job_that_ends_makes_room(sqlite: Ledger) -> None:
    account = open_account(sqlite, settings=settings_of(max_waiting=2))
    run(account.run_upkeep())
    arrive(sqlite, account, 2)
    assert account.upkeep.room == 0
    job = run(account.choose()).ready[0].job
    sqlite.settle(sqlite.must_begin(job))
    account.dispatch.finish(job)
    assert account.upkeep.room == 1


def test_an_end_that_was_committed_before_the_count_and_told_after_it_opens_no_room(sqlite: Ledger) -> None:
    account = open_account(sqlite, settings=settings_of(max_waiting=2))
    run(account.run_upkeep())
    arrive(sqlite, account, 3)
    job = run(account.choose()).ready[0].job
    sqlite.settle(sqlite.must_begin(job))
    account.upkeep.distrust()
    run(account.run_upkeep())
    assert account.upkeep.room == 0, "two wait, as SQL counted them"

    account.dispatch.finish(job)

    assert account.upkeep.room == 0, "SQL had counted it as ended"
    account.upkeep.distrust()
    run(account.run_upkeep())
    assert account.upkeep.room == 0


def test_an_account_is_swept_only_where_something_has_lasted(sqlite: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sweeps = Clock(), list[str]()
    clock.drive(monkeypatch, "worker68.execution.upkeep")
    monkeypatch.setattr(recovery, "resolve_abandoned", lambda engine, account, *_: sweeps.append(account))
    account = open_account(sqlite)
    run(account.run_upkeep())
    assert sweeps == ["main"], "nothing is known of it"
    assert account.upkeep.next_at == math.inf, "nothing is looked at before something changes"
    arrive(sqlite, account, 1)
    assert len(run(account.choose()).ready) == 1
    clock.pass_by(SWEEP_SECONDS)
    run(account.run_upkeep())
    assert sweeps == ["main"]
    account.upkeep.note_unfinished()
    clock.pass_by(SWEEP_SECONDS)
    run(account.run_upkeep())
    assert sweeps == ["main", "main"], "it was there for a while"
    clock.pass_by(SWEEP_SECONDS)
    run(account.run_upkeep())
    assert sweeps == ["main", "main"]


def test_an_account_is_swept_where_memory_knows_of_jobs_that_sql_has_not(
    sqlite: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, account = open_with_upkeep(sqlite, monkeypatch)
    for job in arrive(sqlite, account, 2):
        sqlite.settle(sqlite.must_begin(job))
    assert account.upkeep.unfinished == 2
    clock.pass_by(SWEEP_SECONDS)
    run(account.run_upkeep())
    assert account.upkeep.unfinished == 0


def test_parked_jobs_that_no_worker_knows_end_part_by_part(sqlite: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the account begins while a part ends, and the next one follows soon."""
    monkeypatch.setattr(recovery, "ENDED_AT_ONCE", 2)
    sqlite.arrive(*[message("worker68.later", {}) for _ in range(5)])
    clock, account = open_with_upkeep(sqlite, monkeypatch)
    told = [len(sqlite.told())]
    for _ in range(3):
        clock.pass_by(LOOK_SECONDS)
        run(account.run_upkeep())
        told.append(len(sqlite.told()))
    assert told == [2, 4, 5, 5]


def test_a_job_that_comes_while_others_expire_expires_as_soon_as_they_do(
    sqlite: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, account = open_with_upkeep(sqlite, monkeypatch)
    come = list[Job]()

    def send() -> None:
        come.append(sqlite.send(expires_at=(NOW + dt.timedelta(seconds=1)).timestamp()))
        account.upkeep.take(come[-1:])

    def look_before_it_comes(*asked: Any) -> dt.datetime | None:
        expires = next_expiry(*asked)
        if len(come) < 2:
            send()
        return expires

    next_expiry = waiting.next_expiry
    monkeypatch.setattr(waiting, "next_expiry", look_before_it_comes)
    send()
    for _ in range(2):
        clock.pass_by(LOOK_SECONDS)
        run(account.run_upkeep())
    assert [sqlite.row(job.seq).status for job in come] == ["expired", "expired"]


@contextmanager
def older_version(*unknown: str) -> Iterator[None]:
    """Run the block as a worker does that does not know these tasks yet."""
    removed = {task: TASKS.pop(task) for task in unknown}
    try:
        yield
    finally:
        TASKS.update(removed)


def choose_seqs(account: Account) -> list[int]:
    run(account.run_upkeep())
    return [ready.job.seq for ready in run(account.choose()).ready]


class TestOlderOwner:
    """The owner is of an older version than the one that took the jobs in."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock = Clock()
        modules = ("backlog", "dispatch", "upkeep")
        clock.drive(monkeypatch, *(f"worker68.execution.{module}" for module in modules))
        return clock

    def make_unknown(self, ledger: Ledger, *jobs: Job) -> None:
        """Let these jobs be of a task that only a newer version knows."""
        theirs = jobs_table.update().where(jobs_table.c.seq.in_([job.seq for job in jobs]))
        ledger.run(lambda connection: connection.execute(theirs.values(task="worker68.newer")))

    def test_a_lane_waits_alike_when_the_account_is_taken_over_and_later(self, sqlite: Ledger, clock: Clock) -> None:
        first, behind, other, last = sqlite.arrive(
            *[message(kwargs=send_fields(chat=CHATS[at])) for at in (0, 0, 1, 1)]
        )
        self.make_unknown(sqlite, first, last)
        account = open_account(sqlite)
        assert choose_seqs(account) == [other.seq]
        account.upkeep.take(sqlite.arrive(*[message(kwargs=send_fields(chat=chat)) for chat in CHATS]))
        sqlite.settle(sqlite.must_begin(other))
        account.dispatch.finish(other)
        assert choose_seqs(account) == [], "what comes later waits as well"
        for _ in range(3):
            clock.pass_by(max(SWEEP_SECONDS, LOOK_AGAIN_SECONDS))
            assert choose_seqs(account) == []
        assert sqlite.row(behind.seq).state == "ready"

        newer = open_account(sqlite)
        sqlite.run(lambda connection: connection.execute(jobs_table.update().values(task=first.task)))
        assert choose_seqs(newer) == [first.seq, last.seq]

    def test_the_row_says_what_it_waits_for(self, sqlite: Ledger, clock: Clock) -> None:
        (first,) = sqlite.arrive(message())
        self.make_unknown(sqlite, first)
        account = open_account(sqlite)
        for _ in range(3):
            run(account.run_upkeep())
            clock.pass_by(LOOK_SECONDS)
        assert "does not know the task worker68.newer" in sqlite.row(first.seq).reason

    def test_what_no_newer_worker_takes_over_ends_after_ten_minutes(self, sqlite: Ledger, clock: Clock) -> None:
        first, second, known = sqlite.arrive(*[message(task_id=f"t{number}") for number in range(3)])
        self.make_unknown(sqlite, first, second)
        account = open_account(sqlite)
        clock.pass_by(PARKED_FOR.total_seconds() - 1)
        assert choose_seqs(account) == []
        assert sqlite.told() == []
        clock.pass_by(PARKED_FOR.total_seconds() - SWEEP_SECONDS)
        assert choose_seqs(account) == []
        assert sqlite.told() == [], "under this owner"
        clock.pass_by(2 * SWEEP_SECONDS)
        assert choose_seqs(account) == [known.seq]
        assert sorted(sqlite.told()) == ["t0: invalid_job", "t1: invalid_job"]

    def test_a_deferred_job_of_it_enters_its_lane_when_it_is_due(self, sqlite: Ledger, clock: Clock) -> None:
        soon = (utc_now() + dt.timedelta(hours=1)).timestamp()
        (newer,) = sqlite.arrive(message(kwargs=send_fields(send_at=soon)), now=utc_now())
        self.make_unknown(sqlite, newer)
        account = open_account(sqlite)
        assert choose_seqs(account) == []
        assert sqlite.row(newer.seq).state == "deferred"
        past = utc_now() - dt.timedelta(seconds=1)
        sqlite.run(lambda connection: connection.execute(jobs_table.update().values(due_at=past)))
        account.upkeep.distrust()
        assert choose_seqs(account) == []
        assert sqlite.row(newer.seq).state == "ready"

    def test_what_it_has_parked_runs_in_its_order_under_the_next_owner(self, sqlite: Ledger) -> None:
        with older_version(SEND):
            older = open_account(sqlite)
            assert choose_seqs(older) == []
            parked = self.arrive(sqlite, 3)
            assert choose_seqs(older) == []
        newer = open_account(sqlite)
        (last,) = sqlite.arrive(message())
        begun = []
        for _ in range(4):
            (seq,) = choose_seqs(newer)
            (job,) = waiting.load_jobs(sqlite.engine, [seq])
            sqlite.settle(sqlite.must_begin(job))
            newer.dispatch.finish(job)
            begun.append(seq)
        assert begun == [*parked, last.seq]

    def arrive(self, ledger: Ledger, count: int) -> list[int]:
        """Take sends in whose task is not known; return their numbers."""
        before = {row.seq for row in ledger.rows()}
        assert ledger.arrive(*[message() for _ in range(count)]) == []
        return sorted(row.seq for row in ledger.rows() if row.seq not in before)

"""An account as its owner has it: what lets its jobs start, and what keeps all of them from it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.parts.accounts import ReadyLink, open_account, pause_of
from tests.parts.jobs import NOW, message
from tests.parts.ledger import Ledger
from tests.parts.onloop import run
from worker68.execution.account import Account
from worker68.execution.pacing import Pacing
from worker68.store.pauses import Pause

PAUSED = pause_of(pause=Pause(1, "main", "a complaint", "ann", NOW, None))


@pytest.fixture
def link() -> ReadyLink:
    return ReadyLink()


@pytest.fixture
def account(sqlite: Ledger, link: ReadyLink) -> Account:
    """One with a job that may start."""
    account = open_account(sqlite, link=link)
    run(account.run_upkeep())
    account.upkeep.take(sqlite.arrive(message()))
    return account


def chosen(account: Account) -> int:
    return len(run(account.choose()).ready)


def test_a_job_that_is_ready_starts_once(account: Account) -> None:
    assert [chosen(account), chosen(account)] == [1, 0]


def test_nothing_starts_while_memory_is_distrusted(account: Account) -> None:
    account.upkeep.distrust()
    assert chosen(account) == 0
    run(account.run_upkeep())
    assert chosen(account) == 1


def test_nothing_starts_while_the_client_is_not_reached(account: Account, link: Any) -> None:
    link.why_not_reached = "connecting"
    assert chosen(account) == 0
    link.why_not_reached = None
    assert chosen(account) == 1


def test_nothing_starts_under_a_lease_that_is_leaving_and_what_is_under_way_may_write(account: Account) -> None:
    account.lease.leave_by = math.inf
    assert chosen(account) == 0
    assert account.why_not(needs_login=True) is None


def test_nothing_starts_under_a_lease_that_has_ended(account: Account) -> None:
    account.lease.end()
    assert account.why_not(needs_login=True) == "this worker does not own the account any more"
    assert chosen(account) == 0


def test_nothing_starts_while_the_account_is_paused_and_it_is_looked_at_again(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(account.guard, "_pause", PAUSED)
        choice = run(account.choose())
        assert (choice.ready, choice.look_again_at is None) == ([], False)
        assert account.why_not(needs_login=False) == "paused by ann since 2026-11-23 12:00:00 UTC: a complaint"
    assert chosen(account) == 1


def test_why_not_tells_calls_of_the_service_from_those_of_the_client(account: Account, link: Any) -> None:
    link.why_not = lambda needs_login: "not logged in" if needs_login else None
    assert account.why_not(needs_login=True) == "not logged in"
    assert account.why_not(needs_login=False) is None


def test_busy_answers_are_reported_with_the_upkeep(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []

    async def report(pacing: Pacing) -> None:
        reported.append("busy")

    monkeypatch.setattr(Pacing, "report_busy", report)
    run(account.run_upkeep())
    assert reported == ["busy"]

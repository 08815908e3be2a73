"""Which accounts have jobs is found from account to account, and an id names every job that has it or was asked for by it."""

from __future__ import annotations

from sqlalchemy import update

from tests.parts.jobs import message, send_fields
from tests.parts.ledger import Ledger
from worker68.store.statements.identity import find_accounts, find_seqs
from worker68.store.tables import SENDING, jobs


def accounts(ledger: Ledger, *where: str) -> list[str]:
    return ledger.run(lambda connection: find_accounts(connection, *where))


def seqs(ledger: Ledger, identity: str, account: str | None = None) -> list[int]:
    return ledger.run(lambda connection: find_seqs(connection, identity, account))


def send_of(ledger: Ledger, account: str) -> None:
    """Write a job of any account."""
    moved = update(jobs).where(jobs.c.seq == ledger.send().seq).values(account=account)
    ledger.run(lambda connection: connection.execute(moved))


def test_each_account_with_jobs_is_found_once(ledger: Ledger) -> None:
    assert accounts(ledger) == []
    for name in ("third", "a", "main", "other", "a", "third"):
        send_of(ledger, name)
    assert accounts(ledger) == ["a", "main", "other", "third"]


def test_an_account_counts_whose_jobs_have_all_ended(ledger: Ledger) -> None:
    ledger.settled()
    assert accounts(ledger) == ["main"]


def test_a_condition_leaves_out_accounts_without_such_jobs(ledger: Ledger) -> None:
    for name in ("a", "third"):
        send_of(ledger, name)
    assert accounts(ledger, str(SENDING)) == []
    for name in ("other", "main"):
        ledger.must_begin(ledger.send(account=name))
    assert accounts(ledger, str(SENDING)) == ["main", "other"]


def test_a_job_is_found_by_its_own_id_and_by_each_that_asked_for_it(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="a"))
    ledger.arrive(message(kwargs=send_fields(job_id="order-1"), task_id="b"), message(task_id="c"))
    assert [seqs(ledger, identity) for identity in ("order-1", "a", "b")] == [[job.seq]] * 3
    assert seqs(ledger, "order-") == []


def test_a_job_whose_own_id_is_that_of_its_message_is_found_once(ledger: Ledger) -> None:
    (job,) = ledger.arrive(message(task_id="a"))
    assert job.job_id == "a"
    assert seqs(ledger, "a") == [job.seq]


def test_one_id_may_name_a_job_of_each_account(ledger: Ledger) -> None:
    first = ledger.send(job_id="order-1")
    second = ledger.send(job_id="order-1", account="other")
    assert seqs(ledger, "order-1") == [first.seq, second.seq]
    assert seqs(ledger, "order-1", "other") == [second.seq]
    assert seqs(ledger, "order-1", "nobody") == []

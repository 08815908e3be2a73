"""The query by which KEDA scales the workers: what it counts in the real tables, and what PostgreSQL reads for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.parts.jobs import NOW, account, message, send_fields
from tests.parts.kustomized import FOLDER, read_all
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.plans import explained
from worker68.jobs.job import Job
from worker68.store.engine import reading
from worker68.store.statements import attempts

ACCOUNTS = [f"account-{number}" for number in range(5)]
WAITING = 300
LATER = NOW + dt.timedelta(hours=1)


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    with open_ledger(postgres_url):  # which makes the tables
        ledger = Ledger(postgres_url, [account(name) for name in ACCOUNTS])
        yield ledger
        ledger.engine.dispose()


def arrive(ledger: Ledger, name: str, count: int, **fields: object) -> list[Job]:
    return ledger.arrive(*[message(kwargs=send_fields(account=name, **fields)) for _ in range(count)])


def ask(ledger: Ledger) -> int:
    (trigger,) = read_all(FOLDER / "keda.yaml")[1]["spec"]["triggers"]
    with reading(ledger.engine) as connection:
        (row,) = connection.execute(text(trigger["metadata"]["query"])).all()
        (count,) = row
    assert isinstance(count, int)
    return count


def test_it_counts_the_accounts_that_have_jobs_to_do(ledger: Ledger) -> None:
    assert ask(ledger) == 0
    arrive(ledger, ACCOUNTS[0], 3)
    (tired,) = arrive(ledger, ACCOUNTS[1], 1)
    arrive(ledger, ACCOUNTS[2], 1, send_at=LATER.timestamp())
    (done,) = arrive(ledger, ACCOUNTS[3], 1)
    attempt = ledger.must_begin(tired)
    ledger.run(lambda connection: attempts.back_off(connection, attempt, LATER, "busy", "busy", NOW))
    assert ledger.settle(ledger.must_begin(done))
    assert ask(ledger) == 2


def test_it_reads_an_entry_of_an_index_for_each_account_however_many_jobs_there_are(ledger: Ledger) -> None:
    for name in ACCOUNTS:
        arrive(ledger, name, WAITING)
    with explained(ledger.engine) as plans:
        assert ask(ledger) == len(ACCOUNTS)
    (plan,) = plans
    assert "ix_jobs_in_lane" in str(plan)
    assert plan.looked_at < WAITING, str(plan)

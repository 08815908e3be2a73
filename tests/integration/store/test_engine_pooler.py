"""Behind a transaction pooler: each transaction meets another session, and no job ends otherwise than without one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.lists import Lists, contacts, counts
from tests.parts.pooler import TransactionPooler
from worker68.errors import DatabaseAway
from worker68.store.engine import open_engine
from worker68.store.migration import upgrade
from worker68.store.schema import VERSION, check_version

IDLE = "SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[TransactionPooler]:
    with TransactionPooler(postgres_url) as pooler:
        yield pooler


@pytest.fixture
def pooled(pooler: TransactionPooler) -> Iterator[Ledger]:
    with open_ledger(pooler.url) as ledger:
        yield ledger


def test_the_tables_are_made_through_it(pooler: TransactionPooler) -> None:
    assert upgrade(pooler.url) == VERSION
    engine = open_engine(pooler.url)
    check_version(engine)
    engine.dispose()


def test_jobs_of_many_threads_are_begun_and_settled(pooled: Ledger, pooler: TransactionPooler) -> None:
    def run(_: int) -> bool:
        return pooled.settle(pooled.must_begin(pooled.send()))

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(run, range(60))) == [True] * 60
    assert {row.status for row in pooled.rows()} == {"succeeded"}
    assert pooler.transactions >= 180


def test_snapshots_are_taken(pooled: Ledger) -> None:
    """They need a temporary table and a lock: both are the transaction's own."""
    lists = Lists(pooled)
    assert counts(lists.see(contacts(1, 2))) == (2, 2, 0, 0)
    assert counts(lists.see(contacts(2, 3))) == (2, 1, 1, 0)


def test_each_transaction_has_the_settings_that_it_needs(pooled: Ledger) -> None:
    assert pooled.run(lambda connection: connection.scalar(text(IDLE))) == "5000"


#: What says that the connection, the server or the moment is to blame, with the words that tell it.
PASSING = [
    "08006",
    "0A000",
    "25006",
    "26000",
    "40001",
    "40P01",
    "42501",
    "42P05",
    "53300",
    "55P03",
    "57014",
    "57P01",
    "58030",
]
#: What says that the statement or its data is.
LASTING = ["22001", "23505", "42601", "54000", "P0001"]


def raise_error(connection: Connection, sqlstate: str) -> None:
    connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = '{sqlstate}'; END $$"))


@pytest.mark.parametrize("sqlstate", PASSING)
def test_what_a_repeat_may_cure_is_away(postgres: Ledger, sqlstate: str) -> None:
    with pytest.raises(DatabaseAway, match="as asked"):
        postgres.run(lambda connection: raise_error(connection, sqlstate))
    assert postgres.send().seq


@pytest.mark.parametrize("sqlstate", LASTING)
def test_what_a_repeat_would_meet_again_is_not(postgres: Ledger, sqlstate: str) -> None:
    with pytest.raises(Exception, match="as asked") as raised:
        postgres.run(lambda connection: raise_error(connection, sqlstate))
    assert not isinstance(raised.value, DatabaseAway)


@pytest.mark.parametrize("sqlstate", ["0A000", "25006", "26000", "42P05"])
def test_a_connection_that_is_to_blame_is_not_used_again(postgres: Ledger, sqlstate: str) -> None:
    def session() -> object:
        return postgres.run(lambda connection: connection.scalar(text("SELECT pg_backend_pid()")))

    before = session()
    assert session() == before
    with pytest.raises(DatabaseAway):
        postgres.run(lambda connection: raise_error(connection, sqlstate))
    assert session() != before


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Ledger]:
    with open_ledger(postgres_url) as ledger:
        yield ledger


def test_a_default_isolation_of_the_database_does_not_matter(postgres: Ledger) -> None:
    """Under "repeatable read" whatever waited for a lock would fail."""
    with postgres.engine.connect() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"))
        connection.commit()
    postgres.engine.dispose()
    job = postgres.send(now=NOW)
    with postgres.engine.connect() as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "read committed"
    assert postgres.settle(postgres.must_begin(job))

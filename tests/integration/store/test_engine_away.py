"""A database that is away says so, loses nothing, and is used again when it is back; and no error shows message text."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError

from tests.parts.jobs import NOW, message, send_fields
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.postgres import PostgresServer
from tests.parts.worker import wait_until
from worker68.errors import DatabaseAway, DatabaseUnfit, SettingsError
from worker68.store import engine as engine_module
from worker68.store import waiting
from worker68.store.engine import open_engine, reading, transaction
from worker68.store.migration import upgrade
from worker68.store.writer import Writer

SECRET = "nobody may read this in a log"


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Ledger]:
    with open_ledger(postgres_url) as ledger:
        yield ledger


class TestPostgresDown:
    def test_every_verb_says_away_and_works_again_afterwards(
        self, postgres: Ledger, postgres_server: PostgresServer
    ) -> None:
        job = postgres.send()
        attempt = postgres.must_begin(job)
        postgres_server.kill()
        with pytest.raises(DatabaseAway):
            postgres.send()
        with pytest.raises(DatabaseAway):
            postgres.settle(attempt)
        with pytest.raises(DatabaseAway):
            postgres.lane()
        with pytest.raises(DatabaseAway):
            waiting.cancel(postgres.engine, ["t"], "revoked", NOW)
        postgres_server.restart()
        assert postgres.settle(attempt)
        assert postgres.row(job.seq).status == "succeeded"
        assert len(postgres.arrive(message())) == 1

    def test_a_transaction_that_breaks_in_the_middle_says_away_and_leaves_nothing(
        self, postgres: Ledger, postgres_server: PostgresServer
    ) -> None:
        job = postgres.send()

        def work(connection: Connection) -> None:
            connection.execute(text("UPDATE jobs SET priority = 5"))
            postgres_server.kill()
            connection.execute(text("UPDATE jobs SET priority = 6"))

        with pytest.raises(DatabaseAway):
            postgres.run(work)
        postgres_server.restart()
        assert postgres.row(job.seq).priority == 0

    def test_the_writer_tells_everyone_and_goes_on(self, postgres: Ledger, postgres_server: PostgresServer) -> None:
        writer = Writer(postgres.engine)
        writer.start()
        try:
            assert writer.write(lambda connection: connection.scalar(text("SELECT 1"))) == 1
            postgres_server.kill()
            with pytest.raises(DatabaseAway):
                writer.write(lambda connection: connection.scalar(text("SELECT 1")))
            postgres_server.restart()
            assert writer.write(lambda connection: connection.scalar(text("SELECT 2"))) == 2
        finally:
            writer.stop()

    def test_a_server_that_takes_no_writes_is_away(self, postgres: Ledger) -> None:
        """A standby after a fail-over: it answers, and refuses every write."""
        with postgres.engine.connect() as connection:
            name = connection.scalar(text("SELECT current_database()"))
            connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
            connection.commit()
        postgres.engine.dispose()
        with pytest.raises(DatabaseAway, match="read-only"):
            postgres.send()

    def test_a_database_without_tables_is_away_and_no_message_is_set_aside(self, postgres_url: str) -> None:
        ledger = Ledger(postgres_url)
        try:
            with pytest.raises(DatabaseAway, match="does not exist"):
                ledger.send()
        finally:
            ledger.engine.dispose()

    def test_the_upgrade_says_away(self, postgres_url: str, postgres_server: PostgresServer) -> None:
        postgres_server.kill()
        with pytest.raises(DatabaseAway):
            upgrade(postgres_url)


class TestSqliteLocked:
    @pytest.fixture
    def sqlite(self, sqlite_url: str) -> Iterator[Ledger]:
        with open_ledger(sqlite_url) as ledger:
            yield ledger

    @contextmanager
    def locked(self, path: Path) -> Iterator[sqlite3.Connection]:
        """Hold the write lock as another process would."""
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            other.execute("BEGIN IMMEDIATE")
            yield other
        finally:
            other.close()

    def test_a_write_waits_for_the_lock(self, sqlite: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "SQLITE_BUSY_TIMEOUT_MS", 60_000)
        sqlite.engine.dispose()
        entered = threading.Event()
        done: list[int] = []

        def write() -> None:
            entered.set()
            done.append(sqlite.send().seq)

        with self.locked(tmp_path / "worker68.db") as other:
            thread = threading.Thread(target=write)
            thread.start()
            assert entered.wait(60)
            thread.join(0.05)
            assert not done
            other.execute("COMMIT")
            thread.join(60)
        assert done == [sqlite.rows()[0].seq]

    def test_a_lock_that_stays_is_away_and_loses_nothing(
        self, sqlite: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_module, "SQLITE_BUSY_TIMEOUT_MS", 50)
        sqlite.engine.dispose()
        raw = message()
        with self.locked(tmp_path / "worker68.db"):
            with pytest.raises(DatabaseAway, match="locked"):
                sqlite.arrive(raw)
            assert sqlite.lane() == [], "reading goes on"
        assert len(sqlite.arrive(raw)) == 1

    def test_readers_do_not_wait_for_a_writer(self, sqlite: Ledger) -> None:
        job = sqlite.send()
        with transaction(sqlite.engine) as connection:
            connection.execute(text("UPDATE jobs SET priority = 5"))
            assert sqlite.row(job.seq).priority == 0
        assert sqlite.row(job.seq).priority == 5

    def test_a_file_that_cannot_be_opened_is_away(self, tmp_path: Path) -> None:
        engine = open_engine(f"sqlite:///{tmp_path / 'no such folder' / 'worker68.db'}")
        with pytest.raises(DatabaseAway, match="unable to open"), reading(engine) as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "no database URL"),
        ("", "no database URL"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://host/name", "is for mysql"),
    ],
)
def test_a_wrong_url_is_a_setting_to_mend(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        open_engine(url)
    assert "DATABASE_URL" in str(refused.value)


def test_an_error_of_the_database_shows_no_message_text(ledger: Ledger) -> None:
    with pytest.raises(DBAPIError) as refused, transaction(ledger.engine) as connection:
        connection.execute(text("SELEKT :fields"), {"fields": SECRET})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "statement", ["SELECT 1 FROM nowhere", "SELECT nowhere FROM jobs", "UPDATE jobs SET nowhere = 1"]
)
def test_a_table_or_column_that_is_missing_says_what_to_do(ledger: Ledger, statement: str) -> None:
    """Another version's tables: no job's fault, so none ends for it."""
    with pytest.raises(DatabaseUnfit, match="worker68 db upgrade"):
        ledger.run(lambda connection: connection.execute(text(statement)))


def test_times_come_back_the_same_wherever_the_databases_session_stands(postgres_url: str) -> None:
    with open_ledger(postgres_url) as ledger:
        with ledger.engine.connect() as connection:
            name = connection.scalar(text("SELECT current_database()"))
            connection.execute(text(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Shanghai'"))
            connection.commit()
        ledger.engine.dispose()
        due = dt.datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
        job, never = ledger.arrive(
            message(kwargs=send_fields(send_at=due.isoformat())), message(eta="9999-12-31T23:59:59")
        )
        loaded, loaded_never = waiting.load_jobs(ledger.engine, [job.seq, never.seq])
        assert loaded_never.due_at == dt.datetime(3000, 1, 1, tzinfo=dt.UTC)
        assert (loaded.due_at, loaded.received_at) == (due, NOW)
        assert loaded.received_at.tzinfo is dt.UTC


class TestFull:
    """A disk that is full refuses what is new, says away, and nothing is half written."""

    def test_sqlite(self, sqlite_url: str) -> None:
        with open_ledger(sqlite_url) as ledger:
            job = ledger.send()
            attempt = ledger.must_begin(job)
            with ledger.engine.connect() as connection:
                pages = connection.scalar(text("PRAGMA page_count"))
            event.listen(ledger.engine, "checkout", lambda raw, *_: raw.execute(f"PRAGMA max_page_count = {pages}"))
            with pytest.raises(DatabaseAway, match="full"):
                ledger.arrive(*[message(kwargs=send_fields(text="x" * 5000)) for _ in range(50)])
            assert len(ledger.rows()) == 1
            pages = 1_000_000
            assert ledger.settle(attempt)
            assert len(ledger.arrive(message())) == 1

    def test_postgresql(self, postgres: Ledger) -> None:
        """Only its answer: filling a server's disk for a test is too much. It is an error of its own class (53100)."""
        with pytest.raises(DatabaseAway, match="no space"):
            postgres.run(
                lambda connection: connection.execute(
                    text("DO $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$")
                )
            )


def test_a_connection_that_the_server_drops_when_idle_is_replaced_unnoticed(postgres: Ledger) -> None:
    with psycopg.connect(postgres.engine.url.render_as_string().replace("+psycopg", ""), autocommit=True) as observer:
        name = observer.info.dbname
        observer.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '1700ms'")
        postgres.engine.dispose()
        idle = postgres.run(lambda connection: connection.scalar(text("SELECT pg_backend_pid()")))
        there = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: observer.execute(there, [idle]).rowcount == 0)
        observer.execute(f"ALTER DATABASE {name} RESET idle_session_timeout")
    assert len(postgres.arrive(message())) == 1

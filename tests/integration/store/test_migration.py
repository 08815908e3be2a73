"""The migrations lead an empty database to the tables that the code has, and back."""

from __future__ import annotations

from alembic import command
from sqlalchemy import inspect, text

from tests.parts.jobs import message
from tests.parts.ledger import Ledger
from tests.parts.lists import Lists, contacts, counts
from worker68.jobs.snapshot import GROUPS, GroupRow
from worker68.store.engine import open_engine, transaction
from worker68.store.migration import configure, upgrade
from worker68.store.schema import VERSION
from worker68.store.tables import metadata


def tables(url: str) -> set[str]:
    engine = open_engine(url)
    try:
        return set(inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


def test_an_empty_database_gets_every_table(database_url: str) -> None:
    assert upgrade(database_url) == VERSION
    assert tables(database_url) >= set(metadata.tables)


def test_the_tables_of_the_migrations_are_those_of_the_code(database_url: str) -> None:
    upgrade(database_url)
    command.check(configure(database_url))


def test_an_upgrade_of_the_newest_version_keeps_what_is_there(database_url: str) -> None:
    upgrade(database_url)
    ledger = Ledger(database_url)
    job = ledger.send()
    assert upgrade(database_url) == VERSION
    assert ledger.lane() == [job.seq]
    ledger.engine.dispose()


def test_the_way_back_leads_to_an_empty_database_and_up_again(database_url: str) -> None:
    upgrade(database_url)
    command.downgrade(configure(database_url), "base")
    assert tables(database_url) == set()
    assert upgrade(database_url) == VERSION
    command.check(configure(database_url))


def test_the_snapshots_of_the_first_version_are_kept_there_and_back(database_url: str) -> None:
    config = configure(database_url)
    command.upgrade(config, "0001")
    ledger = Ledger(database_url)
    now = "'2026-11-23 12:00:00'"
    statements = (
        f"INSERT INTO groups VALUES ('main', 5, 'five', 1, 2, 'host', false, 'n', {now}, NULL)",
        "INSERT INTO snapshots (account, kind, taken_at, count, complete, applied, added, removed, changed)"
        f" VALUES ('main', 'groups', {now}, 1, true, true, 1, 0, 0)",
        """INSERT INTO snapshot_changes VALUES (1, 5, 'added', NULL, '{"name":"five"}')""",
    )
    with transaction(ledger.engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    assert upgrade(database_url) == VERSION
    lists = Lists(ledger)
    assert lists.changes(1) == {5: ("added", None, {"name": "five"})}
    assert counts(lists.see([GroupRow(5, "five", 1, 2, "host", False, "n")], GROUPS)) == (1, 0, 0, 0)
    assert counts(lists.see(contacts(1))) == (1, 1, 0, 0)
    ledger.engine.dispose()
    command.downgrade(config, "0001")
    upgrade(database_url)
    assert lists.changes(1) == {5: ("added", None, {"name": "five"})}
    assert lists.rows(GROUPS)[0].member_count == 2
    assert lists.rows() == []
    ledger.engine.dispose()


def test_the_migrated_tables_take_jobs_in(database_url: str) -> None:
    upgrade(database_url)
    ledger = Ledger(database_url)
    (job,) = ledger.arrive(message())
    assert ledger.settle(ledger.must_begin(job))
    assert ledger.told() == [f"{job.task_id}: succeeded"]
    ledger.engine.dispose()


def test_a_number_is_never_used_again(database_url: str) -> None:
    """Also where the newest row was deleted: whoever still holds its number must not meet another job."""
    upgrade(database_url)
    ledger = Ledger(database_url)
    first = ledger.send()
    ledger.run(lambda connection: connection.execute(text("DELETE FROM jobs")))
    assert ledger.send().seq > first.seq
    ledger.engine.dispose()

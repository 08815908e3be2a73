"""The migrations lead an empty database to the tables that the code has, and back."""

from __future__ import annotations

import datetime as dt
from typing import Any

from alembic import command
from sqlalchemy import inspect, text

from tests.parts.jobs import message
from tests.parts.ledger import Ledger
from tests.parts.lists import Lists, contacts, counts, group_request
from worker68.jobs.snapshot import GROUP_REQUESTS, GROUPS, GroupRow
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


def test_requests_from_before_their_numbers_are_kept_there_and_back(database_url: str) -> None:
    config = configure(database_url)
    command.upgrade(config, "0004")
    ledger = Ledger(database_url)
    now = "'2026-11-23 12:00:00'"
    old = (
        f"('main', 7, 5, 'seven', 'five', 'please', {now}, {now}, NULL)",
        f"('main', 7, 6, 'seven', 'six', NULL, NULL, {now}, {now})",
        f"('shop', 8, 5, 'eight', 'five', NULL, NULL, {now}, NULL)",
    )
    with transaction(ledger.engine) as connection:
        for row in old:
            connection.exec_driver_sql(f"INSERT INTO group_requests VALUES {row}")
    assert upgrade(database_url) == VERSION
    lists = Lists(ledger)
    kept = [(row.group_id, row.user_id, row.name, row.message, row.removed_at is None) for row in requests(lists)]
    assert kept == [(5, 7, "seven", "please", True), (6, 7, "seven", None, False), (5, 8, "eight", None, True)]
    assert all(row.request_id < 0 and row.kind is None and row.status is None for row in requests(lists))
    first = requests(lists)[0]
    assert first.requested_at == first.updated_at == dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    # What the service says now replaces it: the old row is gone, and can still be read.
    told = lists.see([group_request(7, 5)], GROUP_REQUESTS)
    assert counts(told) == (1, 1, 1, 0)
    assert lists.present(GROUP_REQUESTS) == [7]
    ledger.engine.dispose()
    command.downgrade(config, "0004")
    with transaction(ledger.engine) as connection:
        back = connection.exec_driver_sql(
            "SELECT account, user_id, group_id, name FROM group_requests ORDER BY account, user_id, group_id"
        )
        found = [tuple(row) for row in back]
    assert found == [("main", 7, 5, "阳光"), ("main", 7, 6, "seven"), ("shop", 8, 5, "eight")]
    ledger.engine.dispose()


def requests(lists: Lists) -> list[Any]:
    rows = [*lists.rows(GROUP_REQUESTS), *lists.rows(GROUP_REQUESTS, "shop")]
    return sorted(rows, key=lambda row: -row.request_id)


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

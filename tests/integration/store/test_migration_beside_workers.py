"""A migration beside workers that run: what they use stays as it was, and they go on; and it does not make them wait."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, text

from tests.parts.jobs import message
from tests.parts.ledger import Ledger
from tests.parts.postgres import PostgresServer
from worker68.errors import RowsLocked, SettingsError
from worker68.store import migration
from worker68.store.engine import open_engine, reading, transaction
from worker68.store.migration import MIGRATIONS, configure, upgrade
from worker68.store.schema import VERSION, check_version

#: The newest migration for which all workers had to be stopped. None after it may be so.
LAST_WITH_A_STOP: Final = "0005"

#: What a migration of a newer version may do to the tables of this one.
NEWER: Final = (
    "ALTER TABLE jobs ADD COLUMN colour TEXT",
    "ALTER TABLE jobs ADD COLUMN weight INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE attempts ADD COLUMN note TEXT",
    "CREATE TABLE colours (name TEXT PRIMARY KEY)",
    "CREATE INDEX ix_jobs_colour ON jobs (colour)",
    "UPDATE alembic_version SET version_num = '9999'",
)


def reflect(url: str) -> dict[str, Table]:
    engine, metadata = open_engine(url), MetaData()
    with reading(engine) as connection:
        metadata.reflect(connection)
    engine.dispose()
    return dict(metadata.tables)


def unique_in(table: Table) -> set[tuple[str, ...]]:
    """Return the columns of everything that must be unique in a table."""
    indexes = {tuple(index.columns.keys()) for index in table.indexes if index.unique}
    others = {tuple(one.columns.keys()) for one in table.constraints if hasattr(one, "columns") and one.columns}
    return indexes | others


def find_breaks(before: dict[str, Table], after: dict[str, Table]) -> list[str]:
    """Return what a worker that was written for ``before`` cannot work with in ``after``."""
    found = [f"{name} is gone" for name in before.keys() - after.keys()]
    for name, old in ((name, before[name]) for name in before.keys() & after.keys()):
        new = after[name]
        found += [f"{name}.{column} is gone" for column in set(old.c.keys()) - set(new.c.keys())]
        for column in new.c:
            was = old.c.get(column.name)
            if was is None and not column.nullable and column.server_default is None:
                found.append(f"{name}.{column.name} is new and must be given")
            elif was is not None and str(was.type) != str(column.type):
                found.append(f"{name}.{column.name} was {was.type} and is {column.type}")
            elif was is not None and was.nullable and not column.nullable:
                found.append(f"{name}.{column.name} may not be null any more")
        found += [f"{name}: {columns} must be unique now" for columns in unique_in(new) - unique_in(old)]
        found += [f"{name}: the index {index} is gone" for index in indexes_of(old) - indexes_of(new)]
    return sorted(found)


def indexes_of(table: Table) -> set[str]:
    return {str(index.name) for index in table.indexes}


def breaks_of(url: str, revision: str) -> list[str]:
    """Return what this migration breaks for workers of the version before it."""
    (script,) = ScriptDirectory(str(MIGRATIONS)).get_revisions(revision)
    assert script is not None
    command.upgrade(configure(url), str(script.down_revision))
    before = reflect(url)
    command.upgrade(configure(url), revision)
    return find_breaks(before, reflect(url))


def test_a_migration_breaks_nothing_for_workers_of_the_version_before(tmp_path: Path) -> None:
    for number in range(int(LAST_WITH_A_STOP) + 1, int(VERSION) + 1):
        assert breaks_of(f"sqlite:///{tmp_path / str(number)}.db", f"{number:04}") == []


def test_what_would_break_is_seen(tmp_path: Path) -> None:
    breaks = breaks_of(f"sqlite:///{tmp_path / 'old.db'}", LAST_WITH_A_STOP)
    assert "group_requests.request_id is new and must be given" in breaks
    assert any("must be unique now" in one for one in breaks)
    assert "jobs: the index ix_jobs_due is gone" in breaks_of(f"sqlite:///{tmp_path / 'older.db'}", "0003")


def test_a_worker_goes_on_with_the_tables_of_a_newer_version(database_url: str) -> None:
    upgrade(database_url)
    ledger = Ledger(database_url)
    before = ledger.send()
    with transaction(ledger.engine) as connection:
        for statement in NEWER:
            connection.execute(text(statement))

    check_version(ledger.engine)
    (after,) = ledger.arrive(message())
    assert ledger.load() == [before, after]
    for job in (before, after):
        assert ledger.settle(ledger.must_begin(job))
    assert [ledger.row(job.seq).status for job in (before, after)] == ["succeeded"] * 2
    assert upgrade(database_url) == "9999", "there is nothing to do, which is the way back to an older image"
    ledger.engine.dispose()


def test_a_version_that_nobody_numbered_is_refused(database_url: str) -> None:
    upgrade(database_url)
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'abc'"))
    engine.dispose()
    with pytest.raises(SettingsError, match="is at version abc, which this worker68 does not know"):
        upgrade(database_url)


def test_a_migration_does_not_wait_for_long_behind_which_all_would_wait(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "LOCK_TIMEOUT_SECONDS", 0.2)
    with postgres_server.database() as url:
        command.upgrade(configure(url), "0004")
        with psycopg.connect(url.replace("+psycopg", "")) as dump:
            dump.execute("LOCK TABLE group_requests IN ACCESS SHARE MODE")
            with pytest.raises(RowsLocked, match="run this again"):
                upgrade(url)
        assert upgrade(url) == VERSION

"""The version of the tables: the right one and a later one are fine, a wrong one says what to do."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from worker68.errors import DatabaseAway
from worker68.store.engine import open_engine, transaction
from worker68.store.migration import MIGRATIONS, upgrade
from worker68.store.schema import VERSION, check_version, current_version, is_later


def test_the_right_version_is_fine(database_url: str) -> None:
    upgrade(database_url)
    engine = open_engine(database_url)
    check_version(engine)
    assert current_version(engine) == VERSION
    engine.dispose()


def test_a_database_without_tables_says_what_to_do(database_url: str) -> None:
    engine = open_engine(database_url)
    with pytest.raises(DatabaseAway, match="has no tables yet: run `worker68 db upgrade`"):
        check_version(engine)
    engine.dispose()


def test_another_version_says_which_and_what_to_do(database_url: str) -> None:
    upgrade(database_url)
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(DatabaseAway, match=f"is at version 0000, not at {VERSION}: run `worker68 db upgrade`"):
        check_version(engine)
    engine.dispose()


@pytest.mark.parametrize("version", [f"{int(VERSION) + 1:04}", "0123"])
def test_a_later_version_is_fine(database_url: str, version: str) -> None:
    upgrade(database_url)
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    check_version(engine)
    engine.dispose()


@pytest.mark.parametrize(("version", "later"), [(None, False), (VERSION, False), ("0004", False), ("9d3f", False)])
def test_no_other_is_a_later_one(version: str | None, later: bool) -> None:
    assert is_later(version) is later


def test_the_newest_version_is_the_one_that_the_code_needs() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [VERSION]

"""`worker68 db upgrade` says what it found and what it did."""

from __future__ import annotations

from click.testing import CliRunner
from sqlalchemy import text

from worker68.cli.main import main
from worker68.store.engine import open_engine, transaction
from worker68.store.schema import VERSION


def test_each_time_it_says_what_it_did(database_url: str) -> None:
    def run() -> str:
        done = CliRunner(env={"WORKER68_DATABASE_URL": database_url}).invoke(main, ["db", "upgrade"])
        assert done.exit_code == 0, done.output
        return done.output.strip()

    assert run() == f"the database was empty, now it is at version {VERSION}"
    assert run() == f"the database is at version {VERSION} already"
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert run() == f"the database is at version 9999, later than {VERSION}, and fit for this version of worker68"

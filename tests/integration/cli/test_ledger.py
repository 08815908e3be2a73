"""A command gets a database that is there, with its tables, and lets go of it at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Ask
from tests.parts.environment import Environment
from tests.parts.ledger import Ledger
from worker68.cli.ledger import open_database
from worker68.errors import DatabaseUnfit
from worker68.settings import Settings
from worker68.store.engine import Engine
from worker68.store.reports import has_jobs


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sqlite_url: str) -> Settings:
    return Environment(monkeypatch, tmp_path).load(DATABASE_URL=sqlite_url)


@pytest.mark.parametrize("words", [("jobs", "list"), ("jobs", "show", "x"), ("jobs", "cancel", "x")], ids=" ".join)
def test_a_database_that_is_not_there_is_one_line(ask: Ask, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = ask(80, *words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "worker68 db upgrade" in done.stderr
    assert list(tmp_path.iterdir()) == [], "none is made by looking"


def test_a_database_without_tables_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "worker68.db").touch()
    with pytest.raises(DatabaseUnfit, match="worker68 db upgrade"), open_database(settings):
        pass


def test_its_connections_are_closed_at_the_end_however_that_comes(settings: Settings, ledger: Ledger) -> None:
    ledger.send()
    opened: list[Engine] = []

    def look() -> None:
        with open_database(settings) as engine:
            opened.append(engine)
            assert has_jobs(engine, "main")
            assert count_idle(engine) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert count_idle(opened[0]) == 0


def count_idle(engine: Engine) -> int:
    """Return how many open connections the engine keeps for its next use."""
    pool: Any = engine.pool
    return int(pool.checkedin())

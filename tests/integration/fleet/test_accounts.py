"""The accounts of a worker over a real database: read again and again, and never forgotten for a failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.parts.environment import Environment
from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.onloop import serve, stop_service
from tests.parts.worker import wait_until
from worker68.errors import DatabaseAway, DatabaseUnfit
from worker68.fleet import accounts as accounts_module
from worker68.fleet.accounts import Accounts, AccountWatch, Change
from worker68.loop import LoopThread
from worker68.observe import outages
from worker68.settings import Settings
from worker68.store.accounts import change_account, newest_version
from worker68.store.engine import Engine, transaction
from worker68.store.migration import upgrade
from worker68.store.schema import VERSION
from worker68.store.tables import accounts as accounts_table


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Ledger]:
    upgrade(sqlite_url)
    with open_ledger(sqlite_url) as ledger:
        yield ledger


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    return Environment(monkeypatch, tmp_path).load(BRIDGE_URL="ws://h:1")


@pytest.fixture
def changes() -> list[Change]:
    return []


@pytest.fixture
def accounts(settings: Settings, sqlite: Ledger, changes: list[Change]) -> Accounts:
    return Accounts(settings, sqlite.engine, changes.append)


def put(sqlite: Ledger, name: str, settings: Mapping[str, Any] | None) -> int:
    return change_account(sqlite.engine, name, lambda rows: settings, "ann", NOW).version


def test_nothing_is_to_own_before_the_tables_are_of_this_version(accounts: Accounts, sqlite: Ledger) -> None:
    """The workers of the version before hold the accounts, and go on."""

    def set_version(version: str) -> None:
        with transaction(sqlite.engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})

    set_version("0005")
    with pytest.raises(DatabaseUnfit, match="run `worker68 db upgrade`"):
        accounts.look()
    assert accounts.labels is None
    set_version(VERSION)
    accounts.look()
    assert accounts.labels is not None


def test_before_the_first_look_it_is_not_known_what_there_is_to_own(accounts: Accounts, changes: list[Change]) -> None:
    labels = accounts.labels
    assert labels is None
    assert list(accounts) == ["main"], "but those of the settings are there"
    accounts.look()
    assert accounts.labels == {"front": None, "account:main": ""}
    assert changes == [Change()], "whoever waits for the first look hears of it"
    accounts.look()
    assert changes == [Change()]


def test_each_change_is_told_once(accounts: Accounts, sqlite: Ledger, changes: list[Change]) -> None:
    put(sqlite, "a", {"bridge_url": "ws://h:2"})
    accounts.look()
    put(sqlite, "a", {"bridge_url": "ws://h:3"})
    put(sqlite, "b", {"bridge_url": "ws://h:4"})
    accounts.look()
    put(sqlite, "a", None)
    accounts.look()
    accounts.look()
    assert changes == [Change(came=("a",)), Change(came=("b",), changed=("a",)), Change(went=("a",))]
    assert {name: one.bridge_url for name, one in accounts.items()} == {"main": "ws://h:1", "b": "ws://h:4"}
    assert len(accounts) == 2


def test_an_account_whose_row_is_wrong_here_stands_all_the_same(accounts: Accounts, sqlite: Ledger) -> None:
    put(sqlite, "a", {"bridge_url": "ws://h:2", "of_a_newer_version": 1})
    assert list(accounts.look()) == ["a"]
    assert "a" not in accounts
    assert accounts.all_names() == ["main", "a"], "its replies are its owner's to publish"
    put(sqlite, "a", None)
    assert list(accounts.look()) == []
    assert accounts.all_names() == ["main"]


def test_a_database_that_is_away_or_emptied_costs_no_account(
    accounts: Accounts, sqlite: Ledger, changes: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sqlite, "a", {"bridge_url": "ws://h:2"})
    accounts.look()

    def fail(engine: Engine) -> int:
        raise DatabaseAway("gone")

    with monkeypatch.context() as patch:
        patch.setattr(accounts_module, "newest_version", fail)
        with pytest.raises(DatabaseAway):
            accounts.look()
    assert list(accounts) == ["main", "a"]

    sqlite.run(lambda connection: connection.execute(accounts_table.delete()))
    with capture_logs() as logs:
        accounts.look()
        accounts.look()
    assert [entry["event"] for entry in logs] == ["accounts_of_the_past"], "said once"
    assert list(accounts) == ["main", "a"]
    assert changes[1:] == [Change()]
    put(sqlite, "b", {"bridge_url": "ws://h:3"})
    accounts.look()
    assert list(accounts) == ["main", "a", "b"], "and what is new is read"


def test_the_watch_goes_on_whatever_fails(
    accounts: Accounts,
    sqlite: Ledger,
    changes: list[Change],
    loop: LoopThread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts_module, "LOOK_SECONDS", 0.01)
    failures = iter([DatabaseAway("gone"), ValueError("odd"), None])
    asked = newest_version

    def ask(engine: Engine) -> int:
        if (failure := next(failures, None)) is not None:
            raise failure
        return asked(engine)

    monkeypatch.setattr(accounts_module, "newest_version", ask)
    # One of its own: that of the process may still last from an earlier test.
    monkeypatch.setattr(outages, "DATABASE", outages.Outage("database_away", "database_back", "wait"))
    watch = AccountWatch(accounts, loop.loop)
    with capture_logs() as logs:
        serve(loop, watch)
        wait_until(lambda: changes)
        put(sqlite, "a", {"bridge_url": "ws://h:2"})
        wait_until(lambda: "a" in accounts)
        stop_service(loop, watch)
    assert {"database_away", "accounts_not_read"} <= {entry["event"] for entry in logs}

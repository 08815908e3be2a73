"""Accounts in the tables: each change is counted and read once, whoever makes it, and says which bridges may still be in use."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from worker68.store.accounts import AccountRow, change_account, newest_version, note_taken, read_accounts
from worker68.store.tables import accounts

LATER = NOW + dt.timedelta(hours=1)


def put(ledger: Ledger, name: str, settings: Mapping[str, Any] | None, by: str = "ann") -> AccountRow:
    return change_account(ledger.engine, name, lambda rows: settings, by, NOW)


def bridge(port: int, **more: Any) -> dict[str, Any]:
    return {"bridge_url": f"ws://h:{port}", **more}


def test_a_new_database_has_none(ledger: Ledger) -> None:
    assert newest_version(ledger.engine) == 0
    assert read_accounts(ledger.engine) == []


def test_each_change_is_newer_than_all_before_it(ledger: Ledger) -> None:
    first = put(ledger, "a", bridge(1, limits={"chat": "5/m"}))
    assert first == AccountRow("a", 1, bridge(1, limits={"chat": "5/m"}), NOW, "ann")
    assert read_accounts(ledger.engine) == [first]
    second = put(ledger, "b", bridge(2))
    third = put(ledger, "a", bridge(3), by="b\x00b")
    assert (second.version, third.version, newest_version(ledger.engine)) == (2, 3, 3)
    assert third.changed_by == "b\N{REPLACEMENT CHARACTER}b"
    assert read_accounts(ledger.engine, 1) == [second, third], "in the order of the changes"
    assert read_accounts(ledger.engine, 3) == []


def test_one_that_is_removed_keeps_a_row_that_says_so(ledger: Ledger) -> None:
    put(ledger, "a", bridge(1))
    removed = put(ledger, "a", None)
    assert (removed.version, removed.settings, removed.removed_at) == (2, {}, NOW)
    assert read_accounts(ledger.engine) == [removed]
    again = put(ledger, "a", bridge(2))
    assert (again.version, again.removed_at) == (3, None)
    assert ledger.count(accounts) == 1


def test_what_is_refused_changes_nothing(ledger: Ledger) -> None:
    put(ledger, "a", bridge(1))

    def refuse(rows: Mapping[str, AccountRow]) -> None:
        assert rows["a"].settings == bridge(1)
        raise LookupError

    with pytest.raises(LookupError):
        change_account(ledger.engine, "a", refuse, "ann", NOW)
    assert newest_version(ledger.engine) == 1


def test_a_row_written_by_hand_that_is_no_json_costs_only_itself(ledger: Ledger) -> None:
    put(ledger, "a", bridge(1))
    put(ledger, "b", bridge(2))
    broken = (
        update(accounts).where(accounts.c.name == "a").values(settings="{'bridge_url': 'ws://h:1'}", left_bridges="x")
    )
    ledger.run(lambda connection: connection.execute(broken))
    assert [(row.name, row.settings) for row in read_accounts(ledger.engine)] == [("a", {}), ("b", bridge(2))]
    assert put(ledger, "a", bridge(1)).settings == bridge(1), "it can be set right"


def test_the_bridges_that_an_account_had_are_known_until_an_owner_opens_it_anew(ledger: Ledger) -> None:
    row = put(ledger, "a", bridge(1))
    assert not row.is_taken
    note_taken(ledger.engine, "a", row.version)
    assert read_accounts(ledger.engine)[0].is_taken
    row = put(ledger, "a", bridge(1, max_in_flight=2))
    assert (row.taken, row.is_taken, row.left_bridges) == (1, False, ())
    assert put(ledger, "a", bridge(2)).left_bridges == ("ws://h:1",)
    assert put(ledger, "a", None).left_bridges == ("ws://h:1", "ws://h:2")
    row = put(ledger, "a", bridge(1))
    assert row.left_bridges == ("ws://h:2",), "it has the other one itself"
    note_taken(ledger.engine, "a", row.version)
    [taken] = read_accounts(ledger.engine)
    assert (taken.version, taken.left_bridges, taken.is_taken) == (row.version, (), True)


def test_an_owner_that_opens_an_older_version_takes_nothing(ledger: Ledger) -> None:
    old = put(ledger, "a", bridge(1))
    new = put(ledger, "a", bridge(2))
    note_taken(ledger.engine, "a", old.version)
    assert read_accounts(ledger.engine) == [new]


def test_operators_at_the_same_time_change_one_after_the_other(ledger: Ledger) -> None:
    """Each sees what the others have written, and no reader ever sees a change before an older one."""
    start = threading.Barrier(4)

    def add(number: int) -> None:
        start.wait()
        for time in range(5):
            change_account(ledger.engine, f"a{number}{time}", lambda rows: bridge(len(rows) + 1), "ann", LATER)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    rows = read_accounts(ledger.engine)
    assert [row.version for row in rows] == list(range(1, 21))
    assert [row.settings for row in rows] == [bridge(number) for number in range(1, 21)]

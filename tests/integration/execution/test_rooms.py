"""How full the waiting rooms of accounts are that somebody else owns."""

from __future__ import annotations

import pytest

from tests.parts.jobs import account, message, send_fields
from tests.parts.ledger import Ledger
from worker68.execution import rooms as module
from worker68.execution.rooms import Rooms


@pytest.fixture
def rooms(sqlite: Ledger) -> Rooms:
    accounts = {name: account(name, max_waiting=2) for name in ("main", "other", "third")}
    return Rooms(sqlite.engine, accounts)


def arrive(ledger: Ledger, name: str, count: int) -> None:
    ledger.arrive(*[message(kwargs=send_fields(account=name)) for _ in range(count)])


def test_an_account_with_as_many_jobs_as_it_may_have_is_full(sqlite: Ledger, rooms: Rooms) -> None:
    arrive(sqlite, "main", 1)
    arrive(sqlite, "other", 2)
    assert rooms.full(own=()) == {"other"}
    assert rooms.full(own=("other",)) == set(), "its own desk knows better"


def test_what_was_taken_in_counts_at_once_and_what_others_do_a_little_later(
    sqlite: Ledger, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rooms.full(own=()) == set()
    rooms.note_taken("main", 2)
    arrive(sqlite, "other", 2)
    assert rooms.full(own=()) == {"main"}
    monkeypatch.setattr(module, "RECOUNT_SECONDS", 0.0)
    assert rooms.full(own=()) == {"other"}

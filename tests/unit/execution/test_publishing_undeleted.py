"""What Redis has is known by table and id until the database has deleted it, so nothing is published twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker68.execution import publishing as publishing_module
from worker68.execution.publishing import Undeleted
from worker68.store.statements.outcomes import OutboxEntry


def entry(id_: int, kind: str = "reply", address: str = "orders") -> OutboxEntry:
    return OutboxEntry(id_, "main", kind, address, f"{id_}")


@pytest.fixture
def undeleted() -> Undeleted:
    return Undeleted()


def test_what_was_published_is_done_until_it_is_deleted(undeleted: Undeleted) -> None:
    first, second = entry(1), entry(2)
    undeleted.add([first])
    assert undeleted.find_done([first, second]) == [first]
    undeleted.forget([first])
    assert undeleted.find_done([first, second]) == []


def test_an_id_of_the_other_table_is_another_entry(undeleted: Undeleted) -> None:
    undeleted.add([entry(1)])
    assert undeleted.find_done([replace(entry(1), refusals=1)]) == []


def test_an_id_that_was_given_again_is_another_entry(undeleted: Undeleted) -> None:
    undeleted.add([entry(1)])
    assert undeleted.find_done([entry(1, address="others")]) == []


@pytest.mark.parametrize("older", [entry(1, "result", "t"), replace(entry(9, "result", "t"), refusals=3)])
def test_an_older_result_of_the_same_celery_id_is_done(undeleted: Undeleted, older: OutboxEntry) -> None:
    undeleted.add([entry(2, "result", "t")])
    assert undeleted.find_done([older, entry(3, "result", "t"), entry(1, "result", "other")]) == [older]


def test_only_so_many_are_remembered_the_newest(undeleted: Undeleted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing_module, "MOST", 3)
    entries = [entry(number) for number in range(5)]
    undeleted.add(entries)
    assert undeleted.find_done(entries) == entries[2:]

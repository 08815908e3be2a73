"""Snapshots on both databases: what a sync saw becomes the list, and what changed is kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.parts.jobs import NOW
from tests.parts.lists import CONTACT_1, Lists, contact, contacts, counts, group_request
from worker68.jobs.snapshot import (
    CONTACTS,
    FRIEND_REQUESTS,
    GROUP_REQUESTS,
    FriendRequestRow,
    ListKind,
    ListSeen,
)
from worker68.store.engine import Connection
from worker68.store.statements import snapshots


def test_the_first_snapshot_adds_everybody(lists: Lists) -> None:
    told = lists.see(contacts(2, 1), announced=2)
    assert set(told) == {"snapshot_id", "count", "added", "removed", "changed"}
    assert counts(told) == (2, 2, 0, 0)
    assert lists.changes(told["snapshot_id"])[1] == ("added", None, CONTACT_1)
    first, second = lists.rows()
    assert tuple(first)[:6] == ("main", 1, "小鱼儿", "h1", None, True)
    assert (first.updated_at, first.removed_at, second.user_id) == (NOW, None, 2)
    row = lists.snapshot(told["snapshot_id"])
    assert (row.kind, row.subject_id, row.taken_at, row._mapping["count"], row.added) == ("contacts", None, NOW, 2, 2)
    assert (row.complete, row.applied, row.note) == (True, True, None)


# What it must not do


@pytest.mark.parametrize(
    ("whole", "announced", "note", "words"),
    [
        (
            False,
            None,
            "page 3 could not be read",
            "incomplete: page 3 could not be read; nothing was marked as removed",
        ),
        (False, 3, None, "incomplete: the list was not read to its end; nothing was marked as removed"),
        (True, 4, None, "incomplete: the service announced 4 entries, and 3 were read; nothing was marked as removed"),
        (True, 2, None, "incomplete: the service announced 2 entries, and 3 were read; nothing was marked as removed"),
    ],
)
def test_an_incomplete_snapshot_updates_and_removes_nothing(
    lists: Lists, whole: bool, announced: int | None, note: str | None, words: str
) -> None:
    lists.see(contacts(1, 2, 3))
    seen = [contact(2, "renamed"), contact(3), contact(4), contact(4)]
    told = lists.see(seen, whole=whole, announced=announced, note=note)
    assert counts(told) == (3, 1, 0, 1)
    assert (told["complete"], told["note"], told.get("applied")) == (False, words, None)
    assert lists.present() == [1, 2, 3, 4]
    assert lists.rows()[1].name == "renamed"
    row = lists.snapshot(told["snapshot_id"])
    assert (row.complete, row.applied, row.note) == (False, True, words)


def test_more_than_half_gone_is_not_applied_however_often_it_is_seen(lists: Lists) -> None:
    lists.see(contacts(*range(10)))
    for _ in range(3):
        told = lists.see([contact(0, "renamed"), *contacts(1, 2, 3, 11)])
    assert counts(told) == (5, 1, 6, 1)
    assert (told["applied"], told.get("complete")) == (False, None)
    assert told["note"].startswith("not applied: 6 of 10 entries would be gone; ")
    assert f"`worker68 snapshots accept {told['snapshot_id']}`" in told["note"]
    assert lists.present() == list(range(10))
    assert lists.rows()[0].name == "小鱼儿"
    row = lists.snapshot(told["snapshot_id"])
    assert (row.complete, row.applied, row.note) == (True, False, told["note"])
    assert sorted(change for change, _, _ in lists.changes(row.id).values()) == ["added", "changed", *["removed"] * 6]


def test_a_shrunken_snapshot_does_not_keep_the_next_from_being_applied(lists: Lists) -> None:
    lists.see(contacts(*range(10)))
    lists.see([])
    told = lists.see(contacts(*range(9)))
    assert counts(told) == (9, 0, 1, 0)
    assert "applied" not in told


@pytest.mark.parametrize(
    ("before", "after", "applied"),
    [(10, 5, True), (10, 4, False), (3, 1, False), (2, 1, True), (2, 0, False), (1, 0, True)],
)
def test_the_edge_of_the_shrink_guard(lists: Lists, before: int, after: int, applied: bool) -> None:
    lists.see(contacts(*range(before)))
    told = lists.see(contacts(*range(after)))
    assert told["removed"] == before - after
    assert told.get("applied", True) is applied
    assert len(lists.present()) == (after if applied else before)


def test_rows_that_are_gone_do_not_count_for_the_shrink_guard(lists: Lists) -> None:
    lists.see(contacts(*range(8)))
    lists.see(contacts(*range(4)))
    assert lists.see(contacts(0))["applied"] is False


@pytest.mark.parametrize("kind", [FRIEND_REQUESTS, GROUP_REQUESTS], ids=lambda kind: kind.name)
def test_what_is_pending_may_vanish_at_once(lists: Lists, kind: ListKind) -> None:
    rows = [FriendRequestRow(n, "n", None, None, None, None, None) for n in range(9)]
    lists.see(rows if kind is FRIEND_REQUESTS else [group_request(n, 1) for n in range(9)], kind)
    told = lists.see([], kind)
    assert counts(told) == (0, 0, 9, 0)
    assert "applied" not in told
    assert lists.present(kind) == []


def test_an_empty_list_of_nobody_is_a_snapshot_too(lists: Lists) -> None:
    told = lists.see([], announced=0)
    assert counts(told) == (0, 0, 0, 0)
    assert "complete" not in told


# What it must bear


def test_a_rollback_leaves_nothing_and_a_repeat_does_it_all(lists: Lists) -> None:
    lists.see(contacts(1, 2))
    seen = ListSeen(CONTACTS, None, contacts(2, 3), True, None)

    def fail(connection: Connection) -> None:
        snapshots.apply(connection, "main", seen, NOW)
        raise RuntimeError("after the snapshot")

    with pytest.raises(RuntimeError):
        lists.ledger.run(fail)
    assert lists.present() == [1, 2]
    assert counts(lists.see(contacts(2, 3))) == (2, 1, 1, 0)
    assert lists.present() == [2, 3]


def test_two_snapshots_fit_into_one_transaction(lists: Lists) -> None:
    """The writer groups the writes of several jobs."""

    def both(connection: Connection) -> list[int]:
        seen = [ListSeen(CONTACTS, None, rows, True, None) for rows in (contacts(1, 2), contacts(2, 3, 4))]
        return [snapshots.apply(connection, "main", one, NOW)["added"] for one in seen]

    assert lists.ledger.run(both) == [2, 2]
    assert lists.present() == [2, 3, 4]


def test_two_workers_at_the_same_list_take_turns(lists: Lists) -> None:
    gate = threading.Barrier(4)

    def see(number: int) -> int:
        gate.wait(60)
        return int(lists.see(contacts(*range(500)))["added"])

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(see, range(4))) == [0, 0, 0, 500]

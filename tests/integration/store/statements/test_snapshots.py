"""Snapshots on both databases: what a sync saw becomes the list, and what changed is kept."""

from __future__ import annotations

import datetime as dt
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from sqlalchemy import text

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger, open_ledger
from tests.parts.lists import GROUP, Lists, contact, contacts, counts, group_request, member
from worker68.errors import DatabaseAway
from worker68.jobs.snapshot import (
    CONTACTS,
    FRIEND_REQUESTS,
    GROUP_MEMBERS,
    GROUP_REQUESTS,
    GROUPS,
    LISTS,
    FriendRequestRow,
    GroupRow,
    ListKind,
    ListSeen,
    Row,
)
from worker68.store.engine import Connection, reading
from worker68.store.statements import snapshots
from worker68.store.tables import metadata, snapshot_changes
from worker68.store.tables import snapshots as snapshots_table

CONTACT_1 = {"name": "小鱼儿", "handle": "h1", "icon": None, "friend": True}


@pytest.mark.parametrize("kind", LISTS, ids=lambda kind: kind.name)
def test_a_row_has_the_columns_of_its_table(kind: ListKind) -> None:
    table = metadata.tables[kind.name]
    scope = ["account", *(["group_id"] if kind.by_group else [])]
    assert [column.name for column in table.columns] == [
        *scope,
        *kind.row.__struct_fields__,
        "updated_at",
        "removed_at",
    ]
    assert [column.name for column in table.primary_key.columns] == [*scope, *kind.key]


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


def test_what_is_missing_is_marked_and_kept(lists: Lists) -> None:
    lists.see(contacts(1, 2, 3))
    told = lists.see(contacts(2, 3))
    assert counts(told) == (2, 0, 1, 0)
    assert lists.changes(told["snapshot_id"]) == {1: ("removed", CONTACT_1, None)}
    assert [row.removed_at for row in lists.rows()] == [NOW, None, None]


def test_a_change_keeps_the_fields_that_differ(lists: Lists) -> None:
    lists.see([contact(1), contact(2, icon="http://x/1.jpg"), contact(3)])
    told = lists.see([contact(1, name='a "b" \\ \n', friend=False), contact(2, icon=None), contact(3)])
    assert counts(told) == (3, 0, 0, 2)
    assert lists.changes(told["snapshot_id"]) == {
        1: ("changed", {"name": "小鱼儿", "friend": True}, {"name": 'a "b" \\ \n', "friend": False}),
        2: ("changed", {"icon": "http://x/1.jpg"}, {"icon": None}),
    }
    assert [(row.name, row.icon, row.friend) for row in lists.rows()[:2]] == [
        ('a "b" \\ \n', None, False),
        ("小鱼儿", None, True),
    ]


@pytest.mark.parametrize("name", ["小鱼儿", "changed meanwhile"])
def test_whoever_comes_back_is_added_again(lists: Lists, name: str) -> None:
    lists.see(contacts(1, 2))
    lists.see(contacts(2))
    told = lists.see([contact(1, name=name), contact(2), contact(3)])
    assert counts(told) == (3, 2, 0, 0)
    assert lists.changes(told["snapshot_id"])[1] == ("added", None, CONTACT_1 | {"name": name})
    assert lists.present() == [1, 2, 3]
    assert lists.rows()[0].name == name


def test_of_doubles_the_last_holds(lists: Lists) -> None:
    doubled = [contact(1, "first"), *contacts(2, 3), contact(1, "second"), contact(2), contact(1, "third")]
    told = lists.see(doubled, announced=3)
    assert counts(told) == (3, 3, 0, 0)
    assert "complete" not in told
    assert [row.name for row in lists.rows()] == ["third", "小鱼儿", "小鱼儿"]


def test_every_kind_of_value_is_compared_and_kept(lists: Lists) -> None:
    asked = NOW - dt.timedelta(microseconds=1)
    row = FriendRequestRow(1, "八方来财4", None, None, "我是", "IDENTIFY", asked)
    told = lists.see([row], FRIEND_REQUESTS)
    ((change, _, new),) = lists.changes(told["snapshot_id"]).values()
    assert (change, new["requested_at"]) == ("added", "2026-11-23T11:59:59.999999Z")
    assert lists.rows(FRIEND_REQUESTS)[0].requested_at == asked
    assert counts(lists.see([row], FRIEND_REQUESTS)) == (1, 0, 0, 0)
    told = lists.see([msgspec.structs.replace(row, requested_at=None)], FRIEND_REQUESTS)
    assert lists.changes(told["snapshot_id"])[1][1:] == (
        {"requested_at": "2026-11-23T11:59:59.999999Z"},
        {"requested_at": None},
    )
    largest = GroupRow(2**63 - 1, "", -(2**63), 2**40, None, None, None)
    told = lists.see([largest], GROUPS)
    assert lists.changes(told["snapshot_id"])[2**63 - 1][2]["member_count"] == 2**40
    told = lists.see([msgspec.structs.replace(largest, muted=True, member_count=None)], GROUPS)
    assert lists.changes(told["snapshot_id"])[2**63 - 1] == (
        "changed",
        {"member_count": 2**40, "muted": None},
        {"member_count": None, "muted": True},
    )


def test_one_users_requests_for_two_groups_are_two(lists: Lists) -> None:
    lists.see([group_request(1, 10), group_request(1, 20), group_request(1, 0)], GROUP_REQUESTS)
    told = lists.see([group_request(1, 10, "again"), group_request(1, 0)], GROUP_REQUESTS)
    assert counts(told) == (2, 0, 1, 1)
    with reading(lists.ledger.engine) as connection:
        query = snapshot_changes.select().where(snapshot_changes.c.snapshot_id == told["snapshot_id"])
        found = {(row.subject, row.group_id, row.change) for row in connection.execute(query)}
    assert found == {(1, 10, "changed"), (1, 20, "removed")}
    assert [(row.group_id, row.message) for row in lists.rows(GROUP_REQUESTS) if row.removed_at is None] == [
        (0, "我想加入"),
        (10, "again"),
    ]


def test_groups_and_accounts_do_not_touch_each_other(lists: Lists) -> None:
    for account in ("main", "other"):
        for group in (GROUP, GROUP + 1):
            told = lists.see([member(1), member(2)], GROUP_MEMBERS, account=account, group=group)
            assert counts(told) == (2, 2, 0, 0)
            assert lists.snapshot(told["snapshot_id"]).subject_id == group
    told = lists.see([member(2, "renamed"), member(3)], GROUP_MEMBERS, group=GROUP)
    assert counts(told) == (2, 1, 1, 1)
    now = [(row.group_id, row.user_id, row.name) for row in lists.rows(GROUP_MEMBERS) if row.removed_at is None]
    assert now == [
        (GROUP, 2, "renamed"),
        (GROUP, 3, "夜雨"),
        (GROUP + 1, 1, "夜雨"),
        (GROUP + 1, 2, "夜雨"),
    ]
    assert lists.present(GROUP_MEMBERS, "other") == [1, 2, 1, 2]


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


@pytest.mark.parametrize(
    "name",
    ["a\x00b", "👩‍👩‍👧‍👦🇨🇳", "\t\n\r\\N\\.", "'\";--{}%s:x", "\U0010ffff\uffff", "长" * 100_000, ""],
    ids=range(7),
)
def test_odd_names_are_kept_and_compared(lists: Lists, name: str) -> None:
    row = contact(1, name, handle=name, icon=name)
    plain = name.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    told = lists.see([row])
    assert lists.changes(told["snapshot_id"])[1][2]["name"] == plain
    assert counts(lists.see([row])) == (1, 0, 0, 0)
    told = lists.see([contact(1, name + "x", handle=None, icon=name)])
    assert lists.changes(told["snapshot_id"])[1] == (
        "changed",
        {"name": plain, "handle": plain},
        {"name": plain + "x", "handle": None},
    )
    assert lists.rows()[0].icon == plain


def test_a_second_sync_without_a_change_writes_one_row(lists: Lists) -> None:
    rows = [member(number) for number in range(3000)]
    count_writes(lists.ledger)
    lists.see(rows, GROUP_MEMBERS, group=GROUP)
    # The members, their changes, the snapshot's row and its numbers.
    assert written(lists.ledger) == 3000 + 3000 + 2
    assert counts(lists.see(rows, GROUP_MEMBERS, group=GROUP)) == (3000, 0, 0, 0)
    assert written(lists.ledger) == 3000 + 3000 + 2 + 1


WATCHED = (metadata.tables["group_members"], snapshots_table, snapshot_changes)


def count_writes(ledger: Ledger) -> None:
    """Count from now on. SQLite's own counter counts rows of temporary tables too, so triggers do it there."""
    with ledger.engine.begin() as connection:
        if ledger.engine.dialect.name != "sqlite":
            connection.execute(text("SELECT pg_stat_reset()"))
            return
        connection.exec_driver_sql("CREATE TABLE tally (what TEXT)")
        for table in WATCHED:
            for event in ("INSERT", "UPDATE", "DELETE"):
                trigger = f"CREATE TRIGGER {table.name}_{event} AFTER {event} ON {table.name}"
                connection.exec_driver_sql(f"{trigger} BEGIN INSERT INTO tally VALUES ('{event}'); END")


def written(ledger: Ledger) -> int:
    """Return how many rows of the watched tables were inserted, updated or deleted since then."""
    if ledger.engine.dialect.name == "sqlite":
        with reading(ledger.engine) as connection:
            return int(connection.scalar(text("SELECT count(*) FROM tally")) or 0)
    with reading(ledger.engine) as connection:
        # A session tells the others what it has counted only now and then.
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
    names = ", ".join(f"'{table.name}'" for table in WATCHED)
    query = f"SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname IN ({names})"
    with reading(ledger.engine) as connection:
        return int(connection.scalar(text(query)) or 0)


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


def test_rows_that_cannot_be_read_leave_nothing(lists: Lists) -> None:
    def rows() -> Iterator[Row]:
        yield from contacts(1, 2)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        lists.see(rows())
    assert lists.rows() == []
    assert counts(lists.see(contacts(1))) == (1, 1, 0, 0)


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
        gate.wait(30)
        return int(lists.see(contacts(*range(500)))["added"])

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(see, range(4))) == [0, 0, 0, 500]


def test_a_database_that_goes_away_meanwhile_is_away(postgres_url: str) -> None:
    with open_ledger(postgres_url) as ledger, open_ledger(postgres_url) as other:

        def rows() -> Iterator[Row]:
            yield from contacts(*range(1000))
            other.run(lambda connection: connection.execute(text(END_OTHERS)))
            yield from contacts(*range(1000, 50_000))

        with pytest.raises(DatabaseAway):
            Lists(ledger).see(rows())
        assert Lists(ledger).rows() == []
        assert counts(Lists(ledger).see(contacts(1))) == (1, 1, 0, 0)


END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def test_memory_is_bounded_by_a_page_and_not_by_the_list(lists: Lists) -> None:
    def rows(many: int) -> Iterator[Row]:
        for number in range(many):
            yield member(number, f"{number}" + "长" * 200)

    def peak(many: int, group: int) -> int:
        tracemalloc.start()
        lists.see(rows(many), GROUP_MEMBERS, group=group)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2000, GROUP)
    # Ten times the rows, 8 MB of names more.
    assert peak(20_000, GROUP + 2) < peak(2000, GROUP + 1) + 1_000_000

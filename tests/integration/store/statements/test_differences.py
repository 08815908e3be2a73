"""A list is compared with its table within the database: what differs is recorded, and no row is written that is as it was."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import pytest
from sqlalchemy import Connection, text

from tests.parts.jobs import NOW
from tests.parts.ledger import Ledger
from tests.parts.lists import CONTACT_1, GROUP, Lists, contact, contacts, counts, group_request, member
from worker68.jobs.snapshot import (
    CONTACTS,
    FRIEND_REQUESTS,
    GROUP_MEMBERS,
    GROUP_REQUESTS,
    GROUPS,
    FriendRequestRow,
    GroupRow,
    ListKind,
    ListSeen,
    Row,
)
from worker68.store.engine import reading
from worker68.store.statements.differences import Difference, mark_removed
from worker68.store.statements.staging import stage
from worker68.store.tables import metadata, snapshot_changes
from worker68.store.tables import snapshots as snapshots_table

T = TypeVar("T")

LATER = NOW + dt.timedelta(hours=1)


def compare(
    lists: Lists,
    rows: Sequence[Row],
    work: Callable[[Connection, Difference], T],
    kind: ListKind = CONTACTS,
    group: int | None = None,
) -> T:
    """Stage what was seen of a list of ``main``, and let ``work`` use its difference, in one transaction."""

    def within(connection: Connection) -> T:
        staged = stage(connection, ListSeen(kind, group, rows, True, None))
        done = work(connection, Difference(kind, "main", group, staged.rows, connection.dialect.name))
        staged.rows.drop(connection, checkfirst=False)
        return done

    return lists.ledger.run(within)


def record(number: int) -> Callable[[Connection, Difference], None]:
    """Return what records all differences as those of the snapshot of this number."""

    def work(connection: Connection, difference: Difference) -> None:
        for verb in (difference.record_added, difference.record_changed, difference.record_removed):
            connection.execute(verb(number))

    return work


# Its statements, one by one


def test_to_record_what_differs_changes_no_row_of_the_list(lists: Lists) -> None:
    lists.see(contacts(1, 2, 4))
    before = lists.rows()
    compare(lists, [contact(2, "renamed"), contact(3), contact(4)], record(7))
    assert lists.rows() == before
    assert lists.changes(7) == {
        1: ("removed", CONTACT_1, None),
        2: ("changed", {"name": "小鱼儿"}, {"name": "renamed"}),
        3: ("added", None, CONTACT_1 | {"handle": "h3"}),
    }


def test_new_rows_are_inserted_and_only_then_known_ones_brought_there(lists: Lists) -> None:
    lists.see(contacts(1, 2, 3))
    lists.see(contacts(1, 2))
    seen = [contact(1), contact(2, "renamed"), contact(3), contact(4)]

    def state() -> list[tuple[str, dt.datetime, bool]]:
        return [(row.name, row.updated_at, row.removed_at is None) for row in lists.rows()]

    compare(lists, seen, lambda connection, difference: connection.execute(difference.insert_new(LATER)))
    untouched, new = ("小鱼儿", NOW, True), ("小鱼儿", LATER, True)
    assert state() == [untouched, untouched, ("小鱼儿", NOW, False), new]
    compare(lists, seen, lambda connection, difference: connection.execute(difference.update_known(LATER)))
    assert state() == [untouched, ("renamed", LATER, True), new, new]


def test_only_what_that_snapshot_has_recorded_as_removed_is_marked(lists: Lists) -> None:
    for account in ("main", "other"):
        lists.see(contacts(1, 2, 3), account=account)
    compare(lists, [contact(2, "renamed"), contact(3)], record(7))
    compare(lists, contacts(1, 2), record(8))
    lists.ledger.run(lambda connection: connection.execute(mark_removed(CONTACTS, "main", None, 7, LATER)))
    assert [row.removed_at for row in lists.rows()] == [LATER, None, None]
    assert lists.present(account="other") == [1, 2, 3]


def test_a_request_for_another_group_is_not_marked_as_removed(lists: Lists) -> None:
    lists.see([group_request(1, 10), group_request(1, 20)], GROUP_REQUESTS)
    compare(lists, [group_request(1, 10)], record(7), GROUP_REQUESTS)
    lists.ledger.run(lambda connection: connection.execute(mark_removed(GROUP_REQUESTS, "main", None, 7, LATER)))
    assert [(row.group_id, row.removed_at) for row in lists.rows(GROUP_REQUESTS)] == [(10, None), (20, LATER)]


def test_only_the_rows_of_that_list_that_are_there_are_counted(lists: Lists) -> None:
    lists.see([member(1), member(2), member(3)], GROUP_MEMBERS, group=GROUP)
    lists.see([member(1), member(2)], GROUP_MEMBERS, group=GROUP)
    lists.see([member(4)], GROUP_MEMBERS, group=GROUP + 1)
    lists.see([member(5)], GROUP_MEMBERS, account="other", group=GROUP)

    def count(connection: Connection, difference: Difference) -> int | None:
        return connection.scalar(difference.count_present())

    assert compare(lists, [], count, GROUP_MEMBERS, GROUP) == 2


# As a snapshot uses them


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

"""What was read of a list becomes a temporary table: every row as it was, each key once, a page in memory at most."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from tests.parts.jobs import NOW
from tests.parts.ledger import open_ledger
from tests.parts.lists import GROUP, Lists, contact, contacts, counts, group_request, member
from worker68.errors import DatabaseAway
from worker68.jobs.snapshot import (
    CONTACTS,
    FRIEND_REQUESTS,
    GROUP_MEMBERS,
    GROUP_REQUESTS,
    GROUPS,
    FriendRequestRow,
    ListKind,
    ListSeen,
    Row,
)
from worker68.store.statements import staging

ODD = "\t\n\r\\N\\. '\";--{}%s:x 👩‍👩‍👧‍👦 \U0010ffff"


def staged(connection: Connection, rows: Iterable[Row], kind: ListKind = CONTACTS) -> tuple[int, list[tuple[Any, ...]]]:
    """Stage a list; return how many rows there are as it says, and all of them as they are, by their keys."""
    found = staging.stage(connection, ListSeen(kind, GROUP if kind.by_group else None, rows, True, None))
    columns = [found.rows.c[name] for name in kind.row.__struct_fields__]
    query = select(*columns).order_by(*(found.rows.c[name] for name in kind.key))
    values = [tuple(row) for row in connection.execute(query)]
    found.rows.drop(connection, checkfirst=False)
    return found.count, values


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (CONTACTS, [(1, ODD, "", None, True), (2**63 - 1, "", None, ODD, False)]),
        (GROUPS, [(-(2**63), "n", None, 2**40, None, None, ODD), (5, "n", 7, 0, "host", False, None)]),
        (GROUP_MEMBERS, [(1, "n", None, "admin", True), (2, "n", "i", None, False)]),
        (
            FRIEND_REQUESTS,
            [
                (1, "n", None, None, None, None, NOW + dt.timedelta(microseconds=1)),
                (2, "n", "h", "i", ODD, "k", None),
                (3, "n", None, None, None, None, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
            ],
        ),
        (
            GROUP_REQUESTS,
            [
                (1, 0, 1, "n", None, None, None, None, None, None, None, None, NOW),
                (1, 5, 1, "n", 2, "t", "g", 3, "qr_code", "open", ODD, NOW, NOW),
            ],
        ),
    ],
    ids=lambda given: given.name if isinstance(given, ListKind) else "",
)
def test_what_was_seen_is_what_is_staged(lists: Lists, kind: ListKind, rows: list[tuple[Any, ...]]) -> None:
    seen = [kind.row(*values) for values in reversed(rows)]
    assert lists.ledger.run(lambda connection: staged(connection, seen, kind)) == (len(rows), rows)
    assert lists.rows(kind) == []


def test_a_text_is_staged_without_nul_and_a_time_at_its_moment(lists: Lists) -> None:
    noon_in_shanghai = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    row = FriendRequestRow(1, "a\x00b", None, "\x00", None, None, noon_in_shanghai)
    _, rows = lists.ledger.run(lambda connection: staged(connection, [row], FRIEND_REQUESTS))
    assert rows == [(1, "a\N{REPLACEMENT CHARACTER}b", None, "\N{REPLACEMENT CHARACTER}", None, None, noon_in_shanghai)]
    _, rows = lists.ledger.run(lambda connection: staged(connection, [contact(1, "plain", handle="\x00")]))
    assert rows == [(1, "plain", "\N{REPLACEMENT CHARACTER}", None, True)]


def test_no_row_is_lost_where_a_page_ends(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "PAGE_ROWS", 3)

    def stage_each(connection: Connection) -> list[tuple[int, list[int]]]:
        found = [staged(connection, contacts(*range(many))) for many in range(8)]
        return [(count, [row[0] for row in rows]) for count, rows in found]

    assert lists.ledger.run(stage_each) == [(many, list(range(many))) for many in range(8)]


def test_of_doubles_on_other_pages_the_last_one_stays(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "PAGE_ROWS", 2)
    seen = [contact(1, "first"), *contacts(2, 3), contact(1, "second"), contact(3, "again"), contact(1, "last")]
    count, rows = lists.ledger.run(lambda connection: staged(connection, seen))
    assert (count, [row[:2] for row in rows]) == (3, [(1, "last"), (2, "小鱼儿"), (3, "again")])


def test_one_user_in_two_groups_is_no_double(lists: Lists) -> None:
    seen = [group_request(1, 10), group_request(1, 20), group_request(1, 10, "again")]
    count, rows = lists.ledger.run(lambda connection: staged(connection, seen, GROUP_REQUESTS))
    assert (count, [(row[1], row[10]) for row in rows]) == (2, [(10, "again"), (20, "我想加入")])


# As a snapshot uses it


def test_of_doubles_the_last_holds(lists: Lists) -> None:
    doubled = [contact(1, "first"), *contacts(2, 3), contact(1, "second"), contact(2), contact(1, "third")]
    told = lists.see(doubled, announced=3)
    assert counts(told) == (3, 3, 0, 0)
    assert "complete" not in told
    assert [row.name for row in lists.rows()] == ["third", "小鱼儿", "小鱼儿"]


def test_rows_that_cannot_be_read_leave_nothing(lists: Lists) -> None:
    def rows() -> Iterator[Row]:
        yield from contacts(1, 2)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        lists.see(rows())
    assert lists.rows() == []
    assert counts(lists.see(contacts(1))) == (1, 1, 0, 0)


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

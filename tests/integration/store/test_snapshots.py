"""What the snapshots say afterwards, on both databases: lists, changes, differences; and a shrink that somebody accepts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.parts.jobs import NOW
from tests.parts.lists import CONTACT_1, GROUP, Lists, contact, contacts, counts, member
from worker68.jobs.snapshot import GROUP_MEMBERS, Row
from worker68.store.snapshots import (
    Change,
    NotAcceptable,
    NotComparable,
    accept,
    find_snapshot,
    list_snapshots,
    read_changes,
    read_difference,
)
from worker68.store.statements.snapshots import NoSuchSnapshot


def see(lists: Lists, *snapshots: Sequence[Row]) -> list[int]:
    """Apply snapshots one after the other, beside two who are always there; return their numbers."""
    return [int(lists.see([*rows, *contacts(98, 99)])["snapshot_id"]) for rows in snapshots]


def difference(lists: Lists, older: int, newer: int) -> list[Change]:
    engine = lists.ledger.engine
    return list(read_difference(engine, find_snapshot(engine, older), find_snapshot(engine, newer)))


def test_snapshots_are_listed_newest_first(lists: Lists) -> None:
    engine = lists.ledger.engine
    first, second = see(lists, contacts(1), contacts(2))
    members = lists.see([member(1)], GROUP_MEMBERS, group=GROUP, announced=5)["snapshot_id"]
    other = lists.see(contacts(1), account="other")["snapshot_id"]

    def numbers(
        account: str | None = None, kind: str | None = None, group: int | None = None, limit: int = 9
    ) -> list[int]:
        return [line.id for line in list_snapshots(engine, account=account, kind=kind, group_id=group, limit=limit)]

    assert numbers() == [other, members, second, first]
    assert numbers(limit=1) == [other]
    assert numbers(account="main") == [members, second, first]
    assert numbers(kind="contacts") == [other, second, first]
    assert numbers(group=GROUP) == [members]
    assert numbers(group=GROUP, kind="contacts") == []
    line = find_snapshot(engine, members)
    assert (line.kind, line.subject_id, line.taken_at, line.count, line.complete) == (
        "group_members",
        GROUP,
        NOW,
        1,
        False,
    )


def test_a_number_that_nobody_has(lists: Lists) -> None:
    with pytest.raises(NoSuchSnapshot, match="no snapshot 7: "):
        find_snapshot(lists.ledger.engine, 7)


def test_the_changes_of_one_snapshot(lists: Lists) -> None:
    _, number = see(lists, contacts(1, 2), [contact(2, "renamed"), contact(3)])
    found = list(read_changes(lists.ledger.engine, find_snapshot(lists.ledger.engine, number)))
    assert [(change.subject, change.change) for change in found] == [(1, "removed"), (2, "changed"), (3, "added")]
    assert found[0].old == CONTACT_1
    assert (found[1].old, found[1].new) == ({"name": "小鱼儿"}, {"name": "renamed"})


@pytest.mark.parametrize(
    ("states", "net"),
    [
        pytest.param([[], contacts(1)], ("added", None, CONTACT_1), id="came"),
        pytest.param([contacts(1), []], ("removed", CONTACT_1, None), id="went"),
        pytest.param([[], contacts(1), []], None, id="came and went"),
        pytest.param([contacts(1), [], contacts(1)], None, id="went and came back"),
        pytest.param(
            [contacts(1), [], [contact(1, "b")]],
            ("changed", {"name": "小鱼儿"}, {"name": "b"}),
            id="came back as another",
        ),
        pytest.param(
            [contacts(1), [contact(1, "b")], [contact(1, "b", friend=False)]],
            ("changed", {"name": "小鱼儿", "friend": True}, {"name": "b", "friend": False}),
            id="changed twice",
        ),
        pytest.param([contacts(1), [contact(1, "b")], contacts(1)], None, id="changed back"),
        pytest.param(
            [[], contacts(1), [contact(1, "b")]], ("added", None, CONTACT_1 | {"name": "b"}), id="came, changed"
        ),
        pytest.param([contacts(1), [contact(1, "b")], []], ("removed", CONTACT_1, None), id="changed, went"),
        pytest.param(
            [contacts(1), [contact(1, "b")], [], [contact(1, "c")], []], ("removed", CONTACT_1, None), id="went twice"
        ),
        pytest.param([contacts(1), contacts(1)], None, id="nothing"),
    ],
)
def test_the_net_difference(lists: Lists, states: list[list[Row]], net: tuple[object, ...] | None) -> None:
    first, *_, last = see(lists, *states)
    found = [(change.change, change.old, change.new) for change in difference(lists, first, last)]
    assert found == ([net] if net else [])


def test_a_snapshot_does_not_differ_from_itself(lists: Lists) -> None:
    (number,) = see(lists, contacts(1))
    assert difference(lists, number, number) == []


def test_what_was_not_applied_counts_only_as_the_end(lists: Lists) -> None:
    first, shrunken, last = see(lists, contacts(*range(10)), [], contacts(*range(9)))
    assert len(difference(lists, first, shrunken)) == 10
    assert [(change.subject, change.change) for change in difference(lists, first, last)] == [(9, "removed")]
    with pytest.raises(NotComparable, match="was not applied"):
        difference(lists, shrunken, last)


def test_snapshots_of_other_lists_cannot_be_compared(lists: Lists) -> None:
    first, second = see(lists, contacts(1), contacts(2))
    groups = [lists.see([member(1)], GROUP_MEMBERS, group=group)["snapshot_id"] for group in (1, 2)]
    other = lists.see(contacts(1), account="other")["snapshot_id"]
    for older, newer in ((second, groups[0]), (groups[0], groups[1]), (second, other)):
        with pytest.raises(NotComparable, match="not of the same list"):
            difference(lists, older, newer)
    with pytest.raises(NotComparable, match=f"give the older snapshot first: {first} {second}"):
        difference(lists, second, first)


def test_a_shrink_is_accepted(lists: Lists) -> None:
    engine = lists.ledger.engine
    lists.see(contacts(*range(10)), account="other")
    left = [contact(0, "renamed"), *contacts(1, 11)]
    _, number = lists.see(contacts(*range(10))), lists.see(left)["snapshot_id"]
    assert accept(engine, number, NOW) == 8
    assert lists.present() == [0, 1]
    assert lists.present(account="other") == list(range(10))
    assert (find_snapshot(engine, number).note or "").endswith("Accepted: 8 rows were marked as removed")
    with pytest.raises(NotAcceptable, match="already"):
        accept(engine, number, NOW)
    assert counts(lists.see(left)) == (3, 1, 0, 1)
    assert lists.present() == [0, 1, 11]


def test_a_shrink_of_one_group_leaves_the_others_alone(lists: Lists) -> None:
    everybody = [member(number) for number in range(9)]
    for group in (GROUP, GROUP + 1):
        lists.see(everybody, GROUP_MEMBERS, group=group)
    number = lists.see(everybody[:1], GROUP_MEMBERS, group=GROUP)["snapshot_id"]
    assert accept(lists.ledger.engine, number, NOW) == 8
    assert lists.present(GROUP_MEMBERS) == [0, *range(9)]


def test_only_the_newest_shrink_can_be_accepted(lists: Lists) -> None:
    engine = lists.ledger.engine
    first, shrunken, last = see(lists, contacts(*range(10)), [], contacts(*range(9)))
    with pytest.raises(NotAcceptable, match=f"not the newest of its list: look at {last}"):
        accept(engine, shrunken, NOW)
    with pytest.raises(NotAcceptable, match="was applied"):
        accept(engine, last, NOW)
    with pytest.raises(NoSuchSnapshot):
        accept(engine, 99, NOW)
    assert first < shrunken < last

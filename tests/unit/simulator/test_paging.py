"""Lists in pages: what a reader sees of each knob, and what the world is like afterwards. 12 members in pages of 4."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker68.simulator import ALWAYS, Paging, build_world
from worker68.simulator.endpoints import ENDPOINTS
from worker68.simulator.paging import CountType, Unreadable
from worker68.simulator.population import ACCOUNT, OWNED_GROUP, PLAIN_GROUP, STRANGER
from worker68.simulator.requests import read_request, respond
from worker68.simulator.world import Role, World

#: List -> the key of its entries, where an entry has its uid.
LISTS = {
    "ContactsList": ("contactsList", "userInfo"),
    "GroupMemberList": ("members", "user"),
    "GroupReqList": ("groupReqs", "fromUser"),
}
EVERY_LIST = pytest.mark.parametrize("name", LISTS)


@pytest.fixture
def world() -> World:
    """12 contacts, 12 members, 12 requests, in pages of at most 4."""
    made = build_world(contacts=12, members=12, page_size=4)
    for uid in list(made.contacts)[:10]:
        made.ask_to_join(uid, OWNED_GROUP)
    return made


@pytest.fixture
def paging() -> Paging:
    return Paging()


def page(world: World, paging: Paging, name: str, position: int, size: int = 1000) -> dict[str, Any]:
    """Ask for the page at ``position``, counted from 0."""
    data = {"groupId": PLAIN_GROUP, "pageNum": position + 1, "pageSize": size}
    call = {"type": name, "protoType": "group", "url": f"http://h{ENDPOINTS[name].path}", "data": data}
    body = respond(world, read_request({"id": "1", "type": "request", "data": call}), paging=paging).body
    assert body is not None
    fields: dict[str, Any] = body["data"]
    return fields


def uids(name: str, fields: dict[str, Any]) -> list[str]:
    key, user = LISTS[name]
    return [entry[user]["uid"] for entry in fields.get(key, [])]


def read(world: World, paging: Paging, name: str, pages: int = 3) -> list[list[str]]:
    return [uids(name, page(world, paging, name, position)) for position in range(pages)]


def everybody(world: World, name: str) -> list[str]:
    """Return the list as it is now, without any knob."""
    return [uid for one in read(world, Paging(), name, 9) for uid in one]


@EVERY_LIST
def test_a_page_holds_no_more_than_the_service_gives(world: World, paging: Paging, name: str) -> None:
    pages = read(world, paging, name, 4)
    assert [len(one) for one in pages] == [4, 4, 4, 0]
    assert len(set(everybody(world, name))) == 12
    assert len(uids(name, page(world, paging, name, 0, size=3))) == 3


@EVERY_LIST
def test_repeated_page(world: World, paging: Paging, name: str) -> None:
    truth = read(world, paging, name)
    paging.repeats.set(1)
    assert read(world, paging, name) == [truth[0], truth[0], truth[2]]
    assert read(world, paging, name) == truth
    paging.repeats.set(ALWAYS)
    assert read(world, paging, name, 5) == [truth[0], truth[0], truth[1], truth[2], []]


@EVERY_LIST
def test_every_page_is_the_first(world: World, paging: Paging, name: str) -> None:
    first = read(world, paging, name)[0]
    paging.only_first = True
    assert read(world, paging, name, 20) == [first] * 20


@EVERY_LIST
def test_short_pages_lose_nobody(world: World, paging: Paging, name: str) -> None:
    truth = everybody(world, name)
    paging.short_by = 1
    pages = read(world, paging, name, 5)
    assert [len(one) for one in pages] == [3, 3, 3, 3, 0]
    assert [uid for one in pages for uid in one] == truth
    paging.short_by = 99
    assert [len(one) for one in read(world, paging, name)] == [1, 1, 1]


@EVERY_LIST
def test_overlapping_pages_begin_with_the_end_of_the_one_before(world: World, paging: Paging, name: str) -> None:
    truth = everybody(world, name)
    paging.overlap = 1
    assert read(world, paging, name, 5) == [truth[0:4], truth[3:7], truth[6:10], truth[9:12], []]
    paging.overlap = 99
    assert read(world, paging, name) == [truth[0:4], truth[1:5], truth[2:6]]


@EVERY_LIST
def test_empty_page_loses_nobody(world: World, paging: Paging, name: str) -> None:
    truth = read(world, paging, name)
    paging.empty_page = 2
    assert read(world, paging, name, 5) == [truth[0], [], truth[1], truth[2], []]
    assert LISTS[name][0] not in page(world, paging, name, 1)


@EVERY_LIST
def test_somebody_leaves_between_two_pages(world: World, paging: Paging, name: str) -> None:
    before = everybody(world, name)
    paging.leaves.set(1)
    pages = read(world, paging, name)
    after = everybody(world, name)

    (gone,) = set(before) - set(after)
    assert gone in pages[0]
    assert before[4] in after
    assert before[4] not in [uid for one in pages for uid in one]
    assert [len(one) for one in pages] == [4, 4, 3]


@EVERY_LIST
def test_somebody_joins_between_two_pages(world: World, paging: Paging, name: str) -> None:
    before = everybody(world, name)
    paging.joins.set(1)
    pages = read(world, paging, name, 4)
    after = everybody(world, name)

    (new,) = set(after) - set(before)
    assert new not in [uid for one in pages for uid in one]
    assert pages[1][0] == pages[0][-1]
    assert [len(one) for one in pages] == [4, 4, 4, 1]


def test_host_and_account_never_leave(world: World, paging: Paging) -> None:
    paging.leaves.set(ALWAYS)
    read(world, paging, "GroupMemberList", 40)
    left = world.groups[PLAIN_GROUP].members
    assert ACCOUNT in left
    assert Role.HOST in {one.role for one in left.values()}
    for _ in range(20):
        page(world, paging, "GroupMemberList", 0)
    assert len(left) == 2


@EVERY_LIST
@pytest.mark.parametrize("how", ["no_uid", "null_uid", "garbage_uid", "null_entry"])
def test_entry_that_cannot_be_read(world: World, paging: Paging, name: str, how: Unreadable) -> None:
    key, user = LISTS[name]
    truth = page(world, paging, name, 0)
    paging.unreadable = how
    fields = page(world, paging, name, 0)

    assert fields[key][:-1] == truth[key][:-1]
    bad = fields[key][-1]
    seen: object = "no uid" if bad is not None and "uid" not in bad[user] else bad and bad[user]["uid"]
    assert seen == {"no_uid": "no uid", "null_uid": None, "garbage_uid": "somebody", "null_entry": None}[how]
    assert (bad is None) == (how == "null_entry")


@EVERY_LIST
@pytest.mark.parametrize("off_by", [1, -1, 500, -12])
def test_wrong_count(world: World, paging: Paging, name: str, off_by: int) -> None:
    paging.count_off_by = off_by
    assert int(page(world, paging, name, 0)["count"]) == 12 + off_by


@EVERY_LIST
@pytest.mark.parametrize(
    ("count_type", "contacts", "others"), [("documented", 12, "12"), ("number", 12, 12), ("string", "12", "12")]
)
def test_count_as_number_or_string(
    world: World, paging: Paging, name: str, count_type: CountType, contacts: object, others: object
) -> None:
    paging.count_type = count_type
    count = page(world, paging, name, 0)["count"]
    expected = contacts if name == "ContactsList" else others
    assert (type(count), count) == (type(expected), expected)


@EVERY_LIST
def test_count_on_the_first_page_on_every_page_on_none(world: World, paging: Paging, name: str) -> None:
    def shown() -> list[bool]:
        return ["count" in page(world, paging, name, position) for position in range(4)]

    assert shown() == [True, False, False, False]
    paging.count_on_every_page = True
    assert shown() == [True] * 4
    paging.count_missing = True
    assert shown() == [False] * 4


def test_count_follows_the_world(world: World, paging: Paging) -> None:
    paging.count_on_every_page = True
    paging.leaves.set(1)
    assert [page(world, paging, "GroupMemberList", position)["count"] for position in range(2)] == ["12", "11"]


@pytest.mark.parametrize(
    ("name", "has_one"), [("ContactsList", True), ("GroupMemberList", True), ("GroupReqList", False)]
)
def test_update_time_moves_while_it_is_read(world: World, paging: Paging, name: str, has_one: bool) -> None:
    def times() -> list[str | None]:
        return [page(world, paging, name, position).get("lastUpdateTime") for position in range(3)]

    still = times()
    assert (still[0] is not None) == has_one
    assert still[1:] == [None, None]
    paging.moving_update_time = True
    moving = times()
    assert len(set(moving)) == (3 if has_one else 1)
    assert moving[0] == still[0]


class TestTheWorldChanges:
    """What a test calls between two syncs, by ``Simulator.change``."""

    def test_member_comes_and_goes(self, world: World, paging: Paging) -> None:
        group = world.groups[PLAIN_GROUP]
        before = group.changed_ms
        group.add_member(STRANGER)
        assert everybody(world, "GroupMemberList")[-1] == str(STRANGER)
        assert group.changed_ms > before
        assert group.drop_member(STRANGER)
        assert not group.drop_member(STRANGER)
        assert not group.drop_member(group.host)
        assert str(STRANGER) not in everybody(world, "GroupMemberList")

    def test_newcomer_in_front_stands_behind_the_ranks(self, world: World) -> None:
        world.groups[PLAIN_GROUP].add_member(STRANGER, first=True)
        listed = page(world, Paging(), "GroupMemberList", 0)["members"]
        assert [one.get("type") for one in listed] == [None, "MANAGE", "MEMBER", "MEMBER"]
        assert listed[2]["user"]["uid"] == str(STRANGER)

    def test_one_for_another_is_seen(self, world: World) -> None:
        """Also without a word to the group: as many as before, but not the same."""
        group = world.groups[PLAIN_GROUP]
        everybody(world, "GroupMemberList")
        gone = list(group.members)[-1]
        group.members[STRANGER] = group.members.pop(gone)
        group.members[STRANGER].uid = STRANGER
        assert everybody(world, "GroupMemberList")[-1] == str(STRANGER)

    def test_the_order_is_not_made_anew_for_each_page(self, world: World) -> None:
        group = world.groups[PLAIN_GROUP]
        order = group.order_members()
        assert group.order_members() is order
        group.add_member(STRANGER)
        assert group.order_members() == [*order, STRANGER]

    def test_contact_comes_and_goes(self, world: World) -> None:
        before = world.contacts_changed_ms
        world.add_contact(STRANGER)
        assert everybody(world, "ContactsList")[-1] == str(STRANGER)
        assert world.contacts_changed_ms > before
        assert world.drop_contact(STRANGER)
        assert not world.drop_contact(STRANGER)
        world.add_contact(STRANGER, first=True)
        assert everybody(world, "ContactsList")[0] == str(STRANGER)

    def test_request_comes_and_goes(self, world: World) -> None:
        world.ask_to_join(STRANGER, OWNED_GROUP)
        assert everybody(world, "GroupReqList")[0] == str(STRANGER)
        request = world.group_requests[0]
        assert world.drop_group_request(request)
        assert not world.drop_group_request(request)


@given(
    paging=st.builds(
        Paging,
        short_by=st.integers(0, 5),
        overlap=st.integers(0, 5),
        empty_page=st.integers(0, 4),
        count_off_by=st.integers(-20, 20),
        only_first=st.booleans(),
        unreadable=st.sampled_from([None, "no_uid", "null_uid", "garbage_uid", "null_entry"]),
        moving_update_time=st.booleans(),
    ),
    counts=st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 30)),
    name=st.sampled_from(sorted(LISTS)),
)
def test_any_knobs_together_give_pages(paging: Paging, counts: tuple[int, int, int], name: str) -> None:
    world = build_world(contacts=6, members=6, page_size=2)
    for countdown, times in zip((paging.repeats, paging.leaves, paging.joins), counts, strict=True):
        countdown.set(times)
    for position in range(8):
        assert len(page(world, paging, name, position).get(LISTS[name][0], [])) <= 2

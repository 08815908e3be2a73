"""Entities of the world as the bridge writes them: two spellings of a group, and what is left out because it is the default."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.simulator.asking import call, data_of, listed
from worker68.simulator import shapes
from worker68.simulator.population import (
    ACCOUNT,
    FRIEND,
    MANAGED_GROUP,
    MUTABLE_MEMBER,
    OTHER_FRIEND,
    OWNED_GROUP,
    PLAIN_GROUP,
    STRANGER,
)
from worker68.simulator.world import AGREED, FOR_EVER, GroupRequest, Role, World

NOW_MS = 1_766_300_000_000


def test_rank_is_a_word_in_one_reply_and_a_number_in_the_other(world: World) -> None:
    numbers = {one: listed(world, one)["memberType"] for one in (OWNED_GROUP, MANAGED_GROUP, PLAIN_GROUP)}
    words = {one: data_of(call(world, "GroupDetail", groupId=one)).get("memberType") for one in numbers}

    assert numbers == {OWNED_GROUP: 0, MANAGED_GROUP: 1, PLAIN_GROUP: 2}
    assert words == {OWNED_GROUP: None, MANAGED_GROUP: "MANAGE", PLAIN_GROUP: "MEMBER"}


def test_member_without_type_is_the_host(world: World) -> None:
    members = data_of(call(world, "GroupMemberList", groupId=MANAGED_GROUP))["members"]

    assert [one.get("type") for one in members] == [None, "MANAGE", "MEMBER", "MEMBER"]
    assert world.groups[MANAGED_GROUP].members[int(members[0]["user"]["uid"])].role is Role.HOST


def test_stranger_is_no_friend(world: World) -> None:
    detail = data_of(call(world, "ContactsDetail", targetUid=STRANGER))["contactsDetailBase"]

    assert "friendRelation" not in detail["userInfo"]
    assert "commonGroupNum" not in detail


def test_only_who_may_moderate_has_the_rights_to_it(world: World) -> None:
    world.groups[OWNED_GROUP].join_check = False

    rights = {one: shapes.group_detail(world, world.groups[one])["right"] for one in world.groups}
    assert rights == {
        OWNED_GROUP: {"bfUpdateData": True, "bfPushNotice": True},
        MANAGED_GROUP: {"bfUpdateData": True, "bfPushNotice": True, "bfJoinCheck": True},
        PLAIN_GROUP: {},
    }
    shown = {one: (listed(world, one)["bfUpdateData"], listed(world, one)["bfPushNotice"]) for one in world.groups}
    assert shown == {OWNED_GROUP: (True, True), MANAGED_GROUP: (True, True), PLAIN_GROUP: (False, False)}


@pytest.mark.parametrize(
    ("muted_until_ms", "shown"),
    [(0, -1), (NOW_MS, -1), (NOW_MS + 1, 1), (NOW_MS + 90_500, 91), (FOR_EVER, -2)],
)
def test_a_mute_is_shown_by_the_seconds_that_are_left(
    world: World, monkeypatch: pytest.MonkeyPatch, muted_until_ms: int, shown: int
) -> None:
    monkeypatch.setattr(shapes, "now_ms", lambda: NOW_MS)
    world.groups[OWNED_GROUP].members[MUTABLE_MEMBER].muted_until_ms = muted_until_ms

    assert shapes.contact_detail(world, world.people[MUTABLE_MEMBER], OWNED_GROUP)["groupShutupTime"] == shown


@pytest.mark.parametrize(("uid", "group_id"), [(MUTABLE_MEMBER, 0), (MUTABLE_MEMBER, 1), (FRIEND, OWNED_GROUP)])
def test_outside_of_a_group_no_mute_is_shown(world: World, uid: int, group_id: int) -> None:
    assert "groupShutupTime" not in shapes.contact_detail(world, world.people[uid], group_id)


def test_groups_in_common_are_those_that_both_are_in(world: World) -> None:
    def common(uid: int) -> int | None:
        number: int | None = shapes.contact_detail(world, world.people[uid], 0).get("commonGroupNum")
        return number

    assert (common(FRIEND), common(OTHER_FRIEND)) == (1, 2)
    del world.groups[PLAIN_GROUP].members[ACCOUNT]
    del world.groups[MANAGED_GROUP].members[FRIEND]
    assert (common(FRIEND), common(OTHER_FRIEND)) == (None, 1)


def test_a_member_shows_whether_it_is_a_friend_and_never_its_handle(world: World) -> None:
    group = world.groups[MANAGED_GROUP]
    friend, other = (shapes.member(world, group, group.members[uid])["user"] for uid in (FRIEND, MUTABLE_MEMBER))

    assert friend["friendRelation"] == {"bfFriend": True}
    assert "friendRelation" not in other
    assert {friend["identify"], other["identify"]} == {"--"}


def test_who_has_left_a_group_is_still_named_without_a_rank(world: World) -> None:
    group = world.groups[MANAGED_GROUP]
    before = shapes.sending_member(world, group, MUTABLE_MEMBER)
    group.drop_member(MUTABLE_MEMBER)
    after = shapes.sending_member(world, group, MUTABLE_MEMBER)

    assert before["type"] == "MEMBER"
    assert after == {"user": before["user"], "groupId": str(MANAGED_GROUP)}


def test_a_person_without_a_picture_or_offline_has_no_such_field(world: World) -> None:
    person = world.people[STRANGER]
    shown = shapes.sending_user(person) | shapes.online_status(person)
    person.icon, person.online = "", True
    bare = shapes.sending_user(person) | shapes.online_status(person)

    assert shown.keys() - bare.keys() == {"icon"}
    assert bare.keys() - shown.keys() == {"online"}


def test_an_open_request_has_no_status_and_a_silent_one_no_words(world: World) -> None:
    asked = world.group_requests[0]
    written = [shapes.group_request(world, one) for one in (asked, replace(asked, status=AGREED, text=""))]

    assert "groupReqStatus" not in written[0]
    assert written[1]["groupReqStatus"] == AGREED
    assert "msg" not in written[1]


def test_a_request_names_who_asks_and_who_is_to_be_in(world: World) -> None:
    world.groups[PLAIN_GROUP].join_check = False
    request = GroupRequest(7, PLAIN_GROUP, FRIEND, ACCOUNT, "come in", 1, 2)

    written = shapes.group_request(world, request)
    assert (written["fromUser"]["uid"], written["targetUser"]["uid"]) == (str(FRIEND), str(ACCOUNT))
    assert written["groupHostUid"] == str(OTHER_FRIEND)
    assert "bfJoinCheck" not in written

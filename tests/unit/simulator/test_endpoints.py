"""The service's calls: what each of them reads and changes in the world, and how it says no."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.simulator.asking import call, code_of, data_of, error_of, listed
from worker68.simulator import build_world
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
from worker68.simulator.requests import Answer
from worker68.simulator.world import LARGEST_PAGE, Refused, World


class TestChanges:
    def test_muted_group_stays_muted_until_it_is_lifted(self, world: World) -> None:
        muted = call(world, "GroupUpdate", op=11, groupParam={"shutup": True, "groupId": MANAGED_GROUP})
        assert code_of(muted) == 200
        assert [event["data"]["bfShutup"] for event in muted.events] == [True]
        assert listed(world, MANAGED_GROUP)["bfShutup"] is True

        call(world, "GroupUpdate", op=11, groupParam={"shutup": False, "groupId": MANAGED_GROUP})
        assert listed(world, MANAGED_GROUP)["bfShutup"] is False

    def test_notice_stays_and_is_shown_in_both_lists(self, world: World) -> None:
        reply = data_of(call(world, "GroupUpdate", op=12, groupParam={"notice": "新的", "groupId": MANAGED_GROUP}))

        detail = data_of(call(world, "GroupDetail", groupId=MANAGED_GROUP))
        assert detail["groupNotice"]["notice"] == "新的"
        assert detail["groupNotice"]["noticeId"] == reply["noticeId"]
        assert detail["groupNotice"]["editUser"]["user"]["uid"] == str(ACCOUNT)
        assert listed(world, MANAGED_GROUP)["groupNotice"] == detail["groupNotice"]

    def test_cleared_notice_is_left_out(self, world: World) -> None:
        call(world, "GroupUpdate", op=13, groupParam={"groupId": MANAGED_GROUP})

        assert "groupNotice" not in data_of(call(world, "GroupDetail", groupId=MANAGED_GROUP))

    def test_renamed_group_says_so(self, world: World) -> None:
        answer = call(world, "GroupUpdate", op=7, groupParam={"groupName": "new", "groupId": MANAGED_GROUP})

        assert answer.events[0]["operator"] == "groupUpdate"
        assert listed(world, MANAGED_GROUP)["name"] == "new"

    @pytest.mark.parametrize(("op", "param"), [(6, {"bfJoinCheck": False}), (9, {"pic": "p"}), (18, {"remark": "r"})])
    def test_other_changes_are_taken(self, world: World, op: int, param: dict[str, Any]) -> None:
        assert code_of(call(world, "GroupUpdate", op=op, groupParam={**param, "groupId": MANAGED_GROUP})) == 200
        group = world.groups[MANAGED_GROUP]
        assert {6: group.join_check is False, 9: group.picture == "p", 18: group.remark == "r"}[op]

    def test_a_member_is_muted_for_so_many_seconds_as_the_detail_shows(self, world: World) -> None:
        muted = call(world, "GroupMemberShutup", targetUid=MUTABLE_MEMBER, shutupTime=60, groupId=OWNED_GROUP)

        detail = data_of(call(world, "ContactsDetail", targetUid=MUTABLE_MEMBER, groupId=OWNED_GROUP))
        assert code_of(muted) == 200
        assert 0 < detail["contactsDetailBase"]["groupShutupTime"] <= 60

    def test_a_mute_that_is_refused_is_answered_with_the_reason(self, world: World) -> None:
        refused = call(world, "GroupMemberShutup", targetUid=OTHER_FRIEND, shutupTime=60, groupId=PLAIN_GROUP)

        assert code_of(refused) == Refused.NOT_PERMITTED.value

    @pytest.mark.parametrize("param", [{"op": 12}, {"op": 11}, {"op": 99}, {}, {"op": "x"}])
    def test_change_that_makes_no_sense_changes_nothing(self, world: World, param: dict[str, Any]) -> None:
        before = listed(world, MANAGED_GROUP)

        assert code_of(call(world, "GroupUpdate", groupParam={"groupId": MANAGED_GROUP}, **param)) == 1023
        assert listed(world, MANAGED_GROUP) == before

    def test_plain_member_changes_nothing(self, world: World) -> None:
        refused = call(world, "GroupUpdate", op=12, groupParam={"notice": "x", "groupId": PLAIN_GROUP})

        assert code_of(refused) == Refused.NOT_PERMITTED.value
        assert world.groups[PLAIN_GROUP].notice is None


class TestReads:
    def test_member_pages_hold_everybody_once_and_the_count_on_the_first_only(self) -> None:
        world = build_world(members=25)
        pages = [
            data_of(call(world, "GroupMemberList", groupId=PLAIN_GROUP, pageSize=10, pageNum=n)) for n in (1, 2, 3, 4)
        ]

        assert [page.get("count") for page in pages] == ["25", None, None, None]
        assert ["lastUpdateTime" in page for page in pages] == [True, False, False, False]
        uids = [int(one["user"]["uid"]) for page in pages for one in page.get("members", [])]
        assert sorted(uids) == sorted(world.groups[PLAIN_GROUP].members)
        assert "members" not in pages[3]

    def test_page_is_never_larger_than_the_service_allows(self) -> None:
        world = build_world(members=1_200)
        page = data_of(call(world, "GroupMemberList", groupId=PLAIN_GROUP, pageSize=5_000, pageNum=1))

        assert len(page["members"]) == LARGEST_PAGE

    def test_contact_pages(self) -> None:
        world = build_world(contacts=25)
        pages = [data_of(call(world, "ContactsList", pageSize=20, pageNum=n)) for n in (1, 2, 3)]

        assert [page.get("count") for page in pages] == [25, None, None]
        assert [len(page.get("contactsList", [])) for page in pages] == [20, 5, 0]
        assert [page["pageNum"] for page in pages] == [1, 2, 3]

    def test_group_requests_are_paged_from_1(self, world: World) -> None:
        pages = [data_of(call(world, "GroupReqList", pageSize=1, pageNum=n)) for n in (1, 2, 3)]

        assert [len(page.get("groupReqs", [])) for page in pages] == [1, 1, 0]
        assert [page.get("count") for page in pages] == ["2", None, None]

    def test_page_0_of_the_group_requests_is_answered_busy(self, world: World) -> None:
        assert error_of(call(world, "GroupReqList", pageNum=0)) == 300

    @pytest.mark.parametrize(("name", "page"), [("GroupMemberList", 0), ("ContactsList", 0)])
    def test_page_before_the_first(self, world: World, name: str, page: int) -> None:
        assert code_of(call(world, name, groupId=MANAGED_GROUP, pageNum=page)) == Refused.INVALID.value

    def test_no_friend_requests_are_left_out(self, world: World) -> None:
        world.friend_requests.clear()

        assert data_of(call(world, "ContactsApplyList")) == {"commonResult": {"errCode": 200}}

    def test_unknown_person_or_group(self, world: World) -> None:
        assert code_of(call(world, "ContactsDetail", targetUid=1)) == Refused.UNKNOWN.value
        assert code_of(call(world, "GroupDetail", groupId=1)) == Refused.UNKNOWN.value

    def test_online_status_of_too_many_or_too_often(self, world: World) -> None:
        def ask(*uids: int) -> Answer:
            return call(world, "GroupMemberOnLineStatusList", groupId=MANAGED_GROUP, uids=list(uids))

        assert code_of(ask(*range(41))) == Refused.INVALID.value
        assert code_of(ask(FRIEND, ACCOUNT)) == 200
        assert error_of(ask(ACCOUNT)) == 300
        assert code_of(ask(MUTABLE_MEMBER)) == 200

    def test_numbers_may_come_as_strings_of_digits(self, world: World) -> None:
        assert code_of(call(world, "GroupDetail", groupId=str(MANAGED_GROUP))) == 200
        assert code_of(call(world, "GroupDetail", groupId="group")) == Refused.INVALID.value


class TestMembers:
    def test_a_reply_to_invitations_names_strangers_and_those_who_wait(self, world: World) -> None:
        reply = data_of(call(world, "GroupMember", op=0, groupId=PLAIN_GROUP, members=[FRIEND, STRANGER]))

        lists = {"notFriendUids": [str(STRANGER)], "needCheckUids": [str(FRIEND)]}
        assert reply == {"commonResult": {"errCode": 200}, **lists}
        assert FRIEND not in world.groups[PLAIN_GROUP].members

    def test_a_reply_names_nobody_where_all_are_let_in(self, world: World) -> None:
        reply = data_of(call(world, "GroupMember", op=0, groupId=OWNED_GROUP, members=[FRIEND]))

        assert reply == {"commonResult": {"errCode": 200}}
        assert FRIEND in world.groups[OWNED_GROUP].members

    def test_members_are_removed_and_the_host_stays(self, world: World) -> None:
        removed = call(world, "GroupMember", op=1, groupId=MANAGED_GROUP, members=[MUTABLE_MEMBER, FRIEND, STRANGER])

        assert code_of(removed) == 200
        assert list(world.groups[MANAGED_GROUP].members) == [FRIEND, ACCOUNT, 4_017_572]

    @pytest.mark.parametrize(
        ("op", "group_id", "reason"),
        [(1, PLAIN_GROUP, Refused.NOT_PERMITTED), (2, OWNED_GROUP, Refused.INVALID), (0, 1, Refused.UNKNOWN)],
    )
    def test_what_is_refused_changes_nobody(self, world: World, op: int, group_id: int, reason: Refused) -> None:
        before = {one.group_id: list(one.members) for one in world.groups.values()}

        assert code_of(call(world, "GroupMember", op=op, groupId=group_id, members=[OTHER_FRIEND])) == reason.value
        assert {one.group_id: list(one.members) for one in world.groups.values()} == before


class TestRequests:
    @pytest.mark.parametrize("agree", [True, False])
    def test_an_auditor_answers_an_applicant_once(self, world: World, agree: bool) -> None:
        request = world.group_requests[0]

        assert code_of(call(world, "GroupCheckJoin", groupReqId=request.request_id, flag=agree)) == 200
        assert (request.target in world.groups[OWNED_GROUP].members) is agree
        again = call(world, "GroupCheckJoin", groupReqId=request.request_id, flag=agree)
        assert code_of(again) == Refused.INVALID.value

    def test_an_invitation_is_answered_by_the_other_call(self, world: World) -> None:
        members = world.groups[PLAIN_GROUP].members
        del members[ACCOUNT]
        world.invite_account(OTHER_FRIEND, PLAIN_GROUP)
        invitation, applicant, *_ = (request.request_id for request in world.group_requests)

        def accept(name: str, request_id: int) -> int:
            return code_of(call(world, name, groupReqId=request_id, flag=True))

        assert accept("GroupCheckJoin", invitation) == Refused.UNKNOWN.value
        assert accept("GroupUserCheckJoin", applicant) == Refused.NOT_PERMITTED.value
        assert ACCOUNT not in members
        assert accept("GroupUserCheckJoin", invitation) == 200
        assert ACCOUNT in world.groups[PLAIN_GROUP].members

    def test_a_friend_request_is_accepted_by_its_one_op(self, world: World) -> None:
        assert code_of(call(world, "UpdateContactsApply", applyUid=STRANGER, op=7)) == Refused.INVALID.value
        assert STRANGER not in world.contacts
        assert code_of(call(world, "UpdateContactsApply", applyUid=STRANGER, op=8)) == 200
        assert STRANGER in world.contacts
        assert "recordList" not in data_of(call(world, "ContactsApplyList"))

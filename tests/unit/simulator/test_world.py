"""The world as plain calls: who may change what in it, what a change does, and what the service refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
from worker68.simulator.world import (
    AGREED,
    FOR_EVER,
    INVITE,
    OPEN,
    QR_CODE,
    REFUSED,
    Group,
    Member,
    Refusal,
    Refused,
    Role,
    World,
    now_ms,
)


def reason_of(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refusal) as refused:
        call()
    return refused.value.reason


class TestGroups:
    @pytest.fixture
    def group(self) -> Group:
        ranks = {1: Role.MEMBER, 2: Role.MANAGE, 3: Role.MEMBER, 4: Role.HOST}
        members = {uid: Member(uid, role) for uid, role in ranks.items()}
        return Group(7, "name", "alias", created_ms=0, members=members, changed_ms=0)

    def test_members_are_listed_by_rank_and_then_as_they_came(self, group: Group) -> None:
        assert group.order_members() == [4, 2, 1, 3]
        group.add_member(5)
        group.add_member(6, first=True)
        assert group.order_members() == [4, 2, 6, 1, 3, 5]
        assert group.drop_member(1)
        assert group.order_members() == [4, 2, 6, 3, 5]

    def test_members_that_a_test_removes_by_itself_are_not_listed(self, group: Group) -> None:
        group.order_members()
        del group.members[2]
        assert group.order_members() == [4, 1, 3]

    def test_the_host_cannot_go_nor_one_who_is_not_there(self, group: Group) -> None:
        assert [group.drop_member(uid) for uid in (4, 99)] == [False, False]
        assert (group.host, group.changed_ms) == (4, 0)
        del group.members[4]
        assert group.host == 0

    @pytest.mark.parametrize("uid", [4, 1])
    def test_a_member_who_is_let_in_once_more_stays_as_it_was(self, group: Group, uid: int) -> None:
        group.members[1].muted_until_ms = FOR_EVER
        before = dict(group.members)
        group.add_member(uid)
        assert group.members == before
        assert (group.host, group.order_members(), group.changed_ms) == (4, [4, 2, 1, 3], 0)

    @pytest.mark.parametrize("change", [lambda group: group.add_member(5), lambda group: group.drop_member(1)])
    def test_its_list_says_when_it_changed(self, group: Group, change: Callable[[Group], object]) -> None:
        before = now_ms()
        change(group)
        assert before <= group.changed_ms <= now_ms()


class TestWhatIsThere:
    def test_unknown_people_and_groups_are_refused(self, world: World) -> None:
        assert reason_of(lambda: world.person(1)) is Refused.UNKNOWN
        assert reason_of(lambda: world.group(1)) is Refused.UNKNOWN
        assert world.person(STRANGER).uid == STRANGER

    def test_a_group_that_the_account_has_left_is_unknown_to_it(self, world: World) -> None:
        assert world.group(PLAIN_GROUP) is world.groups[PLAIN_GROUP]
        del world.groups[PLAIN_GROUP].members[ACCOUNT]
        assert reason_of(lambda: world.group(PLAIN_GROUP)) is Refused.UNKNOWN

    def test_a_plain_member_moderates_nothing(self, world: World) -> None:
        assert [world.moderated_group(one).group_id for one in (OWNED_GROUP, MANAGED_GROUP)] == [
            OWNED_GROUP,
            MANAGED_GROUP,
        ]
        assert reason_of(lambda: world.moderated_group(PLAIN_GROUP)) is Refused.NOT_PERMITTED

    def test_chats_are_groups_friends_and_perhaps_the_account_itself(self, world: World) -> None:
        assert [world.knows_chat("friend", uid) for uid in (FRIEND, STRANGER, ACCOUNT)] == [True, False, True]
        assert [world.knows_chat("group", one) for one in (PLAIN_GROUP, FRIEND)] == [True, False]
        world.has_own_chat = False
        assert not world.knows_chat("friend", ACCOUNT)


class TestMutes:
    def test_a_muted_group_lets_those_with_a_rank_write(self, world: World) -> None:
        for group in world.groups.values():
            group.muted = True
        may_write = {one for one in world.groups if world.may_write("group", one)}
        assert may_write == {OWNED_GROUP, MANAGED_GROUP}
        assert world.may_write("friend", FRIEND)

    def test_a_muted_account_may_not_write_until_the_mute_is_over(self, world: World) -> None:
        account = world.groups[MANAGED_GROUP].members[ACCOUNT]
        account.muted_until_ms = FOR_EVER
        assert not world.may_write("group", MANAGED_GROUP)
        account.muted_until_ms = now_ms() - 1
        assert world.may_write("group", MANAGED_GROUP)

    def test_an_account_that_has_left_may_not_write(self, world: World) -> None:
        del world.groups[OWNED_GROUP].members[ACCOUNT]
        assert not world.may_write("group", OWNED_GROUP)

    def test_member_is_muted_for_a_time_for_ever_and_not_any_more(self, world: World) -> None:
        member = world.groups[OWNED_GROUP].members[MUTABLE_MEMBER]
        before = now_ms()
        world.mute_member(OWNED_GROUP, MUTABLE_MEMBER, 3600)
        assert before <= member.muted_until_ms - 3_600_000 <= now_ms()
        world.mute_member(OWNED_GROUP, MUTABLE_MEMBER, -2)
        assert member.muted_until_ms == FOR_EVER
        world.mute_member(OWNED_GROUP, MUTABLE_MEMBER, -1)
        assert member.muted_until_ms == 0

    @pytest.mark.parametrize(
        ("group_id", "uid", "seconds", "reason"),
        [
            (PLAIN_GROUP, OTHER_FRIEND, 60, Refused.NOT_PERMITTED),
            (MANAGED_GROUP, FRIEND, 60, Refused.NOT_PERMITTED),
            (MANAGED_GROUP, STRANGER, 60, Refused.UNKNOWN),
            (1, MUTABLE_MEMBER, 60, Refused.UNKNOWN),
            (OWNED_GROUP, MUTABLE_MEMBER, 0, Refused.INVALID),
            (OWNED_GROUP, MUTABLE_MEMBER, -3, Refused.INVALID),
        ],
    )
    def test_mute_that_the_service_refuses(
        self, world: World, group_id: int, uid: int, seconds: int, reason: Refused
    ) -> None:
        assert reason_of(lambda: world.mute_member(group_id, uid, seconds)) is reason
        assert all(one.muted_until_ms == 0 for group in world.groups.values() for one in group.members.values())


class TestNotices:
    def test_each_has_a_number_of_its_own_and_names_the_account(self, world: World) -> None:
        first, second = (world.set_notice(one, "new") for one in (OWNED_GROUP, MANAGED_GROUP))
        assert first.notice_id < second.notice_id
        assert world.groups[MANAGED_GROUP].notice is second
        assert (second.text, second.editor) == ("new", ACCOUNT)

    def test_a_plain_member_sets_none(self, world: World) -> None:
        assert reason_of(lambda: world.set_notice(PLAIN_GROUP, "new")) is Refused.NOT_PERMITTED
        assert world.groups[PLAIN_GROUP].notice is None


class TestFriends:
    def test_contacts_come_last_or_first_and_go(self, world: World) -> None:
        world.contacts = {FRIEND: None}
        world.contacts_changed_ms = 0
        assert not world.drop_contact(STRANGER)
        assert world.contacts_changed_ms == 0
        world.add_contact(STRANGER)
        world.add_contact(MUTABLE_MEMBER, first=True)
        assert list(world.contacts) == [MUTABLE_MEMBER, FRIEND, STRANGER]
        assert world.contacts_changed_ms > 0
        assert world.drop_contact(FRIEND)
        assert list(world.contacts) == [MUTABLE_MEMBER, STRANGER]

    def test_a_request_is_accepted_once(self, world: World) -> None:
        world.accept_friend(STRANGER)
        assert STRANGER in world.contacts
        assert world.friend_requests == []
        assert reason_of(lambda: world.accept_friend(STRANGER)) is Refused.UNKNOWN


class TestInvitations:
    def test_an_auditor_lets_friends_in_at_once(self, world: World) -> None:
        strangers, waiting = world.invite_members(MANAGED_GROUP, [OTHER_FRIEND, STRANGER, FRIEND])
        assert (strangers, waiting) == ([STRANGER], [])
        assert world.groups[MANAGED_GROUP].members.keys() >= {OTHER_FRIEND, FRIEND}
        assert STRANGER not in world.groups[MANAGED_GROUP].members

    @pytest.mark.parametrize("join_check", [True, False])
    def test_those_whom_a_plain_member_invites_wait_where_the_group_checks(
        self, world: World, join_check: bool
    ) -> None:
        group = world.groups[PLAIN_GROUP]
        group.join_check = join_check
        assert world.invite_members(PLAIN_GROUP, [FRIEND]) == ([], [FRIEND] if join_check else [])
        assert (FRIEND in group.members) is not join_check


class TestGroupRequests:
    def test_the_newest_is_the_first_and_says_what_it_is(self, world: World) -> None:
        world.ask_to_join(STRANGER, OWNED_GROUP)
        world.invite_account(FRIEND, PLAIN_GROUP)
        invitation, applicant, oldest, *_ = world.group_requests
        assert (invitation.uid, invitation.target, invitation.kind) == (FRIEND, ACCOUNT, INVITE)
        assert (applicant.uid, applicant.target, applicant.kind) == (STRANGER, STRANGER, QR_CODE)
        assert invitation.request_id > applicant.request_id > oldest.request_id

    def test_one_that_is_withdrawn_is_gone(self, world: World) -> None:
        request = world.group_requests[0]
        assert [world.drop_group_request(request) for _ in range(2)] == [True, False]
        assert request not in world.group_requests

    @pytest.mark.parametrize(("agree", "status"), [(True, AGREED), (False, REFUSED)])
    def test_it_is_answered_once_and_keeps_its_place(self, world: World, agree: bool, status: int) -> None:
        first, asked = world.group_requests[:2]
        before = now_ms()
        world.answer_group_request(asked.request_id, agree=agree, invited=False)
        answered = world.group_requests[1]
        assert (first.status, answered.request_id, answered.status) == (OPEN, asked.request_id, status)
        assert before <= answered.changed_ms <= now_ms()
        assert (asked.target in world.groups[OWNED_GROUP].members) is agree
        again = reason_of(lambda: world.answer_group_request(asked.request_id, agree=True, invited=False))
        assert again is Refused.INVALID

    def test_who_is_invited_answers_and_no_other(self, world: World) -> None:
        del world.groups[PLAIN_GROUP].members[ACCOUNT]
        world.invite_account(OTHER_FRIEND, PLAIN_GROUP)
        invitation, applicant = (one.request_id for one in world.group_requests[:2])

        def accept(request_id: int) -> None:
            world.answer_group_request(request_id, agree=True, invited=True)

        assert reason_of(lambda: accept(applicant)) is Refused.NOT_PERMITTED
        assert reason_of(lambda: accept(1)) is Refused.UNKNOWN
        accept(invitation)
        assert ACCOUNT in world.groups[PLAIN_GROUP].members

    def test_a_plain_member_answers_no_applicant(self, world: World) -> None:
        world.ask_to_join(STRANGER, PLAIN_GROUP)
        asked = world.group_requests[0].request_id
        answer = reason_of(lambda: world.answer_group_request(asked, agree=True, invited=False))
        assert answer is Refused.NOT_PERMITTED
        assert STRANGER not in world.groups[PLAIN_GROUP].members


def test_online_status_may_be_asked_again_after_a_pause_that_refused_calls_do_not_renew(world: World) -> None:
    world.online_pause_seconds = 600.0
    assert world.ask_online([1, 2])
    assert not world.ask_online([2, 3])
    assert world.ask_online([3])
    world.online_pause_seconds = 0.0
    assert world.ask_online([1, 2, 3])

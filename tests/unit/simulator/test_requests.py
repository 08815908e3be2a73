"""What requests do to the world, what the simulated service refuses, and what the bridge makes of sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker68.simulator import build_world, endpoints
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
from worker68.simulator.requests import Answer, Kind, Malformed, read_request, respond
from worker68.simulator.world import FOR_EVER, LARGEST_PAGE, Refused, Role, World, now_ms


@pytest.fixture
def world() -> World:
    return build_world()


def call(world: World, name: str, /, proto: str | None = None, **data: Any) -> Answer:
    """Call the service as the documented frames do; ``proto`` overrides the type's own protoType."""
    endpoint = endpoints.ENDPOINTS[name]
    is_group = endpoint.is_group_proto if proto is None else proto == "group"
    body = {"type": name, "url": f"https://webbiz.example{endpoint.path}", "data": data}
    frame = {"id": "1", "type": "request", "data": body | ({"protoType": "group"} if is_group else {})}
    return respond(world, read_request(frame))


def data_of(answer: Answer) -> Any:
    assert answer.body is not None
    return answer.body["data"]


def code_of(answer: Answer) -> int:
    code: int = data_of(answer)["commonResult"]["errCode"]
    return code


def error_of(answer: Answer) -> int:
    assert answer.body is not None
    code: int = answer.body["error"]["errorCode"]
    return code


def listed(world: World, group_id: int) -> dict[str, Any]:
    groups = data_of(respond(world, read_request({"id": "1", "type": "getGroups"})))
    found: dict[str, Any] = next(group for group in groups if group["id"] == group_id)
    return found


def send(world: World, chat_id: int, *contents: str, kind: Kind = "new", **extra: Any) -> Answer:
    chat_type = "friend" if chat_id in world.people else "group"
    items = [{"type": "text", "values": {"chatType": 0, "content": content}} for content in contents]
    data = {"id": chat_id, "type": chat_type, "list": items, "quoteInfo": None, **extra}
    return respond(world, read_request({"id": "1", "type": "sendMsg", "data": data}), kind=kind)


class TestModeration:
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

    def test_member_is_muted_for_a_time_for_ever_and_not_any_more(self, world: World) -> None:
        member = world.groups[OWNED_GROUP].members[MUTABLE_MEMBER]

        def mute(seconds: int) -> int:
            return code_of(
                call(world, "GroupMemberShutup", targetUid=MUTABLE_MEMBER, shutupTime=seconds, groupId=OWNED_GROUP)
            )

        assert mute(3600) == 200
        assert now_ms() < member.muted_until_ms <= now_ms() + 3_600_000
        assert mute(-2) == 200
        assert member.muted_until_ms == FOR_EVER
        assert mute(-1) == 200
        assert member.muted_until_ms == 0
        assert mute(0) == Refused.INVALID.value

    @pytest.mark.parametrize(
        ("group_id", "uid", "reason"),
        [
            (PLAIN_GROUP, OTHER_FRIEND, Refused.NOT_PERMITTED),
            (MANAGED_GROUP, FRIEND, Refused.NOT_PERMITTED),
            (MANAGED_GROUP, STRANGER, Refused.UNKNOWN),
            (1, MUTABLE_MEMBER, Refused.UNKNOWN),
        ],
    )
    def test_mute_that_the_service_refuses(self, world: World, group_id: int, uid: int, reason: Refused) -> None:
        answer = call(world, "GroupMemberShutup", targetUid=uid, shutupTime=60, groupId=group_id)

        assert code_of(answer) == reason.value

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
    def test_rank_is_a_word_in_one_reply_and_a_number_in_the_other(self, world: World) -> None:
        numbers = {one: listed(world, one)["memberType"] for one in (OWNED_GROUP, MANAGED_GROUP, PLAIN_GROUP)}
        words = {one: data_of(call(world, "GroupDetail", groupId=one)).get("memberType") for one in numbers}

        assert numbers == {OWNED_GROUP: 0, MANAGED_GROUP: 1, PLAIN_GROUP: 2}
        assert words == {OWNED_GROUP: None, MANAGED_GROUP: "MANAGE", PLAIN_GROUP: "MEMBER"}

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

    def test_member_without_type_is_the_host(self, world: World) -> None:
        members = data_of(call(world, "GroupMemberList", groupId=MANAGED_GROUP))["members"]

        assert [one.get("type") for one in members] == [None, "MANAGE", "MEMBER", "MEMBER"]
        assert world.groups[MANAGED_GROUP].members[int(members[0]["user"]["uid"])].role is Role.HOST

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

    def test_stranger_is_no_friend(self, world: World) -> None:
        detail = data_of(call(world, "ContactsDetail", targetUid=STRANGER))["contactsDetailBase"]

        assert "friendRelation" not in detail["userInfo"]
        assert "commonGroupNum" not in detail

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

    def test_member_calls_need_their_proto_type(self, world: World) -> None:
        assert error_of(call(world, "GroupMemberList", proto="", groupId=MANAGED_GROUP)) == 400

    def test_wrong_path_or_base(self, world: World) -> None:
        def ask(url: str, *, check_api_base: bool = False) -> Answer:
            data = {"type": "UserInfo", "url": url}
            return respond(
                world, read_request({"id": "1", "type": "request", "data": data}), check_api_base=check_api_base
            )

        assert error_of(ask("https://webbiz.example/user/other")) == 404
        assert error_of(ask("http://[")) == 404
        assert code_of(ask("https://webbiz.example/user/userInfo")) == 200
        assert error_of(ask("https://webbiz.example/user/userInfo", check_api_base=True)) == 404
        assert code_of(ask(world.api_url + "/user/userInfo", check_api_base=True)) == 200

    @pytest.mark.parametrize("frame", [{"type": "other"}, {"type": "request", "data": {"type": "Other"}}])
    def test_unknown_type_is_never_answered(self, world: World, frame: dict[str, Any]) -> None:
        assert respond(world, read_request({"id": "1", **frame})) == Answer(None)


class TestSends:
    def test_new_bridge_gives_the_callers_id_back(self, world: World) -> None:
        assert send(world, FRIEND, "x", custom_msg_id="12345678901").messages[0].custom_msg_id == "12345678901"
        assert send(world, FRIEND, "x", custom_msg_id=12345678901).messages[0].custom_msg_id == "12345678901"

    def test_old_bridge_makes_one_of_its_own(self, world: World) -> None:
        made = send(world, FRIEND, "x", kind="old", custom_msg_id="12345678901").messages[0].custom_msg_id

        assert made != "12345678901"
        assert len(made) == 11
        assert made[0] != "0"

    def test_several_items_become_several_messages(self, world: World) -> None:
        messages = send(world, MANAGED_GROUP, "one", "two", custom_msg_id="12345678901").messages

        assert [message.text for message in messages] == ["one", "two"]
        assert messages[0].custom_msg_id == "12345678901" != messages[1].custom_msg_id
        assert messages[0].message_id != messages[1].message_id

    def test_file_has_its_id_at_the_top_level(self, world: World) -> None:
        data = {"file": "C:/b.mp4", "type": "group", "id": MANAGED_GROUP}
        frame = {"id": "1", "type": "sendFile", "data": data, "custom_msg_id": 12345678901}

        (message,) = respond(world, read_request(frame)).messages
        assert (message.text, message.custom_msg_id, message.content_type) == ("C:/b.mp4", "12345678901", 7)

    def test_backslash_n_is_a_line_break(self, world: World) -> None:
        assert send(world, FRIEND, "a\\nb").messages[0].text == "a\nb"

    @pytest.mark.parametrize("chat_id", [1, STRANGER])
    def test_unknown_chat_is_an_error(self, world: World, chat_id: int) -> None:
        answer = send(world, chat_id, "x")

        assert error_of(answer) == 404
        assert answer.messages == ()

    @pytest.mark.parametrize("data", [None, {}, {"id": FRIEND, "type": "friend", "list": []}, {"id": "x"}])
    def test_send_that_makes_no_sense_is_an_error(self, world: World, data: object) -> None:
        assert error_of(respond(world, read_request({"id": "1", "type": "sendMsg", "data": data}))) == 400

    def test_mute_stops_the_plain_member_only(self, world: World) -> None:
        for group in world.groups.values():
            group.muted = True

        stopped = {one: send(world, one, "x").messages[0].refused for one in (OWNED_GROUP, MANAGED_GROUP, PLAIN_GROUP)}
        assert stopped == {OWNED_GROUP: False, MANAGED_GROUP: False, PLAIN_GROUP: True}

    def test_muted_account_is_stopped(self, world: World) -> None:
        world.groups[MANAGED_GROUP].members[ACCOUNT].muted_until_ms = FOR_EVER

        assert send(world, MANAGED_GROUP, "x").messages[0].refused
        assert not send(world, FRIEND, "x").messages[0].refused


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known_keys = st.sampled_from(
    ["id", "type", "list", "file", "groupId", "op", "groupParam", "uids", "pageNum", "pageSize"]
)
service_calls = st.builds(
    lambda name, path, proto, data: {"type": name, "url": f"http://h{path}", "protoType": proto, "data": data},
    st.sampled_from(sorted(endpoints.ENDPOINTS)),
    st.sampled_from([endpoint.path for endpoint in endpoints.ENDPOINTS.values()]) | st.text(max_size=5),
    st.just("group") | json_values,
    st.dictionaries(known_keys, st.just(MANAGED_GROUP) | json_values) | json_values,
)
frames = st.fixed_dictionaries(
    {
        "id": st.text(max_size=3),
        "type": st.sampled_from(["request", "getGroups", "sendMsg", "sendFile", "getApiUrl", "restart68", "other"]),
    },
    optional={
        "data": service_calls | st.dictionaries(known_keys, json_values) | json_values,
        "custom_msg_id": json_values,
    },
)


@given(frame=frames)
def test_no_request_can_raise(frame: dict[str, Any]) -> None:
    assert isinstance(respond(build_world(contacts=2, members=2), read_request(frame)), Answer)


@given(frame=json_values | st.dictionaries(st.sampled_from(["id", "type", "data"]), json_values))
def test_what_is_no_request_is_malformed(frame: object) -> None:
    try:
        request = read_request(frame)
    except Malformed:
        return
    assert isinstance(frame, dict)
    assert request.type == frame["type"]


@pytest.mark.parametrize("frame", [None, [], 68, "x", {}, {"id": "1"}, {"type": "sendMsg"}, {"id": None, "type": "x"}])
def test_malformed(frame: object) -> None:
    with pytest.raises(Malformed):
        read_request(frame)

"""Every action against a simulated bridge: what it writes equals the documented frames, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import WellBehavedBridge, eventually
from tests.parts.frames import DOCUMENTED_REQUESTS, plain
from tests.parts.onloop import run
from tests.parts.turns import Collected, FreeAllowance, turn
from worker68.bridge.link import Link
from worker68.jobs.outcome import ErrorCode, Outcome, Status, TryAgain
from worker68.jobs.snapshot import ContactRow, FriendRequestRow, GroupRequestRow, GroupRow, ListSeen, MemberRow
from worker68.protocol.values import MOST_LEVELS
from worker68.simulator import Simulator, build_world
from worker68.simulator.population import (
    ACCOUNT,
    FRIEND,
    MANAGED_GROUP,
    MUTABLE_MEMBER,
    OWNED_GROUP,
    PLAIN_GROUP,
    STRANGER,
)
from worker68.tasks.sync_online_status import USERS_A_CALL
from worker68.tasks.turn import Turn

GROUP_CHAT = {"type": "group", "id": MANAGED_GROUP}

#: Documented frame -> the task, the step, and the fields that lead to it.
DOCUMENTED: dict[str, tuple[str, int, dict[str, Any]]] = {
    "user_info": ("sync_profile", 0, {}),
    "contacts_list": ("sync_contacts", 0, {}),
    "group_req_list_error": ("sync_group_requests", 0, {}),
    "get_groups": ("sync_groups", 0, {}),
    "send_friend_text": ("send_message", 0, {"chat": {"type": "friend", "id": FRIEND}, "text": "这里改成你的消息"}),
    "send_group_text": ("send_message", 0, {"chat": GROUP_CHAT, "text": "这里改成你的消息"}),
    "get_groups_2": ("sync_groups", 0, {}),
    "group_member_list": ("sync_group_members", 0, {"group_id": MANAGED_GROUP}),
    "contacts_detail": ("sync_contact", 0, {"user_id": FRIEND}),
    "contacts_apply_list": ("sync_friend_requests", 0, {}),
    "group_member_online_status_list": (
        "sync_online_status",
        0,
        {"group_id": MANAGED_GROUP, "user_ids": [7237423, 4008697, 4017572, 7128348]},
    ),
    "group_detail": ("sync_group", 0, {"group_id": MANAGED_GROUP}),
    "send_file": ("send_file", 0, {"chat": GROUP_CHAT, "path": "C:/Users/rtuge/Desktop/b.mp4"}),
    "get_api_url": ("get_api_url", 0, {}),
    "send_multiline_text": ("send_message", 0, {"chat": GROUP_CHAT, "text": "发送多行文本\n123\n1234"}),
    "group_update_notice": ("set_group_notice", 0, {"group_id": MANAGED_GROUP, "notice": "新的群通知"}),
    "send_notice_changed": ("set_group_notice", 1, {"group_id": MANAGED_GROUP, "notice": "新的群通知"}),
    "group_update_shutup": ("mute_group", 0, {"group_id": MANAGED_GROUP}),
    "send_group_shutup": ("mute_group", 1, {"group_id": MANAGED_GROUP}),
    "group_member_shutup": (
        "mute_member",
        0,
        {"group_id": OWNED_GROUP, "user_id": MUTABLE_MEMBER, "seconds": 3600},
    ),
    "restart68": ("restart_client", 0, {}),
}


@pytest.fixture
def bridge() -> Iterator[Simulator]:
    with Simulator(world=build_world(members=90), heartbeat_seconds=0.1, verdict_delay_seconds=0.0) as simulator:
        yield simulator


@pytest.fixture
def link(worker: Worker, bridge: Simulator) -> Link:
    return worker.ready_link(bridge.url)


def act(link: Link, name: str, allowance: FreeAllowance | None = None, *, step: int = 0, **fields: Any) -> Any:
    """Let a task make one of its steps."""
    taken = turn(link, f"worker68.{name}", allowance, step=step, **fields)
    return run(taken.job.now.act(taken))


def look(taken: Turn) -> Any:
    """Let a change be read back."""
    assert taken.job.now.read_back is not None
    return run(taken.job.now.read_back(taken))


def result(finding: Any) -> dict[str, Any]:
    assert isinstance(finding, Outcome), finding
    assert finding.status is Status.SUCCEEDED, finding
    assert finding.result is not None
    return finding.result


def rows(finding: Any) -> list[Any]:
    assert isinstance(finding, ListSeen), finding
    assert finding.whole, finding.note
    return cast(Collected, finding.rows).rows


def error(finding: Any) -> tuple[str, Any]:
    assert isinstance(finding, Outcome), finding
    assert finding.error is not None
    return finding.error.code, finding.error.bridge_code


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def frames_of(bridge: Simulator, frame_type: str) -> list[dict[str, Any]]:
    """Return the data of the calls of a request type."""
    calls = [one.frame["data"] for one in bridge.received if one.frame["type"] == "request"]
    return [call["data"] for call in calls if call["type"] == frame_type]


class TestDocumentedFrames:
    def test_every_documented_frame_is_written_by_some_task(self) -> None:
        assert DOCUMENTED.keys() == DOCUMENTED_REQUESTS.keys()

    @pytest.mark.parametrize("name", DOCUMENTED)
    def test_the_frame_on_the_wire_is_the_documented_one(self, name: str, link: Link, bridge: Simulator) -> None:
        task, step, fields = DOCUMENTED[name]
        before = len(bridge.received)
        finding = act(link, task, step=step, **fields)
        assert not isinstance(finding, TryAgain), finding
        written = bridge.received[before].frame
        assert plain(written) == plain(DOCUMENTED_REQUESTS[name])
        if written["type"] == "sendFile":
            assert written["custom_msg_id"] == "10000000001"
        elif written["type"] == "sendMsg":
            assert written["data"]["custom_msg_id"] == "10000000001"


class TestReads:
    def test_profile(self, link: Link) -> None:
        assert result(act(link, "sync_profile")) == {
            "profile": {
                "user_id": ACCOUNT,
                "name": "ID采集机器人🤖",
                "handle": "k7m5tzmya2",
                "icon": "http://r11.aiolet.xyz/common/pic/202507/27/44eff667aad9eaa434a0af55d9cd4048.jpg",
                "signature": "专业定制各类聊天软件自动化机器人",
                "created_at": dt.datetime(2025, 5, 6, 10, 31, 34, tzinfo=dt.UTC),
            }
        }

    def test_contact(self, link: Link) -> None:
        contact = result(act(link, "sync_contact", user_id=FRIEND))["contact"]
        assert (contact["user_id"], contact["name"], contact["friend"]) == (FRIEND, "Pwgen", True)
        assert (contact["handle"], contact["online"], contact["common_groups"]) == ("02lx0l99q6", False, 1)
        assert result(act(link, "sync_contact", user_id=STRANGER))["contact"]["friend"] is False

    def test_somebody_whom_the_service_does_not_know(self, link: Link) -> None:
        assert error(act(link, "sync_contact", user_id=5)) == (ErrorCode.REFUSED, 1021)

    def test_group(self, link: Link) -> None:
        group = result(act(link, "sync_group", group_id=MANAGED_GROUP))["group"]
        assert group == {
            "group_id": MANAGED_GROUP,
            "name": "huimei",
            "host_id": FRIEND,
            "member_count": 4,
            "role": "admin",
            "muted": None,
            "notice_id": 1043631,
            "notice": "asdd",
            "alias": "k7d2dng8q8",
            "created_at": dt.datetime(2025, 7, 26, 2, 0, tzinfo=dt.UTC),
        }
        assert result(act(link, "sync_group", group_id=OWNED_GROUP))["group"]["role"] == "host"

    def test_api_url(self, link: Link, bridge: Simulator) -> None:
        assert result(act(link, "get_api_url")) == {"api_url": bridge.world.api_url}

    def test_contacts(self, link: Link, bridge: Simulator) -> None:
        contacts = rows(act(link, "sync_contacts"))
        assert {row.user_id for row in contacts} == set(bridge.world.contacts)
        (other,) = [row for row in contacts if row.user_id == 5858052]
        assert other == ContactRow(5858052, "12🌽34🌽收cu商", "b6jo6y4p8h", None, True)

    def test_groups(self, link: Link, bridge: Simulator) -> None:
        groups = rows(act(link, "sync_groups"))
        assert {row.group_id for row in groups} == set(bridge.world.groups)
        (managed,) = [row for row in groups if row.group_id == MANAGED_GROUP]
        assert managed == GroupRow(MANAGED_GROUP, "huimei", FRIEND, 4, "admin", False, "asdd")

    def test_members_and_their_roles(self, link: Link, bridge: Simulator) -> None:
        members = {row.user_id: row for row in rows(act(link, "sync_group_members", group_id=MANAGED_GROUP))}
        assert members.keys() == bridge.world.groups[MANAGED_GROUP].members.keys()
        assert [members[uid].role for uid in (FRIEND, ACCOUNT, MUTABLE_MEMBER)] == ["host", "admin", "member"]
        assert isinstance(members[FRIEND], MemberRow)
        assert members[FRIEND].friend

    def test_friend_requests(self, link: Link) -> None:
        (request,) = rows(act(link, "sync_friend_requests"))
        assert isinstance(request, FriendRequestRow)
        assert (request.user_id, request.message, request.kind) == (STRANGER, "验证：我是八方来财4", "IDENTIFY")
        assert request.requested_at == dt.datetime(2025, 10, 8, 13, 4, 21, tzinfo=dt.UTC)

    def test_group_requests(self, link: Link, bridge: Simulator) -> None:
        requests = rows(act(link, "sync_group_requests"))
        assert all(isinstance(row, GroupRequestRow) for row in requests)
        asked = [(row.user_id, row.group_id) for row in requests]
        assert asked == [(one.uid, one.group_id) for one in bridge.world.group_requests]

    @pytest.mark.parametrize("name", ["sync_contacts", "sync_groups", "sync_profile", "sync_friend_requests"])
    def test_a_bare_integer_is_the_services_no(self, name: str, link: Link, bridge: Simulator) -> None:
        bridge.faults.bare_integers.set(1)
        bridge.faults.refusals.set(1 if name == "sync_groups" else 0)
        assert error(act(link, name))[0] == ErrorCode.REFUSED

    def test_a_service_error_inside_the_data_is_a_no(self, link: Link, bridge: Simulator) -> None:
        bridge.faults.service_errors.set(1)
        assert error(act(link, "sync_group_members", group_id=MANAGED_GROUP)) == (ErrorCode.REFUSED, 1021)


class TestOnlineStatus:
    def test_tells_who_is_there(self, link: Link, bridge: Simulator) -> None:
        asked = list(bridge.world.groups[MANAGED_GROUP].members)
        found = result(act(link, "sync_online_status", group_id=MANAGED_GROUP, user_ids=[*asked, *asked]))
        assert ACCOUNT in found["online"]
        assert (set(found["online"]) | set(found["offline"]), found["checked"]) == (set(asked), len(asked))

    def test_asks_for_a_few_at_a_time_and_takes_a_slot_for_each_call(self, link: Link, bridge: Simulator) -> None:
        members = list(bridge.world.groups[PLAIN_GROUP].members)
        allowance = FreeAllowance(members=members)
        found = result(act(link, "sync_online_status", allowance, group_id=PLAIN_GROUP))
        assert found["checked"] == len(members)
        sizes = [len(data["uids"]) for data in frames_of(bridge, "GroupMemberOnLineStatusList")]
        assert sizes == [40, 40, len(members) - 80]
        assert max(sizes) == USERS_A_CALL
        assert allowance.slots == ["read"] * 2
        assert allowance.progress[-1] == f"checked {len(members)} of {len(members)}"

    def test_where_no_member_is_known_their_list_is_read_first(self, link: Link, bridge: Simulator) -> None:
        found = result(act(link, "sync_online_status", group_id=OWNED_GROUP))
        assert found["checked"] == len(bridge.world.groups[OWNED_GROUP].members)
        assert len(frames_of(bridge, "GroupMemberList")) == 1

    def test_nobody_is_asked_for_again_too_soon(self, link: Link, bridge: Simulator) -> None:
        allowance = FreeAllowance()
        fields: dict[str, Any] = {"group_id": MANAGED_GROUP, "user_ids": [ACCOUNT]}
        result(act(link, "sync_online_status", allowance, **fields))
        allowance.pause = _Paused.raise_  # type: ignore[method-assign]
        with pytest.raises(_Paused):
            act(link, "sync_online_status", allowance, **fields)
        assert len(frames_of(bridge, "GroupMemberOnLineStatusList")) == 1


class TestRawRequest:
    def test_gives_the_data_as_the_bridge_gave_it(self, link: Link) -> None:
        given = act(link, "request", type="GroupDetail", path="/group/groupDetail", data={"groupId": OWNED_GROUP})
        assert result(given)["data"]["group"]["groupId"] == str(OWNED_GROUP)

    def test_bears_the_proto_type(self, link: Link, bridge: Simulator) -> None:
        data = {"groupId": OWNED_GROUP, "pageSize": 10, "pageNum": 1}
        act(link, "request", type="GroupMemberList", path="/group/groupMemberListV2", data=data, proto_type="group")
        assert bridge.received[-1].frame["data"]["protoType"] == "group"

    def test_a_documented_one_may_be_repeated(self, link: Link, bridge: Simulator) -> None:
        bridge.faults.silence.set("UserInfo", 1)
        assert isinstance(act(link, "request", type="UserInfo", path="/user/userInfo"), TryAgain)

    def test_an_unknown_one_that_is_not_answered_is_in_doubt(self, link: Link, bridge: Simulator) -> None:
        bridge.faults.silence.set("Pay", 1)
        finding = act(link, "request", type="Pay", path="/wallet/pay", data={"amount": 1})
        assert isinstance(finding, Outcome)
        assert (finding.status, error(finding)[0]) == (Status.IN_DOUBT, ErrorCode.NO_VERDICT)

    def test_an_unknown_one_that_is_told_busy_is_not_made_again(self, link: Link, bridge: Simulator) -> None:
        bridge.faults.busy_reads.set(1)
        assert error(act(link, "request", type="Pay", path="/wallet/pay")) == (ErrorCode.BUSY, 300)


class TestChanges:
    def test_a_notice_keeps_its_line_breaks(self, link: Link, bridge: Simulator) -> None:
        done = result(act(link, "set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo"))
        notice = bridge.world.groups[MANAGED_GROUP].notice
        assert notice is not None
        assert (notice.text, done) == ("one\ntwo", {"notice_id": notice.notice_id, "announcement": None})

    def test_a_group_is_muted_and_unmuted(self, link: Link, bridge: Simulator) -> None:
        group = bridge.world.groups[MANAGED_GROUP]
        assert result(act(link, "mute_group", group_id=MANAGED_GROUP)) == {"muted": True, "announcement": None}
        assert group.muted
        result(act(link, "mute_group", group_id=MANAGED_GROUP, muted=False))
        assert not group.muted

    @pytest.mark.parametrize(("muted", "text"), [(True, None), (False, None), (True, "quiet\nplease")])
    def test_the_announcement_says_what_was_done(
        self, muted: bool, text: str | None, link: Link, bridge: Simulator
    ) -> None:
        fields: dict[str, Any] = {"group_id": MANAGED_GROUP, "muted": muted, "announcement_text": text}
        sent = result(act(link, "mute_group", step=1, **fields))
        values = bridge.received[-1].frame["data"]["list"][0]["values"]
        assert (values["chatType"], values["bfShutup"]) == (50, muted)
        expected = {True: "管理员开了全员禁言", False: "管理员关闭了全员禁言"}[muted]
        assert values["content"] == (text.replace("\n", "\\n") if text else expected)
        assert sent["message_id"] is not None

    def test_reading_back_sees_what_was_done(self, link: Link, bridge: Simulator) -> None:
        mute = turn(link, "worker68.mute_group", group_id=MANAGED_GROUP)
        notice = turn(link, "worker68.set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo")
        assert look(mute) is None
        assert look(notice) is None
        result(act(link, "mute_group", group_id=MANAGED_GROUP))
        set_ = result(act(link, "set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo"))
        mute = turn(link, "worker68.mute_group", group_id=MANAGED_GROUP)
        notice = turn(link, "worker68.set_group_notice", group_id=MANAGED_GROUP, notice="one\ntwo")
        assert result(look(mute)) == {"muted": True, "announcement": None}
        assert result(look(notice)) == set_

    def test_reading_back_without_an_answer_shows_nothing(self, link: Link, bridge: Simulator) -> None:
        bridge.faults.refusals.set(2)
        mute = turn(link, "worker68.mute_group", group_id=MANAGED_GROUP, muted=False)
        notice = turn(link, "worker68.set_group_notice", group_id=MANAGED_GROUP, notice="asdd")
        assert look(mute) is None
        assert look(notice) is None

    def test_a_file_is_known_again_by_its_name(self, link: Link, bridge: Simulator) -> None:
        bridge.faults.lose_verdicts.set(1)
        sent = result(act(link, "send_file", chat=GROUP_CHAT, path="C:\\out\\b.mp4"))
        assert sent["message_id"] is not None


class TestRestart:
    @pytest.mark.parametrize("replies", [False, True], ids=["silence", "restarting"])
    def test_is_over_when_the_client_says_hello_again(self, replies: bool, link: Link, bridge: Simulator) -> None:
        bridge.faults.restarting_reply = replies
        bridge.faults.restart_seconds = 0.3
        before = link.connections
        assert result(act(link, "restart_client", _Patient()))["restarted_in"] > 0
        assert (link.why_not_reached, link.connections) == (None, before + 1)

    def test_a_no_is_a_refusal(self, link: Link, bridge: Simulator) -> None:
        bridge.faults.refusals.set(1)
        assert error(act(link, "restart_client")) == (ErrorCode.REFUSED, 403)

    def test_a_client_that_stays_is_asked_again(
        self, link: Link, bridge: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker68.tasks.restart_client.BACK_WITHIN_SECONDS", 0.3)
        bridge.faults.silence.set("restart68", 1)
        finding = act(link, "restart_client", _Patient())
        assert isinstance(finding, TryAgain)
        assert finding.spent

    def test_a_client_that_does_not_come_back_is_a_failure(
        self, link: Link, bridge: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker68.tasks.restart_client.BACK_WITHIN_SECONDS", 0.5)
        bridge.faults.restart_seconds = 60.0
        finding = act(link, "restart_client", _Patient())
        assert error(finding)[0] == ErrorCode.UNAVAILABLE
        eventually(lambda: not link.ready)


class _Paused(Exception):
    @classmethod
    async def raise_(cls, seconds: float) -> None:
        assert 0 < seconds < 4
        raise cls


class _Patient(FreeAllowance):
    """Lets a little time pass, so that a loop over the state of the link is none over the processor."""

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


class TestUnusualValues:
    """What JSON allows, or JavaScript writes, and few readers take."""

    @pytest.fixture
    def odd(self, worker: Worker) -> Iterator[tuple[Link, WellBehavedBridge]]:
        bridge = WellBehavedBridge()
        yield worker.ready_link(bridge.url), bridge
        bridge.stop()

    @pytest.mark.parametrize(
        ("given", "taken"),
        [(float("nan"), "NaN"), (float("inf"), "Infinity"), (10**30, 10**30), ("a\ud83d", "a?"), (deep(5), deep(5))],
    )
    def test_a_call_of_the_producers_own_gets_what_can_be_read(
        self, odd: tuple[Link, WellBehavedBridge], given: Any, taken: Any
    ) -> None:
        link, bridge = odd
        bridge.answer = lambda frame: [{"id": frame["id"], "data": {"x": given}}] if frame["type"] == "request" else []
        given_back = result(act(link, "request", type="UserInfo", path="/user/userInfo"))
        assert given_back["data"] == {"x": taken}
        msgspec.json.encode(given_back)

    @pytest.mark.parametrize("levels", [200, 900])
    def test_what_is_nested_too_deeply_is_cut(self, odd: tuple[Link, WellBehavedBridge], levels: int) -> None:
        link, bridge = odd
        bridge.answer = lambda frame: (
            [{"id": frame["id"], "data": {"x": deep(levels), "y": 1}}] if frame["type"] == "request" else []
        )
        data = result(act(link, "request", type="UserInfo", path="/user/userInfo"))["data"]
        assert data["y"] == 1
        assert msgspec.json.encode(data).count(b"[") == MOST_LEVELS

    def test_an_entry_of_a_list_with_such_a_number_is_a_row_all_the_same(
        self, odd: tuple[Link, WellBehavedBridge]
    ) -> None:
        link, bridge = odd
        raw = '{"id":"%s","data":[{"id":5,"name":"a\\ud83d","memberCount":1e400,"hostId":true},{"id":6}]}'
        bridge.answer = lambda frame: [raw % frame["id"]] if frame["type"] == "getGroups" else []
        first, second = rows(act(link, "sync_groups"))
        assert (first.group_id, first.name, first.member_count, first.host_id) == (5, "a?", None, None)
        assert second.group_id == 6

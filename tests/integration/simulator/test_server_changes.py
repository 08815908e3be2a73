"""What the documented changes, announcements, files and restarts look like on a real socket: said, recorded, and read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.simulator.peer import TIMEOUT_SECONDS, Peer, connected, mute
from worker68.clock import Deadline
from worker68.simulator import Simulator, build_world
from worker68.simulator.faults import Faults
from worker68.simulator.population import ACCOUNT, FRIEND, MANAGED_GROUP, MUTABLE_MEMBER, PLAIN_GROUP

OWN_ID = "12345678901"


def set_notice(peer: Peer, notice: str) -> dict[str, Any]:
    return peer.call("GroupUpdate", op=12, groupParam={"notice": notice, "bfAll": True, "groupId": MANAGED_GROUP})


def announce(peer: Peer, chat_type: int, content: str, **flags: bool) -> None:
    """Tell the group of a change as the documented frames do."""
    values = {"chatType": chat_type, "content": content, **flags}
    items = [{"type": "text", "values": values}]
    data = {"id": MANAGED_GROUP, "type": "group", "list": items, "custom_msg_id": OWN_ID}
    assert peer.ask("sendMsg", data)["data"] == "success"


def shown_notice(peer: Peer) -> str:
    """Read the notice back both ways, which agree."""
    detail: str = peer.call("GroupDetail", groupId=MANAGED_GROUP)["data"]["groupNotice"]["notice"]
    listed = next(group for group in peer.ask("getGroups")["data"] if group["id"] == MANAGED_GROUP)
    assert listed["groupNotice"]["notice"] == detail
    return detail


def shown_mute(peer: Peer) -> bool:
    listed = next(group for group in peer.ask("getGroups")["data"] if group["id"] == MANAGED_GROUP)
    muted: bool = listed["bfShutup"]
    return muted


class TestAnnouncements:
    @pytest.mark.parametrize(
        ("chat_type", "text", "flags"),
        [(8, "新的群通知", {"bfAll": True}), (50, "管理员开了全员禁言", {"bfShutup": True})],
    )
    def test_verdict_echo_and_record(
        self, simulator: Simulator, peer: Peer, chat_type: int, text: str, flags: dict[str, bool]
    ) -> None:
        announce(peer, chat_type, text, **flags)
        verdict, echo = peer.verdict(), peer.echo()

        (sent,) = simulator.sent
        assert (sent.text, sent.content_type) == (text, chat_type)
        assert (sent.chat_type, sent.chat_id, sent.custom_msg_id) == ("group", MANAGED_GROUP, OWN_ID)
        assert verdict["customMsgId"] == echo["customMsgId"] == OWN_ID
        assert verdict["updated"]["readStatus"] == echo["readStatus"] == 1
        assert verdict["updated"]["MsgID"] == echo["MsgID"] == sent.message_id
        assert (echo["content"], echo["chatType"], echo["msgType"]) == (text, chat_type, chat_type)
        (received,) = [record.frame for record in simulator.received]
        assert flags.items() <= received["data"]["list"][0]["values"].items()

    def test_of_several_lines(self, simulator: Simulator, peer: Peer) -> None:
        announce(peer, 8, "一\\n二", bfAll=True)
        assert peer.echo()["content"] == simulator.sent[0].text == "一\n二"

    def test_it_changes_nothing_by_itself(self, peer: Peer) -> None:
        announce(peer, 8, "only told", bfAll=True)
        announce(peer, 50, "only told", bfShutup=True)
        assert (shown_notice(peer), shown_mute(peer)) == ("asdd", False)

    def test_a_change_announces_nothing_by_itself(self, simulator: Simulator, peer: Peer) -> None:
        set_notice(peer, "new")
        mute(peer)
        assert len(simulator.sent) == 0


class TestReadingBack:
    def test_notice_and_mute(self, peer: Peer) -> None:
        assert set_notice(peer, "新\\n的")["data"]["noticeId"].isdecimal()
        mute(peer)
        assert (shown_notice(peer), shown_mute(peer)) == ("新\\n的", True)
        mute(peer, muted=False)
        assert shown_mute(peer) is False

    @pytest.mark.parametrize("done_anyway", [True, False])
    @pytest.mark.parametrize(
        "fault",
        [
            lambda faults: faults.busy_changes.set(2),
            lambda faults: faults.refusals.set(2),
            lambda faults: faults.service_errors.set(2),
            lambda faults: faults.bare_integers.set(2),
        ],
        ids=["busy", "refused", "service error", "bare integer"],
    )
    def test_after_a_wrong_answer(
        self, simulator: Simulator, peer: Peer, fault: Callable[[Faults], None], done_anyway: bool
    ) -> None:
        simulator.faults.done_anyway = done_anyway
        fault(simulator.faults)
        assert "noticeId" not in str(set_notice(peer, "new"))
        mute(peer)
        assert (shown_notice(peer), shown_mute(peer)) == (("new", True) if done_anyway else ("asdd", False))

    @pytest.mark.parametrize("done_anyway", [True, False])
    def test_after_silence(self, simulator: Simulator, peer: Peer, done_anyway: bool) -> None:
        simulator.faults.done_anyway = done_anyway
        simulator.faults.silence.set("GroupUpdate", 2)
        for op, param in ((12, {"notice": "new"}), (11, {"shutup": True})):
            data = {"op": op, "groupParam": {**param, "groupId": MANAGED_GROUP}}
            peer.request("request", {"type": "GroupUpdate", "url": "https://h/group/groupUpdate", "data": data})
        assert [frame for frame in peer.catch_up() if "id" in frame] == []
        assert (shown_notice(peer), shown_mute(peer)) == (("new", True) if done_anyway else ("asdd", False))

    def test_after_a_dropped_connection(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.done_anyway = True
        simulator.faults.drop_before_answer.set(1)
        with pytest.raises(ConnectionClosed):
            set_notice(peer, "new")
        with connected(simulator) as again:
            assert shown_notice(again) == "new"


class TestFiles:
    @pytest.mark.parametrize(
        ("path", "name"),
        [("C:/Users/rtuge/Desktop/b.mp4", "b.mp4"), (r"C:\out\报告.pdf", "报告.pdf"), ("C:/out\\a/b c.txt", "b c.txt")],
    )
    @pytest.mark.parametrize(("chat_type", "chat_id"), [("group", MANAGED_GROUP), ("friend", FRIEND)])
    def test_verdict_echo_and_record(
        self, simulator: Simulator, peer: Peer, path: str, name: str, chat_type: str, chat_id: int
    ) -> None:
        data = {"file": path, "type": chat_type, "id": chat_id}
        assert peer.ask("sendFile", data, custom_msg_id=OWN_ID)["data"] == "success"
        verdict, echo = peer.verdict(), peer.echo()

        (sent,) = simulator.sent
        assert (sent.text, sent.content_type, sent.chat_type, sent.chat_id) == (path, 7, chat_type, chat_id)
        assert sent.custom_msg_id == verdict["customMsgId"] == echo["customMsgId"] == OWN_ID
        assert verdict["updated"]["MsgID"] == echo["MsgID"] == sent.message_id
        assert (echo["fileName"], echo["chatType"], echo["isSelf"]) == (name, 7, True)

    def test_old_bridge_makes_an_id_of_its_own(self) -> None:
        with Simulator(kind="old", verdict_delay_seconds=0) as simulator, connected(simulator) as peer:
            peer.ask("sendFile", {"file": "C:/b.mp4", "type": "group", "id": MANAGED_GROUP}, custom_msg_id=OWN_ID)
            assert (
                peer.verdict()["customMsgId"] == peer.echo()["customMsgId"] == simulator.sent[0].custom_msg_id != OWN_ID
            )

    def test_silent_file_goes_out_only_if_done_anyway(self, simulator: Simulator, peer: Peer) -> None:
        data = {"file": "C:/b.mp4", "type": "group", "id": MANAGED_GROUP}
        simulator.faults.silence.set("sendFile", 2)
        peer.request("sendFile", data)
        assert peer.catch_up() == []
        simulator.faults.done_anyway = True
        peer.request("sendFile", data)
        peer.verdict()
        assert len(simulator.sent) == 1


class TestOnlineStatus:
    def test_forty_at_once_and_none_again_too_soon(self) -> None:
        world = build_world(members=100)
        with Simulator(world=world, heartbeat_seconds=60) as simulator, connected(simulator) as peer:
            members = list(world.groups[PLAIN_GROUP].members)

            def ask(uids: list[int]) -> dict[str, Any]:
                return peer.call("GroupMemberOnLineStatusList", groupId=PLAIN_GROUP, uids=uids)

            world.online_pause_seconds = 600
            assert ask(members[:41])["data"] == {"commonResult": {"errCode": 1023}}
            first = ask(members[:40])["data"]["userOnLineStatusList"]
            assert [int(one["uid"]) for one in first] == members[:40]
            assert {one.get("online") for one in first} == {True, None}
            assert ask(members[39:50])["error"]["errorCode"] == 300
            assert len(ask(members[40:80])["data"]["userOnLineStatusList"]) == 40
            world.online_pause_seconds = 0
            assert len(ask(members[:40])["data"]["userOnLineStatusList"]) == 40

    def test_who_is_no_member_is_left_out(self, peer: Peer) -> None:
        asked = peer.call("GroupMemberOnLineStatusList", groupId=MANAGED_GROUP, uids=[ACCOUNT, 1, MUTABLE_MEMBER])
        assert [int(one["uid"]) for one in asked["data"]["userOnLineStatusList"]] == [ACCOUNT, MUTABLE_MEMBER]


class TestRestart:
    @pytest.mark.parametrize("restarting_reply", [True, False])
    def test_everybody_is_cut_kept_out_and_greeted_again(
        self, simulator: Simulator, peer: Peer, restarting_reply: bool
    ) -> None:
        """A call that another client has under way is never answered, and what it comes back to is a healthy bridge."""
        simulator.faults.restarting_reply = restarting_reply
        simulator.faults.restart_seconds = 600
        with connected(simulator) as other:
            other.ask("getApiUrl")
            simulator.faults.reply_delay_seconds = 600
            under_way = other.request("getGroups")
            simulator.received.wait_for(lambda received: len(received) == 2, timeout_seconds=TIMEOUT_SECONDS)
            simulator.change(lambda world: None)  # what was received is carried out before
            simulator.faults.reply_delay_seconds = 0
            restart = peer.request("restart68")
            for one in (peer, other):
                with pytest.raises(ConnectionClosed):
                    one.read_until(lambda frame: False)
            replies = [frame for frame in peer.frames if frame.get("id") == restart]
            assert replies == ([{"id": restart, "type": "restart68", "data": "restarting"}] if restarting_reply else [])
            assert [frame for frame in other.frames if frame.get("id") == under_way] == []
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                connect(simulator.url)
        simulator.refuse_connections(seconds=0)
        with connected(simulator) as again:
            assert "data" in again.ask("getGroups")

    def test_reply_that_is_due_after_its_client_has_gone_hurts_nobody(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.reply_delay_seconds = 0.05
        peer.request("getGroups")
        simulator.received.wait_for(lambda received: len(received) == 1, timeout_seconds=TIMEOUT_SECONDS)
        simulator.drop_connections()
        with connected(simulator) as again:
            assert "data" in again.ask("getApiUrl")  # due after the other
            assert [frame["id"] for frame in again.frames if "id" in frame] == ["1"]

    def test_it_lets_clients_in_again_by_itself(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.restart_seconds = 0.2
        peer.request("restart68")
        with pytest.raises(ConnectionClosed):
            peer.read_to_the_end()
        deadline = Deadline.after(TIMEOUT_SECONDS)
        while not deadline.passed:
            try:
                with connected(simulator) as again:
                    assert "data" in again.ask("getApiUrl")
                    return
            except InvalidStatus:
                continue
        pytest.fail("it never let anybody in again")

    def test_silent_restart_does_not_happen_unless_done_anyway(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.silence.set("restart68", 2)
        peer.request("restart68")
        assert peer.catch_up() == []
        simulator.faults.done_anyway = True
        peer.request("restart68")
        with pytest.raises(ConnectionClosed):
            peer.read_to_the_end()


class TestLists:
    def test_knobs_are_turned_and_cleared_while_it_runs(self, simulator: Simulator, peer: Peer) -> None:
        def read(position: int) -> dict[str, Any]:
            data: dict[str, Any] = peer.call("GroupMemberList", groupId=PLAIN_GROUP, pageNum=position, pageSize=1000)[
                "data"
            ]
            return data

        simulator.world.page_size = 4
        truth = [read(position) for position in (1, 2, 3)]
        assert [len(one["members"]) for one in truth] == [4, 4, 4]
        simulator.faults.paging.only_first = True
        simulator.faults.spelling.swapped_numbers = True
        again = [read(position) for position in (1, 2)]
        assert again[0]["members"] == again[1]["members"]
        assert [type(one["user"]["uid"]) for one in again[0]["members"]] == [int] * 4
        simulator.faults.clear()
        assert [read(position) for position in (1, 2, 3)] == truth

    def test_world_is_changed_between_two_syncs(self, simulator: Simulator, peer: Peer) -> None:
        assert simulator.change(lambda world: world.groups[MANAGED_GROUP].drop_member(MUTABLE_MEMBER))
        data = peer.call("GroupMemberList", groupId=MANAGED_GROUP)["data"]
        assert (data["count"], len(data["members"])) == ("3", 3)

"""What becomes of messages where the bridge behaves like the real client: queues, false zeros, batches."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.simulator.peer import Peer, connected, texts
from worker68.simulator import Faults, Simulator, events
from worker68.simulator.population import FRIEND, MANAGED_GROUP
from worker68.simulator.queues import ClientKnobs
from worker68.simulator.scenario import load_scenario

OURS = "12345678901"


def statuses(frames: list[dict[str, Any]]) -> list[Any]:
    """Return the readStatus of each verdict and own message; a reply is "reply"."""
    return ["reply" if "id" in frame else frame["data"]["readStatus"] for frame in frames]


def is_batch(frame: Any) -> bool:
    return isinstance(frame, list) or frame.get("operator") == "__batch__"


class TestQueues:
    def test_messages_go_out_one_by_one_and_in_order(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.client.out_gap_seconds = 600
        for word in ("one", "two", "three"):
            peer.send(word)
        assert [statuses([frame])[0] for frame in peer.catch_up()].count("reply") == 3, "all are accepted at once"
        assert texts(simulator) == ["one"]

    def test_all_go_out_in_the_end(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.client.out_gap_seconds = 0.01
        words = [str(number) for number in range(10)]
        for word in words:
            peer.send(word)
        for _ in words:
            peer.verdict()
        assert texts(simulator) == words

    def test_a_message_is_shown_at_once_and_its_verdict_follows(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.client.pending_echo = True
        peer.send("x", custom_msg_id=OURS)
        pending, verdict = (frame for frame in peer.catch_up() if "id" not in frame)
        assert (pending["data"]["readStatus"], pending["data"]["customMsgId"]) == (-1, OURS)
        assert "MsgID" not in pending["data"]
        assert verdict["data"]["readStatus"] == 1

    def test_a_late_verdict_comes_after_a_false_zero(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.client.give_up_seconds = 0.01
        simulator.faults.hold_verdicts = True
        peer.send("x", custom_msg_id=OURS)
        assert peer.verdict()["updated"] == {"readStatus": 0}
        assert texts(simulator) == ["x"], "it went out"
        simulator.faults.hold_verdicts = False
        assert peer.verdict()["updated"]["readStatus"] == 1

    def test_in_a_flooded_chat_the_client_gives_up_before_it_has_read_the_verdict(
        self, simulator: Simulator, peer: Peer
    ) -> None:
        simulator.faults.client.in_gap_seconds = 5.0
        simulator.faults.client.give_up_seconds = 0.05
        simulator.emit(events.group_message(simulator.world, MANAGED_GROUP, FRIEND, "the one before"))
        peer.send("x")
        assert [peer.verdict()["updated"]["readStatus"] for _ in range(2)] == [0, 1]

    def test_a_verdict_in_time_is_the_only_one(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.client.give_up_seconds = 0.01
        peer.send("x")
        assert peer.verdict()["updated"]["readStatus"] == 1
        simulator.faults.client.give_up_seconds = 0.02
        simulator.faults.verdict = "not_sent"
        peer.send("given up later than the first one would have been")
        assert peer.verdict()["updated"]["readStatus"] == 0
        assert [
            frame["data"]["readStatus"] for frame in peer.frames if "data" in frame and "list" in frame["data"]
        ] == [
            1,
            0,
        ]

    def test_what_the_group_refuses_gets_its_zero_at_once(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.client.give_up_seconds = 600
        group = simulator.world.groups[MANAGED_GROUP]
        group.members[simulator.world.account].muted_until_ms = 4_070_908_800_000
        peer.send("x")
        assert peer.verdict()["updated"] == {"readStatus": 0}

    def test_what_the_friend_refuses_gets_a_notice_of_its_own(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.verdict = "blocked"
        items = [{"type": "text", "values": {"chatType": 0, "content": "x"}}]
        peer.ask("sendMsg", {"id": FRIEND, "type": "friend", "list": items, "custom_msg_id": OURS})
        notice = peer.read_until(lambda frame: frame.get("operatorType") == "notification")["data"]
        assert (notice["chatType"], notice["errorType"], notice["targetId"]) == (52, 5114, FRIEND)
        assert notice["customMsgId"] != OURS
        assert peer.verdict() == {"customMsgId": OURS, "updated": {"readStatus": 0}}
        assert texts(simulator) == []

    @pytest.mark.parametrize("text", ["ev al(1)", "require child_process", "x .exec", "a t o b ( x"])
    def test_code_is_never_sent(self, simulator: Simulator, peer: Peer, text: str) -> None:
        simulator.faults.client = ClientKnobs(drops_code=True, pending_echo=True, give_up_seconds=0.01)
        peer.send(text)
        assert peer.verdict()["updated"] == {"readStatus": 0}
        assert texts(simulator) == []
        assert [frame for frame in peer.frames if frame.get("operator") == "msgNew"] == []

    @pytest.mark.parametrize("form", ["array", "operator"])
    def test_events_of_one_moment_are_one_frame(self, form: Any) -> None:
        client = ClientKnobs(batch_seconds=0.05, batch_form=form, pending_echo=True)
        faults = Faults(client=client, no_heartbeat=True)
        with Simulator(heartbeat_seconds=60, verdict_delay_seconds=0, faults=faults) as simulator:
            with connected(simulator) as peer:
                peer.send("x", custom_msg_id=OURS)
                batch: Any = peer.read_until(is_batch)
            parts = batch if form == "array" else batch["data"]
            assert [part["operator"] for part in parts] == ["msgNew", "msgListPropertyUpdate"]

    def test_the_whole_mode(self) -> None:
        """As ``--client-queues`` sets it: a message goes through, and what is said of it comes in one frame."""
        with Simulator(heartbeat_seconds=60, verdict_delay_seconds=0) as simulator:
            simulator.follow(load_scenario("client-queues"))
            simulator.faults.no_heartbeat = True
            with connected(simulator) as peer:
                peer.send("x", custom_msg_id=OURS)
                batch = peer.read_until(is_batch)
            assert [part["operator"] for part in batch["data"]] == ["msgNew", "msgListPropertyUpdate"]
            assert texts(simulator) == ["x"]

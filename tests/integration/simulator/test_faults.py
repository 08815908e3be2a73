"""Each fault on a real socket: what a client sees of it, and that it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.simulator.peer import Peer, connected
from worker68.simulator import ALWAYS, Faults, Simulator
from worker68.simulator.faults import Verdict
from worker68.simulator.garbage import GARBAGE
from worker68.simulator.population import MANAGED_GROUP

BUSY = 300


def kinds_of(frames: list[dict[str, Any]]) -> list[str]:
    """Name the frames of a send: reply, error, verdict and its number, echo."""

    def name(frame: dict[str, Any]) -> str:
        if frame.get("operator") == "msgListPropertyUpdate":
            return f"verdict {frame['data']['readStatus']}"
        if frame.get("operator") == "msgNew":
            return "echo"
        return "error" if "error" in frame else "reply"

    return [name(frame) for frame in frames]


def mute(peer: Peer) -> dict[str, Any]:
    return peer.call("GroupUpdate", op=11, groupParam={"shutup": True, "groupId": MANAGED_GROUP})


class TestVerdicts:
    @pytest.mark.parametrize(
        ("verdict", "seen", "goes_out"),
        [
            ("sent", ["reply", "verdict 1", "echo"], True),
            ("not_sent", ["reply", "verdict 0"], False),
            ("gave_up", ["reply", "verdict 0"], True),
            ("none", ["reply", "echo"], True),
            ("swallowed", ["reply"], False),
        ],
    )
    def test_what_is_said_and_what_is_so(
        self, simulator: Simulator, peer: Peer, verdict: Verdict, seen: list[str], goes_out: bool
    ) -> None:
        simulator.faults.verdict = verdict
        peer.send("x")
        assert kinds_of(peer.catch_up()) == seen
        assert len(simulator.sent) == goes_out

    def test_corrected_verdict(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.verdict = "corrected"
        peer.send("x", custom_msg_id="12345678901")
        assert [peer.verdict()["updated"]["readStatus"] for _ in range(2)] == [0, 1]
        assert peer.echo()["customMsgId"] == "12345678901"
        assert len(simulator.sent) == 1

    def test_verdicts_are_lost_for_the_next_n(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.lose_verdicts.set(2)
        for _ in range(3):
            peer.send("x")
        assert kinds_of(peer.catch_up()) == ["reply", "echo"] * 2 + ["reply", "verdict 1", "echo"]
        assert len(simulator.sent) == 3

    def test_late_verdict_comes_after_a_later_reply(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.extra_verdict_delay_seconds = 600
        peer.send("never in this test")
        assert kinds_of(peer.catch_up()) == ["reply"]
        simulator.faults.extra_verdict_delay_seconds = 0.01
        peer.send("x", custom_msg_id="12345678901")
        assert peer.verdict()["customMsgId"] == "12345678901"

    def test_verdicts_that_are_held_come_once_they_are_let_go(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.hold_verdicts = True
        peer.send("x")
        assert kinds_of(peer.catch_up()) == ["reply"]
        simulator.faults.hold_verdicts = False
        assert peer.verdict()["updated"]["readStatus"] == 1

    @pytest.mark.parametrize(
        ("faults", "seen"),
        [
            (Faults(no_echo=True), ["reply", "verdict 1"]),
            (Faults(echo_first=True), ["reply", "echo", "verdict 1"]),
            (Faults(verdict_before_reply=True), ["verdict 1", "echo", "reply"]),
            (Faults(no_reply_to_sends=True), ["verdict 1", "echo"]),
        ],
    )
    def test_order_and_gaps(self, faults: Faults, seen: list[str]) -> None:
        with Simulator(verdict_delay_seconds=0, faults=faults) as simulator, connected(simulator) as peer:
            peer.send("x")
            assert kinds_of(peer.catch_up()) == seen

    def test_echo_may_keep_its_escapes(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.echo_keeps_escapes = True
        peer.send("a\\nb")
        assert peer.echo()["content"] == "a\\nb"


class TestAnswers:
    def test_busy_sends_do_not_go_out_unless_done_anyway(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.busy_sends.set(2)
        peer.send("one")
        assert kinds_of(peer.catch_up()) == ["error"]
        simulator.faults.done_anyway = True
        peer.send("two")
        assert kinds_of(peer.catch_up()) == ["error", "verdict 1", "echo"]
        assert [one.text for one in simulator.sent] == ["two"]

    def test_busy_changes_are_not_made_unless_done_anyway(self, simulator: Simulator, peer: Peer) -> None:
        group = simulator.world.groups[MANAGED_GROUP]
        simulator.faults.busy_changes.set(2)
        assert mute(peer)["error"]["errorCode"] == BUSY
        assert not group.muted
        simulator.faults.done_anyway = True
        assert mute(peer)["error"]["errorCode"] == BUSY
        assert group.muted

    def test_busy_reads_are_only_reads(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.busy_reads.set(1)
        assert "data" in mute(peer)
        assert peer.ask("getGroups")["error"]["errorCode"] == BUSY
        assert "data" in peer.ask("getGroups")

    @pytest.mark.parametrize(
        ("set_fault", "reply"),
        [
            (lambda faults: faults.refusals.set(1), {"error": Faults().refusal}),
            (lambda faults: faults.service_errors.set(1), {"data": {"commonResult": {"errCode": 1021}}}),
            (lambda faults: faults.bare_integers.set(1), {"data": 1021}),
        ],
    )
    def test_wrong_answer_once(
        self, simulator: Simulator, peer: Peer, set_fault: Callable[[Faults], None], reply: dict[str, Any]
    ) -> None:
        set_fault(simulator.faults)
        first = peer.call("UserInfo")
        assert {key: first[key] for key in first if key not in ("id", "type")} == reply
        assert peer.call("UserInfo")["data"]["commonResult"]["errCode"] == 200

    def test_refusal_may_be_anything(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.refusal = {"errorCode": "0", "errorDesc": {"a": 1}}
        simulator.faults.refusals.set(1)
        assert peer.ask("getGroups")["error"] == {"errorCode": "0", "errorDesc": {"a": 1}}

    def test_silence_is_for_its_type_and_number(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.silence.set("sendMsg", 1)
        peer.send("one")
        peer.send("two")
        assert kinds_of(peer.catch_up()) == ["reply", "verdict 1", "echo"]
        assert [one.text for one in simulator.sent] == ["two"]

    def test_delayed_reply_lets_others_pass(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.reply_delay_seconds = 600
        peer.request("getGroups")
        simulator.received.wait_for(lambda received: len(received) == 1)
        simulator.faults.reply_delay_seconds = 0
        assert peer.catch_up() == []
        simulator.faults.reply_delay_seconds = 0.01
        assert "data" in peer.ask("getGroups")

    def test_double_wrong_and_numeric_ids(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.double_replies.set(1)
        peer.ask("getGroups")
        assert [frame["id"] for frame in peer.catch_up()] == ["1"]
        simulator.faults.wrong_reply_ids.set(1)
        peer.request("getGroups")
        assert [frame["id"] for frame in peer.catch_up()] == ["not-3"]
        simulator.faults.numeric_reply_ids = True
        assert peer.ask("getApiUrl")["id"] == 5

    def test_other_base_is_refused_when_checked(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.check_api_base = True
        assert peer.call("UserInfo")["error"]["errorCode"] == 404

    def test_garbage_comes_before_each_reply(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.garbage = True
        peer.request("getApiUrl")
        assert peer.read() == GARBAGE["not_json"]().payload.decode()
        assert json.loads(peer.read())["type"] == "getApiUrl"

    @pytest.mark.parametrize("kind", [kind for kind in GARBAGE if kind != "invalid_utf8"])
    def test_garbage_can_be_pushed(self, simulator: Simulator, peer: Peer, kind: str) -> None:
        assert simulator.send_garbage(kind) == 1
        garbage = GARBAGE[kind]()
        assert peer.read() == (garbage.payload.decode() if garbage.text else garbage.payload)
        assert peer.catch_up() == []


class TestConnections:
    def test_drop_before_the_answer(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.drop_before_answer.set(2)
        peer.ask("getApiUrl")
        peer.send("x")
        with pytest.raises(ConnectionClosed):
            peer.echo()
        assert kinds_of(peer.frames[2:]) == []
        assert len(simulator.sent) == 0

    def test_drop_before_the_answer_of_what_is_done_anyway(self, simulator: Simulator, peer: Peer) -> None:
        simulator.verdict_delay_seconds = 0.01
        simulator.faults.done_anyway = True
        simulator.faults.drop_before_answer.set(1)
        peer.send("x")
        with pytest.raises(ConnectionClosed):
            peer.echo()
        assert len(simulator.sent) == 1

    def test_drop_after_the_answer(self, simulator: Simulator, peer: Peer) -> None:
        simulator.verdict_delay_seconds = 0.01
        simulator.faults.drop_after_answer.set(1)
        peer.send("x")
        with pytest.raises(ConnectionClosed):
            peer.echo()
        assert kinds_of(peer.frames[1:]) == ["reply"]
        assert len(simulator.sent) == 1

    def test_what_was_written_behind_a_drop_is_lost(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.drop_before_answer.set(1)
        frame = json.dumps({"id": "1", "type": "getApiUrl"})
        try:
            for _ in range(50):
                peer.write(frame)
        except ConnectionClosed:
            pass
        with pytest.raises(ConnectionClosed):
            peer.read_to_the_end()
        assert len(simulator.received) == 1

    def test_drop_now(self, simulator: Simulator, peer: Peer) -> None:
        assert simulator.drop_connections() == 1
        with pytest.raises(ConnectionClosed):
            peer.read_to_the_end()
        with connected(simulator) as again:
            assert again.catch_up() == []

    def test_refused_connections(self, simulator: Simulator) -> None:
        simulator.faults.refuse_connections = True
        with pytest.raises(InvalidStatus):
            connect(simulator.url)
        simulator.faults.refuse_connections = False
        simulator.refuse_connections(seconds=600)
        with pytest.raises(InvalidStatus):
            connect(simulator.url)
        simulator.refuse_connections(seconds=0)
        with connected(simulator) as peer:
            assert peer.catch_up() == []

    def test_no_hello(self, simulator: Simulator) -> None:
        simulator.faults.no_hello = True
        with connected(simulator) as peer:
            assert peer.catch_up() == []

    def test_restart_that_answers_and_takes_its_time(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.restarting_reply = True
        simulator.faults.restart_seconds = 600
        assert peer.ask("restart68")["data"] == "restarting"
        with pytest.raises(ConnectionClosed):
            peer.read_to_the_end()
        with pytest.raises(InvalidStatus):
            connect(simulator.url)

    def test_fault_for_ever_ends_when_it_is_cleared(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.busy_reads.set(ALWAYS)
        assert all("error" in peer.ask("getGroups") for _ in range(5))
        simulator.faults.clear()
        assert "data" in peer.ask("getGroups")

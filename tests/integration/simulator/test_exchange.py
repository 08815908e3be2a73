"""One frame and what is said to it: the answer, or what a fault makes of that, when, under which id, and to whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.simulator.peer import TIMEOUT_SECONDS, Peer, connected, kinds_of, mute, texts
from worker68.simulator import Faults, Simulator
from worker68.simulator.garbage import GARBAGE
from worker68.simulator.knobs import Countdown
from worker68.simulator.population import MANAGED_GROUP
from worker68.simulator.replay import load_record

BUSY = 300


class TestFrames:
    @pytest.mark.parametrize(
        "raw", ["", "{", "[]", "68", '"x"', "{}", '{"id":"1"}', '{"type":"sendMsg"}', b"\x00\xff", "[" * 9000]
    )
    def test_malformed_frame_is_recorded_and_nothing_else(
        self, simulator: Simulator, peer: Peer, raw: str | bytes
    ) -> None:
        peer.write(raw)
        assert peer.catch_up() == []
        assert simulator.received[0].problem is not None
        assert simulator.received[1].problem is None

    def test_unknown_type_is_recorded_and_never_answered(self, simulator: Simulator, peer: Peer) -> None:
        peer.request("somethingElse", {"a": 1})
        assert peer.catch_up() == []
        assert simulator.received[0].frame["type"] == "somethingElse"

    def test_an_unknown_type_may_be_answered(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.unknown_type_error = True
        assert peer.ask("somethingElse")["error"]["errorCode"] == 404
        assert peer.ask("request", {"type": "SomethingElse", "url": "https://x.example/y"})["error"]["errorCode"] == 404


class TestAnswers:
    def test_busy_sends_do_not_go_out_unless_done_anyway(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.busy_sends.set(2)
        peer.send("one")
        assert kinds_of(peer.catch_up()) == ["error"]
        simulator.faults.done_anyway = True
        peer.send("two")
        assert kinds_of(peer.catch_up()) == ["error", "verdict 1", "echo"]
        assert texts(simulator) == ["two"]

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
        assert texts(simulator) == ["two"]

    def test_delayed_reply_lets_others_pass(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.reply_delay_seconds = 600
        peer.request("getGroups")
        simulator.received.wait_for(lambda received: len(received) == 1, timeout_seconds=TIMEOUT_SECONDS)
        simulator.change(lambda world: None)  # what was received is carried out before
        simulator.faults.reply_delay_seconds = 0
        assert peer.catch_up() == []
        simulator.faults.reply_delay_seconds = 0.01
        assert "data" in peer.ask("getGroups")

    def test_replies_that_are_held_come_once_they_are_let_go(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.hold_replies = True
        request_id = peer.send("x")
        assert peer.verdict()["updated"]["readStatus"] == 1
        assert [frame for frame in peer.frames if "id" in frame] == []
        simulator.faults.hold_replies = False
        assert "data" in peer.read_until(lambda frame: frame.get("id") == request_id)

    def test_double_wrong_and_numeric_ids(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.double_replies.set(1)
        peer.ask("getGroups")
        assert [frame["id"] for frame in peer.catch_up()] == ["1"]
        simulator.faults.wrong_reply_ids.set(1)
        peer.request("getGroups")
        assert [frame["id"] for frame in peer.catch_up()] == ["not-3"]
        simulator.faults.numeric_reply_ids = True
        assert peer.ask("getApiUrl")["id"] == 5

    def test_a_name_of_another_length_may_be_replaced_by_the_bridges_own(
        self, simulator: Simulator, peer: Peer
    ) -> None:
        simulator.faults.only_eleven_digits = True
        for name in ("12345678901", "123456789012"):
            peer.send("x", custom_msg_id=name)
        taken, replaced = (peer.verdict()["customMsgId"] for _ in range(2))
        assert (taken, len(replaced)) == ("12345678901", 11)

    def test_other_base_is_refused_when_checked(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.check_api_base = True
        assert peer.call("UserInfo")["error"]["errorCode"] == 404

    def test_garbage_comes_before_each_reply(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.garbage = True
        peer.request("getApiUrl")
        assert peer.read() == GARBAGE["not_json"]().payload.decode()
        assert json.loads(peer.read())["type"] == "getApiUrl"

    def test_replies_may_go_to_all(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.replies_to_all = True
        with connected(simulator) as other:
            request = peer.request("getGroups")
            assert other.read_until(lambda frame: frame.get("id") == request)["type"] == "getGroups"

    @pytest.mark.parametrize(
        ("faults", "seen"),
        [
            (Faults(verdict_before_reply=True), ["verdict 1", "echo", "reply"]),
            (Faults(no_reply_to_sends=True), ["verdict 1", "echo"]),
        ],
    )
    def test_a_reply_may_come_behind_the_verdict_or_not_at_all(self, faults: Faults, seen: list[str]) -> None:
        with Simulator(verdict_delay_seconds=0, faults=faults) as simulator, connected(simulator) as peer:
            peer.send("x")
            assert kinds_of(peer.catch_up()) == seen


class TestDrops:
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


class TestMagicTexts:
    def test_a_text_decides_about_its_own_message(self, simulator: Simulator, peer: Peer) -> None:
        peer.send("!sim:not_sent", custom_msg_id="10000000001")
        assert peer.verdict()["updated"]["readStatus"] == 0
        peer.send("plain", custom_msg_id="10000000002")
        assert peer.verdict()["updated"]["readStatus"] == 1
        assert texts(simulator) == ["plain"]

    def test_busy_for_a_number_of_tries(self, simulator: Simulator, peer: Peer) -> None:
        replies = []
        for _ in range(3):
            request = peer.send("!sim:busy:2", custom_msg_id="12345678901")
            replies.append(peer.read_until(lambda frame, request=request: frame.get("id") == request))  # type: ignore[misc]
        assert [reply.get("error", {}).get("errorCode") for reply in replies] == [300, 300, None]
        peer.verdict()
        assert len(simulator.sent) == 1

    def test_a_text_that_asks_for_what_is_none_is_refused_in_words(self, simulator: Simulator, peer: Peer) -> None:
        peer.send("!sim:bussy")
        (reply,) = peer.catch_up()
        assert reply["error"]["errorCode"] == 400
        assert 'no fault is called "bussy"; did you mean busy' in reply["error"]["errorDesc"]
        assert texts(simulator) == []

    def test_a_notice_may_ask_too(self, simulator: Simulator, peer: Peer) -> None:
        param = {"notice": "!sim:busy_changes", "groupId": MANAGED_GROUP}
        replies = [peer.call("GroupUpdate", op=12, groupParam=param) for _ in range(2)]
        assert [("error" in reply) for reply in replies] == [True, False]


def test_what_a_record_has_is_played_whatever_the_faults_are(tmp_path: Path) -> None:
    """A recorded reply goes to the client that asks, a recorded event to all."""
    entry = {"customMsgId": "11111111111", "updated": {"readStatus": 0}}
    recorded = [
        (
            1.0,
            "out",
            {"id": "p", "type": "sendMsg", "data": {"id": 7, "type": "group", "custom_msg_id": "11111111111"}},
        ),
        (1.0, "in", {"id": "p", "type": "sendMsg", "data": "recorded"}),
        (1.01, "in", {"operator": "msgListPropertyUpdate", "data": {"id": 7, "type": "group", "list": [entry]}}),
    ]
    path = tmp_path / "record.jsonl"
    lines = [json.dumps({"at": at, "connection": 1, "way": way, "frame": frame}) for at, way, frame in recorded]
    path.write_text("\n".join(lines))
    simulator = Simulator(heartbeat_seconds=60, faults=Faults(refusals=Countdown(1)))
    simulator.replay(load_record(path))
    with simulator, connected(simulator) as other, connected(simulator) as peer:
        request_id = peer.send("x", custom_msg_id="12345678901")
        assert peer.verdict() == other.verdict() == {"customMsgId": "12345678901", "updated": {"readStatus": 0}}
        assert [frame for frame in peer.frames if "id" in frame] == [
            {"id": request_id, "type": "sendMsg", "data": "recorded"}
        ]
        assert [frame for frame in other.frames if "id" in frame] == []
        assert len(simulator.sent) == 0
        assert "error" in peer.ask("getApiUrl"), "what is not in the record is answered as ever"

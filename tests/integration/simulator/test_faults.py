"""Each fault on a real socket: what a client sees of it, and that it ends."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.simulator.peer import Peer, connected, kinds_of
from worker68.simulator import ALWAYS, Faults, Simulator
from worker68.simulator.faults import Verdict
from worker68.simulator.garbage import GARBAGE


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


class TestGarbage:
    @pytest.mark.parametrize("kind", [kind for kind in GARBAGE if kind != "invalid_utf8"])
    def test_garbage_can_be_pushed(self, simulator: Simulator, peer: Peer, kind: str) -> None:
        assert simulator.send_garbage(kind) == 1
        garbage = GARBAGE[kind]()
        assert peer.read() == (garbage.payload.decode() if garbage.text else garbage.payload)
        assert peer.catch_up() == []


class TestConnections:
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

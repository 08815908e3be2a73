"""The simulator on a real socket: life, heartbeat, sends and their evidence, records, several clients."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.integration.simulator.peer import TIMEOUT_SECONDS, Peer, connected
from worker68.simulator import Simulator, SimulatorNotStarted, events
from worker68.simulator.population import FRIEND, MANAGED_GROUP, PLAIN_GROUP

EVENTS = json.loads((Path(__file__).parents[2] / "fixtures/protocol/events.json").read_text(encoding="utf-8"))


def is_network(status: str) -> Callable[[dict[str, Any]], bool]:
    return lambda frame: frame == {"operator": "network", "data": {"networkStatusType": status}}


class TestLife:
    def test_start_and_stop_may_be_repeated_on_the_same_port(self) -> None:
        simulator = Simulator()
        for _ in range(2):
            assert simulator.start().start() is simulator
            url = simulator.url
            with connected(simulator) as peer:
                peer.ask("getApiUrl")
            simulator.stop()
            simulator.stop()
            assert simulator.url == url
            with pytest.raises(ConnectionRefusedError):
                connect(url)

    def test_stop_cuts_the_clients(self, simulator: Simulator, peer: Peer) -> None:
        simulator.stop()
        with pytest.raises(ConnectionClosed):
            peer.read_to_the_end()

    def test_stop_closes_a_connection_that_is_still_in_its_handshake(self) -> None:
        simulator = Simulator().start()
        with (
            socket.create_connection(("127.0.0.1", simulator.port)),
            connected(simulator),  # taken after the one that says nothing
            warnings.catch_warnings(record=True) as seen,
        ):
            warnings.simplefilter("always")
            simulator.stop()
            gc.collect()
        assert [str(one.message) for one in seen if one.category is ResourceWarning] == []

    def test_stop_closes_what_comes_at_the_same_moment(self) -> None:
        came = threading.Semaphore(0)

        def come_and_go(port: int, over: threading.Event) -> None:
            while not over.is_set():
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5) as client:
                    client.send(b"GET / HTTP/1.1\r\n")
                    came.release()

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(10):
                simulator, over = Simulator().start(), threading.Event()
                crowd = [threading.Thread(target=come_and_go, args=(simulator.port, over)) for _ in range(4)]
                for one in crowd:
                    one.start()
                for _ in range(20):
                    came.acquire(timeout=TIMEOUT_SECONDS)
                simulator.stop()
                over.set()
                for one in crowd:
                    one.join()
            gc.collect()
        assert [str(one.message) for one in seen if one.category is ResourceWarning] == []

    def test_taken_port_is_named(self, simulator: Simulator) -> None:
        second = Simulator(port=simulator.port)
        with pytest.raises(SimulatorNotStarted, match=f"127.0.0.1:{simulator.port}.*choose another port"):
            second.start()
        second.stop()

    def test_impossible_port_and_unwritable_file_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(SimulatorNotStarted, match="70000"):
            Simulator(port=70000).start()
        with pytest.raises(SimulatorNotStarted, match="missing"):
            Simulator(log_file=tmp_path / "missing" / "file").start()

    def test_nothing_can_be_pushed_while_it_is_stopped(self) -> None:
        with pytest.raises(RuntimeError, match="not running"):
            Simulator().emit(events.NETWORK_UP)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_run_forever_says_what_it_is_and_ends_on_a_signal(self, number: signal.Signals) -> None:
        code = "from worker68.simulator import Simulator; Simulator(kind='old').run_forever()"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "SIMULATOR" in line)
            assert "old" in line
            with connect(line.split()[-1]) as connection:
                assert json.loads(connection.recv(TIMEOUT_SECONDS)) == {"message": "Hello"}
            process.send_signal(number)
            process.stdout.read()
            assert process.wait(TIMEOUT_SECONDS) == 0


class TestHeartbeat:
    def test_it_beats(self) -> None:
        with Simulator(heartbeat_seconds=0.01) as simulator, connected(simulator) as peer:
            for _ in range(3):
                peer.read_until(is_network("socketLogin"))

    def test_logged_out_is_said_once_and_logged_in_at_once(self, simulator: Simulator, peer: Peer) -> None:
        simulator.log_out()
        simulator.log_out()
        peer.read_until(is_network("socketLoginout"))
        peer.send("x")
        assert peer.verdict()["updated"] == {"readStatus": 0}
        simulator.log_in()
        following = json.loads(peer.read())
        assert is_network("socketLogin")(following)
        assert len(simulator.sent) == 0

    def test_no_heartbeat(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.no_heartbeat = True
        simulator.log_in()  # what the heart does at its next beat
        simulator.emit({"operator": "marker"})
        assert json.loads(peer.read()) == {"operator": "marker"}


class TestSends:
    def test_reply_then_verdict_then_echo(self, simulator: Simulator, peer: Peer) -> None:
        request_id = peer.send("第一行\\n第二行", custom_msg_id="12345678901")
        echo = peer.echo()

        reply, verdict, _ = peer.frames[1:]
        assert reply == {"id": request_id, "type": "sendMsg", "data": "success"}
        (entry,) = verdict["data"]["list"]
        assert entry["customMsgId"] == echo["customMsgId"] == "12345678901"
        assert entry["updated"]["readStatus"] == echo["readStatus"] == 1
        assert echo["content"] == "第一行\n第二行"
        (sent,) = simulator.sent
        assert sent.text == "第一行\n第二行"
        assert sent.message_id == entry["updated"]["MsgID"] == echo["MsgID"]

    def test_old_bridge_uses_an_id_of_its_own(self) -> None:
        with Simulator(kind="old", verdict_delay_seconds=0) as simulator, connected(simulator) as peer:
            peer.send("x", custom_msg_id="12345678901")
            own_id = peer.verdict()["customMsgId"]
            assert own_id == peer.echo()["customMsgId"] == simulator.sent[0].custom_msg_id != "12345678901"

    def test_verdict_comes_later_than_the_reply(self, simulator: Simulator, peer: Peer) -> None:
        simulator.verdict_delay_seconds = 600
        request_id = peer.send("never in this test")
        assert [frame.get("id") for frame in peer.catch_up()] == [request_id]
        simulator.verdict_delay_seconds = 0.01
        peer.send("x", custom_msg_id="12345678901")
        assert peer.verdict()["customMsgId"] == "12345678901"

    def test_file_goes_out(self, simulator: Simulator, peer: Peer) -> None:
        data = {"file": r"C:\videos\b.mp4", "type": "friend", "id": FRIEND}
        assert peer.ask("sendFile", data, custom_msg_id="12345678901")["data"] == "success"
        assert peer.verdict()["customMsgId"] == "12345678901"
        assert peer.echo()["fileName"] == "b.mp4"
        assert simulator.sent[0].text == r"C:\videos\b.mp4"

    def test_muted_group_refuses_a_plain_member(self, simulator: Simulator, peer: Peer) -> None:
        simulator.world.groups[PLAIN_GROUP].muted = True
        peer.send("x", PLAIN_GROUP, custom_msg_id="12345678901")
        assert peer.verdict() == {"customMsgId": "12345678901", "updated": {"readStatus": 0}}
        assert peer.catch_up() == []
        assert len(simulator.sent) == 0

    def test_change_by_one_client_is_seen_by_the_other(self, simulator: Simulator, peer: Peer) -> None:
        with connected(simulator) as other:
            peer.call("GroupUpdate", op=11, groupParam={"shutup": True, "groupId": MANAGED_GROUP})
            event = other.read_until(lambda frame: frame.get("operatorType") == "groupShutupAll")
            assert event["data"]["bfShutup"] is True
            assert other.ask("getGroups")["data"][0]["bfShutup"] is True


class TestRestart:
    def test_connection_drops_and_hello_comes_again(self, simulator: Simulator, peer: Peer) -> None:
        peer.request("restart68")
        with pytest.raises(ConnectionClosed):
            peer.read_to_the_end()
        with connected(simulator) as again:
            assert again.ask("getApiUrl")["data"] == simulator.world.api_url


class TestClients:
    def test_replies_go_to_the_asker_and_events_to_all(self, simulator: Simulator, peer: Peer) -> None:
        with connected(simulator) as other:
            assert simulator.connections == 2
            peer.send("x", custom_msg_id="12345678901")
            assert other.verdict() == peer.verdict()
            assert [frame for frame in other.frames if "id" in frame] == []
            peer.echo()
            assert {record.connection for record in simulator.received} == {1}

    @pytest.mark.parametrize("event", [pytest.param(one["frame"], id=one["name"]) for one in EVENTS])
    def test_any_documented_event_can_be_pushed(self, simulator: Simulator, peer: Peer, event: dict[str, Any]) -> None:
        assert simulator.emit(event) == 1
        assert json.loads(peer.read()) == event

    def test_invalid_utf8_costs_only_its_own_connection(self, simulator: Simulator, peer: Peer) -> None:
        with connect(simulator.url) as other:
            other.send(b'{"id":"\xff"}', text=True)
            with pytest.raises(ConnectionClosed):
                Peer(other).read_to_the_end()
        assert peer.catch_up() == []

    def test_client_that_hangs_up_in_the_handshake_hurts_nobody(self, simulator: Simulator, peer: Peer) -> None:
        socket.create_connection(("127.0.0.1", simulator.port)).close()
        assert peer.catch_up() == []


class TestOverlaps:
    def test_two_open_connections_are_counted_once(self, simulator: Simulator, peer: Peer) -> None:
        assert simulator.take_overlaps() == []
        with connected(simulator), connected(simulator):
            overlaps = [(one.newer, one.older) for one in simulator.take_overlaps()]
        assert overlaps == [(2, 1), (3, 1), (3, 2)]
        peer.catch_up()
        assert simulator.take_overlaps() == []

    def test_a_connection_that_the_bridge_has_cut_is_not_open(self, simulator: Simulator, peer: Peer) -> None:
        simulator.faults.second_client = "replaces"
        with connected(simulator):
            assert simulator.take_overlaps() == []


def test_record_file_tells_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with Simulator(verdict_delay_seconds=0, log_file=path) as simulator, connected(simulator) as peer:
        peer.write("{")
        peer.send("群发", custom_msg_id=12345678901)
        peer.verdict()
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    malformed, received, sent = lines
    assert (malformed["record"], malformed["problem"]) == ("received", "not JSON")
    assert (received["record"], received["frame"]["type"]) == ("received", "sendMsg")
    assert (sent["record"], sent["text"], sent["custom_msg_id"]) == ("sent", "群发", "12345678901")
    assert received["at"] <= sent["at"]

"""What a link reads and writes, on sockets whose every byte a test writes itself. Hostile bridges: the other file of this name."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import (
    HELLO,
    LOGIN,
    RawBridge,
    eventually,
    hear,
    hear_messages,
    shake_hands,
    text,
)
from tests.parts.onloop import PATIENCE_SECONDS, evidence_of
from worker68.jobs.evidence import Verdict
from worker68.jobs.fields import Chat
from worker68.protocol.messages import TextMessage

Script = Callable[[socket.socket], None]
MakeBridge = Callable[..., RawBridge]
OURS = "10000000001"


def then(*portions: bytes) -> Script:
    """Return a script that shakes hands, writes the portions, and then listens."""

    def script(sock: socket.socket) -> None:
        shake_hands(sock)
        for portion in portions:
            sock.sendall(portion)
        listen(sock)

    return script


def listen(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def drip_without_end(sock: socket.socket) -> None:
    while True:
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX-Filler: " + b"x" * 1024 + b"\r\n")


def read_later(may_read: threading.Event, told: list[str]) -> Script:
    """Return a script that greets, and notes the types of the frames that it gets, only once it may read."""

    def script(sock: socket.socket) -> None:
        shake_hands(sock)
        sock.sendall(GREETING)
        may_read.wait(PATIENCE_SECONDS)
        told.extend(message["type"] for message in hear_messages(sock))

    return script


GREETING = text(HELLO) + text(LOGIN)
GOOD = then(GREETING)


class TestReading:
    def test_greeting_in_the_same_packet_as_the_handshake(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        def script(sock: socket.socket) -> None:
            whole: list[bytes] = []
            shake_hands(Recorder(sock, whole))  # type: ignore[arg-type]  # all that it needs of a socket
            sock.sendall(b"".join(whole) + GREETING)
            listen(sock)

        link = worker.link(raw_bridge(script).url)
        eventually(lambda: link.ready)

    def test_message_in_fragments_with_a_ping_between(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        hello = json.dumps(HELLO).encode()
        fragments = text(hello[:5], final=False) + text(b"?", opcode=9) + text(b"", opcode=0, final=False)
        portions = fragments + text(hello[5:], opcode=0) + text(LOGIN)
        link = worker.link(raw_bridge(then(portions)).url)
        eventually(lambda: link.ready)

    def test_ping_is_answered_with_its_payload(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        pongs: list[bytes] = []

        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            sock.sendall(GREETING + text(b"are you there", opcode=9))
            pongs.extend(payload for opcode, payload in hear(sock) if opcode == 10)

        link = worker.link(raw_bridge(script).url)
        eventually(lambda: link.ready)
        worker.made[0].stop()
        assert eventually(lambda: pongs) == [b"are you there"]

    def test_frame_limit_is_a_setting(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(then(GREETING, text(b"x" * 2000)), GOOD).url, message_limit=1000)
        eventually(lambda: link.counters["too_large"] == 1)
        eventually(lambda: link.counters["connections"] == 2 and link.ready)

    def test_verdict_just_before_the_end_still_counts(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            sock.sendall(GREETING)
            for message in hear_messages(sock):
                if message["type"] == "sendMsg":
                    entry = {"customMsgId": OURS, "updated": {"readStatus": 1, "MsgID": 77}}
                    verdict = {"operator": "msgListPropertyUpdate", "data": {"list": [entry]}}
                    sock.sendall(text(verdict) + text(b"", opcode=3))
                    return

        link = worker.link(raw_bridge(script, GOOD).url)
        eventually(lambda: link.ready)
        seen = evidence_of(link.send(TextMessage(Chat("group", 1), "hello"), OURS))
        assert (seen.verdict, seen.message_id) == (Verdict.SENT, 77)


class Recorder:
    """A socket that keeps what is to be sent."""

    def __init__(self, sock: socket.socket, sent: list[bytes]) -> None:
        self.recv = sock.recv
        self.sendall = sent.append


class TestConnecting:
    def test_handshake_without_end(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(drip_without_end, GOOD).url)
        eventually(lambda: link.ready)
        assert link.counters["connection_failures"] == 1

    def test_handshake_without_an_answer(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(listen).url, connect=0.05, backoff_base=60.0, backoff_cap=60.0)
        eventually(lambda: "no answer in time" in (link.why_not_ready or ""))

    def test_stop_in_the_middle_of_a_handshake(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        bridge = raw_bridge(listen)
        link = worker.link(bridge.url, connect=3600.0)
        eventually(lambda: bridge.connections)
        worker.made[0].stop()
        assert link.why_not_ready == "the link is closed"
        eventually(lambda: not any(thread.name == "bridge-dial" for thread in threading.enumerate()))

    def test_silence_is_pinged_and_then_given_up(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        heard: list[int] = []

        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            sock.sendall(GREETING)
            heard.extend(opcode for opcode, _ in hear(sock))

        link = worker.link(raw_bridge(script, GOOD).url, quiet_until_ping=0.05, quiet_until_drop=5.0)
        eventually(lambda: 9 in heard)
        eventually(lambda: link.counters["connections"] == 2)


class TestWriting:
    def test_call_that_never_left_is_withdrawn_for_good(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        may_read = threading.Event()
        told: list[str] = []

        link = worker.link(raw_bridge(read_later(may_read, told)).url)
        eventually(lambda: link.ready)
        flood = [link.call("flood", "x" * 1_000_000) for _ in range(20)]
        withdrawn = link.call("withdrawn")
        seen = evidence_of(withdrawn, 0.05)
        assert (seen.written, withdrawn.refusal) == (False, "given up before a byte was written")
        link.call("last")
        may_read.set()
        eventually(lambda: "last" in told)
        assert told.count("flood") == len(flood)
        assert "withdrawn" not in told

    def test_guard_is_asked_at_the_time_of_the_write(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        may_read, paused = threading.Event(), threading.Event()
        told: list[str] = []

        link = worker.link(raw_bridge(read_later(may_read, told)).url)
        eventually(lambda: link.ready)
        for _ in range(20):
            link.call("flood", "x" * 1_000_000)
        guarded = link.call("guarded", guard=lambda: "paused" if paused.is_set() else None)
        paused.set()
        may_read.set()
        assert not evidence_of(guarded).written
        assert guarded.refusal == "paused"

    def test_lost_connection_refuses_what_was_not_written(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        cut = threading.Event()

        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            sock.sendall(GREETING)
            cut.wait(PATIENCE_SECONDS)
            sock.close()

        link = worker.link(raw_bridge(script, GOOD).url)
        eventually(lambda: link.ready)
        flood = [link.call("flood", "x" * 1_000_000) for _ in range(20)]
        eventually(lambda: flood[0].written)
        cut.set()
        seen = [evidence_of(call) for call in flood]
        assert [one.connection_lost for one in seen] == [one.written for one in seen]
        assert not seen[-1].written
        assert "lost" in (flood[-1].refusal or "")

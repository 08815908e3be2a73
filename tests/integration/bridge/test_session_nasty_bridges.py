"""Bridges that break every rule: the link says what is wrong, and comes back."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import (
    HELLO,
    LOGIN,
    RawBridge,
    WellBehavedBridge,
    eventually,
    hear,
    hear_messages,
    shake_hands,
    text,
)
from tests.parts.onloop import PATIENCE_SECONDS, evidence_of
from tests.parts.tls_proxy import make_certificate
from worker68.jobs.evidence import Verdict
from worker68.jobs.fields import Chat
from worker68.protocol.messages import TextMessage

Script = Callable[[socket.socket], None]
MakeBridge = Callable[..., RawBridge]
OURS = "10000000001"


def then(*portions: bytes, close: bool = False) -> Script:
    """Return a script that shakes hands, writes the portions, and then listens or closes."""

    def script(sock: socket.socket) -> None:
        shake_hands(sock)
        for portion in portions:
            sock.sendall(portion)
        if close:
            sock.close()
        else:
            listen(sock)

    return script


def instead_of_a_handshake(answer: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(answer)
        sock.close()

    return script


def listen(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def drip_without_end(sock: socket.socket) -> None:
    while True:
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX-Filler: " + b"x" * 1024 + b"\r\n")


def read_later(may_read: threading.Event, told: list[str]) -> Script:
    """Return a script that greets, and notes the types of what it is told only once it may read."""

    def script(sock: socket.socket) -> None:
        shake_hands(sock)
        sock.sendall(GREETING)
        may_read.wait(PATIENCE_SECONDS)
        told.extend(message["type"] for message in hear_messages(sock))

    return script


GREETING = text(HELLO) + text(LOGIN)
GOOD = then(GREETING)


class TestReading:
    def test_byte_by_byte(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            messages = hear_messages(sock)
            for byte in GREETING:
                sock.sendall(bytes([byte]))
            for frame in messages:
                for byte in text({"id": frame["id"], "type": frame["type"], "data": ["x" * 300]}):
                    sock.sendall(bytes([byte]))

        link = worker.link(raw_bridge(script).url)
        eventually(lambda: link.ready)
        assert evidence_of(link.call("getGroups")).data == ["x" * 300]

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

    def test_terabyte_is_not_waited_for(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(then(GREETING, struct.pack("!BBQ", 0x81, 127, 10**12)), GOOD).url)
        eventually(lambda: link.counters["too_large"] == 1)
        eventually(lambda: link.counters["connections"] == 2 and link.ready)

    def test_frame_limit_is_a_setting(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(then(GREETING, text(b"x" * 2000)), GOOD).url, message_limit=1000)
        eventually(lambda: link.counters["too_large"] == 1)
        eventually(lambda: link.counters["connections"] == 2 and link.ready)

    @pytest.mark.parametrize(
        "ending",
        [
            b"\x00garbage\xff" * 50,
            b"HTTP/1.1 500 No\r\n\r\n",
            b"\x81\x85abcdefghi",
            text(b"half a frame")[:-3],
            text(struct.pack("!H", 1001) + b"restarting", opcode=8),
            b"",
        ],
        ids=["garbage", "http", "masked", "mid-frame", "close frame", "no word"],
    )
    def test_broken_off_connection_is_made_anew(self, worker: Worker, raw_bridge: MakeBridge, ending: bytes) -> None:
        link = worker.link(raw_bridge(then(GREETING, ending, close=True), GOOD).url)
        eventually(lambda: link.counters["connections"] == 2 and link.ready)
        assert link.counters["connection_drops"] == 1
        assert link.counters["internal_errors"] == 0

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

    def test_large_reply(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        link = worker.ready_link(bridge.url)
        members = [{"uid": str(number), "nickName": "n" * 80} for number in range(40_000)]
        bridge.answer = lambda frame: [{"id": frame["id"], "type": "getGroups", "data": members}]
        assert evidence_of(link.call("getGroups")).data == members


class Recorder:
    """A socket that keeps what is to be sent."""

    def __init__(self, sock: socket.socket, sent: list[bytes]) -> None:
        self.recv = sock.recv
        self.sendall = sent.append


class TestConnecting:
    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "HTTP status 403"),
            (b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n", "the WebSocket handshake failed"),
            (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "the WebSocket handshake failed"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "the WebSocket handshake failed"),
            (b"\xff\xfe\n\n", "the WebSocket handshake failed"),
            (b"", "bridge not reachable"),
        ],
        ids=["403", "redirect", "no key", "ssh", "binary", "nothing"],
    )
    def test_handshake_refused(self, worker: Worker, raw_bridge: MakeBridge, answer: bytes, words: str) -> None:
        link = worker.link(raw_bridge(instead_of_a_handshake(answer)).url, backoff_base=60.0, backoff_cap=60.0)
        eventually(lambda: words in (link.why_not_ready or ""), link.why_not_ready or "")

    def test_comes_back_once_the_bridge_does(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        refuse = instead_of_a_handshake(b"HTTP/1.1 503 Busy\r\n\r\n")
        link = worker.link(raw_bridge(refuse, refuse, GOOD).url)
        eventually(lambda: link.ready)
        assert link.counters["connection_failures"] == 2

    def test_handshake_without_end(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(drip_without_end, GOOD).url)
        eventually(lambda: link.ready)
        assert link.counters["connection_failures"] == 1

    def test_handshake_without_an_answer(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(listen).url, connect=0.05, backoff_base=60.0, backoff_cap=60.0)
        eventually(lambda: "no answer in time" in (link.why_not_ready or ""))

    def test_never_hello(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        link = worker.link(raw_bridge(then(), GOOD).url, hello=0.2)
        eventually(lambda: link.counters["connections"] == 2 and link.ready)

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

        link = worker.link(raw_bridge(script, GOOD).url, quiet_until_ping=0.05, quiet_until_drop=0.1)
        eventually(lambda: link.counters["connections"] == 2)
        assert 9 in eventually(lambda: heard)


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_bridge(certificate: tuple[Path, Path]) -> Iterator[WellBehavedBridge]:
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    bridge = WellBehavedBridge(context)
    yield bridge
    bridge.stop()


class TestTls:
    def test_both_directions_at_once(
        self,
        worker: Worker,
        tls_bridge: WellBehavedBridge,
        certificate: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
        link = worker.ready_link(tls_bridge.url)
        tls_bridge.answer = lambda frame: [{"id": frame["id"], "type": "echo", "data": frame["data"]}]
        texts = [str(number) * 500_000 for number in range(8)]
        calls = [link.call("echo", text) for text in texts]
        assert [evidence_of(call).data for call in calls] == texts
        assert link.counters["connection_drops"] == 0

    def test_certificate_that_nobody_trusts(self, worker: Worker, tls_bridge: WellBehavedBridge) -> None:
        link = worker.link(tls_bridge.url)
        eventually(lambda: "its TLS certificate is not trusted" in (link.why_not_ready or ""))

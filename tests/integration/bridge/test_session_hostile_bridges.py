"""Hostile and odd bridges, by name: what each does, and what the link makes of it.

HANDSHAKES, TestReplies, FRAMES, ENDINGS, TestTransport and CERTIFICATES are the list. Every one of them is survived: the link says
what is wrong, comes back or goes on, and no call gets what is not its own.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from tests.integration.bridge.conftest import Worker
from tests.integration.bridge.servers import (
    API_URL,
    HELLO,
    LOGIN,
    RawBridge,
    WellBehavedBridge,
    eventually,
    hear_messages,
    shake_hands,
    text,
)
from tests.parts.onloop import PATIENCE_SECONDS, evidence_of
from tests.parts.tls_proxy import make_certificate
from worker68.bridge.link import Link
from worker68.jobs.evidence import BridgeError

Script = Callable[[socket.socket], None]
MakeBridge = Callable[..., RawBridge]

GREETING = text(HELLO) + text(LOGIN)


def serve_calls(sock: socket.socket) -> None:
    """Greet, and answer every call with its own type as data, as a bridge in order does."""
    shake_hands(sock)
    sock.sendall(GREETING)
    for frame in hear_messages(sock):
        data = API_URL if frame["type"] == "getApiUrl" else f"answer to {frame['type']}"
        sock.sendall(text({"id": frame["id"], "type": frame["type"], "data": data}))


def instead_of_a_handshake(answer: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(answer)
        sock.close()

    return script


def greeted(*portions: bytes) -> Script:
    """Return a script that greets, writes the portions, and closes."""

    def script(sock: socket.socket) -> None:
        shake_hands(sock)
        sock.sendall(GREETING)
        for portion in portions:
            sock.sendall(portion)
        sock.close()

    return script


def check_sound(link: Link) -> None:
    """The link is ready, and calls get their answers."""
    eventually(lambda: link.ready and link.api_url, "readiness")
    assert evidence_of(link.call("getGroups")).data == "answer to getGroups"
    assert link.counters["internal_errors"] == 0


def reasons(logs: list[Any]) -> list[str]:
    return [line["reason"] for line in logs if "reason" in line]


# -- handshakes

HTTP = "the WebSocket handshake was answered with HTTP status"

HANDSHAKES = {
    "301": (b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "handshake failed"),
    "302 to itself": (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "handshake failed"),
    "403": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", f"{HTTP} 403"),
    "500": (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", f"{HTTP} 500"),
    "200": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", f"{HTTP} 200"),
    "without a key": (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "handshake failed"),
    "of another key": (
        b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: eA==\r\n\r\n",
        "handshake failed",
    ),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "handshake failed"),
    "no text": (b"\xff\xfe\n\n", "handshake failed"),
    "no answer": (b"", "bridge not reachable"),
    "half an answer": (b"HTTP/1.1 101 Switching", "bridge not reachable"),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshake(worker: Worker, raw_bridge: MakeBridge, name: str) -> None:
    answer, words = HANDSHAKES[name]
    with capture_logs() as logs:
        link = worker.link(raw_bridge(instead_of_a_handshake(answer), serve_calls).url)
        check_sound(link)
    assert any(words in reason for reason in reasons(logs)), reasons(logs)
    assert link.counters["connection_failures"] == 1


def test_handshake_refused(worker: Worker, raw_bridge: MakeBridge) -> None:
    """Nothing listens at the port until the link has said so."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        link = worker.link(f"ws://127.0.0.1:{port.getsockname()[1]}")
        eventually(lambda: "connection refused" in (link.why_not_ready or ""))
        port.listen()
        accepted: list[socket.socket] = []

        def accept() -> None:
            accepted.append(port.accept()[0])
            try:
                serve_calls(accepted[0])
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        check_sound(link)
        worker.made[0].stop()
        thread.join(PATIENCE_SECONDS)
        accepted[0].close()


class TestHello:
    def test_none(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            sock.sendall(text(LOGIN))
            list(hear_messages(sock))

        with capture_logs() as logs:
            link = worker.link(raw_bridge(script, *[serve_calls] * 20).url, hello=0.2)
            check_sound(link)
        assert "no Hello within 0.2 s" in " ".join(reasons(logs))

    def test_late(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        may_speak = threading.Event()

        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            sock.sendall(text(LOGIN))
            may_speak.wait(PATIENCE_SECONDS)
            sock.sendall(text(HELLO))
            for frame in hear_messages(sock):
                sock.sendall(
                    text(
                        {"id": frame["id"], "data": API_URL if frame["type"] == "getApiUrl" else "answer to getGroups"}
                    )
                )

        link = worker.link(raw_bridge(script).url)
        eventually(lambda: "no Hello yet" in (link.why_not_ready or ""))
        call = link.call("getGroups")
        assert not evidence_of(call).written
        may_speak.set()
        check_sound(link)
        assert link.connections == 1

    def test_twice(self, worker: Worker, bridge: WellBehavedBridge) -> None:
        """The second one, in the midst of a call, takes nothing from it, and the API's address is asked for again."""
        link = worker.ready_link(bridge.url)
        bridge.answer = lambda frame: (
            [HELLO, {"id": frame["id"], "type": "getGroups", "data": []}] if frame["type"] == "getGroups" else []
        )
        assert evidence_of(link.call("getGroups")).data == []
        eventually(lambda: len(bridge.told("getApiUrl")) == 2 and link.api_url == API_URL)
        assert (link.ready, link.connections) == (True, 1)


# -- replies


class TestReplies:
    """To a call of ``getGroups``; what comes behind them gets what is its own all the same."""

    @pytest.fixture
    def link(self, worker: Worker, bridge: WellBehavedBridge) -> Link:
        return worker.ready_link(bridge.url)

    @pytest.fixture(autouse=True)
    def sound_afterwards(self, link: Link, bridge: WellBehavedBridge) -> Iterator[None]:
        yield
        eventually(lambda: link.ready)
        bridge.answer = lambda frame: [{"id": frame["id"], "type": frame["type"], "data": "its own"}]
        assert evidence_of(link.call("last")).data == "its own"
        assert link.counters["internal_errors"] == 0

    def test_late(self, link: Link, bridge: WellBehavedBridge) -> None:
        call = link.call("getGroups")
        eventually(lambda: bridge.told("getGroups"))
        assert not evidence_of(call, 0.01).replied
        bridge.say({"id": bridge.told("getGroups")[0]["id"], "type": "getGroups", "data": "late"})
        eventually(lambda: link.counters["late_replies"] == 1)
        assert call.pending.evidence.data is None

    def test_twice(self, link: Link, bridge: WellBehavedBridge) -> None:
        bridge.answer = lambda frame: [
            {"id": frame["id"], "type": "getGroups", "data": data} for data in ("one", "two")
        ]
        assert evidence_of(link.call("getGroups")).data == "one"
        eventually(lambda: link.counters["double_replies"] == 1)

    def test_never(self, link: Link, bridge: WellBehavedBridge) -> None:
        call = link.call("getGroups")
        eventually(lambda: bridge.told("getGroups"))
        seen = evidence_of(call, 0.01)
        assert (seen.written, seen.replied, seen.connection_lost) == (True, False, False)

    def test_on_the_next_connection(self, link: Link, bridge: WellBehavedBridge) -> None:
        call = link.call("getGroups")
        eventually(lambda: bridge.told("getGroups"))
        bridge.drop()
        seen = evidence_of(call)
        assert (seen.replied, seen.connection_lost) == (False, True)
        eventually(lambda: len(bridge.connections) == 2 and link.ready)
        bridge.say({"id": bridge.told("getGroups")[0]["id"], "type": "getGroups", "data": "late"})
        eventually(lambda: link.counters["late_replies"] == 1)
        assert call.pending.evidence.data is None

    @pytest.mark.parametrize("other_id", [None, True, 7, 7.5, [], {}, "", "another"], ids=repr)
    def test_with_another_id(self, link: Link, bridge: WellBehavedBridge, other_id: Any) -> None:
        bridge.answer = lambda frame: [
            {"id": other_id, "type": frame["type"], "data": "not its own"},
            {"id": frame["id"], "type": frame["type"], "data": "its own"},
        ]
        assert evidence_of(link.call("getGroups")).data == "its own"
        counted = link.counters
        assert counted["malformed"] + counted["unknown_replies"] == 1

    def test_with_the_id_in_a_list_or_with_blanks(self, link: Link, bridge: WellBehavedBridge) -> None:
        bridge.answer = lambda frame: [
            {"id": [frame["id"]], "type": frame["type"], "data": "not its own"},
            {"id": f" {frame['id']} ", "type": frame["type"], "data": "its own"},
        ]
        assert evidence_of(link.call("getGroups")).data == "its own"

    def test_of_another_type(self, link: Link, bridge: WellBehavedBridge) -> None:
        """The id alone counts: a bridge may name the type as it likes."""
        bridge.answer = lambda frame: [{"id": frame["id"], "type": "sendMsg", "data": "its own"}]
        assert evidence_of(link.call("getGroups")).data == "its own"

    def test_with_error_and_data(self, link: Link, bridge: WellBehavedBridge) -> None:
        bridge.answer = lambda frame: [
            {"id": frame["id"], "data": "both", "error": {"errorCode": 5, "errorDesc": "no"}}
        ]
        seen = evidence_of(link.call("getGroups"))
        assert (seen.data, seen.error) == ("both", BridgeError(5, "no"))

    def test_with_neither(self, link: Link, bridge: WellBehavedBridge) -> None:
        bridge.answer = lambda frame: [{"id": frame["id"]}]
        seen = evidence_of(link.call("getGroups"))
        assert (seen.replied, seen.data, seen.error) == (True, None, None)

    @pytest.mark.parametrize(
        "data", ["NaN", '"\\ud800"', "[" * 5000 + "]" * 5000, '"\xff"', "1e999"], ids=lambda it: it[:8]
    )
    def test_with_data_that_no_reader_takes(self, link: Link, bridge: WellBehavedBridge, data: str) -> None:
        bridge.answer = lambda frame: [f'{{"id":"{frame["id"]}","type":"x","data":{data}}}']
        seen = evidence_of(link.call("getGroups"))
        assert (seen.replied, seen.error) == (True, None)
        json.dumps(seen.data).encode()

    def test_of_twenty_megabytes(self, link: Link, bridge: WellBehavedBridge) -> None:
        bridge.answer = lambda frame: [{"id": frame["id"], "data": ["x" * 1000] * 20_000}]
        assert evidence_of(link.call("getGroups")).data == ["x" * 1000] * 20_000


# -- frames

SCALARS = [b"68", b'"Hello"', b"null", b"true", b"1e5", b"-0"]
TERABYTE = struct.pack("!BBQ", 0x81, 127, 10**12)


class Odd(NamedTuple):
    """A message, how many such a bridge is said to have malformed, and the events that are passed on."""

    payload: bytes
    malformed: int = 1
    events: int = 0


FRAMES = {
    "empty": Odd(b""),
    "no JSON": Odd(b"{not json"),
    "truncated": Odd(b'{"operator":"msgNew","data":{"content":"he'),
    "truncated within a letter": Odd('{"operator":"msgNew","data":"好"}'.encode()[:-3]),
    **{f"scalar {raw.decode()}": Odd(raw) for raw in SCALARS},
    "invalid UTF-8": Odd(b'{"operator":"msgNew","data":{"content":"\xff\xfe"}}', 0, 1),
    "invalid UTF-8 in a name": Odd(b'{"operator":"a","data":{"\xc3\x28":1}}', 0, 1),
    "invalid UTF-8 in a name that nothing reads": Odd(b'{"operator":"msgNew","data":{},"\xcfmore":1}', 0, 1),
    "invalid UTF-8 in a value that nothing reads": Odd(b'{"operator":"msgNew","data":{},"more":"\xff"}', 0, 1),
    "no JSON in a value that nothing reads": Odd(b'{"operator":"msgNew","data":{},"more":"\\q"}'),
    "UTF-16": Odd('{"operator":"msgNew","data":{}}'.encode("utf-16")),
    "byte order mark": Odd(b'\xef\xbb\xbf{"operator":"msgNew","data":{}}'),
    "empty array": Odd(b"[]"),
    "array of what is no event": Odd(b'[null,7,"x",[{"operator":"msgNew"}]]', 4),
    "array with one event among others": Odd(b'[{},{"operator":"msgNew","data":{}},{"operator":7}]', 2, 1),
    "batch of nothing": Odd(b'{"operator":"__batch__"}', 0, 1),
    "batch in a batch": Odd(b'{"operator":"__batch__","data":[[{"operator":"msgNew","data":{}}]]}'),
    "null bytes": Odd(b"\x00" * 1000),
    "twenty megabytes": Odd(b'{"operator":"msgNew","data":"' + b"x" * 20_000_000 + b'"}', 0, 1),
    "twenty megabytes that are no JSON": Odd(b'{"operator":' + b"x" * 20_000_000),
    "nested": Odd(b'{"operator":"msgNew","data":' + b"[" * 5_000 + b"]" * 5_000 + b"}", 0, 1),
    "nested without end": Odd(b"[" * 2_000_000),
    "nested objects": Odd(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "lone surrogate": Odd(b'{"operator":"msgNew","data":{"content":"\\ud800"}}', 0, 1),
    "lone surrogates in a name": Odd(b'{"operator":"a","data":{"\\udfff\\ud800":"\\udc00"}}', 0, 1),
    "NaN": Odd(b'{"operator":"msgNew","data":NaN}', 0, 1),
    "infinity": Odd(b'{"operator":"msgNew","data":[-Infinity,1e999]}', 0, 1),
    "a number of ten thousand digits": Odd(b'{"operator":"msgNew","data":' + b"9" * 10_000 + b"}", 0, 1),
    "operator that is no text": Odd(b'{"operator":["msgNew"],"data":{}}'),
    "two operators": Odd(b'{"operator":"network","operator":"other","data":{}}', 0, 1),
    "verdict without a list": Odd(b'{"operator":"msgListPropertyUpdate","data":{"id":1}}'),
    "verdict about nothing": Odd(b'{"operator":"msgListPropertyUpdate","data":{"list":[null,7,[]]}}', 3, 1),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frame(worker: Worker, raw_bridge: MakeBridge, name: str) -> None:
    """It comes between a call and its reply, which is heard all the same, on the same connection."""
    odd = FRAMES[name]

    def script(sock: socket.socket) -> None:
        shake_hands(sock)
        sock.sendall(GREETING)
        for frame in hear_messages(sock):
            if frame["type"] == "getGroups":
                sock.sendall(text(odd.payload))
            data = API_URL if frame["type"] == "getApiUrl" else "answer to getGroups"
            sock.sendall(text({"id": frame["id"], "type": frame["type"], "data": data}))

    link = worker.link(raw_bridge(script).url)
    check_sound(link)
    assert link.counters["malformed"] == odd.malformed
    assert len(worker.events) == odd.events
    for _, _, raw in worker.events:
        json.loads(raw.decode())
    assert link.counters["connection_drops"] == 0


@pytest.mark.parametrize("opcode", [1, 2], ids=["text", "binary"])
def test_a_frame_of_a_terabyte_ends_the_connection_at_its_header(
    worker: Worker, raw_bridge: MakeBridge, opcode: int
) -> None:
    header = bytes([0x80 | opcode]) + TERABYTE[1:]
    link = worker.link(raw_bridge(greeted(header), serve_calls).url)
    eventually(lambda: link.counters["too_large"] == 1)
    check_sound(link)
    assert link.connections == 2


# -- transport


def reset(sock: socket.socket) -> None:
    """Close with a reset, in place of an orderly end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def reset_in_mid_frame(sock: socket.socket) -> None:
    shake_hands(sock)
    sock.sendall(GREETING)
    next(hear_messages(sock))  # the client has read the greeting: a reset throws away what was not read
    sock.sendall(text(b"half a frame")[:-4])
    reset(sock)


def reset_in_the_handshake(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 101 Switching")
    reset(sock)


def half_close(sock: socket.socket) -> None:
    """Say that nothing more will be said, and go on reading."""
    shake_hands(sock)
    sock.sendall(GREETING)
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass


CLOSE_CODES = range(1000, 1013)

ENDINGS: dict[str, tuple[Script, str]] = {
    "reset in mid-frame": (reset_in_mid_frame, "closed by the bridge"),
    "reset in the handshake": (reset_in_the_handshake, "bridge not reachable"),
    "half open: it only reads": (half_close, "closed by the bridge"),
    "end in mid-frame": (greeted(text(b"half a frame")[:-4]), "closed by the bridge"),
    "end without a word": (greeted(), "closed by the bridge"),
    **{
        f"close code {code}": (
            greeted(text(struct.pack("!H", code) + b"because", opcode=8)),
            f"closed by the bridge: {code}",
        )
        for code in CLOSE_CODES
    },
    "close code that is none": (greeted(text(b"\x00\x00", opcode=8)), "closed by the bridge: 0"),
    "close frame without a code": (greeted(text(b"", opcode=8)), "closed by the bridge"),
    "close frame with half a code": (greeted(text(b"\x03", opcode=8)), "closed by the bridge"),
    "close frame that is too long": (greeted(text(b"x" * 200, opcode=8)), "a control frame that is long"),
    "unknown opcode": (greeted(text(b"", opcode=3)), "an unknown opcode"),
    "masked": (greeted(b"\x81\x85abcdefghi"), "a masked frame"),
    "compressed": (greeted(b"\xc1\x01x"), "an extension that was not agreed on"),
    "fragment of nothing": (greeted(text(b"x", opcode=0)), "a fragment out of place"),
    "HTTP in the midst of it": (greeted(b"HTTP/1.1 500 No\r\n\r\n"), "an extension that was not agreed on"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_ending(worker: Worker, raw_bridge: MakeBridge, name: str) -> None:
    script, words = ENDINGS[name]
    with capture_logs() as logs:
        link = worker.link(raw_bridge(script, serve_calls).url)
        eventually(lambda: link.counters["connection_drops"] + link.counters["connection_failures"])
        check_sound(link)
    assert any(words in reason for reason in reasons(logs)), reasons(logs)
    assert link.counters["connection_drops"] + link.counters["connection_failures"] == 1


class TestTransport:
    def test_half_open_a_peer_that_has_gone_without_a_word(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        """Nothing ends the connection but the silence: the socket stays open, and takes what is written."""

        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            sock.sendall(GREETING)
            list(hear_messages(sock))

        with capture_logs() as logs:
            link = worker.link(raw_bridge(script, serve_calls).url, quiet_until_ping=1.0, quiet_until_drop=4.0)
            eventually(lambda: link.ready)
            call = link.call("getGroups")
            seen = evidence_of(call)
            assert (seen.written, seen.replied, seen.connection_lost) == (True, False, True)
            eventually(lambda: link.connections >= 2)
        assert "nothing heard for 4 s" in " ".join(reasons(logs))

    def test_trickled_bytes(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        """Handshake, greeting and replies come byte by byte, as a packet each."""

        def script(sock: socket.socket) -> None:
            shake_hands(sock)
            for byte in GREETING:
                sock.sendall(bytes([byte]))
            for frame in hear_messages(sock):
                data = API_URL if frame["type"] == "getApiUrl" else "answer to getGroups"
                for byte in text({"id": frame["id"], "data": data, "filler": "x" * 300}):
                    sock.sendall(bytes([byte]))

        link = worker.link(raw_bridge(script).url)
        check_sound(link)
        assert link.connections == 1

    def test_closed_window(self, worker: Worker, raw_bridge: MakeBridge) -> None:
        """A bridge that talks and does not read: what has not left is withdrawn, and another account notices nothing."""
        may_end = threading.Event()

        def script(sock: socket.socket) -> None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            shake_hands(sock)
            sock.sendall(GREETING)
            while not may_end.wait(0.01):
                sock.sendall(text(LOGIN))

        bridges = worker.bridges()
        closed = bridges.open("main", raw_bridge(script).url)
        other = bridges.open("other", raw_bridge(serve_calls).url)
        eventually(lambda: closed.ready)
        flood = [closed.call("flood", "x" * 1_000_000) for _ in range(20)]
        check_sound(other)
        seen = [evidence_of(call, 0.05) for call in flood]
        assert [one.replied for one in seen] == [False] * 20
        assert not seen[-1].written, "no window takes twenty megabytes"
        assert flood[-1].refusal == "given up before a byte was written"
        assert (closed.ready, closed.connections) == (True, 1), "it is heard, so it is not dropped"
        check_sound(other)
        may_end.set()


# -- TLS

CERTIFICATES = {
    "of another name": ({"subject": "DNS:bridge.example"}, True, "certificate is not valid for '127.0.0.1'"),
    "expired": ({"expired": True}, True, "certificate has expired"),
    "self-signed": ({}, False, "self-signed certificate"),
}


@contextmanager
def tls_bridge(key: Path, certificate: Path) -> Iterator[WellBehavedBridge]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    bridge = WellBehavedBridge(context)
    try:
        yield bridge
    finally:
        bridge.stop()


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificate(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not a byte of the protocol goes to such a bridge. The first two would be trusted, were they not what they are."""
    made, trusted, words = CERTIFICATES[name]
    key, certificate = make_certificate(tmp_path, **made)  # type: ignore[arg-type]
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with tls_bridge(key, certificate) as bridge:
        link = worker.link(bridge.url)
        eventually(lambda: words in (link.why_not_ready or ""), link.why_not_ready or "")
        assert "its TLS certificate is not trusted" in (link.why_not_ready or "")
        assert bridge.connections == []


def test_tls_where_the_bridge_speaks_none(worker: Worker, bridge: WellBehavedBridge) -> None:
    link = worker.link(bridge.url.replace("ws://", "wss://"))
    eventually(lambda: "TLS failed" in (link.why_not_ready or ""))


def test_a_flood_in_both_directions_over_tls(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls and their echoes of some megabytes, with events between them: all arrive, in order, over one connection."""
    key, certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with tls_bridge(key, certificate) as bridge:
        link = worker.ready_link(bridge.url)
        numbers = iter(range(1_000_000))

        def answer(frame: Any) -> list[Any]:
            flood = [{"operator": f"event {next(numbers)}", "data": "x" * 2_000} for _ in range(100)]
            return [*flood, {"id": frame["id"], "type": frame["type"], "data": frame["data"]}]

        bridge.answer = answer
        texts = [str(number % 10) * 400_000 for number in range(12)]
        calls = [link.call("echo", one) for one in texts]
        assert [evidence_of(call).data for call in calls] == texts
        assert [operator for _, operator, _ in worker.events] == [f"event {number}" for number in range(1200)]
        assert (link.connections, link.counters["connection_drops"]) == (1, 0)

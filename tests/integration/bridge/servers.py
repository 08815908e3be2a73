"""Small bridges of the tests' own: one that behaves, and one whose every byte a test writes itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.parts.onloop import PATIENCE_SECONDS, run
from tests.parts.worker import wait_until

HELLO = {"message": "Hello"}
LOGIN = {"operator": "network", "data": {"networkStatusType": "socketLogin"}}
LOGOUT = {"operator": "network", "data": {"networkStatusType": "socketLoginout"}}
API_URL = "https://api.example"


def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Let the loop go on until the condition is truthy and return its value; fail if it never is."""

    async def wait() -> Any:
        while not (value := condition()):
            await asyncio.sleep(0.005)
        return value

    try:
        return run(asyncio.wait_for(wait(), PATIENCE_SECONDS))
    except TimeoutError:
        pytest.fail(f"{what} never came true")


class WellBehavedBridge:
    """Says Hello and that it is logged in, keeps what it is told, and answers as ``answer`` says (default: only getApiUrl)."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.greeting: list[Any] = [HELLO, LOGIN]
        self.answer: Callable[[Any], list[Any]] = lambda frame: []
        self.received: list[Any] = []
        self.connections: list[ServerConnection] = []
        self._server: Server = serve(
            self._talk, "127.0.0.1", 0, ssl=tls, ping_interval=None, max_size=None, close_timeout=1, compression=None
        )
        host, port = self._server.socket.getsockname()
        self.url = f"{'wss' if tls else 'ws'}://{host}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def say(self, frame: Any) -> None:
        """Send a frame on the newest connection; the client may have seen the first one before we have."""
        wait_until(lambda: self.connections)
        self.connections[-1].send(frame if isinstance(frame, str) else json.dumps(frame))

    def told(self, frame_type: str) -> list[Any]:
        return [frame for frame in self.received if frame["type"] == frame_type]

    def drop(self) -> None:
        """Cut the newest connection without a word."""
        self.connections[-1].socket.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Cut the connections and close: a closing handshake would wait for clients whose loop does not run any more."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join(PATIENCE_SECONDS)

    def _talk(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            for frame in self.greeting:
                connection.send(json.dumps(frame))
            for message in connection:
                frame = json.loads(message)
                self.received.append(frame)
                replies = self.answer(frame)
                if frame["type"] == "getApiUrl" and not replies:
                    replies = [{"id": frame["id"], "type": "getApiUrl", "data": API_URL}]
                for reply in replies:
                    connection.send(reply if isinstance(reply, str) else json.dumps(reply))
        except ConnectionClosed:
            pass


class RawBridge:
    """Accepts TCP connections and lets a script write whatever it likes on each; the first script for the first, and so on."""

    def __init__(self, *scripts: Callable[[socket.socket], None]) -> None:
        self._scripts = iter(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all sockets; the listener first, and those accepted once no further one can be."""
        _close(self._listener)
        self._thread.join(PATIENCE_SECONDS)
        for sock in self._open:
            _close(sock)

    def _accept(self) -> None:
        for script in self._scripts:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._run, args=(script, sock), daemon=True).start()

    def _run(self, script: Callable[[socket.socket], None], sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            script(sock)


def _close(sock: socket.socket) -> None:
    """Close a socket, and wake the thread that waits on it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def shake_hands(sock: socket.socket) -> None:
    """Read a client's opening handshake and accept it."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += sock.recv(1)
    key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    digest = hashlib.sha1(key.split(b":", 1)[1].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def text(frame: Any, *, opcode: int = 1, final: bool = True) -> bytes:
    """Encode a server's frame."""
    payload = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def hear_messages(sock: socket.socket) -> Iterator[Any]:
    """Yield each message a client writes; a ping may come between them, and a close behind them."""
    return (json.loads(payload) for opcode, payload in hear(sock) if opcode == 1)


def hear(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield the opcode and payload of each frame a client writes. One that is cut off ends the script, as any lost connection."""
    stream = sock.makefile("rb")

    def take(size: int) -> bytes:
        taken = stream.read(size)
        if len(taken) < size:
            raise ConnectionError("the connection ended within a frame")
        return taken

    while first := stream.read(1):
        length = take(1)[0] & 0x7F
        if length >= 126:
            length = int.from_bytes(take(2 if length == 126 else 8), "big")
        mask, masked = take(4), take(length)
        pad = (mask * (length // 4 + 1))[:length]
        plain = int.from_bytes(masked, "big") ^ int.from_bytes(pad, "big")
        yield first[0] & 0x0F, plain.to_bytes(length, "big")

"""How a connection to a bridge is opened: when to try, and the try, in a thread of its own.

In: tries that failed, connections that were lost. Out: an open ``Connection``, or why there is none. Never: a wait on the loop; a
try sooner than the back-off allows.

websocket-client makes the opening handshake. It gets a socket that is already connected, so that no proxy from the environment and
no redirect comes between us and the bridge.
"""

from __future__ import annotations

import math
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from websocket import WebSocket, WebSocketException

from worker68.bridge.connection import Connection, describe
from worker68.bridge.health import Timing
from worker68.clock import Deadline

#: What one handshake may answer, in bytes: the library itself would read a header without end.
_HANDSHAKE_LIMIT = 64 * 1024

Dialled = Callable[["Dial", "Connection | str"], None]


class Redial:
    """One account's. ``due_at``: when ``start`` should be called, in monotonic seconds."""

    def __init__(self, url: str, timing: Timing, message_limit: int) -> None:
        self._url = url
        self._timing = timing
        self._message_limit = message_limit
        self._dial: Dial | None = None
        self._failures = 0
        self.due_at = math.inf

    def start(self, done: Dialled) -> None:
        """Begin a try. ``done`` is called once, on the thread of the try."""
        self.due_at = math.inf
        self._dial = Dial(self._url, timeout_seconds=self._timing.connect, message_limit=self._message_limit, done=done)
        self._dial.start()

    def take(self, dial: Dial) -> bool:
        """Say whether this try, which is over, is the one that is waited for; then none is any more."""
        if dial is not self._dial:
            return False
        self._dial = None
        return True

    def plan(self, now: float) -> None:
        """Full jitter: anywhere between now and a range that doubles, so that a fleet does not come back all at once."""
        widest = min(self._timing.backoff_cap, self._timing.backoff_base * 2.0 ** min(self._failures, 30))
        self._failures += 1
        self.due_at = now + random.uniform(0.0, widest)

    def note_held(self) -> None:
        """The last connection was a good one: its end is no reason for a longer pause."""
        self._failures = 0

    def abandon(self) -> None:
        """Give up the try that is under way."""
        if self._dial is not None:
            self._dial.abandon()
            self._dial = None

    def stop(self) -> None:
        """Try no more."""
        self.abandon()
        self.due_at = math.inf


class Dial:
    """One try to open a connection, in a thread of its own that lives no longer than the try.

    ``_sock`` and ``_abandoned`` need no lock: the one thread sets the first and then reads the second, the other one the reverse.

    ``done`` is called there, once, with a Connection or the words for why there is none. ``timeout_seconds`` bounds everything
    after the name is resolved, which alone takes as long as the system's resolver does.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        message_limit: int,
        done: Callable[[Dial, Connection | str], None],
    ) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._message_limit = message_limit
        self._done = done
        self._sock: socket.socket | None = None
        self._abandoned = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="bridge-dial", daemon=True).start()

    def abandon(self) -> None:
        """End the try soon. From any thread."""
        self._abandoned = True
        if self._sock is not None:
            _cut(self._sock)

    def _run(self) -> None:
        result: Connection | str
        try:
            result = Connection(self._open(), self._message_limit)
        except Exception as error:  # noqa: BLE001  # whatever it is, the link must hear of it, or it waits for ever
            result = describe(error)
            if self._sock is not None:
                self._sock.close()
        self._done(self, result)

    def _open(self) -> socket.socket:
        parts = urlsplit(self._url)
        assert parts.hostname is not None
        tls = ssl.create_default_context() if parts.scheme == "wss" else None
        addresses = socket.getaddrinfo(parts.hostname, parts.port or (443 if tls else 80), type=socket.SOCK_STREAM)
        deadline = Deadline.after(self._timeout_seconds)
        sock = self._connect(addresses, deadline, tls, parts.hostname)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(sock, ssl.SSLSocket):
            sock.settimeout(_time_left(deadline))
            sock.do_handshake()
        client = WebSocket(enable_multithread=False, skip_utf8_validation=True)
        client.connect(self._url, socket=_HandshakeSocket(sock, deadline), redirect_limit=0)
        return sock

    def _connect(
        self, addresses: Iterable[tuple[Any, ...]], deadline: Deadline, tls: ssl.SSLContext | None, host: str
    ) -> socket.socket:
        problem: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            sock = socket.socket(family, kind, protocol)
            if (
                tls is not None
            ):  # before it is connected: of one that is reset meanwhile `ssl` would leave an open socket behind
                sock = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            try:
                self._hold(sock)
                sock.settimeout(_time_left(deadline))
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                problem = error
        raise problem

    def _hold(self, sock: socket.socket) -> None:
        self._sock = sock
        if self._abandoned:
            raise ConnectionAbortedError("given up")


class _HandshakeSocket:
    """What the library's handshake reads and writes: until the deadline, and not without end."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._bytes_left = _HANDSHAKE_LIMIT

    def recv(self, size: int) -> bytes:
        self._sock.settimeout(_time_left(self._deadline))
        data = self._sock.recv(size)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise WebSocketException("a handshake without end")
        return data

    def send(self, data: bytes) -> int:
        self._sock.settimeout(_time_left(self._deadline))
        return self._sock.send(data)

    def gettimeout(self) -> float | None:
        return self._sock.gettimeout()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def _time_left(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    if remaining == 0.0:
        raise TimeoutError
    return remaining


def _cut(sock: socket.socket) -> None:
    """Wake the thread that waits on a socket. SSLSocket's own shutdown would remove its TLS state while that thread uses it."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # It is not connected yet, or no longer.

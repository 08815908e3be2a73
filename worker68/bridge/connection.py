"""One WebSocket to a bridge: how it is opened, read and written. The only room of websocket-client.

In: a URL; frames to write; readiness of the socket. Out: whole messages; why the connection was lost. Never: a wait on the loop
(only ``Dial`` waits, in a thread of its own), a retry, the meaning of a message.

The library makes the opening handshake and formats what is written. What is read goes through ``framing`` (it says why). It gets
a socket that is already connected, so that no proxy from the environment and no redirect comes between us and the bridge.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from websocket import ABNF, WebSocket, WebSocketBadStatusException, WebSocketException, WebSocketTimeoutException

from worker68.bridge.framing import FrameReader, MessageTooLarge, Opcode, ProtocolViolation, Received
from worker68.clock import Deadline

#: What one handshake may answer, in bytes: the library itself would read a header without end.
_HANDSHAKE_LIMIT = 64 * 1024

_READ_SIZE = 64 * 1024

#: Reads from one socket before the others are looked at (256 KiB): a message of many megabytes comes in over many steps.
_READS_AT_ONCE = 4

_GOING_AWAY = (1001).to_bytes(2, "big")


class Connection:
    """An open WebSocket, non-blocking. One thread alone reads and writes it: with TLS two at once would break it (CPython 143756).

    ``lost`` says why it can no longer be used, and is None until then: nothing here raises for what the peer or the network does.
    ``too_large``: it was lost because of a message over the limit.
    """

    def __init__(self, sock: socket.socket, message_limit: int) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._reader = FrameReader(message_limit)
        self._unsent = memoryview(b"")
        self._controls: dict[Opcode, bytes] = {}
        self._write_waits = self._read_waits = False  # for the socket to become writable
        self.lost: str | None = None
        self.too_large = False

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether the selector should wait until it can be written."""
        return self._write_waits or self._read_waits

    @property
    def has_buffered(self) -> bool:
        """Whether TLS holds bytes that the selector cannot see: read again before sleeping."""
        return self._tls and self.lost is None and self._sock.pending() > 0  # type: ignore[attr-defined]  # an SSLSocket

    def read(self) -> None:
        """Read what the socket has, but not without end."""
        for _ in range(_READS_AT_ONCE):
            if self.lost is not None:
                return
            data = self._read()
            self._reader.feed(data)
            if len(data) < _READ_SIZE and not self.has_buffered:
                return

    def next_message(self) -> Received | None:
        """Return the next message that was read, also where the connection was lost after it; None where there is none."""
        try:
            return self._reader.take()
        except (ProtocolViolation, MessageTooLarge) as error:
            self.too_large = isinstance(error, MessageTooLarge)
            self.lose(str(error))
            return None

    def begin(self, payload: bytes) -> bool:
        """Start to write a text frame, after ``flush`` has returned True. False: not a byte of it has left.

        With TLS a failed or a waiting write may have left bytes behind in its buffers, so there it counts as begun.
        """
        frame = ABNF.create_frame(payload, ABNF.OPCODE_TEXT).format()
        sent = self._send(frame)
        if sent == 0 and not self._tls:
            return False
        self._unsent = memoryview(frame)[sent:]
        return True

    def flush(self) -> bool:
        """Write what has been begun, and control frames; return whether the next frame may begin."""
        while self.lost is None:
            if not self._unsent:
                if not self._controls:
                    self._write_waits = False  # for a frame that did not begin: it may be held by now
                    return True
                opcode, payload = self._controls.popitem()
                self._unsent = memoryview(ABNF.create_frame(payload, opcode).format())
            sent = self._send(self._unsent)
            self._unsent = self._unsent[sent:]
            if sent == 0:
                break
        return False

    def ping(self) -> None:
        self._controls[Opcode.PING] = b""

    def pong(self, payload: bytes) -> None:
        """Answer a ping; of several that wait to be written only the last is answered (RFC 6455, 5.5.3)."""
        self._controls[Opcode.PONG] = payload

    def close(self) -> None:
        """Close at once; say so to the peer if that takes no wait and cuts no frame."""
        if self.lost is None and not self._unsent:
            self._send(ABNF.create_frame(_GOING_AWAY, ABNF.OPCODE_CLOSE).format())
        self.lose("closed")
        self._sock.close()

    def _read(self) -> bytes:
        self._read_waits = False
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        except ssl.SSLWantWriteError:
            self._read_waits = True
            return b""
        except OSError as error:
            self.lose(describe(error))
            return b""
        if not data:
            self.lose("closed by the bridge")
        return data

    def _send(self, data: bytes | memoryview) -> int:
        self._write_waits = False
        try:
            return self._sock.send(data)
        except ssl.SSLWantReadError:
            return 0
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._write_waits = True
        except OSError as error:
            self.lose(describe(error))
        return 0

    def lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason


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


def describe(error: Exception) -> str:
    """Say in a few plain words why a connection could not be opened, or broke."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case TimeoutError() | WebSocketTimeoutException():
            return "no answer in time"
        case ConnectionResetError() | BrokenPipeError():
            return "closed by the bridge"
        case WebSocketBadStatusException():
            return f"the WebSocket handshake was answered with HTTP status {error.status_code}"
        case WebSocketException():
            return f"the WebSocket handshake failed: {error}"
        case ssl.SSLCertVerificationError():
            return f"its TLS certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case socket.gaierror():
            return f"its name is not known: {error.strerror}"
        case OSError() if error.strerror:
            return error.strerror
    return f"{type(error).__name__}: {error}"


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

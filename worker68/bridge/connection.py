"""One open WebSocket to a bridge: how it is read and written.

In: frames to write; readiness of the socket. Out: whole messages; why the connection was lost. Never: a wait, a retry, the meaning
of a message. ``dial`` opens it.

websocket-client formats what is written. It has a reader too, but that accepts a header that announces a terabyte, and it sums its
portions anew with every read, so a large message that dribbles in costs the square of its length. ``FrameReader`` (RFC 6455, the
client's side) checks its bound against the header, before a byte of the payload is kept.
"""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from enum import IntEnum

from websocket import ABNF, WebSocketBadStatusException, WebSocketException, WebSocketTimeoutException

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


class Opcode(IntEnum):
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


#: RFC 6455, 5.5: a control frame is never longer, and never in fragments.
_LONGEST_CONTROL_FRAME = 125

_TWO_BYTE_LENGTH, _EIGHT_BYTE_LENGTH = 126, 127


class ProtocolViolation(Exception):
    """The peer sent what is no WebSocket traffic: drop the connection, what follows cannot be read."""


class MessageTooLarge(Exception):
    """The peer announced more than the bound: drop the connection, its bytes are not worth the memory."""


@dataclass(frozen=True)
class Received:
    """A whole message (TEXT or BINARY) or a control frame."""

    opcode: Opcode
    payload: bytes

    def close_reason(self) -> str:
        """Say why the peer closes, from the payload of a CLOSE: by its code. Its words may be anything, and would be logged."""
        if len(self.payload) < 2:
            return "closed by the bridge"
        (code,) = struct.unpack_from("!H", self.payload)
        return f"closed by the bridge: {code}"


@dataclass(frozen=True)
class _Header:
    opcode: Opcode
    final: bool
    start: int
    length: int


class FrameReader:
    """The unread rest of a stream. ``limit`` bounds one message, all its fragments together, in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._unread = bytearray()
        self._header: _Header | None = None
        self._message: bytearray | None = None
        self._message_opcode = Opcode.TEXT

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._unread += data

    def take(self) -> Received | None:
        """Return the next message or control frame that is complete, None where there is none.

        Raises ProtocolViolation or MessageTooLarge where what comes next is that; and again with each further call.
        """
        while (frame := self._take_frame()) is not None:
            message = self._assemble(*frame)
            if message is not None:
                return message
        return None

    def _take_frame(self) -> tuple[_Header, bytes] | None:
        header = self._header = self._header or self._read_header()
        if header is None or len(self._unread) < header.start + header.length:
            return None
        end = header.start + header.length
        payload = bytes(memoryview(self._unread)[header.start : end])
        del self._unread[:end]
        self._header = None
        return header, payload

    def _read_header(self) -> _Header | None:
        unread = self._unread
        if len(unread) < 2:
            return None
        length, start = unread[1] & 0x7F, 2
        if length == _TWO_BYTE_LENGTH:
            start = 4
        elif length == _EIGHT_BYTE_LENGTH:
            start = 10
        if len(unread) < start:
            return None
        if start > 2:
            length = int.from_bytes(unread[2:start], "big")
        header = _Header(_read_opcode(unread[0]), bool(unread[0] & 0x80), start, length)
        self._check(header, masked=bool(unread[1] & 0x80))
        return header

    def _check(self, header: _Header, *, masked: bool) -> None:
        if masked:
            raise ProtocolViolation("a masked frame from a server")
        if header.opcode >= Opcode.CLOSE:
            if not header.final or header.length > _LONGEST_CONTROL_FRAME:
                raise ProtocolViolation("a control frame that is long or in fragments")
            return
        if (header.opcode is Opcode.CONTINUATION) is (self._message is None):
            raise ProtocolViolation("a fragment out of place")
        so_far = 0 if self._message is None else len(self._message)
        if so_far + header.length > self._limit:
            raise MessageTooLarge(
                f"a message of at least {so_far + header.length} bytes; at most {self._limit} are taken"
            )

    def _assemble(self, header: _Header, payload: bytes) -> Received | None:
        if header.opcode >= Opcode.CLOSE:
            return Received(header.opcode, payload)
        if self._message is None:
            if header.final:
                return Received(header.opcode, payload)
            self._message, self._message_opcode = bytearray(), header.opcode
        self._message += payload
        if not header.final:
            return None
        whole, self._message = bytes(self._message), None
        return Received(self._message_opcode, whole)


def _read_opcode(first: int) -> Opcode:
    if first & 0x70:
        raise ProtocolViolation("an extension that was not agreed on")
    try:
        return Opcode(first & 0x0F)
    except ValueError:
        raise ProtocolViolation(f"an unknown opcode, {first & 0x0F}") from None

"""Cuts a stream of bytes into WebSocket messages (RFC 6455, the client's side).

In: bytes in any portions. Out: whole messages and control frames. Never: a socket, a wait, a clock.

websocket-client has such a reader too, but it accepts a header that announces a terabyte, and it sums its portions anew with
every read, so a large message that dribbles in costs the square of its length. This one checks its bound against the header,
before a byte of the payload is kept.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum


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

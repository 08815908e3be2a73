"""What has come in on one connection, message by message, read as frames.

In: a connection. Out: control frames, and the frames that messages are or hold: a message may hold several events, as an array of
them or as the data of the operator ``__batch__``. Which of the two newer builds write is [open]: both are read. Never: a wait; the
decoding of a large message on the loop. While one is decoded in the pool nothing else is taken from the connection, so the order
stays.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from worker68.bridge.connection import Connection, Opcode, Received
from worker68.bridge.exchange import Exchange
from worker68.bridge.frames import Frame, decode, decode_large
from worker68.protocol.values import NOT_JSON, decode_json

_OPERATOR: Final = "__batch__"
_ARRAY: Final = re.compile(rb"\s*\[")


class _Envelope(msgspec.Struct):
    operator: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")


_envelope: Final = msgspec.json.Decoder(_Envelope)
_parts: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split(message: bytes) -> list[bytes] | None:
    """Return the events that a message holds, in their order; None where it holds no array of them, or an empty one.

    One part that cannot be read costs no other: whether it can be read is found out where it is decoded.
    """
    if not _ARRAY.match(message) and _OPERATOR.encode() not in message:
        return None
    try:
        data: bytes | msgspec.Raw = message
        if not _ARRAY.match(message):
            envelope = decode_json(message, _envelope)
            if envelope.operator != _OPERATOR:
                return None
            data = envelope.data
        return [bytes(part) for part in decode_json(data, _parts)] or None
    except NOT_JSON:
        return None


#: A message longer than this is decoded in the pool: on the loop it would take more than some milliseconds.
LARGE_BYTES: Final = 256 * 1024

_MESSAGES: Final = (Opcode.TEXT, Opcode.BINARY)

#: Computes something in the pool, and gives the result to a step of the session.
InPool = Callable[[Callable[[], list[Frame]], Callable[[list[Frame]], None]], None]


class Inbox:
    """``behind``: ``take`` was not called until it returned None. Nothing more is read meanwhile."""

    def __init__(self, connection: Connection, exchange: Exchange, in_pool: InPool) -> None:
        self.connection = connection
        self._exchange = exchange
        self._in_pool = in_pool
        self._waiting: deque[Frame | bytes] = deque()  # of a message that held several, decoded or not
        self._is_decoding = False  # a large message, in the pool
        self.behind = False

    @property
    def wants_read(self) -> bool:
        """Whether there is room for more."""
        return not (self._is_decoding or self.behind or self._waiting)

    @property
    def has_more(self) -> bool:
        """Whether there may be something to take although the selector does not say so."""
        return not self._is_decoding and (self.behind or bool(self._waiting) or self.connection.has_buffered)

    def read(self) -> None:
        """Take in what the socket has, unless there is something to hear first."""
        if self.wants_read:
            self.connection.read()
        self.behind = False

    def take(self) -> Received | Frame | None:
        """Return the next control frame or frame; None where there is none now."""
        if self._waiting:
            first = self._waiting.popleft()
            return decode(first) if isinstance(first, bytes) else first
        received = None if self._is_decoding else self.connection.next_message()
        if received is None or received.opcode not in _MESSAGES:
            return received
        self._exchange.tally["messages_in"] += 1
        if len(received.payload) > LARGE_BYTES:
            self._is_decoding = True
            shapes = self._exchange.correlation.reply_shapes()
            self._in_pool(partial(_decode_all, received.payload, shapes), self._take_frames)
            return None
        parts = split(received.payload)
        if parts is None:
            return decode(received.payload)
        self._waiting.extend(parts)
        return self.take()

    def _take_frames(self, frames: list[Frame]) -> None:
        self._is_decoding = False
        self._waiting.extend(frames)


def _decode_all(message: bytes, shapes: Mapping[str, Any]) -> list[Frame]:
    """Read a large message, in the pool."""
    return [frame for part in split(message) or (message,) for frame in decode_large(part, shapes)]

"""WebSocket frames from bytes in any portions."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker68.bridge.connection import FrameReader, MessageTooLarge, Opcode, ProtocolViolation, Received


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, announced: int | None = None) -> bytes:
    first = (0x80 if final else 0) | opcode
    length = len(payload) if announced is None else announced
    if length < 126:
        return bytes([first, length]) + payload
    if length < 65536:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload


def take_all(reader: FrameReader, data: bytes = b"") -> list[Received]:
    """Return what these bytes complete."""
    reader.feed(data)
    return list(iter(reader.take, None))


STREAM = (
    frame(1, b"short")
    + frame(9, b"ping")
    + frame(1, b"fr", final=False)
    + frame(10, b"between")
    + frame(0, b"", final=False)
    + frame(0, b"ag")
    + frame(2, b"m" * 300)
    + frame(1, b"l" * 70_000)
    + frame(1)
    + frame(8, struct.pack("!H", 1000) + b"bye")
)
MESSAGES = [
    Received(Opcode.TEXT, b"short"),
    Received(Opcode.PING, b"ping"),
    Received(Opcode.PONG, b"between"),
    Received(Opcode.TEXT, b"frag"),
    Received(Opcode.BINARY, b"m" * 300),
    Received(Opcode.TEXT, b"l" * 70_000),
    Received(Opcode.TEXT, b""),
    Received(Opcode.CLOSE, struct.pack("!H", 1000) + b"bye"),
]


def test_stream_in_one_piece() -> None:
    assert take_all(FrameReader(100_000), STREAM) == MESSAGES


def test_stream_byte_by_byte() -> None:
    reader = FrameReader(100_000)
    assert [message for byte in STREAM for message in take_all(reader, bytes([byte]))] == MESSAGES


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
def test_stream_in_any_portions(cuts: list[int]) -> None:
    reader = FrameReader(100_000)
    edges = [0, *sorted(cuts), len(STREAM)]
    portions = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert [message for portion in portions for message in take_all(reader, portion)] == MESSAGES


def test_terabyte_is_refused_at_its_header() -> None:
    reader = FrameReader(100_000)
    with pytest.raises(MessageTooLarge):
        take_all(reader, frame(1, announced=10**12))


def test_limit_counts_all_fragments_together() -> None:
    reader = FrameReader(10)
    assert take_all(reader, frame(1, b"123456", final=False)) == []
    with pytest.raises(MessageTooLarge):
        take_all(reader, frame(0, b"12345", final=False))


def test_message_of_exactly_the_limit_is_taken() -> None:
    assert take_all(FrameReader(10), frame(1, b"1" * 10)) == [Received(Opcode.TEXT, b"1" * 10)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x84abcdabcd",  # masked
        b"\xc1\x00",  # RSV1
        b"\x83\x00",  # opcode 3
        b"\x09\x00",  # a ping in fragments
        frame(9, b"p" * 126),
        frame(0, b"x"),  # a continuation of nothing
        frame(1, b"x", final=False) + frame(1, b"y"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_violation_of_the_protocol(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        take_all(FrameReader(100_000), data)


def test_what_was_complete_before_a_violation_is_kept() -> None:
    reader = FrameReader(100_000)
    reader.feed(frame(1, b"verdict") + b"\x83\x00")
    assert reader.take() == Received(Opcode.TEXT, b"verdict")
    for _ in range(2):
        with pytest.raises(ProtocolViolation):
            reader.take()


def test_reason_of_a_close() -> None:
    assert Received(Opcode.CLOSE, struct.pack("!H", 1001) + b"restart").close_reason() == "closed by the bridge: 1001"
    assert Received(Opcode.CLOSE, b"").close_reason() == "closed by the bridge"

"""Frames that hold several events: an array of them, or the operator ``__batch__`` with the array as its data.

In: the bytes of one text message. Out: its parts as messages of their own, or None where it is one frame. Never: an exception,
whatever the bytes are; the meaning of a part (``frames``). Which of the two forms newer builds write is [open]: both are read.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

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

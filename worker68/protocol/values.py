"""The bridge's values as worker68 has them: loose JSON in, an id, a text, a time or None out.

The bridge writes a 64-bit number as a number here and as a string there, and leaves out what holds its default. [doc/seen:
PROTOCOL.md, Requests and replies] Never: an exception for what the bridge wrote; a meaning.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

#: Ids and times are 64-bit [doc]. A longer number is no number of this protocol.
_INTEGER = re.compile(r"-?[0-9]{1,19}")

NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)


def read_int(value: Any) -> int | None:
    """Return a 64-bit integer that came as a number or as a string of digits [doc], else None."""
    if type(value) is str:
        # As nearly all are: 18 digits fit, and need no closer look. A list has a hundred thousand of them.
        if len(value) <= 18 and value.isascii() and value.isdigit():
            return int(value)
        if not _INTEGER.fullmatch(value) and not _INTEGER.fullmatch(value.strip()):
            return None
        value = int(value)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        return None
    return value


def read_id(value: Any) -> int | None:
    """Return an id of the service: above 0."""
    number = read_int(value)
    return number if number is not None and number > 0 else None


def read_id_text(value: Any) -> str | None:
    """Return an id as text: the bridge may write one as a string or as a number [seen]."""
    if isinstance(value, str):
        return value.strip() or None
    number = read_int(value)
    return None if number is None else str(number)


def read_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def read_time(milliseconds: Any) -> dt.datetime | None:
    """Return a point in time: epoch milliseconds, as a string or a number [doc]."""
    number = read_int(milliseconds)
    if number is None:
        return None
    try:
        return _EPOCH + dt.timedelta(milliseconds=number)
    except OverflowError:
        return None


def decode_json(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a part of a message, with lone surrogates replaced where it has some.

    Raises ``msgspec.ValidationError`` where it has another shape, ``ValueError`` where it is no JSON.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except NOT_JSON as error:
        mended = mend(bytes(raw))
        if mended is None:
            raise ValueError("not JSON") from error
    try:
        return decoder.decode(mended)
    except RecursionError as error:
        raise ValueError("not JSON that can be read: nested too deeply") from error


def mend(raw: bytes) -> bytes | None:
    """Return the JSON with its lone surrogates replaced, or None if it is no JSON either way.

    The bridge is a JavaScript program: a name cut in the middle of an emoji is written as half a surrogate pair, which JSON's
    grammar allows and UTF-8 does not. One such nickname must not make a whole contact list unreadable.
    """
    try:
        return json.dumps(json.loads(raw), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None

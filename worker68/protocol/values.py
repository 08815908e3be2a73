"""The bridge's values as worker68 has them: loose JSON in, an id, a text, a time or None out.

The bridge writes a 64-bit number as a number here and as a string there, and leaves out what holds its default. [doc/seen:
PROTOCOL.md, Requests and replies] Never: an exception for what the bridge wrote; a meaning.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

#: Ids and times are 64-bit [doc]. A longer number is no number of this protocol.
_INTEGER = re.compile(r"-?[0-9]{1,19}")

#: What is nested deeper is cut: documented replies have six levels.
MOST_LEVELS: Final = 100
TOO_DEEP: Final = f"(nested deeper than {MOST_LEVELS} levels)"

#: An integer of more digits stays a text: readers disagree about what they can hold.
_LONGEST_INTEGER: Final = 300

_BRACKET_OR_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)

#: What is longer and nested without end is given up: to look for the brackets of a mebibyte takes a good second at most.
_LONGEST_CUT: Final = 1024 * 1024

NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)


def read_int(value: Any) -> int | None:
    """Return a 64-bit integer that came as a number or as a string of digits [doc], else None."""
    if type(value) is str:
        # As nearly all are: 18 digits fit, and need no closer look. A list has a hundred thousand of them.
        if len(value) <= 18 and value.isascii() and value.isdigit():
            return int(value)
        value = value.strip()  # of more than int() strips
        if not _INTEGER.fullmatch(value):
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
    """Decode a part of a message, repaired where it cannot be read as it is.

    Raises ``msgspec.ValidationError`` where it has another shape, ``ValueError`` where it is no JSON.
    """
    try:
        return decoder.decode(raw)
    except NOT_JSON as error:
        repaired = repair(bytes(raw))
        if repaired is None:
            raise ValueError("not JSON") from error
    return decoder.decode(repaired)


def repair(raw: bytes) -> bytes | None:
    """Return the JSON so that it can be read, stored and read again by others; None if it is no JSON whatever is forgiven.

    The bridge is a JavaScript program: a name cut in the middle of an emoji is written as half a surrogate pair, which JSON's
    grammar allows and UTF-8 does not. One such nickname must not make a whole contact list unreadable, nor may a number that
    nothing can hold (it becomes a text, like NaN), bytes that are no UTF-8, or something nested without end (``cut_deep``).
    """
    text = raw.decode("utf-8", "replace")
    try:
        try:
            value = _lenient.decode(text)
        except RecursionError:
            if len(text) > _LONGEST_CUT:
                return None
            value = _lenient.decode(_cut_deep_text(text))
    except ValueError:
        return None
    cut_deep(value)
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def cut_deep(value: Any) -> None:
    """Put ``TOO_DEEP`` in the place of what is nested deeper than ``MOST_LEVELS`` in a decoded JSON value.

    Readers give up at about a thousand levels, and each process at another one: ours, the relay's, the producer's.
    """
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [child for one in level for child in _children(one)]
    for one in level:
        if isinstance(one, dict):
            one.update({key: TOO_DEEP for key, child in one.items() if isinstance(child, dict | list)})
        elif isinstance(one, list):
            one[:] = [TOO_DEEP if isinstance(child, dict | list) else child for child in one]


def _children(value: Any) -> list[Any]:
    """Return the containers in a container."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inner if isinstance(child, dict | list)]


def _cut_deep_text(text: str) -> str:
    """Do the same to JSON that no reader takes."""
    kept, depth, start = [], 0, 0
    for match in _BRACKET_OR_STRING.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth == MOST_LEVELS + 2:
                kept.append(text[start : match.start()] + json.dumps(TOO_DEEP))
        elif match[0] in "]}":
            if depth == MOST_LEVELS + 2:
                start = match.end()
            depth -= 1
    return "".join([*kept, text[start:]])


def _read_float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _read_integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else digits


#: Its control characters within strings and its words for what is no number are forgiven.
_lenient: Final = json.JSONDecoder(strict=False, parse_float=_read_float, parse_int=_read_integer, parse_constant=str)

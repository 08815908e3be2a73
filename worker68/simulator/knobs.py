"""The table of faults: the name, the type and the words of each knob, and what a value for it may look like.

In: the fields of ``Faults`` and its parts, declared with the functions of this module; names and values as a command line, a TOML
file or a message's text has them. Out: knobs turned, ``BadFault`` with one line for what cannot be. A fault that holds for a number
of times may be set from any thread while the simulator uses it up. Never: a second list: what the help shows and what a scenario
may set is what the dataclasses say.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Final

from worker68.errors import Worker68Error

#: Set a ``Countdown`` to this for a fault that lasts until it is cleared.
ALWAYS: Final = 2**62
_KNOB: Final = "knob"
_LENGTH_FORM: Final = "a time like 4s, 500ms, 2m"
_LENGTH: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
_WORDS_OF_SWITCHES: Final = {"on": True, "true": True, "off": False, "false": False}


class BadFault(Worker68Error):
    """A fault that is none, or a value that it cannot have. The message is one line that says what would be right."""


@dataclass(frozen=True)
class Knob:
    """One fault. ``read`` makes the field's value of a text or a TOML value, or raises ``ValueError``; ``form`` is what it takes.

    ``by_message``: it may hold for one message alone. ``short``: shorter names, and the text that each stands for; None: the text
    is the caller's.
    """

    words: str
    form: str
    read: Callable[[Any], Any]
    by_message: bool
    short: Mapping[str, str | None]
    name: str = ""

    def read_value(self, value: Any) -> Any:
        """Return the field's value. Raise ``BadFault``."""
        try:
            return self.read(value)
        except ValueError:
            raise BadFault(f"{self.name}: {_quote(value)}: expected {self.form}") from None


# -- faults that hold for a number of times


class Countdown:
    """A fault for the next N times. The lock guards the number between the test's thread and the simulator's."""

    def __init__(self, times: int = 0) -> None:
        self._lock = threading.Lock()
        self._times = times

    def set(self, times: int) -> None:
        with self._lock:
            self._times = times

    @property
    def left(self) -> int:
        return self._times

    def take(self) -> bool:
        """Use up one and say whether there was one."""
        if self._times <= 0:
            return False
        with self._lock:
            had_one = self._times > 0
            self._times -= had_one
            return had_one


class Trip(Countdown):
    """A fault that acts once: on the Nth time from now; 0 is never."""

    def take(self) -> bool:
        """Count one more and say whether it is the Nth."""
        with self._lock:
            is_last = self._times == 1
            self._times = max(0, self._times - 1)
            return is_last


class CountdownByType:
    """A countdown for each request type (``GroupDetail``, ``sendMsg``, ...). The lock guards the numbers."""

    def __init__(self, times: dict[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._times = Counter(times or {})

    def set(self, request_type: str, times: int) -> None:
        with self._lock:
            self._times[request_type] = times

    def take(self, request_type: str) -> bool:
        with self._lock:
            had_one = self._times[request_type] > 0
            self._times[request_type] -= had_one
            return had_one


# -- declaring a knob


def switch(words: str, *, by_message: bool = False) -> Any:
    """Declare a knob that is on or off."""
    return _declare(lambda: False, Knob(words, "on or off", _read_switch, by_message, {}))


def seconds(words: str, default: float = 0.0, *, by_message: bool = False, short: str | None = None) -> Any:
    """Declare a length of time, in seconds."""
    shorter = {} if short is None else {short: None}
    return _declare(lambda: default, Knob(words, _LENGTH_FORM, parse_seconds, by_message, shorter))


def number(words: str, default: int = 0, *, by_message: bool = False) -> Any:
    return _declare(lambda: default, Knob(words, "an integer", _read_number, by_message, {}))


def choice(
    words: str, options: tuple[str, ...], default: str | None, *, short: Mapping[str, str | None] | None = None
) -> Any:
    """Declare a word of several; ``off`` is None where that is the default. It may hold for one message if it has short names."""
    allowed = options if default is not None else ("off", *options)

    def read(value: Any) -> str | None:
        if value not in allowed:
            raise ValueError
        return None if default is None and value == "off" else str(value)

    return _declare(lambda: default, Knob(words, " or ".join(allowed), read, bool(short), short or {}))


def times(words: str, *, by_message: bool = False, short: Mapping[str, str | None] | None = None) -> Any:
    """Declare a fault that holds for the next N times."""
    return _declare(Countdown, Knob(words, "N or always", _read_times, by_message, short or {}))


def nth(words: str, *, short: Mapping[str, str | None] | None = None) -> Any:
    """Declare a fault that acts once, on the Nth time from now."""
    knob = Knob(words, "N", lambda value: Trip(_read_count(value)), True, short or {})
    return _declare(Trip, knob)


def times_by_type(words: str) -> Any:
    """Declare a fault that holds for the next N frames of a type."""
    return _declare(CountdownByType, Knob(words, "TYPE or TYPE:N, like sendMsg:2", _read_times_by_type, True, {}))


def error(words: str, default: Mapping[str, Any]) -> Any:
    """Declare the ``error`` of a reply."""
    return _declare(lambda: dict(default), Knob(words, "a code, or the whole error as JSON", _read_error, True, {}))


def _declare(default: Callable[[], Any], knob: Knob) -> Any:
    return field(default_factory=default, metadata={_KNOB: knob})


# -- using the table


def list_knobs(faults: Any, prefix: str = "") -> Iterator[Knob]:
    """Yield every knob of a dataclass of faults, those of its parts by names like ``paging.short_by``."""
    for each in fields(faults):
        knob: Knob | None = each.metadata.get(_KNOB)
        if knob is not None:
            yield Knob(knob.words, knob.form, knob.read, knob.by_message, knob.short, prefix + each.name)
        elif is_dataclass(part := getattr(faults, each.name)):
            yield from list_knobs(part, f"{prefix}{each.name}.")


def find_knob(faults: Any, name: str) -> tuple[Knob, str | None]:
    """Return the knob of a name or a short name, and the text that the short name stands for. Raise ``BadFault``."""
    known: dict[str, tuple[Knob, str | None]] = {}
    for knob in list_knobs(faults):
        known[knob.name] = knob, None
        known |= {short: (knob, text) for short, text in knob.short.items()}
    found = known.get(name.replace("-", "_"))
    if found is None:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise BadFault(f"no fault is called {_quote(name)}{hint}")
    return found


def read_setting(faults: Any, name: str, value: Any) -> tuple[Knob, Any]:
    """Return the knob that is meant, and the value of its field. ``value`` None: only the name was given. Raise ``BadFault``."""
    knob, stands_for = find_knob(faults, name)
    if stands_for is not None:
        if value is not None:
            raise BadFault(f"{name}: takes no value, it is {knob.name} {stands_for}")
        value = stands_for
    if value is None:
        value = _of_name_alone(knob)
    return knob, knob.read_value(value)


def turn(faults: Any, knob: Knob, value: Any) -> None:
    """Set a field of faults or of a part of it."""
    *parts, last = knob.name.split(".")
    for part in parts:
        faults = getattr(faults, part)
    setattr(faults, last, value)


def _of_name_alone(knob: Knob) -> str:
    """What a name without a value means: a switch is on, a number of times is one."""
    if knob.read is _read_switch:
        return "on"
    if knob.read is _read_times:
        return "1"
    raise BadFault(f"{knob.name}: needs a value: {knob.form}")


# -- reading values


def _read_switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in _WORDS_OF_SWITCHES:
        raise ValueError
    return _WORDS_OF_SWITCHES[value]


def parse_seconds(value: Any) -> float:
    """Return a length of time in seconds. Raise ``ValueError``."""
    match = None if isinstance(value, bool) else _LENGTH.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{_quote(value)}: expected {_LENGTH_FORM}")
    return float(match[1]) * _UNITS[match[2]]


def _read_number(value: Any) -> int:
    if isinstance(value, bool | float):
        raise ValueError
    try:
        return int(value)
    except (ValueError, TypeError):
        raise ValueError from None


def _read_count(value: Any) -> int:
    count = _read_number(value)
    if count < 0:
        raise ValueError
    return min(count, ALWAYS)


def _read_times(value: Any) -> Countdown:
    return Countdown(ALWAYS if value == "always" else _read_count(value))


def _read_times_by_type(value: Any) -> CountdownByType:
    if isinstance(value, str):
        name, colon, count = value.partition(":")
        value = {name: count if colon else 1}
    if not isinstance(value, Mapping) or not all(value):
        raise ValueError
    return CountdownByType({str(name): _read_times(count).left for name, count in value.items()})


def _read_error(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError from None
    if isinstance(value, int) and not isinstance(value, bool):
        return {"errorCode": value, "errorDesc": "refused by the simulator"}
    if not isinstance(value, Mapping):
        raise ValueError
    return dict(value)


def _quote(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

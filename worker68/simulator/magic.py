"""Faults that a message asks for by its own text: ``hello !sim:late:4s`` gets its verdict four seconds later.

In: requests, with the bridge's faults. Out: the faults that hold for that request; ``BadFault`` for a text that asks for what is
none. A fault that may hold for one message holds for that one alone, also when it is written again; any other one holds for the
whole bridge from then on, and ``!sim:clear`` turns everything back. So a producer can test its own side.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec

from worker68.simulator.faults import Faults
from worker68.simulator.knobs import read_setting, turn
from worker68.simulator.shapes import Json

PREFIX: Final = "!sim:"
CLEAR: Final = "clear"
_MAGIC: Final = re.compile(r"!sim:([A-Za-z0-9_.-]*)(?::(\S+))?")

#: So many messages are remembered, to know one again that is written once more.
_REMEMBERED: Final = 10_000


class MagicTexts:
    """The messages that have asked for faults, and what is left of those."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._asked: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def faults_of(self, frame: Json) -> Faults:
        """Return the faults that hold for a request. Raise ``BadFault`` where its text asks for what is none."""
        found = [match for text in _texts_in(frame.get("data")) for match in _MAGIC.finditer(text)]
        if not found:
            return self._faults
        message = _name_of(frame)
        if message not in self._asked:
            self._asked[message] = self._begin(found)
            if len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)
        return replace(self._faults, **self._asked[message])

    def _begin(self, found: list[re.Match[str]]) -> dict[str, Any]:
        """Turn what concerns the whole bridge, and return what concerns the message alone."""
        settings = [read_setting(self._faults, match[1], match[2]) for match in found if match[1] != CLEAR]
        if len(settings) < len(found):
            self._faults.clear()
            self._asked.clear()
        own = {}
        for knob, value in settings:
            if knob.by_message:
                own[knob.name] = value
            else:
                turn(self._faults, knob, value)
        return own


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts that ask for something, however deep they lie, with their line breaks restored."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if PREFIX in one:
                yield one.replace("\\n", "\n")
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _name_of(frame: Json) -> str:
    """Return what is the same when a message is written again: the caller's id, else all that is asked for."""
    data = frame.get("data")
    for place in (data, frame):
        if isinstance(place, dict) and (custom_msg_id := place.get("custom_msg_id")):
            return str(custom_msg_id)
    return msgspec.json.encode(data).decode()

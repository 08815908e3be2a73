"""Plays a record of a real bridge again: what it said to a request is said to the same request of a client.

In: a file that ``worker68 probe --record`` has written; requests. Out: what followed each of them, with the ids, the chat and the
text of the request at hand in the place of the recorded ones; events that followed no request, by the clock. Never: Hello and
heartbeats, which are the simulator's own; an answer to what is not in the record: that the simulator gives by itself.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from worker68.errors import Worker68Error
from worker68.simulator.shapes import Json

#: The operators of events that are not played: the simulator's own say the same, for longer than a record lasts.
_OWN: Final = ("network",)


class BadRecord(Worker68Error):
    """A record that cannot be played. The message is one line: which file, and what is wrong with it."""


class _Line(msgspec.Struct):
    at: float
    connection: int
    way: str
    frame: Any = None


@dataclass
class _Asked:
    """A recorded request, and what followed it: after how many seconds, and the frame."""

    frame: Json
    at: float
    followed: list[tuple[float, Any]] = field(default_factory=list)


class Replay:
    """The requests of a record, each answered as often as it is made; the last answer of several stays."""

    def __init__(self, lines: list[_Line]) -> None:
        asked = [_Asked(line.frame, line.at) for line in lines if line.way == "out" and isinstance(line.frame, dict)]
        self.unasked: list[tuple[float, Any]] = []
        """Events that followed no request, with the seconds from the start."""
        for line in lines:
            if line.way == "in" and line.frame is not None:
                self._assign(line, asked)
        self._exact: dict[str, deque[_Asked]] = {}
        self._alike: dict[str, deque[_Asked]] = {}
        for one in asked:
            self._exact.setdefault(_name(one.frame, exact=True), deque()).append(one)
            self._alike.setdefault(_name(one.frame, exact=False), deque()).append(one)

    def play(self, frame: Json) -> list[tuple[float, Any]] | None:
        """Return what follows a request: after how many seconds, and the frame; None where nothing like it is recorded."""
        found = self._exact.get(_name(frame, exact=True)) or self._alike.get(_name(frame, exact=False))
        if found is None:
            return None
        asked = found.popleft() if len(found) > 1 else found[0]
        recorded, asks = _particulars(asked.frame), _particulars(frame)
        swapped = {recorded[name]: asks[name] for name in ("message", "chat") if name in recorded.keys() & asks.keys()}
        played = [(after, _swap(one, swapped, _text_of(frame))) for after, one in asked.followed]
        for _, one in played:
            if isinstance(one, dict) and "operator" not in one:
                one["id"] = frame.get("id")
        return played

    def _assign(self, line: _Line, asked: list[_Asked]) -> None:
        """Find the request that a frame follows: by its id, by the id of its message, or by its chat."""
        if isinstance(line.frame, dict):
            if line.frame.get("message") == "Hello" or line.frame.get("operator") in _OWN:
                return
            reply_to = str(line.frame.get("id"))
        else:
            reply_to = ""
        before = [one for one in reversed(asked) if one.at <= line.at]
        words = set(_scalars(line.frame))
        for one in before:
            particulars = _particulars(one.frame)
            if reply_to == particulars.get("request") or particulars.get("message") in words:
                one.followed.append((line.at - one.at, line.frame))
                return
        if _is_about_own_message(line.frame):
            before = [one for one in before if _particulars(one.frame).get("chat") in words]
            if before:
                before[0].followed.append((line.at - before[0].at, line.frame))
                return
        self.unasked.append((line.at, line.frame))


def load_record(path: Path) -> Replay:
    """Read a record. Raise ``BadRecord``."""
    lines = []
    try:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                lines.append(msgspec.json.decode(text, type=_Line))
            except msgspec.MsgspecError as error:
                raise BadRecord(f"{path}, line {number}: {error}") from error
    except OSError as error:
        raise BadRecord(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRecord(f"{path}: not UTF-8") from error
    if not any(line.way == "out" for line in lines):
        raise BadRecord(f"{path}: no request is recorded in it")
    return Replay([line for line in lines if line.connection == 1])


def _name(frame: Json, *, exact: bool) -> str:
    """Return what makes two requests the same: type, kind of call, page; for a send how long its id is."""
    data = frame.get("data") if isinstance(frame.get("data"), dict) else {}
    call: Any = data.get("data") if isinstance(data, dict) else None
    kind = data.get("type") if frame.get("type") == "request" and isinstance(data, dict) else None
    page = call.get("pageNum") if isinstance(call, dict) else None
    length = len(_particulars(frame).get("message", ""))
    return json.dumps([frame.get("type"), kind, *([page, length] if exact else [])])


def _particulars(frame: Json) -> dict[str, str]:
    """Return what of a request is its own: the ids of the request, of its message, of its chat."""
    data = frame.get("data")
    inner = data if isinstance(data, dict) else {}
    message = inner.get("custom_msg_id", frame.get("custom_msg_id"))
    own = {"request": frame.get("id"), "message": message, "chat": inner.get("id") if message is not None else None}
    return {name: str(value) for name, value in own.items() if value is not None}


def _is_about_own_message(frame: Any) -> bool:
    parts = frame if isinstance(frame, list) else [frame, *_parts(frame)]
    return any(
        isinstance(part, dict) and (part.get("operator") == "msgListPropertyUpdate" or _is_own(part.get("data")))
        for part in parts
    )


def _parts(frame: Json) -> list[Any]:
    data = frame.get("data")
    return data if isinstance(data, list) else []


def _is_own(data: Any) -> bool:
    return isinstance(data, dict) and data.get("isSelf") is True


def _text_of(frame: Json) -> str | None:
    try:
        text = frame["data"]["list"][0]["values"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _scalars(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _scalars(one)
    elif isinstance(value, list):
        for one in value:
            yield from _scalars(one)
    else:
        yield str(value)


def _swap(value: Any, swapped: Mapping[str, str], text: str | None) -> Any:
    """Return a frame with its particulars replaced; the content of an own message is the text that was asked for."""
    if isinstance(value, dict):
        own = text is not None and value.get("isSelf") is True and "content" in value
        made = {name: _swap(one, swapped, text) for name, one in value.items()}
        return made | {"content": text} if own else made
    if isinstance(value, list):
        return [_swap(one, swapped, text) for one in value]
    new = None if isinstance(value, bool) else swapped.get(str(value))
    if new is None:
        return value
    return int(new) if isinstance(value, int) and new.isdecimal() else new

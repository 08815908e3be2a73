"""Moderation behind other jobs in the lists of Redis: found there, and taken out ahead of them.

In: the places whose lists a pop has not emptied. Out: the moderation that lies there, recorded as unacknowledged like any popped
message, whatever the account's room. Each message is read once: how far a list has been read is kept in memory, with a digest
that shows whether the list still begins so; else it is read again. Never: moves or changes any other message.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from worker68.broker.place import Place, Popped, lists_of
from worker68.broker.wire import Wire
from worker68.jobs.task import JobClass
from worker68.redis_calls import Script
from worker68.tasks import TASKS

#: In one search, over all places: a command of some milliseconds, so that a long backlog holds up neither Redis nor the scheduler.
MOST_READ: Final = 1000
MOST_READ_BYTES: Final = 2 * 1024 * 1024
#: Each costs a walk along its list.
MOST_TAKEN: Final = 100

_LOOK: Final = Script(__package__, "look.lua")
_TAKE_OUT: Final = Script(__package__, "take_out.lua")


class _Headers(msgspec.Struct):
    task: str


class _Message(msgspec.Struct):
    headers: _Headers


_read_message = msgspec.json.Decoder(_Message).decode


def is_moderation(raw: bytes) -> bool:
    """Say whether a message asks for moderation, by the task that its headers name; what cannot be read does not."""
    try:
        kind = TASKS.get(_read_message(raw).headers.task)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return kind is not None and kind.job_class is JobClass.MODERATION


@dataclass(frozen=True)
class _Known:
    """The ``count`` oldest messages of a list hold no moderation; ``last`` is the SHA-1 of the newest of them."""

    count: int = 0
    last: str = ""


@dataclass(frozen=True)
class _Find:
    """A moderation message: ``position`` counts from the old end of its list, where 1 is the oldest."""

    place: Place
    list_key: str
    position: int
    raw: bytes


_NOTHING: Final = _Known()


class ModerationSearch:
    """Searches over one connection; used by its thread. Raises ``RedisAway``: then what was taken is found by the next pop."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._known: dict[str, _Known] = {}

    def note_popped(self, list_keys: Iterable[bytes]) -> None:
        """Take note of messages that were taken from the old ends of lists; one list key for each."""
        for key, count in Counter(list_keys).items():
            name = key.decode()
            known = self._known.pop(name, _NOTHING)
            if known.count > count:
                self._known[name] = _Known(known.count - count, known.last)

    def search(self, places: Sequence[Place], numbers_used: int) -> tuple[list[Popped], list[str]]:
        """Read on in the lists of these places; return the moderation taken out, and the names of those with more to read.

        Its fields have numbers above ``numbers_used``, at most ``MOST_TAKEN`` of them.
        """
        lists = [(place, key) for place in places for key in lists_of(place.queue)]
        if not lists:
            return [], []
        arguments: list[str | bytes | int] = [MOST_READ, MOST_READ_BYTES]
        for _, key in lists:
            arguments += [key, self._known.get(key, _NOTHING).count]
        replies = self._wire.run(_LOOK, [], arguments)
        finds: list[_Find] = []
        unread: list[str] = []
        for (place, key), (length, last, messages) in zip(lists, replies, strict=True):
            known = self._known.get(key, _NOTHING)
            if last.decode() != known.last:  # changed by another hand: read it from its beginning
                del self._known[key]
                if length:
                    unread.append(place.name)
                continue
            read, found = self._sort(place, key, messages, MOST_TAKEN - len(finds))
            finds += found
            if known.count + read < length:
                unread.append(place.name)
        unread += [find.place.name for find in finds]
        return self._take_out(finds, numbers_used), unread

    def _sort(self, place: Place, key: str, messages: Sequence[bytes], room: int) -> tuple[int, list[_Find]]:
        """Take note of what was read, up to the first moderation that has no room; return how many and the moderation."""
        known = self._known.get(key, _NOTHING)
        found: list[_Find] = []
        last, read = known.last, 0
        for raw in messages:
            if not is_moderation(raw):
                newest = raw
            elif len(found) < room:
                found.append(_Find(place, key, known.count + read + 1, raw))
            else:
                break
            read += 1
        others = read - len(found)
        if others:
            last = hashlib.sha1(newest, usedforsecurity=False).hexdigest()
            self._known[key] = _Known(known.count + others, last)
        return read, found

    def _take_out(self, finds: Sequence[_Find], numbers_used: int) -> list[Popped]:
        popped: list[Popped] = []
        for place in dict.fromkeys(find.place for find in finds):
            asked: dict[bytes, _Find] = {}
            arguments: list[str | bytes | int] = [place.lease_key, place.lease_value, uuid.uuid4().hex]
            for number, find in enumerate(finds, start=numbers_used + 1):
                if find.place is place:
                    field = f"{place.fence:016d}:{number:012d}"
                    asked[field.encode()] = find
                    arguments += [field, find.list_key, find.position, find.raw]
            keys = [place.unacked_key, *dict.fromkeys(find.list_key for find in asked.values())]
            taken = set(self._wire.run(_TAKE_OUT, keys, arguments))
            for field_, find in asked.items():
                if field_ in taken:
                    popped.append(Popped(place, field_, find.list_key.encode(), find.raw))
                else:  # the list has changed since the look
                    self._known.pop(find.list_key, None)
        return popped
